//! Settling a delivery: ack, nack, extend. Find the lease by its receipt -> record -> done; or answer a late handler
//! with what happened meanwhile.

use std::time::Duration;

use popstore_revive::{Burial, Change, Cohort, Gathered, Index, Run, Standing, Time, Verdict};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::receipt::Lease;
use crate::ledger::{GroupEntry, Locked, Receipt};
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
        if receipts.is_empty() {
            return Err(Error::invalid("batch", "", "it must hold at least one receipt"));
        }
        receipts.iter().try_for_each(|receipt| self.check_receipt(group, receipt))?;
        let now = self.context().time()?;
        let mut consumers = self.consumers();
        let (mut acked, mut runs) = (Gathered::default(), consumers.take_runs());
        let (index, mut times) = consumers.index_and_ack_times(group.id);
        let (mut slow, mut alike) = (None, None);
        for receipt in receipts {
            // Neighbours that were popped together are good for the same.
            let found = match alike.filter(|alike: &Alike<'_>| alike.include(receipt)) {
                Some(alike) => alike,
                None => Alike::find(index, receipt, now),
            };
            alike = Some(found);
            let settled = match found.standing {
                Standing::Leased { .. } | Standing::Over => {
                    let is_new = acked.add(&mut runs, 0, run(receipt)) != 0;
                    if let (true, Some(held), Some(times)) = (is_new, found.held, &mut times) {
                        slow = times.time(&group.name, held, now).or(slow);
                    }
                    match (is_new, found.standing) {
                        (false, _) => Settled::AlreadySettled,
                        (true, Standing::Over) => Settled::Late,
                        (true, _) => Settled::Done,
                    }
                }
                other => {
                    if matches!(other, Standing::HandedOutAgain { .. } | Standing::Buried(_)) {
                        slow = times.as_mut().and_then(|times| times.too_late(&group.name, now)).or(slow);
                    }
                    too_late(other)
                }
            };
            outcome(settled);
        }
        let acked = consumers.change_all(&runs, |runs| Change::Acked { group: group.id, at: now, runs });
        let queues = consumers.unblocked(group.id, &runs);
        consumers.return_runs(runs);
        drop(consumers);
        // Also where nothing was acked: what a late handler gets to know rests on records that may not be durable yet.
        self.make_records_durable(acked?)?;
        self.messages().raise(queues);
        slow.iter().for_each(|event| self.context().emit(event));
        Ok(())
    }

    pub(crate) fn nack(&self, group: &GroupEntry, receipt: Receipt, delay: Delay) -> Result<Settled> {
        self.context().check()?;
        self.check_receipt(group, &receipt)?;
        if let Delay::After(delay) = delay
            && delay > DELAY_MAX
        {
            return Err(Error::invalid("delay", format!("{delay:?}"), "at most 366 days"));
        }
        self.check_reserve()?;
        let at = self.context().time()?;
        let mut consumers = self.consumers();
        let standing = Alike::find(consumers.index(), &receipt, at).standing;
        let verdict = match (standing, consumers.index().policy(group.id), delay) {
            (Standing::Leased { .. }, Some(policy), delay) => match (policy.verdict(receipt.attempt(), at), delay) {
                (Verdict::Redeliver { .. }, Delay::After(delay)) => Verdict::Redeliver { visible_at: at.after(delay) },
                (verdict, _) => verdict,
            },
            (late, ..) => return self.answer_late(consumers, late),
        };
        let runs = [run(&receipt)];
        let end = consumers.change(Change::Nacked { group: group.id, at, verdict, runs: &runs })?.end;
        let frees = match verdict {
            // What becomes visible later is for the reviver to announce.
            Verdict::Redeliver { visible_at } => visible_at <= at.max(consumers.visible_through()),
            Verdict::Discard => true,
            Verdict::DeadLetter => false,
        };
        drop(consumers);
        self.make_records_durable(end)?;
        if frees {
            self.messages().raise([receipt.lease.queue]);
        }
        Ok(Settled::Done)
    }

    pub(crate) fn extend(&self, group: &GroupEntry, receipt: Receipt, lease: Duration) -> Result<Settled> {
        self.context().check()?;
        self.check_receipt(group, &receipt)?;
        check_invisible(lease)?;
        self.check_reserve()?;
        let at = self.context().time()?;
        let mut consumers = self.consumers();
        match Alike::find(consumers.index(), &receipt, at).standing {
            Standing::Leased { .. } => {}
            late => return self.answer_late(consumers, late),
        }
        let runs = [run(&receipt)];
        let change = Change::Extended { group: group.id, at, due: at.after(lease), runs: &runs };
        let end = consumers.change(change)?.end;
        drop(consumers);
        self.make_records_durable(end)?;
        Ok(Settled::Done)
    }

    /// What a late handler gets to know is as durable as what happened meanwhile.
    fn answer_late(&self, consumers: Locked<'_>, standing: Standing) -> Result<Settled> {
        drop(consumers);
        self.make_records_durable(self.ledger().log().appended())?;
        Ok(if standing == Standing::Over { Settled::LeaseOver } else { too_late(standing) })
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

/// What a receipt is good for, and the history of its message if it is still held: that of all of its cohort.
#[derive(Clone, Copy)]
struct Alike<'i> {
    lease: Lease,
    standing: Standing,
    held: Option<&'i Cohort>,
}

impl<'i> Alike<'i> {
    fn find(index: &'i Index, receipt: &Receipt, now: Time) -> Self {
        let lease = receipt.lease;
        let (standing, held) =
            index.look_up(lease.group, lease.queue, lease.index, lease.attempt, lease.generation, now);
        Self { lease, standing, held }
    }

    /// Whether another receipt of the same group is for the same cohort, at the same delivery.
    fn include(&self, receipt: &Receipt) -> bool {
        let what = |lease: &Lease| (lease.queue, lease.index.block(), lease.attempt, lease.generation);
        let same = what(&self.lease) == what(&receipt.lease);
        same && self.held.is_some_and(|held| held.mask & receipt.lease.index.bit() != 0)
    }
}

fn run(receipt: &Receipt) -> Run {
    Run::one(receipt.lease.queue, receipt.lease.index, receipt.lease.attempt)
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
