//! What is due when: derived from the cohorts, and exactly as they say, so that two indexes that hold the same have the
//! same agenda.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use crate::block::Block;
use crate::{GroupId, QueueId, Time};

/// A block of a queue, as one group holds it.
pub type Place = (GroupId, QueueId, u64);

const LAST: Place = (GroupId(u32::MAX), QueueId { topic: crate::TopicId(u32::MAX), queue: u32::MAX }, u64::MAX);

/// The blocks that wait for a time or for a burial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agenda {
    /// Each block with leases, by the end of the first of them.
    leases: BTreeSet<(Time, Place)>,
    /// Each block with hidden or ready messages, by every time at which some of them become visible.
    visible: BTreeSet<(Time, Place)>,
    /// Each block with messages that have used up their deliveries.
    ended: BTreeSet<Place>,
    /// Each block with messages of which no delivery counts.
    undelivered: BTreeSet<Place>,
}

impl Agenda {
    /// Changes a block and brings its entries in line; `waiting` are those of its queue, by time and number.
    pub(crate) fn follow<T>(
        &mut self,
        place: Place,
        block: &mut Block,
        waiting: &mut BTreeSet<(Time, u64)>,
        change: impl FnOnce(&mut Block) -> T,
    ) -> T {
        let before = block.times();
        let changed = match before.waits {
            true => {
                // A block has 64 cohorts at most.
                let (mut waited, mut n) = ([Time(0); 64], 0);
                block.waits().take(64).for_each(|due| (waited[n], n) = (due, n + 1));
                let changed = change(block);
                for due in &waited[..n] {
                    if !block.waits().any(|left| left == *due) {
                        self.visible.remove(&(*due, place));
                        waiting.remove(&(*due, place.2));
                    }
                }
                self.add_waits(place, block, waiting, &waited[..n]);
                changed
            }
            false => change(block),
        };
        let after = block.times();
        if after.waits && !before.waits {
            self.add_waits(place, block, waiting, &[]);
        }
        if after.lease_end != before.lease_end {
            before.lease_end.map(|due| self.leases.remove(&(due, place)));
            after.lease_end.map(|due| self.leases.insert((due, place)));
        }
        for (places, before, after) in [
            (&mut self.ended, before.ended, after.ended),
            (&mut self.undelivered, before.undelivered, after.undelivered),
        ] {
            match (before, after) {
                (false, true) => drop(places.insert(place)),
                (true, false) => drop(places.remove(&place)),
                _ => {}
            }
        }
        changed
    }

    fn add_waits(&mut self, place: Place, block: &Block, waiting: &mut BTreeSet<(Time, u64)>, known: &[Time]) {
        for due in block.waits().filter(|due| !known.contains(due)) {
            self.visible.insert((due, place));
            waiting.insert((due, place.2));
        }
    }

    /// Removes the entries of a block that is gone with its group.
    pub(crate) fn remove(&mut self, place: Place, block: &Block) {
        block.times().lease_end.map(|due| self.leases.remove(&(due, place)));
        for due in block.waits() {
            self.visible.remove(&(due, place));
        }
        self.ended.remove(&place);
        self.undelivered.remove(&place);
    }

    /// The blocks with a lease that is over at `now`, by the end of the first.
    pub(crate) fn over(&self, now: Time) -> impl Iterator<Item = Place> {
        self.leases.iter().take_while(move |(due, _)| *due <= now).map(|(_, place)| *place)
    }

    /// The queues in which something becomes visible after `after`, and at `through` at the latest.
    pub(crate) fn visible(&self, after: Time, through: Time) -> impl Iterator<Item = (GroupId, QueueId)> {
        let later = self.visible.range((Excluded((after, LAST)), Unbounded));
        later.take_while(move |(due, _)| *due <= through).map(|(_, (group, queue, _))| (*group, *queue))
    }

    /// The blocks of a queue up to that one with messages of which no delivery counts.
    pub(crate) fn undelivered(&self, group: GroupId, queue: QueueId, last: u64) -> impl Iterator<Item = Place> {
        self.undelivered.range((group, queue, 0)..=(group, queue, last)).copied()
    }

    pub(crate) fn ended(&self) -> impl Iterator<Item = Place> {
        self.ended.iter().copied()
    }

    /// When the first lease ends, or something becomes visible after `after`.
    pub(crate) fn next_due(&self, after: Time) -> Option<Time> {
        let lease_end = self.leases.first().map(|(due, _)| *due);
        let visible = self.visible.range((Excluded((after, LAST)), Unbounded)).next().map(|(due, _)| *due);
        lease_end.into_iter().chain(visible).min()
    }
}
