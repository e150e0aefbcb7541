//! Settling a delivery: ack, nack, extend. The core decides what the lease is still good for; a late handler gets to know
//! what happened meanwhile.

use std::time::Duration;

use popstore_revive::{Burial, Command, Lease, Outcome, Standing};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ledger::{GroupEntry, Receipt};
use crate::verbs::delivery::Settled;
use crate::verbs::pop::check_invisible;

/// The longest delay of a nack: 366 days.
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
        receipts.iter().try_for_each(|receipt| self.check_receipt(group, receipt))?;
        let many: Vec<Lease>;
        let leases = match receipts {
            [] => return Err(Error::invalid("batch", "", "it must hold at least one receipt")),
            [one] => &[one.lease()][..],
            _ => {
                many = receipts.iter().map(Receipt::lease).collect();
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

    pub(crate) fn nack(&self, group: &GroupEntry, receipt: Receipt, delay: Delay) -> Result<Settled> {
        self.context().check()?;
        self.check_receipt(group, &receipt)?;
        let delay = match delay {
            Delay::Backoff => None,
            Delay::After(delay) if delay <= DELAY_MAX => Some(delay),
            Delay::After(delay) => return Err(Error::invalid("delay", format!("{delay:?}"), "at most 366 days")),
        };
        self.change_lease(group, &Command::Nack { group: group.id, lease: receipt.lease(), delay })
    }

    pub(crate) fn extend(&self, group: &GroupEntry, receipt: Receipt, lease: Duration) -> Result<Settled> {
        self.context().check()?;
        self.check_receipt(group, &receipt)?;
        check_invisible(lease)?;
        self.change_lease(group, &Command::Extend { group: group.id, lease: receipt.lease(), by: lease })
    }

    /// Changes a lease that runs; of any other, says what happened to it.
    fn change_lease(&self, group: &GroupEntry, command: &Command<'_>) -> Result<Settled> {
        self.check_reserve()?;
        let now = self.context().time()?;
        let mut consumers = self.consumers();
        let (_, written) = consumers.decide(command, now, None)?;
        let (outcomes, _) = consumers.outcomes(group.id);
        let settled = match outcomes {
            [Outcome { accepted: true, .. }] => Settled::Done,
            [Outcome { standing: Standing::Over, .. }] => Settled::LeaseOver,
            [one] => too_late(one.standing),
            _ => Settled::Unknown,
        };
        drop(consumers);
        // The same as for an ack.
        self.make_records_durable(written.end)?;
        self.messages().raise(written.poppable);
        Ok(settled)
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

fn too_late(standing: Standing) -> Settled {
    match standing {
        Standing::HandedOutAgain { attempt } => Settled::HandedOutAgain { attempt },
        Standing::Buried(Burial::DeadLettered) => Settled::DeadLettered,
        Standing::Buried(Burial::Discarded) => Settled::Discarded,
        Standing::Settled => Settled::AlreadySettled,
        Standing::Leased { .. } | Standing::Over | Standing::Unknown => Settled::Unknown,
    }
}
