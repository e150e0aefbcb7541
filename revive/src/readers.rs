//! Which groups read which topics: a group reads a topic from its first position in one of the queues on.

use crate::block::Block;
use crate::index::{Group, Index, at_or_after};
use crate::{GroupId, QueueId, QueueIndex, TopicId};

impl Group {
    fn has_read(&self, topic: TopicId) -> bool {
        let (from, through) = (QueueId { topic, queue: 0 }, QueueId { topic, queue: u32::MAX });
        self.queues.range(from..=through).next().is_some()
    }
}

impl Index {
    /// Whether a group has read from a topic.
    pub fn has_read(&self, group: GroupId, topic: TopicId) -> bool {
        self.groups.get(&group).is_some_and(|group| group.has_read(topic))
    }

    /// The topics that a group has read from, in order.
    pub fn topics(&self, group: GroupId) -> impl Iterator<Item = TopicId> {
        let mut last = None;
        self.positions(group).map(|(queue, _)| queue.topic).filter(move |topic| last.replace(*topic) != Some(*topic))
    }

    /// The messages of a block of a queue with which all are finished who were given messages of that queue, and at least one
    /// of them was given these: a dead letter that was handled by who reads its queue. Looks at every group.
    pub fn finished(&self, queue: QueueId, block: u64) -> u64 {
        let (mut finished, mut pending) = (0, 0);
        let queues = self.groups.values().filter_map(|group| group.queues.get(&queue));
        for held in queues.filter(|held| held.position > held.begun) {
            let not_given = at_or_after(block, held.position);
            finished |= at_or_after(block, held.begun) & !not_given;
            pending |= not_given | held.blocks.get(block).map_or(0, Block::mask);
        }
        finished & !pending & QueueIndex::possible(block)
    }

    /// The groups that have read from a topic, in order.
    pub fn readers(&self, topic: TopicId) -> impl Iterator<Item = GroupId> {
        self.groups.iter().filter(move |(_, group)| group.has_read(topic)).map(|(id, _)| *id)
    }
}
