//! The leases of messages whose commands run, or are to be started: extended in time, or reported when they end.
//!
//! Each job has a thread for that, started before the first message is popped: no lease depends on whether the system has
//! a thread to spare while a command runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use popstore::clock::{Clock, SystemClock};
use popstore::{Delivery, Group, Settled};

use super::progress::Progress;
use crate::output;

/// Extended when a third of it is over, a lease has two thirds left for a busy machine.
const EXTENDED_AT: u32 = 3;
/// How often a refused extension is tried again within a lease.
const TRIES: u32 = 6;

/// Watches the leases of one job, one after the other.
pub(super) struct Leases<'a> {
    pub(super) group: &'a Group,
    pub(super) progress: &'a Progress,
    /// How long a message is hidden by a pop, and by each extension.
    pub(super) lease: Duration,
    pub(super) extend: bool,
}

/// A lease to watch until its [`Watched`] is dropped.
pub(super) struct Watch {
    delivery: Arc<Delivery>,
    /// One word: the command has begun. Before that a lease is extended in any case.
    begun: mpsc::Receiver<()>,
    over: Arc<AtomicBool>,
}

/// The message of a lease that is being watched.
pub(super) struct Watched {
    begun: mpsc::Sender<()>,
    over: Arc<AtomicBool>,
}

impl Watched {
    pub(super) fn begin(delivery: &Arc<Delivery>, watches: &mpsc::Sender<Watch>) -> Self {
        let (sender, begun) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        // Nobody listens where the watcher panicked; the scope passes that on.
        let _ = watches.send(Watch { delivery: Arc::clone(delivery), begun, over: Arc::clone(&over) });
        Self { begun: sender, over }
    }

    /// The command has begun, or will not any more.
    pub(super) fn begun(&self) {
        let _ = self.begun.send(());
    }

    /// Whether the lease is over, and the message perhaps somebody else's.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    Wait(Duration),
    Extend,
    /// It is over.
    Report,
}

/// A lease, on the timeline of a clock; decides by the time alone.
struct LeaseTimer {
    length: Duration,
    ends_at: Duration,
    /// `None`: it is not extended.
    extend_at: Option<Duration>,
}

impl LeaseTimer {
    fn begin(length: Duration, extend: bool, now: Duration) -> Self {
        let extend_at = extend.then(|| now + length / EXTENDED_AT);
        Self { length, ends_at: now + length, extend_at }
    }

    fn next(&self, now: Duration) -> NextStep {
        match self.extend_at {
            Some(at) if now >= at => NextStep::Extend,
            Some(at) => NextStep::Wait(at - now),
            None if now >= self.ends_at => NextStep::Report,
            None => NextStep::Wait(self.ends_at - now),
        }
    }

    /// An extension was refused, but may not be the next time. Its last chance is the lease's end.
    fn refused(&mut self, now: Duration) {
        let again = now + self.length / TRIES;
        self.extend_at = (now < self.ends_at).then_some(again.min(self.ends_at));
    }
}

impl Leases<'_> {
    pub(super) fn watch(&self, watch: &Watch) {
        let clock = SystemClock::start();
        let now = || Duration::from_micros(clock.now().0);
        let mut lease = LeaseTimer::begin(self.lease, true, now());
        let mut extends = true;
        loop {
            let wait = match lease.next(now()) {
                NextStep::Wait(wait) => wait,
                NextStep::Extend => match self.group.extend(watch.delivery.receipt(), self.lease) {
                    Ok(Settled::Done) => {
                        lease = LeaseTimer::begin(self.lease, extends, now());
                        continue;
                    }
                    Ok(_) => return self.report(watch, "could not be extended before its end"),
                    Err(_) => {
                        lease.refused(now());
                        continue;
                    }
                },
                NextStep::Report => return self.report(watch, "ended, and is not to be extended"),
            };
            match watch.begun.recv_timeout(wait) {
                Ok(()) if !self.extend => {
                    extends = false;
                    lease.extend_at = None;
                }
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn report(&self, watch: &Watch, what: &str) {
        watch.over.store(true, SeqCst);
        // Order matters: a lease is left alone before its message is settled, and then there is nothing to report.
        let left_alone = loop {
            match watch.begun.try_recv() {
                Ok(()) => {}
                Err(error) => break error == TryRecvError::Disconnected,
            }
        };
        if !left_alone {
            let (place, attempt) = (output::place_of(watch.delivery.message()), watch.delivery.attempt());
            self.progress.say(&format!(
                "the lease of {place}, attempt {attempt}, {what}, before its command has ended: the message is \
                 delivered again, or leaves the group at its limit"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_extended_when_a_third_of_it_is_over() {
        let lease = LeaseTimer::begin(30 * SECOND, true, 100 * SECOND);
        assert_eq!(lease.next(100 * SECOND), NextStep::Wait(10 * SECOND));
        assert_eq!(lease.next(109 * SECOND), NextStep::Wait(SECOND));
        for late in [110, 129, 130, 500] {
            assert_eq!(lease.next(late * SECOND), NextStep::Extend);
        }
    }

    #[test]
    fn a_refused_extension_is_tried_until_the_lease_ends() {
        let mut lease = LeaseTimer::begin(30 * SECOND, true, Duration::ZERO);
        for tried in [10, 15, 20, 25] {
            assert_eq!(lease.next(tried * SECOND), NextStep::Extend);
            lease.refused(tried * SECOND);
            assert_eq!(lease.next(tried * SECOND), NextStep::Wait(5 * SECOND));
        }
        lease.refused(28 * SECOND);
        assert_eq!(lease.next(28 * SECOND), NextStep::Wait(2 * SECOND));
        lease.refused(30 * SECOND);
        assert_eq!(lease.next(30 * SECOND), NextStep::Report);
    }

    #[test]
    fn a_lease_that_is_not_extended_is_reported_at_its_end() {
        let lease = LeaseTimer::begin(30 * SECOND, false, 100 * SECOND);
        assert_eq!(lease.next(100 * SECOND), NextStep::Wait(30 * SECOND));
        assert_eq!(lease.next(129 * SECOND), NextStep::Wait(SECOND));
        assert_eq!(lease.next(130 * SECOND), NextStep::Report);
    }
}
