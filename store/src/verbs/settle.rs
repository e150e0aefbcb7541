//! Settling a delivery: ack, nack, release, extend. The core decides what the lease is still good for; a late handler gets to know
//! what happened meanwhile.

use std::time::Duration;

use popstore_revive::{Burial, Command, Lease, Outcome, Standing};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ledger::{GroupEntry, Receipt};
use crate::verbs::delivery::Settled;
use crate::verbs::pop::check_invisible;

/// The longest delay of what is given back: 366 days.
const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// When a message given back becomes visible again. A `Duration` converts into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delay {
    /// After this time; zero is at once.
    After(Duration),
    /// As the group's backoff says.
    Backoff,
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Self {
        Self::After(delay)
    }
}

impl Engine {
    /// Acks deliveries of one group, and says what became of each.
    pub(crate) fn ack(&self, group: &GroupEntry, receipts: &[Receipt], mut outcome: impl FnMut(Settled)) -> Result<()> {
        self.context().check()?;
        let many: Vec<Lease>;
        let leases = match receipts {
            // The frequent case needs no list.
            [one] => {
                self.check_receipt(group, one)?;
                &[one.lease()][..]
            }
            _ => {
                many = self.leases_of(group, receipts)?;
                &many
            }
        };
        let now = self.context().time()?;
        let mut consumers = self.consumers();
        let (_, written) = consumers.decide(&Command::Ack { group: group.id, leases }, now, None)?;
        let (outcomes, mut times) = consumers.outcomes(group.id);
        let mut slow = None;
        for one in outcomes {
            if let Some(times) = &mut times {
                slow = match (one.accepted, one.lease, one.standing) {
                    (true, Some(lease), _) => times.time(&group.name, lease, now).or(slow),
                    (_, _, Standing::HandedOutAgain { .. } | Standing::Buried(_)) => {
                        times.too_late(&group.name, now).or(slow)
                    }
                    _ => slow,
                };
            }
            outcome(match (one.accepted, one.standing) {
                (true, Standing::Over) => Settled::Late,
                (true, _) => Settled::Done,
                (false, Standing::Leased { .. } | Standing::Over) => Settled::AlreadySettled,
                (false, standing) => too_late(standing),
            });
        }
        drop(consumers);
        // Also where nothing was acked: what a late handler gets to know rests on records that may not be durable yet.
        self.make_records_durable(written.end)?;
        self.messages().raise(written.poppable);
        slow.iter().for_each(|event| self.context().emit(event));
        Ok(())
    }

    /// Gives messages back; their deliveries count.
    pub(crate) fn nack(&self, group: &GroupEntry, receipts: &[Receipt], delay: Delay) -> Result<Vec<Settled>> {
        let delay = match delay {
            Delay::Backoff => None,
            Delay::After(delay) => Some(check_delay(delay)?),
        };
        self.change_leases(group, receipts, |leases| Command::Nack { group: group.id, leases, delay })
    }

    /// Gives messages back; their deliveries do not count.
    pub(crate) fn release(&self, group: &GroupEntry, receipts: &[Receipt], delay: Duration) -> Result<Vec<Settled>> {
        let delay = check_delay(delay)?;
        self.change_leases(group, receipts, |leases| Command::Release { group: group.id, leases, delay })
    }

    /// Makes leases end that long from now.
    pub(crate) fn extend(&self, group: &GroupEntry, receipts: &[Receipt], by: Duration) -> Result<Vec<Settled>> {
        check_invisible(by)?;
        self.change_leases(group, receipts, |leases| Command::Extend { group: group.id, leases, by })
    }

    /// Changes leases; of those that are left as they are, says what happened to them.
    fn change_leases<'r>(
        &self,
        group: &GroupEntry,
        receipts: &[Receipt],
        command: impl for<'l> FnOnce(&'l [Lease]) -> Command<'l>,
    ) -> Result<Vec<Settled>> {
        self.context().check()?;
        let leases = self.leases_of(group, receipts)?;
        self.check_reserve()?;
        let now = self.context().time()?;
        let mut consumers = self.consumers();
        let command = command(&leases);
        let (_, written) = consumers.decide(&command, now, None)?;
        let (outcomes, _) = consumers.outcomes(group.id);
        let settled = outcomes.iter().map(|outcome| match outcome {
            Outcome { accepted: true, .. } => Settled::Done,
            Outcome { standing: Standing::Leased { .. }, .. } => Settled::AlreadySettled,
            Outcome { standing: Standing::Over, .. } => Settled::LeaseOver,
            Outcome { standing, .. } => too_late(*standing),
        });
        let settled = settled.collect();
        drop(consumers);
        // The same as for an ack.
        self.make_records_durable(written.end)?;
        self.messages().raise(written.poppable);
        Ok(settled)
    }

    /// The leases that receipts of this group name.
    fn leases_of(&self, group: &GroupEntry, receipts: &[Receipt]) -> Result<Vec<Lease>> {
        if receipts.is_empty() {
            return Err(Error::invalid("batch", "", "it must hold at least one receipt"));
        }
        receipts.iter().map(|receipt| self.check_receipt(group, receipt).map(|()| receipt.lease())).collect()
    }

    /// Refuses what was not given by this store to this group.
    fn check_receipt(&self, group: &GroupEntry, receipt: &Receipt) -> Result<()> {
        let rule = if receipt.lease.store != self.context().identity.id {
            "it must be from this store"
        } else if receipt.lease.group != group.id {
            "it must be from this group"
        } else {
            return Ok(());
        };
        Err(Error::invalid("receipt", receipt.to_string(), rule))
    }
}

fn check_delay(delay: Duration) -> Result<Duration> {
    if delay <= DELAY_MAX {
        return Ok(delay);
    }
    Err(Error::invalid("delay", format!("{delay:?}"), "it must be at most 366 days"))
}

fn too_late(standing: Standing) -> Settled {
    match standing {
        Standing::HandedOutAgain { attempt } => Settled::HandedOutAgain { attempt },
        Standing::Buried(Burial::DeadLettered) => Settled::DeadLettered,
        Standing::Buried(Burial::Discarded) => Settled::Discarded,
        Standing::Settled => Settled::AlreadySettled,
        Standing::Leased { .. } | Standing::Over | Standing::Unknown => Settled::Unknown,
    }
}
