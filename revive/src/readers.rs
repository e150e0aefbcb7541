//! Which groups read which topics: a group reads a topic from its first position in one of the queues on.

use crate::index::{Group, Index};
use crate::{GroupId, QueueId, TopicId};

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

    /// The groups that have read from a topic, in order.
    pub fn readers(&self, topic: TopicId) -> impl Iterator<Item = GroupId> {
        self.groups.iter().filter(move |(_, group)| group.has_read(topic)).map(|(id, _)| *id)
    }
}
