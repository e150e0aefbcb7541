//! The jobs: each pops one message, runs the command on it and settles it, until it is time to stop.
//!
//! A job has its own lease, so that a slow command holds up nobody else's message, and none is held that is not begun.

use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use popstore::{Delay, Delivery, Group};

use super::Args;
use super::leases::{Leases, Watch, Watched};
use super::progress::{Done, Progress, Way};
use super::running::Running;
use crate::Failure;

/// How often a job that waits checks whether it is time to stop.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Jobs<'a> {
    args: &'a Args,
    pub(super) group: Group,
    /// How long a message is hidden by a pop, and by each extension.
    lease: Duration,
    pub(super) running: Running,
    pub(super) progress: Progress,
    /// No more messages are taken.
    pub(super) stop: AtomicBool,
    /// The user asked for that.
    asked: AtomicBool,
}

/// How a command ended.
enum Ended {
    Succeeded,
    Failed,
    /// It was not its own fault.
    Killed,
    NotBegun,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(args: &'a Args, group: Group) -> Result<Self, Failure> {
        let lease = args.taking.invisible.unwrap_or(group.options()?.settings().invisible_for);
        let (running, progress) = (Running::default(), Progress::start());
        Ok(Self { args, group, lease, running, progress, stop: AtomicBool::new(false), asked: AtomicBool::new(false) })
    }

    /// Asked once, no more messages are taken; asked again, the commands that run are killed.
    pub(super) fn stop(&self) {
        self.stop.store(true, SeqCst);
        if self.asked.swap(true, SeqCst) {
            self.running.kill();
        } else {
            self.progress.say("stopping when the running commands are done; a second signal kills them");
        }
    }

    /// No more messages are taken.
    pub(super) fn stop_all(&self) {
        self.stop.store(true, SeqCst);
    }

    pub(super) fn into_done(self) -> Done {
        self.progress.end()
    }

    /// Works as one job.
    pub(super) fn work(&self) -> Result<(), Failure> {
        let (group, progress, lease, extend) = (&self.group, &self.progress, self.lease, !self.args.no_extend);
        let leases = Leases { group, progress, lease, extend };
        let (watches, watched) = mpsc::channel::<Watch>();
        let worked = thread::scope(|threads| {
            let watcher = move || watched.iter().for_each(|watch| leases.watch(&watch));
            thread::Builder::new().spawn_scoped(threads, watcher).map_err(Failure::Thread)?;
            // Order matters: the watcher ends with the sender, and the scope with the watcher.
            let watches = watches;
            self.take_and_handle(&watches)
        });
        if worked.is_err() {
            self.stop_all();
        }
        worked
    }

    fn take_and_handle(&self, watches: &mpsc::Sender<Watch>) -> Result<(), Failure> {
        let pop = self.args.taking.up_to(1);
        let mut nothing_held = false;
        while !self.stop.load(SeqCst) {
            let wait = if nothing_held { Duration::ZERO } else { POLL_EVERY };
            let deliveries = self.group.pop_wait(&self.args.taking.topic, pop, wait)?;
            let is_empty = deliveries.is_empty();
            deliveries.into_iter().try_for_each(|delivery| self.handle(&Arc::new(delivery), watches))?;
            // Order matters: it is empty when a pop gets nothing after nothing was held back, not before: what was
            // held may have become ready in between.
            if is_empty && nothing_held {
                break;
            }
            nothing_held = self.args.until_empty && is_empty && self.holds_nothing()?;
        }
        Ok(())
    }

    fn holds_nothing(&self) -> Result<bool, Failure> {
        let stats = self.group.stats_of(&self.args.taking.topic)?;
        Ok(stats.in_flight + stats.waiting + stats.ending == 0)
    }

    fn handle(&self, delivery: &Arc<Delivery>, watches: &mpsc::Sender<Watch>) -> Result<(), Failure> {
        let (group, receipt) = (&self.group, delivery.receipt());
        self.progress.begun();
        let watched = Watched::begin(delivery, watches);
        let ended = self.start(delivery, &watched).and_then(|child| {
            watched.begun();
            child.map_or(Ok(Ended::NotBegun), |child| self.finish(delivery, child))
        });
        // Order matters: a lease is left alone before its message is settled.
        drop(watched);
        let retry = self.args.retry_after.map_or(Delay::Backoff, Delay::After);
        let (way, settled) = match ended {
            Ok(Ended::Succeeded) => (Way::Ack, group.ack(receipt)?),
            Ok(Ended::Failed) => (Way::Nack, group.nack(receipt, retry)?),
            Ok(Ended::Killed) => (Way::Nack, group.nack(receipt, Duration::ZERO)?),
            // It is not the message's fault that its command could not be started.
            Ok(Ended::NotBegun) | Err(_) => (Way::Release, group.release(receipt, Duration::ZERO)?),
        };
        self.progress.ended(way, settled);
        let failed = |source| Failure::Command { command: self.args.command.join(" "), source };
        ended.map(drop).map_err(failed)
    }

    /// Feeds a command that was started, and waits for its end.
    fn finish(&self, delivery: &Delivery, mut child: Child) -> io::Result<Ended> {
        let mut input = child.stdin.take();
        let written = input.as_mut().map_or(Ok(()), |input| input.write_all(delivery.body()));
        drop(input);
        let status = self.running.end(child);
        match written {
            // A command need not read its input.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
        let status = status?;
        if let ([_], Some(error)) = (self.args.command.as_slice(), not_run(status)) {
            return Err(error);
        }
        Ok(match status.success() {
            true => Ended::Succeeded,
            false if self.running.killed() => Ended::Killed,
            false => Ended::Failed,
        })
    }

    pub(super) fn command(&self, delivery: &Delivery) -> Command {
        let mut command = match self.args.command.as_slice() {
            [line] if cfg!(windows) => shell("cmd", "/C", line),
            [line] => shell("sh", "-c", line),
            words => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command
            }
        };
        let message = delivery.message();
        // A key is any bytes; what no environment can hold is left out.
        let key = String::from_utf8_lossy(message.key()).replace('\0', "");
        command.env("POPSTORE_TOPIC", message.topic()).env("POPSTORE_QUEUE", message.queue().to_string());
        command.env("POPSTORE_INDEX", message.index().to_string()).env("POPSTORE_KEY", key);
        command.env("POPSTORE_TAG", message.tag().replace('\0', ""));
        command.env("POPSTORE_ATTEMPT", delivery.attempt().to_string());
        command.env("POPSTORE_RECEIPT", delivery.receipt().to_string());
        command
    }
}

fn shell(program: &str, flag: &str, line: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(flag).arg(line);
    command
}

/// Why a shell could not run its command, by its exit code.
fn not_run(shell: ExitStatus) -> Option<io::Error> {
    match shell.code().filter(|_| cfg!(unix))? {
        126 => Some(io::Error::new(io::ErrorKind::PermissionDenied, "the shell cannot run it (exit code 126)")),
        127 => Some(io::Error::new(io::ErrorKind::NotFound, "the shell found no such program (exit code 127)")),
        _ => None,
    }
}
