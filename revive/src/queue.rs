//! What one group holds of one queue: its position, its unsettled blocks, and what it buried last.

use std::collections::{BTreeSet, VecDeque};

use crate::agenda::{Agenda, Place};
use crate::block::Block;
use crate::blocks::Blocks;
use crate::index::at_or_after;
use crate::{Burial, Cohort, Lease, QueueId, QueueIndex, Run, State, Time};

/// How many of the last burials per group and queue are remembered, so that a late handler can be told.
pub(crate) const BURIED_MAX: usize = 256;

/// How many messages are in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Leased.
    pub in_flight: u64,
    /// Hidden until their next delivery.
    pub waiting: u64,
    /// Visible again. A queue counts these as waiting until it is asked at a time.
    pub ready: u64,
    /// At the limit, on the way out.
    pub ending: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, state: State, n: u32) {
        *self.of(state) += u64::from(n);
    }

    pub(crate) fn sub(&mut self, state: State, n: u32) {
        *self.of(state) -= u64::from(n);
    }

    /// All unsettled messages.
    pub fn total(&self) -> u64 {
        self.in_flight + self.waiting + self.ready + self.ending
    }

    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::InFlight => &mut self.in_flight,
            State::Waiting => &mut self.waiting,
            State::Ended(_) => &mut self.ending,
        }
    }
}

/// A message that left its group without an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Buried {
    /// Its place.
    pub index: QueueIndex,
    /// The number of its last delivery.
    pub delivery: u32,
    /// How many of its deliveries do not count.
    pub uncounted: u32,
    /// Where it went.
    pub burial: Burial,
}

impl Buried {
    /// The attempt of its last delivery.
    pub fn attempt(&self) -> u32 {
        self.delivery.saturating_sub(self.uncounted)
    }
}

/// What a receipt is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The lease runs.
    Leased {
        /// When it ends.
        due: Time,
    },
    /// The lease is over; nobody else has the message yet.
    Over,
    /// The message was handed out again.
    HandedOutAgain {
        /// The attempt of the latest delivery.
        attempt: u32,
    },
    /// The message left the group at its limit.
    Buried(Burial),
    /// The message is settled, or too long gone to say more.
    Settled,
    /// No such lease was ever given.
    Unknown,
}

/// A group's state in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    /// The next message that was never handed out.
    pub(crate) position: QueueIndex,
    /// The first message that was handed out; the position before that.
    pub(crate) begun: QueueIndex,
    pub(crate) blocks: Blocks,
    /// The blocks with hidden or ready messages, by every time at which some of them become visible.
    waiting: BTreeSet<(Time, u64)>,
    pub(crate) buried: VecDeque<Buried>,
    counts: Counts,
    /// How many cohorts all its blocks hold.
    pub(crate) cohorts: u64,
}

/// Changes a block and counts its cohorts.
fn counted<T>(
    block: &mut Block,
    cohorts: &mut u64,
    counts: &mut Counts,
    change: impl FnOnce(&mut Block, &mut Counts) -> T,
) -> T {
    *cohorts -= block.cohorts.len() as u64;
    let changed = change(block, counts);
    *cohorts += block.cohorts.len() as u64;
    changed
}

impl Queue {
    /// Whether it has messages to deliver again at `now`.
    pub(crate) fn has_ready(&self, now: Time) -> bool {
        self.waiting.first().is_some_and(|(due, _)| *due <= now)
    }

    /// How many messages are in which state at `now`. Visits every block with something to deliver again.
    pub(crate) fn counts(&self, now: Time) -> Counts {
        let ready: u64 = self.ready(now).map(|(_, cohort)| u64::from(cohort.mask.count_ones())).sum();
        Counts { ready, waiting: self.counts.waiting - ready, ..self.counts }
    }

    /// What can be delivered again at `now`, by the time at which it became visible and then by place.
    fn ready(&self, now: Time) -> impl Iterator<Item = (u64, &Cohort)> {
        let due = self.waiting.iter().take_while(move |(due, _)| *due <= now);
        due.flat_map(|(due, number)| {
            let cohorts = self.blocks.get(*number).into_iter().flat_map(|block| &block.cohorts);
            let ready = cohorts.filter(move |cohort| cohort.state == State::Waiting && cohort.due == *due);
            ready.map(move |cohort| (*number, cohort))
        })
    }

    /// Chooses up to `limit` messages to hand out at `now` from those in `span`. Returns whether some that no delivery
    /// counts of lie before it.
    pub(crate) fn pick(
        &self,
        id: QueueId,
        ordered: bool,
        limit: u32,
        span: (QueueIndex, QueueIndex),
        now: Time,
        out: &mut Vec<Run>,
    ) -> bool {
        if ordered {
            return self.pick_in_order(id, limit, span, now, out);
        }
        let (mut left, mut gone) = (limit, 0);
        for (block, cohort) in self.ready(now) {
            if left == 0 {
                return gone != 0;
            }
            let past = if cohort.attempt() == 0 { !at_or_after(block, span.0) } else { 0 };
            gone |= cohort.mask & past;
            let mask = lowest_bits(cohort.mask & !past, left);
            left -= mask.count_ones();
            if mask != 0 {
                out.push(Run { queue: id, block, mask, delivery: cohort.delivery.saturating_add(1) });
            }
        }
        self.pick_new(id, left, span, out);
        gone != 0
    }

    fn pick_new(&self, queue: QueueId, limit: u32, (first, end): (QueueIndex, QueueIndex), out: &mut Vec<Run>) {
        let mut from = self.position.max(first).0;
        let end = end.0.min(from.saturating_add(u64::from(limit)));
        while from < end {
            let block = QueueIndex(from).block();
            let through = end.min(QueueIndex::of_block(block + 1).0) - from;
            let mask = lowest_bits(u64::MAX << (from % QueueIndex::PER_BLOCK), through as u32);
            out.push(Run { queue, block, mask, delivery: 1 });
            from += through;
        }
    }

    /// One message at a time: the lowest unsettled one if it is its turn, or the next new one.
    fn pick_in_order(
        &self,
        queue: QueueId,
        limit: u32,
        span: (QueueIndex, QueueIndex),
        now: Time,
        out: &mut Vec<Run>,
    ) -> bool {
        let mut gone = false;
        for (block, held) in self.blocks.iter() {
            let past = held.undelivered() & !at_or_after(block, span.0);
            gone |= past != 0;
            let bit = lowest_bits(held.mask() & !past, 1);
            if let Some(cohort) = held.cohort(bit) {
                if cohort.is_ready(now) && limit > 0 {
                    out.push(Run { queue, block, mask: bit, delivery: cohort.delivery.saturating_add(1) });
                }
                return gone;
            }
        }
        self.pick_new(queue, limit.min(1), span, out);
        gone
    }

    /// What a lease is good for at `now`, and the history of its message if it is still held.
    #[inline(always)]
    pub(crate) fn standing(&self, lease: &Lease, now: Time) -> (Standing, Option<&Cohort>) {
        let Lease { index, delivery, generation, .. } = *lease;
        match self.blocks.get(index.block()).and_then(|block| block.cohort(index.bit())) {
            Some(held) => (Self::standing_of(held, delivery, generation, now), Some(held)),
            None => (self.standing_of_gone(index, delivery), None),
        }
    }

    /// The last burial of a message, as far as it is remembered.
    pub(crate) fn burial(&self, index: QueueIndex) -> Option<&Buried> {
        self.buried.iter().rev().find(|buried| buried.index == index)
    }

    fn standing_of_gone(&self, index: QueueIndex, delivery: u32) -> Standing {
        match self.burial(index) {
            Some(buried) if buried.delivery == delivery => Standing::Buried(buried.burial),
            Some(buried) if buried.delivery > delivery => Standing::HandedOutAgain { attempt: buried.attempt() },
            _ if index < self.position => Standing::Settled,
            _ => Standing::Unknown,
        }
    }

    #[inline(always)]
    fn standing_of(cohort: &Cohort, delivery: u32, generation: u32, now: Time) -> Standing {
        if cohort.delivery > delivery {
            return Standing::HandedOutAgain { attempt: cohort.attempt() };
        }
        if cohort.delivery < delivery || cohort.generation != generation {
            return Standing::Unknown;
        }
        match cohort.state {
            State::InFlight if cohort.due > now => Standing::Leased { due: cohort.due },
            State::InFlight | State::Waiting => Standing::Over,
            // Nothing but its burial can become of it.
            State::Ended(_) => Standing::Buried(Burial::DeadLettered),
        }
    }

    /// Changes a block if it holds something, and the agenda with it. Returns what the change returns.
    pub(crate) fn change<T>(
        &mut self,
        agenda: &mut Agenda,
        place: Place,
        change: impl FnOnce(&mut Block, &mut Counts) -> T,
    ) -> Option<T> {
        let Self { blocks, waiting, counts, cohorts, .. } = self;
        blocks.change(place.2, |block| {
            agenda.follow(place, block, waiting, |block| counted(block, cohorts, counts, change))
        })
    }

    /// The same for a block that may hold nothing yet.
    pub(crate) fn change_or_make<T>(
        &mut self,
        agenda: &mut Agenda,
        place: Place,
        change: impl FnOnce(&mut Block, &mut Counts) -> T,
    ) -> T {
        let Self { blocks, waiting, counts, cohorts, .. } = self;
        blocks.change_or_make(place.2, |block| {
            agenda.follow(place, block, waiting, |block| counted(block, cohorts, counts, change))
        })
    }

    /// Goes on to a position that was handed out, or reached without that.
    pub(crate) fn go_on(&mut self, first: QueueIndex, position: QueueIndex) {
        if self.position == self.begun {
            self.begun = first.max(self.begun);
        }
        self.position = self.position.max(position);
    }

    /// Remembers a burial.
    pub(crate) fn remember(&mut self, buried: Buried) {
        if self.buried.len() == BURIED_MAX {
            self.buried.pop_front();
        }
        self.buried.push_back(buried);
    }

    /// Everything before this place is settled.
    pub(crate) fn done_through(&self) -> QueueIndex {
        match self.blocks.iter().next() {
            Some((number, block)) => {
                let lowest = u64::from(block.mask().trailing_zeros());
                QueueIndex(QueueIndex::of_block(number).0.saturating_add(lowest)).min(self.position)
            }
            None => self.position,
        }
    }
}

/// The `n` lowest set bits of `mask`.
pub(crate) fn lowest_bits(mask: u64, n: u32) -> u64 {
    if n >= mask.count_ones() {
        return mask;
    }
    let mut rest = mask;
    for _ in 0..n {
        rest &= rest - 1;
    }
    mask & !rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_bits_takes_the_first_ones_and_only_as_many_as_are_set() {
        assert_eq!(lowest_bits(0b1011_0100, 2), 0b0001_0100);
        assert_eq!(lowest_bits(u64::MAX, 64), u64::MAX);
        assert_eq!(lowest_bits(0b101, 9), 0b101);
        assert_eq!(lowest_bits(0b101, 0), 0);
    }
}
