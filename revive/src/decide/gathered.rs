//! Messages of one batch, gathered into runs: one look-up for each, however many blocks they lie in.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::{QueueId, Run};

/// Where the runs of a batch are, in the order of their first messages.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The last run may be missing: most batches have no other, and then nothing is allocated.
    places: BTreeMap<Block, usize>,
}

impl Gathered {
    /// The runs of messages that need no more than that.
    pub fn all(messages: impl IntoIterator<Item = Run>) -> Vec<Run> {
        let (mut gathered, mut runs) = (Self::default(), Vec::new());
        messages.into_iter().for_each(|run| {
            gathered.add(&mut runs, 0, run);
        });
        runs
    }

    /// Begins a batch.
    pub(super) fn clear(&mut self) {
        if !self.places.is_empty() {
            self.places.clear();
        }
    }

    /// Adds messages to the runs of the batch, which begin at `first`. Returns those of them that were not there.
    #[inline]
    pub fn add(&mut self, runs: &mut Vec<Run>, first: usize, run: Run) -> u64 {
        let same = |last: &Run| (last.block, last.delivery, last.queue) == (run.block, run.delivery, run.queue);
        // Neighbours mostly come one behind the other.
        let at = match runs.last() {
            Some(last) if runs.len() > first && same(last) => Some(runs.len() - 1),
            _ => self.place_of(runs, first, Block::of(&run)),
        };
        match at {
            Some(at) => {
                let new = run.mask & !runs[at].mask;
                runs[at].mask |= run.mask;
                new
            }
            None => {
                runs.push(run);
                run.mask
            }
        }
    }

    fn place_of(&mut self, runs: &[Run], first: usize, wanted: Block) -> Option<usize> {
        let last_at = runs.len().checked_sub(1).filter(|at| *at >= first)?;
        let last = Block::of(&runs[last_at]);
        if last == wanted {
            return Some(last_at);
        }
        self.places.insert(last, last_at);
        self.places.get(&wanted).copied()
    }
}

/// What the messages of a run have in common.
#[derive(Clone, Copy, Debug, Eq)]
struct Block {
    queue: QueueId,
    number: u64,
    delivery: u32,
}

impl Block {
    fn of(run: &Run) -> Self {
        Self { queue: run.queue, number: run.block, delivery: run.delivery }
    }
}

impl Ord for Block {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        tests::COMPARED.with(|compared| compared.set(compared.get() + 1));
        let parts = |block: &Self| (block.queue, block.number, block.delivery);
        parts(self).cmp(&parts(other))
    }
}

impl PartialOrd for Block {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{QueueIndex, TopicId};

    thread_local! {
        pub(super) static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    fn one(queue: u32, index: u64, delivery: u32) -> Run {
        Run::one(QueueId { topic: TopicId(1), queue }, QueueIndex(index), delivery)
    }

    #[test]
    fn messages_of_one_block_and_attempt_are_one_run_in_any_order() {
        let (mut gathered, mut runs) = (Gathered::default(), vec![one(9, 9, 9)]);
        for run in [one(0, 3, 1), one(1, 3, 1), one(0, 70, 1), one(0, 1, 1), one(0, 2, 2), one(1, 0, 1)] {
            assert_eq!(gathered.add(&mut runs, 1, run), run.mask, "it was there");
        }
        let masks: Vec<_> = runs[1..].iter().map(|run| (run.queue.queue, run.block, run.delivery, run.mask)).collect();
        assert_eq!(masks, [(0, 0, 1, 0b1010), (1, 0, 1, 0b1001), (0, 1, 1, 1 << 6), (0, 0, 2, 0b100)]);
        assert_eq!(gathered.add(&mut runs, 1, one(0, 3, 1)), 0);
        assert_eq!(gathered.add(&mut runs, 1, Run { mask: 0b1111, ..one(0, 0, 1) }), 0b0101);
        assert_eq!(runs.len(), 5);
    }

    /// Every receipt from a block of its own, and all from two blocks in turns.
    #[test]
    fn the_work_for_a_batch_does_not_grow_with_its_square() {
        fn work(runs: impl Iterator<Item = Run>) -> u64 {
            COMPARED.set(0);
            Gathered::all(runs);
            COMPARED.get()
        }
        let scattered = |receipts: u64| work((0..receipts).map(|at| one(0, at * 64, 1)));
        let in_turns = |receipts: u64| work((0..receipts).map(|at| one((at % 250) as u32, at / 250, 1)));
        let of_both = |receipts| [scattered(receipts), in_turns(receipts)];
        for (few, many) in of_both(2_000).into_iter().zip(of_both(16_000)) {
            assert!(many < 16 * few, "{few} comparisons for 2,000 receipts, {many} for 16,000");
        }
    }
}
