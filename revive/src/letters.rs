//! Which dead letters were put back to where they came from.

use std::collections::BTreeMap;

use crate::index::{Index, at_or_after};
use crate::{QueueId, QueueIndex, Run};

/// What a dead letter is to those who may put it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// It is on the list.
    Listed,
    /// It was put back to where it came from.
    Redriven,
    /// Every group that was given it has finished with it.
    Finished,
}

impl Index {
    /// What the dead letter at this place is.
    pub fn letter(&self, queue: QueueId, index: QueueIndex) -> Letter {
        if self.is_redriven(queue, index) {
            return Letter::Redriven;
        }
        if self.finished(queue, index.block()) & index.bit() != 0 { Letter::Finished } else { Letter::Listed }
    }

    /// Whether a dead letter was put back to where it came from.
    pub fn is_redriven(&self, queue: QueueId, index: QueueIndex) -> bool {
        let block = self.redriven.get(&queue).and_then(|blocks| blocks.get(&index.block()));
        block.is_some_and(|mask| mask & index.bit() != 0)
    }

    /// The redriven letters, by queue and block.
    pub fn redriven(&self) -> impl Iterator<Item = Run> {
        self.redriven.iter().flat_map(|(queue, blocks)| {
            blocks.iter().map(|(block, mask)| Run { queue: *queue, block: *block, mask: *mask, delivery: 0 })
        })
    }

    /// The redriven letters of a block.
    pub(crate) fn redriven_of(&self, queue: QueueId, block: u64) -> u64 {
        self.redriven.get(&queue).and_then(|blocks| blocks.get(&block)).copied().unwrap_or(0)
    }

    /// Whether a queue has redriven letters before `first`.
    pub fn has_redriven_before(&self, queue: QueueId, first: QueueIndex) -> bool {
        let lowest = self.redriven.get(&queue).and_then(|blocks| blocks.iter().next());
        lowest.is_some_and(|(block, mask)| mask & !at_or_after(*block, first) != 0)
    }

    pub(crate) fn redrive(&mut self, runs: &[Run]) {
        for run in runs {
            let mask = run.mask & QueueIndex::possible(run.block);
            if mask != 0 {
                *self.redriven.entry(run.queue).or_default().entry(run.block).or_default() |= mask;
            }
        }
    }

    /// Forgets the letters before `first`, but not those that the runs name.
    pub(crate) fn forget_letters(&mut self, queue: QueueId, first: QueueIndex, moved: &[Run]) {
        let Some(blocks) = self.redriven.get_mut(&queue) else { return };
        let mut left: BTreeMap<u64, u64> = BTreeMap::new();
        for run in moved.iter().filter(|run| run.queue == queue) {
            *left.entry(run.block).or_default() |= run.mask;
        }
        let left = |block| at_or_after(block, first) | left.get(&block).copied().unwrap_or(0);
        let before: Vec<(u64, u64)> =
            blocks.range(..=first.block()).map(|(block, mask)| (*block, mask & left(*block))).collect();
        for (block, mask) in before {
            match mask {
                0 => blocks.remove(&block),
                _ => blocks.insert(block, mask),
            };
        }
        if blocks.is_empty() {
            self.redriven.remove(&queue);
        }
    }
}
