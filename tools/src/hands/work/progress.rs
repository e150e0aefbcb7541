//! Counts of what is done, shown on a terminal during the work.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indicatif::ProgressBar;
use popstore::Settled;
use serde::Serialize;

const TURN_EVERY: Duration = Duration::from_millis(200);

/// The counts, as `--json` prints them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Done {
    /// Messages whose command succeeded and whose ack counted.
    pub(super) acked: u64,
    /// Messages whose command failed or was killed.
    pub(super) nacked: u64,
    /// Messages whose command was not started: their deliveries do not count.
    pub(super) released: u64,
    /// Messages whose command was done after somebody else had the message.
    pub(super) too_late: u64,
    /// Messages of the group that were dead-lettered meanwhile.
    pub(super) dead_lettered: u64,
}

/// How a message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Ack,
    Nack,
    Release,
}

/// Counts what is done; on a terminal, a line shows it.
pub(super) struct Progress {
    tally: Mutex<Tally>,
    line: ProgressBar,
}

#[derive(Default)]
struct Tally {
    done: Done,
    running: u32,
}

impl Progress {
    pub(super) fn start() -> Self {
        let line = ProgressBar::new_spinner();
        let progress = Self { tally: Mutex::default(), line };
        progress.show(&progress.tally());
        if !progress.line.is_hidden() {
            progress.line.enable_steady_tick(TURN_EVERY);
        }
        progress
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("no panic under the lock")
    }

    fn show(&self, tally: &Tally) {
        let Tally { done: Done { acked, nacked, too_late, .. }, running } = tally;
        let line = format!("{acked} acked, {nacked} nacked, {too_late} too late, {running} running");
        self.line.set_message(line);
    }

    /// A command begins.
    pub(super) fn begun(&self) {
        let mut tally = self.tally();
        tally.running += 1;
        self.show(&tally);
    }

    /// A command is done, and its message settled with this outcome.
    pub(super) fn ended(&self, way: Way, settled: Settled) {
        let mut tally = self.tally();
        tally.running -= 1;
        let done = &mut tally.done;
        *match way {
            _ if !settled.counted() => &mut done.too_late,
            Way::Ack => &mut done.acked,
            Way::Nack => &mut done.nacked,
            Way::Release => &mut done.released,
        } += 1;
        self.show(&tally);
    }

    /// Says something on the standard error, above the line.
    pub(super) fn say(&self, what: &str) {
        self.line.suspend(|| crate::hands::say(what));
    }

    /// Takes the line away.
    pub(super) fn end(self) -> Done {
        self.line.finish_and_clear();
        self.tally().done
    }
}
