//! When a queue ends before what the index holds of it: the commit log has lost its tail, and what speaks of the messages
//! there is void.

use std::collections::BTreeSet;

use crate::index::{Index, at_or_after};
use crate::{QueueId, QueueIndex};

impl Index {
    /// The queues of which the index holds something from `ends(queue)` on, which cannot be there.
    pub fn beyond(&self, ends: impl Fn(QueueId) -> QueueIndex) -> BTreeSet<QueueId> {
        let queues = self.groups.values().flat_map(|group| &group.queues);
        let held = queues.filter(|(id, queue)| {
            let end = ends(**id);
            let last = queue.blocks.iter().next_back();
            let last = last.map(|(number, block)| 64 * number + 63 - u64::from(block.mask().leading_zeros()));
            let buried = queue.buried.iter().map(|buried| buried.index.0).max();
            queue.position > end || last.max(buried).is_some_and(|last| last >= end.0)
        });
        let redriven = self.redriven.iter().filter(|(id, blocks)| {
            let last = blocks.iter().next_back();
            last.is_some_and(|(number, mask)| 64 * *number + 63 - u64::from(mask.leading_zeros()) >= ends(**id).0)
        });
        held.map(|(id, _)| *id).chain(redriven.map(|(id, _)| *id)).collect()
    }

    /// Drops what is held from `end` on, and says how many messages that were.
    pub(crate) fn truncate(&mut self, queue: QueueId, end: QueueIndex) -> u64 {
        let mut dropped = 0;
        let groups: Vec<_> = self.groups.keys().copied().collect();
        for group in groups {
            let known = self.groups.get_mut(&group).and_then(|group| group.queues.get_mut(&queue));
            let Some(known) = known else { continue };
            known.position = known.position.min(end);
            known.begun = known.begun.min(end);
            known.buried.retain(|buried| buried.index < end);
            let touched: Vec<u64> = known.blocks.range(end.block(), None).map(|(number, _)| number).collect();
            for number in touched {
                dropped += self.cut(group, queue, number, at_or_after(number, end));
            }
        }
        if let Some(blocks) = self.redriven.get_mut(&queue) {
            let mut gone = blocks.split_off(&end.block());
            if let Some(mask) = gone.remove(&end.block()).map(|mask| mask & !at_or_after(end.block(), end)) {
                blocks.insert(end.block(), mask);
            }
            blocks.retain(|_, mask| *mask != 0);
            if blocks.is_empty() {
                self.redriven.remove(&queue);
            }
        }
        dropped
    }
}
