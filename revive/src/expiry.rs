//! The passing of time: which leases are over, what the group's rules say about them, and what is to be buried.
//!
//! All of it only reads. What was decided happens when it comes back as a [`crate::Change`].

use crate::index::Index;
use crate::{EndReason, Ending, GroupId, Place, Policy, QueueId, Run, State, Time};

/// A lease that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whose.
    pub group: GroupId,
    /// Which messages.
    pub run: Run,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// What becomes of messages whose lease ended without an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// They are delivered again.
    Redeliver {
        /// When they become visible.
        visible_at: Time,
    },
    /// They have used up their deliveries and belong into the dead-letter queue.
    DeadLetter,
    /// They have used up their deliveries and are dropped for the group.
    Discard,
}

/// Messages on their way to the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burying {
    /// Whose.
    pub group: GroupId,
    /// Which messages, at their last delivery.
    pub run: Run,
    /// How many of their deliveries do not count.
    pub uncounted: u32,
    /// Why their last lease ended.
    pub reason: EndReason,
    /// When they were handed out last.
    pub popped_at: Time,
}

impl Policy {
    /// What becomes of the delivery at an attempt when its lease ends without an ack at `now`.
    pub fn verdict(&self, attempt: u32, now: Time) -> Verdict {
        match self.end_lease(attempt) {
            Ending::Redeliver { after } => Verdict::Redeliver { visible_at: now.after(after) },
            Ending::DeadLetter => Verdict::DeadLetter,
            Ending::Discard => Verdict::Discard,
        }
    }
}

impl Index {
    /// When the next lease ends, or the next message becomes visible after `after`. A lease that is over already is due
    /// until it is decided.
    pub fn next_due(&self, after: Time) -> Option<Time> {
        self.agenda.next_due(after)
    }

    /// Decides about the leases that are over at `now` in the first `blocks_max` blocks, and adds that to `out`: neighbours
    /// of one group with one verdict can be one change. When those are applied and a lease is still over, there is more.
    ///
    /// This is the only place where a lease ends by time, and [`Policy::end_lease`] checks the limit in that same step.
    pub fn decide_over(&self, now: Time, blocks_max: usize, out: &mut Vec<Decision>) {
        let before = out.len();
        for (group, queue, block) in self.agenda.over(now).take(blocks_max) {
            let Some(known) = self.groups.get(&group) else { continue };
            let held = known.queues.get(&queue).and_then(|queue| queue.blocks.get(block));
            for lease in held.into_iter().flat_map(|held| &held.cohorts).filter(|lease| lease.is_over(now)) {
                let run = Run { queue, block, mask: lease.mask, delivery: lease.delivery };
                out.push(Decision { group, run, verdict: known.policy.verdict(lease.attempt_at_limit(), now) });
            }
        }
        out[before..].sort_by_key(|decision| (decision.group, decision.verdict));
    }

    /// The queues in which something becomes visible after `after`, and at `through` at the latest.
    pub fn became_visible(&self, after: Time, through: Time) -> impl Iterator<Item = (GroupId, QueueId)> {
        self.agenda.visible(after, through)
    }

    /// The blocks with messages that belong into a dead-letter queue.
    pub fn to_bury(&self) -> impl Iterator<Item = Place> {
        self.agenda.ended()
    }

    /// What of a block belongs into the group's dead-letter queue.
    pub fn burials(&self, (group, queue, block): Place) -> impl Iterator<Item = Burying> {
        let cohorts = self.block(group, queue, block).into_iter().flat_map(|held| &held.cohorts);
        cohorts.filter_map(move |cohort| match cohort.state {
            State::Ended(reason) => {
                let run = Run { queue, block, mask: cohort.mask, delivery: cohort.delivery };
                Some(Burying { group, run, uncounted: cohort.uncounted, reason, popped_at: cohort.popped_at })
            }
            State::InFlight | State::Waiting => None,
        })
    }
}
