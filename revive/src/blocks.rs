//! The blocks of a queue that hold something, by number: found at once where they are dense, and in little memory.
//!
//! New blocks come at the end, as the group reads on; old ones go from the front, as it settles what it read. What goes
//! from the middle leaves a hole, an empty block, until it reaches the front or there are as many holes as blocks.

use std::collections::VecDeque;

use crate::block::Block;

/// How much room is made at once when there is none: a part of what there is, so that little lies idle.
const GROWTH: usize = 8;
const ROOM_MIN: usize = 4;

/// Blocks in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    slots: VecDeque<(u64, Block)>,
    holes: usize,
}

/// Where a block is, until the next change of any.
pub(crate) struct Slot(usize);

impl Blocks {
    pub(crate) fn get(&self, number: u64) -> Option<&Block> {
        Some(&self.slots[self.slot(number)?.0].1)
    }

    /// Where a block is that holds something.
    pub(crate) fn slot(&self, number: u64) -> Option<Slot> {
        self.find(number).ok().filter(|at| !self.slots[*at].1.is_hole()).map(Slot)
    }

    /// Where a block is, which is made if there is none.
    pub(crate) fn slot_or_new(&mut self, number: u64) -> Slot {
        Slot(self.find(number).unwrap_or_else(|at| {
            self.make_room();
            self.slots.insert(at, (number, Block::default()));
            self.holes += 1;
            at
        }))
    }

    /// Changes a block, which may be empty before and after. Returns what the change returns.
    pub(crate) fn change<T>(&mut self, Slot(at): Slot, change: impl FnOnce(&mut Block) -> T) -> T {
        let block = &mut self.slots[at].1;
        let was_hole = block.is_hole();
        let changed = change(block);
        match (was_hole, block.is_hole()) {
            (true, false) => self.holes -= 1,
            (false, true) => self.holes += 1,
            _ => {}
        }
        self.fill_holes();
        changed
    }

    /// The blocks from this number on, in order, up to the end if there is one.
    pub(crate) fn range(&self, from: u64, end: Option<u64>) -> impl DoubleEndedIterator<Item = (u64, &Block)> {
        let place = |number: u64| self.find(number).unwrap_or_else(|at| at);
        let (from, end) = (place(from), end.map_or(self.slots.len(), place));
        let slots = self.slots.range(from..end.max(from));
        slots.filter(|(_, block)| !block.is_hole()).map(|(number, block)| (*number, block))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Block)> {
        self.range(0, None)
    }

    /// Where a block is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        let first = self.slots.front().map_or(number, |(first, _)| *first);
        let guess = usize::try_from(number.wrapping_sub(first)).unwrap_or(usize::MAX);
        if self.slots.get(guess).is_some_and(|(found, _)| *found == number) {
            return Ok(guess);
        }
        self.slots.binary_search_by_key(&number, |(number, _)| *number)
    }

    fn make_room(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(self.slots.len() / GROWTH + ROOM_MIN);
        }
    }

    fn fill_holes(&mut self) {
        while self.slots.front().is_some_and(|(_, block)| block.is_hole()) {
            self.slots.pop_front();
            self.holes -= 1;
        }
        if self.holes > self.slots.len() / 2 {
            self.slots.retain(|(_, block)| !block.is_hole());
            self.holes = 0;
            self.slots.shrink_to(self.slots.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Cohort, Counts, State, Time};

    fn cohort(mask: u64) -> Cohort {
        let (popped_at, since, due) = (Time(1), Time(1), Time(2));
        Cohort { mask, popped_at, since, due, attempt: 1, generation: 1, state: State::InFlight }
    }

    /// The numbers come from a linear congruential generator: dense ones, sparse ones and the ends of what is possible.
    #[test]
    fn blocks_come_and_go_as_in_a_map() {
        let (mut blocks, mut map, mut counts) = (Blocks::default(), BTreeMap::new(), Counts::default());
        let mut seed = 7u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = match seed >> 60 {
                0 => u64::MAX - (seed >> 40) % 3,
                1 => (seed >> 20) % 1_000_000,
                _ => step / 50 + (seed >> 40) % 40,
            };
            if seed >> 33 & 1 == 0 {
                let slot = blocks.slot_or_new(number);
                blocks.change(slot, |block| {
                    if block.is_hole() {
                        block.insert(cohort(1 << (seed >> 50 & 31)), &mut counts);
                    }
                });
                map.entry(number).or_insert(1u64 << (seed >> 50 & 31));
            } else {
                let slot = blocks.slot_or_new(number);
                blocks.change(slot, |block| block.edit(u64::MAX, &mut counts, |_| Ok(None)));
                map.remove(&number);
            }
            assert_eq!(blocks.get(number).map(Block::mask), map.get(&number).copied());
            assert_eq!(blocks.holes, blocks.slots.iter().filter(|(_, block)| block.is_hole()).count());
            assert!(blocks.slots.len() <= 2 * map.len() + 1, "{} slots for {}", blocks.slots.len(), map.len());
            if step % 100 == 0 {
                let (from, end) = (number.saturating_sub(20), number.saturating_add(20));
                assert!(blocks.iter().map(|(n, block)| (n, block.mask())).eq(map.iter().map(|(n, mask)| (*n, *mask))));
                assert!(blocks.range(from, Some(end)).map(|(n, _)| n).eq(map.range(from..end).map(|(n, _)| *n)));
                assert_eq!(
                    blocks.range(from, None).next_back().map(|(n, _)| n),
                    map.range(from..).next_back().map(|(n, _)| *n)
                );
            }
        }
        assert!(map.len() > 20, "the test holds too little");
    }
}
