//! The blocks of a queue that hold something, by number.
//!
//! Numbers come mostly in order and close together, and there are very many: neighbours lie side by side in chunks, and the
//! chunks in a map. Whatever the order in which a log tells them, one costs no more than a look-up and a move in its chunk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::block::Block;

/// How many numbers belong to a chunk.
const PER_CHUNK: u64 = 64;

/// Blocks by number.
///
/// Invariant: a chunk's blocks are in the order of their numbers; between two calls no chunk and no block is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    chunks: BTreeMap<u64, Vec<(u64, Block)>>,
}

impl Blocks {
    pub(crate) fn get(&self, number: u64) -> Option<&Block> {
        let chunk = self.chunks.get(&(number / PER_CHUNK))?;
        Some(&chunk[find(chunk, number).ok()?].1)
    }

    /// Changes a block if there is one of this number. Returns what the change returns.
    pub(crate) fn change<T>(&mut self, number: u64, change: impl FnOnce(&mut Block) -> T) -> Option<T> {
        let chunk = self.chunks.get_mut(&(number / PER_CHUNK))?;
        let at = find(chunk, number).ok()?;
        let changed = change(&mut chunk[at].1);
        if chunk[at].1.is_hole() {
            self.remove(number, at);
        }
        Some(changed)
    }

    /// Changes a block, which may be empty before and after. Returns what the change returns.
    pub(crate) fn change_or_make<T>(&mut self, number: u64, change: impl FnOnce(&mut Block) -> T) -> T {
        let chunk = self.chunks.entry(number / PER_CHUNK).or_default();
        let at = find(chunk, number).unwrap_or_else(|at| {
            chunk.insert(at, (number, Block::default()));
            at
        });
        let changed = change(&mut chunk[at].1);
        if chunk[at].1.is_hole() {
            self.remove(number, at);
        }
        changed
    }

    /// Removes the block of this number, which is there at that place of its chunk.
    fn remove(&mut self, number: u64, at: usize) {
        if let Entry::Occupied(mut chunk) = self.chunks.entry(number / PER_CHUNK) {
            chunk.get_mut().remove(at);
            if chunk.get().is_empty() {
                chunk.remove();
            }
        }
    }

    /// The blocks from this number on, in order, up to the end if there is one.
    pub(crate) fn range(&self, from: u64, end: Option<u64>) -> impl DoubleEndedIterator<Item = (u64, &Block)> {
        let (first, last) = (from / PER_CHUNK, end.unwrap_or(u64::MAX) / PER_CHUNK);
        let blocks = self.chunks.range(first..=last.max(first)).flat_map(|(_, chunk)| chunk);
        let within = move |number: u64| number >= from && end.is_none_or(|end| number < end);
        blocks.filter(move |(number, _)| within(*number)).map(|(number, block)| (*number, block))
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Block)> {
        self.range(0, None)
    }
}

/// Where a block is in its chunk, or would be.
fn find(chunk: &[(u64, Block)], number: u64) -> Result<usize, usize> {
    chunk.binary_search_by_key(&number, |(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cohort, Counts, State, Time};

    fn cohort(mask: u64) -> Cohort {
        let (popped_at, since, due) = (Time(1), Time(1), Time(2));
        Cohort { mask, popped_at, since, due, delivery: 1, uncounted: 0, generation: 1, state: State::InFlight }
    }

    /// The numbers come from a linear congruential generator: dense ones, sparse ones and the ends of what is possible.
    #[test]
    fn blocks_come_and_go_as_in_a_map() {
        let (mut blocks, mut map, mut counts) = (Blocks::default(), BTreeMap::new(), Counts::default());
        let mut seed = 7u64;
        // Miri takes a thousand times as long.
        let steps = if cfg!(miri) { 2_000 } else { 20_000 };
        for step in 0..steps {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = match seed >> 60 {
                0 => u64::MAX - (seed >> 40) % 3,
                1 => (seed >> 20) % 1_000_000,
                _ => step / 50 + (seed >> 40) % 40,
            };
            if seed >> 33 & 1 == 0 {
                blocks.change_or_make(number, |block| {
                    if block.is_hole() {
                        block.insert(cohort(1 << (seed >> 50 & 31)), &mut counts);
                    }
                });
                map.entry(number).or_insert(1u64 << (seed >> 50 & 31));
            } else {
                let mut settle = |block: &mut Block| block.edit(u64::MAX, &mut counts, |_| Ok(None));
                match step % 3 {
                    0 => assert!(blocks.change_or_make(number, settle) == map.remove(&number).unwrap_or(0)),
                    _ => assert!(blocks.change(number, &mut settle) == map.remove(&number)),
                }
            }
            assert_eq!(blocks.get(number).map(Block::mask), map.get(&number).copied());
            if step % 100 == 0 {
                assert!(blocks.chunks.values().all(|chunk| !chunk.is_empty()), "an empty chunk at step {step}");
                let (from, end) = (number.saturating_sub(20), number.saturating_add(20));
                assert!(blocks.iter().map(|(n, block)| (n, block.mask())).eq(map.iter().map(|(n, mask)| (*n, *mask))));
                assert!(blocks.range(from, Some(end)).map(|(n, _)| n).eq(map.range(from..end).map(|(n, _)| *n)));
                assert_eq!(blocks.range(end, Some(from)).count(), 0);
                assert_eq!(
                    blocks.range(from, None).next_back().map(|(n, _)| n),
                    map.range(from..).next_back().map(|(n, _)| *n)
                );
            }
        }
        assert!(map.len() > 20, "the test holds too little");
    }
}
