//! The POP index: every group's leases, and what can be asked of them. `apply` changes it.

use std::collections::BTreeMap;

use crate::agenda::Agenda;
use crate::block::Block;
use crate::queue::Queue;
use crate::{
    Buried, Cohort, Counters, Counts, GroupId, Lease, Policy, QueueId, QueueIndex, Run, Standing, State, Time,
};

/// Who holds which message until when: per group and queue, in memory, rebuilt from the checkpoint log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) agenda: Agenda,
    /// Where groups begin that are about to be made. No image holds them: a group is made in one step.
    pub(crate) beginnings: BTreeMap<GroupId, BTreeMap<QueueId, QueueIndex>>,
    /// Dead letters that were put back, per dead-letter queue and block.
    pub(crate) redriven: BTreeMap<QueueId, BTreeMap<u64, u64>>,
}

/// A group's rules, its work so far, and its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) policy: Policy,
    pub(crate) counters: Counters,
    pub(crate) queues: BTreeMap<QueueId, Queue>,
}

impl Index {
    /// Chooses up to `limit` messages of `queue` to hand out at `now`: redeliveries first, by the time at which they
    /// became visible and then by place, then new ones of those in `span`. Nothing changes until the runs come back in a
    /// [`crate::Change::Popped`]. Returns whether messages that were given back uncounted before their first delivery counted
    /// have gone from the queue since: [`crate::Change::Positioned`] settles them.
    pub fn pick(
        &self,
        group: GroupId,
        queue: QueueId,
        limit: u32,
        span: (QueueIndex, QueueIndex),
        now: Time,
        out: &mut Vec<Run>,
    ) -> bool {
        let Some(known) = self.groups.get(&group) else { return false };
        match known.queues.get(&queue) {
            Some(held) => held.pick(queue, known.policy.ordered, limit, span, now, out),
            None => Queue::default().pick(queue, known.policy.ordered, limit, span, now, out),
        }
    }

    /// What a lease is good for at `now`.
    pub fn standing(&self, group: GroupId, lease: &Lease, now: Time) -> Standing {
        self.look_up(group, lease, now).0
    }

    /// What a lease is good for at `now`, and the history of its message if the group still holds it.
    #[inline(always)]
    pub(crate) fn look_up(&self, group: GroupId, lease: &Lease, now: Time) -> (Standing, Option<&Cohort>) {
        match self.queue(group, lease.queue) {
            Some(queue) => queue.standing(lease, now),
            None => (Standing::Unknown, None),
        }
    }

    /// The rules of a group.
    pub fn policy(&self, group: GroupId) -> Option<&Policy> {
        self.groups.get(&group).map(|group| &group.policy)
    }

    /// What a group has done.
    pub fn counters(&self, group: GroupId) -> Option<Counters> {
        self.groups.get(&group).map(|group| group.counters)
    }

    /// The queues a group has read from, with its position in each.
    pub fn positions(&self, group: GroupId) -> impl Iterator<Item = (QueueId, QueueIndex)> {
        let queues = self.groups.get(&group).into_iter().flat_map(|group| &group.queues);
        queues.map(|(id, queue)| (*id, queue.position))
    }

    /// A group's place in a queue, if it ever read from it: the next message it was never given.
    pub fn position(&self, group: GroupId, queue: QueueId) -> Option<QueueIndex> {
        self.queue(group, queue).map(|queue| queue.position)
    }

    /// How many messages of a queue a group holds at `now`, by state. Visits every block with something to deliver again.
    pub fn counts(&self, group: GroupId, queue: QueueId, now: Time) -> Counts {
        self.queue(group, queue).map(|queue| queue.counts(now)).unwrap_or_default()
    }

    /// Whether a group has messages of a queue to deliver again at `now`.
    pub fn has_ready(&self, group: GroupId, queue: QueueId, now: Time) -> bool {
        self.queue(group, queue).is_some_and(|queue| queue.has_ready(now))
    }

    /// Everything a group was given before this place of a queue is settled.
    pub fn done_through(&self, group: GroupId, queue: QueueId) -> Option<QueueIndex> {
        self.queue(group, queue).map(Queue::done_through)
    }

    /// The history of one unsettled message.
    pub fn held(&self, group: GroupId, queue: QueueId, index: QueueIndex) -> Option<&Cohort> {
        self.block(group, queue, index.block())?.cohort(index.bit())
    }

    /// How a message left a group without an ack, if it did and was one of the last of its queue.
    pub fn burial(&self, group: GroupId, queue: QueueId, index: QueueIndex) -> Option<&Buried> {
        self.queue(group, queue)?.burial(index)
    }

    /// What a group holds of a run, at the run's delivery; the cohorts may hold more than the run names.
    pub(crate) fn cohorts(&self, group: GroupId, run: &Run) -> impl Iterator<Item = &Cohort> {
        let (mask, delivery) = (run.mask, run.delivery);
        let held = self.block(group, run.queue, run.block).into_iter().flat_map(|block| &block.cohorts);
        held.filter(move |cohort| cohort.delivery == delivery && cohort.mask & mask != 0)
    }

    pub(crate) fn block(&self, group: GroupId, queue: QueueId, number: u64) -> Option<&Block> {
        self.queue(group, queue)?.blocks.get(number)
    }

    /// The unsettled messages of a group in a queue, by block.
    pub fn unsettled(&self, group: GroupId, queue: QueueId) -> impl Iterator<Item = (u64, Cohort)> {
        let blocks = self.queue(group, queue).into_iter().flat_map(|queue| queue.blocks.iter());
        blocks.flat_map(|(number, block)| block.cohorts.iter().map(move |cohort| (number, *cohort)))
    }

    /// When the longest running lease of a group was given. Looks at every block the group holds.
    pub fn oldest_lease(&self, group: GroupId) -> Option<Time> {
        let queues = self.groups.get(&group).into_iter().flat_map(|group| group.queues.values());
        let cohorts = queues.flat_map(|queue| queue.blocks.iter()).flat_map(|(_, block)| &block.cohorts);
        cohorts.filter(|cohort| cohort.state == State::InFlight).map(|cohort| cohort.popped_at).min()
    }

    /// The groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    fn queue(&self, group: GroupId, queue: QueueId) -> Option<&Queue> {
        self.groups.get(&group)?.queues.get(&queue)
    }
}

/// The places of a block that are not before `position`.
pub(crate) fn at_or_after(block: u64, position: QueueIndex) -> u64 {
    match block.cmp(&position.block()) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => u64::MAX << (position.0 % QueueIndex::PER_BLOCK),
        std::cmp::Ordering::Greater => u64::MAX,
    }
}
