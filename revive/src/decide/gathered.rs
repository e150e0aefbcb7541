//! Messages of one batch, gathered into runs: one look-up for each, however many blocks they lie in.

use std::collections::BTreeMap;

use crate::{QueueId, Run};

/// What the messages of a run have in common: queue, block and attempt.
type Alike = (QueueId, u64, u32);

/// Where the runs of a batch are, in the order of their first messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    /// The last run may be missing: most batches have no other, and then nothing is allocated.
    places: BTreeMap<Alike, usize>,
}

impl Gathered {
    /// Begins a batch.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    /// Adds messages to the runs of the batch, which begin at `first`. Returns those of them that were not there.
    pub(super) fn add(&mut self, runs: &mut Vec<Run>, first: usize, run: Run) -> u64 {
        match self.place_of(runs, first, alike(&run)) {
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

    fn place_of(&mut self, runs: &[Run], first: usize, wanted: Alike) -> Option<usize> {
        let last_at = runs.len().checked_sub(1).filter(|at| *at >= first)?;
        let last = alike(&runs[last_at]);
        if last == wanted {
            return Some(last_at);
        }
        self.places.insert(last, last_at);
        self.places.get(&wanted).copied()
    }
}

fn alike(run: &Run) -> Alike {
    (run.queue, run.block, run.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QueueIndex, TopicId};

    fn one(queue: u32, index: u64, attempt: u32) -> Run {
        Run::one(QueueId { topic: TopicId(1), queue }, QueueIndex(index), attempt)
    }

    #[test]
    fn messages_of_one_block_and_attempt_are_one_run_in_any_order() {
        let (mut gathered, mut runs) = (Gathered::default(), vec![one(9, 9, 9)]);
        for run in [one(0, 3, 1), one(1, 3, 1), one(0, 70, 1), one(0, 1, 1), one(0, 2, 2), one(1, 0, 1)] {
            assert_eq!(gathered.add(&mut runs, 1, run), run.mask, "it was there");
        }
        let masks: Vec<_> = runs[1..].iter().map(|run| (run.queue.queue, run.block, run.attempt, run.mask)).collect();
        assert_eq!(masks, [(0, 0, 1, 0b1010), (1, 0, 1, 0b1001), (0, 1, 1, 1 << 6), (0, 0, 2, 0b100)]);
        assert_eq!(gathered.add(&mut runs, 1, one(0, 3, 1)), 0);
        assert_eq!(gathered.add(&mut runs, 1, Run { mask: 0b1111, ..one(0, 0, 1) }), 0b0101);
        assert_eq!(runs.len(), 5);
    }
}
