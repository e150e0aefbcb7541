//! The leases of messages whose commands run: extended in time, or reported when they end under the command.
//!
//! Each job has a thread for that, started before the first message is popped: no lease depends on whether the system has
//! a thread to spare while a command runs.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use popstore::{Clock, Delivery, Group, Settled, SystemClock};

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

/// A lease to watch until the other end of the channel is dropped.
pub(super) struct Watch {
    pub(super) delivery: Arc<Delivery>,
    pub(super) until: mpsc::Receiver<()>,
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait(Duration),
    Extend,
    /// It is over.
    Report,
}

/// A lease, on the timeline of a clock; decides by the time alone.
struct Lease {
    length: Duration,
    ends_at: Duration,
    /// `None`: it is not extended.
    extend_at: Option<Duration>,
}

impl Lease {
    fn begin(length: Duration, extend: bool, now: Duration) -> Self {
        let extend_at = extend.then(|| now + length / EXTENDED_AT);
        Self { length, ends_at: now + length, extend_at }
    }

    fn next(&self, now: Duration) -> Next {
        match self.extend_at {
            Some(at) if now >= at => Next::Extend,
            Some(at) => Next::Wait(at - now),
            None if now >= self.ends_at => Next::Report,
            None => Next::Wait(self.ends_at - now),
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
        let mut lease = Lease::begin(self.lease, self.extend, now());
        loop {
            let wait = match lease.next(now()) {
                Next::Wait(wait) => wait,
                Next::Extend => match self.group.extend(watch.delivery.receipt(), self.lease) {
                    Ok(Settled::Done) => {
                        lease = Lease::begin(self.lease, true, now());
                        continue;
                    }
                    Ok(_) => return self.report(watch, "could not be extended before its end"),
                    Err(_) => {
                        lease.refused(now());
                        continue;
                    }
                },
                Next::Report => return self.report(watch, "ended, and is not to be extended"),
            };
            if watch.until.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn report(&self, watch: &Watch, what: &str) {
        // Order matters: a command ends before its message is settled, and then there is nothing to report.
        if watch.until.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
            return;
        }
        let (message, attempt) = (watch.delivery.message(), watch.delivery.attempt());
        let place = output::place(message.topic(), message.queue(), message.index());
        self.progress.say(&format!(
            "the lease of {place}, attempt {attempt}, {what}, while its command runs: the message is delivered again, or leaves the \
             group at its limit"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_extended_when_a_third_of_it_is_over() {
        let lease = Lease::begin(30 * SECOND, true, 100 * SECOND);
        assert_eq!(lease.next(100 * SECOND), Next::Wait(10 * SECOND));
        assert_eq!(lease.next(109 * SECOND), Next::Wait(SECOND));
        for late in [110, 129, 130, 500] {
            assert_eq!(lease.next(late * SECOND), Next::Extend);
        }
    }

    #[test]
    fn a_refused_extension_is_tried_until_the_lease_ends() {
        let mut lease = Lease::begin(30 * SECOND, true, Duration::ZERO);
        for tried in [10, 15, 20, 25] {
            assert_eq!(lease.next(tried * SECOND), Next::Extend);
            lease.refused(tried * SECOND);
            assert_eq!(lease.next(tried * SECOND), Next::Wait(5 * SECOND));
        }
        lease.refused(28 * SECOND);
        assert_eq!(lease.next(28 * SECOND), Next::Wait(2 * SECOND));
        lease.refused(30 * SECOND);
        assert_eq!(lease.next(30 * SECOND), Next::Report);
    }

    #[test]
    fn a_lease_that_is_not_extended_is_reported_at_its_end() {
        let lease = Lease::begin(30 * SECOND, false, 100 * SECOND);
        assert_eq!(lease.next(100 * SECOND), Next::Wait(30 * SECOND));
        assert_eq!(lease.next(129 * SECOND), Next::Wait(SECOND));
        assert_eq!(lease.next(130 * SECOND), Next::Report);
    }
}
