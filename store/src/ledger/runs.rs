//! Messages of one batch, gathered into runs: one look-up for each, however many blocks they lie in.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use popstore_revive::{QueueId, Run};

/// The runs of a batch, in the order of their first messages.
#[derive(Default)]
pub(crate) struct Gathered {
    runs: Vec<Run>,
    /// Where each run is. The last one may be missing: most batches have no other.
    places: BTreeMap<Block, usize>,
}

/// What the messages of a run have in common.
#[derive(Clone, Copy, Debug, Eq)]
struct Block {
    queue: QueueId,
    number: u64,
    attempt: u32,
}

impl Block {
    fn of(run: &Run) -> Self {
        Self { queue: run.queue, number: run.block, attempt: run.attempt }
    }
}

impl Ord for Block {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        tests::COMPARED.with(|compared| compared.set(compared.get() + 1));
        let parts = |block: &Self| (block.queue, block.number, block.attempt);
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

impl Gathered {
    /// Gathers into a list that is empty from here on.
    pub(crate) fn into(mut runs: Vec<Run>) -> Self {
        runs.clear();
        Self { runs, places: BTreeMap::new() }
    }

    /// Adds messages. Returns those of them that were not there.
    pub(crate) fn add(&mut self, run: Run) -> u64 {
        let block = Block::of(&run);
        match self.place_of(block) {
            Some(at) => {
                let known = &mut self.runs[at].mask;
                let new = run.mask & !*known;
                *known |= run.mask;
                new
            }
            None => {
                self.runs.push(run);
                run.mask
            }
        }
    }

    fn place_of(&mut self, block: Block) -> Option<usize> {
        let last_at = self.runs.len().checked_sub(1)?;
        let last = Block::of(&self.runs[last_at]);
        if last == block {
            return Some(last_at);
        }
        self.places.insert(last, last_at);
        self.places.get(&block).copied()
    }

    pub(crate) fn into_runs(self) -> Vec<Run> {
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use popstore_revive::{QueueIndex, TopicId};

    use super::*;

    thread_local! {
        pub(super) static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    fn one(queue: u32, index: u64, attempt: u32) -> Run {
        Run::one(QueueId { topic: TopicId(1), queue }, QueueIndex(index), attempt)
    }

    fn gathered(runs: impl IntoIterator<Item = Run>) -> Gathered {
        let mut gathered = Gathered::default();
        runs.into_iter().for_each(|run| assert_eq!(gathered.add(run), run.mask, "it was there"));
        gathered
    }

    #[test]
    fn messages_of_one_block_and_attempt_are_one_run_in_any_order() {
        let mut gathered =
            gathered([one(0, 3, 1), one(1, 3, 1), one(0, 70, 1), one(0, 1, 1), one(0, 2, 2), one(1, 0, 1)]);
        let masks: Vec<_> =
            gathered.runs.iter().map(|run| (run.queue.queue, run.block, run.attempt, run.mask)).collect();
        assert_eq!(masks, [(0, 0, 1, 0b1010), (1, 0, 1, 0b1001), (0, 1, 1, 1 << 6), (0, 0, 2, 0b100)]);
        assert_eq!(gathered.add(one(0, 3, 1)), 0);
        assert_eq!(gathered.add(Run { mask: 0b1111, ..one(0, 0, 1) }), 0b0101);
        assert_eq!(gathered.into_runs().len(), 4);
    }

    /// Every receipt from a block of its own, and all from two blocks in turns.
    #[test]
    fn the_work_for_a_batch_does_not_grow_with_its_square() {
        fn work(runs: impl Iterator<Item = Run>) -> u64 {
            COMPARED.set(0);
            gathered(runs);
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
