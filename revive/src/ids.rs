//! The names of groups, topics, queues and places in them: numbers that cannot be mixed up.

/// A group's number; never given to another group again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(pub u32);

/// A topic's number; never given to another topic again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub u32);

/// One queue of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueId {
    /// The topic.
    pub topic: TopicId,
    /// The queue's number within the topic, from 0.
    pub queue: u32,
}

/// A message's place in its queue: dense, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueIndex(pub u64);

impl QueueIndex {
    /// The number of neighbours that share a block.
    pub const PER_BLOCK: u64 = 64;

    /// The first place of a block.
    pub const fn of_block(block: u64) -> Self {
        Self(block.saturating_mul(Self::PER_BLOCK))
    }

    /// The block this place lies in.
    pub const fn block(self) -> u64 {
        self.0 / Self::PER_BLOCK
    }

    /// This place's bit within its block.
    pub const fn bit(self) -> u64 {
        1 << (self.0 % Self::PER_BLOCK)
    }

    /// Which places of a block can exist: a queue's end is a number too, so no queue has a message at the last one.
    pub(crate) const fn possible(block: u64) -> u64 {
        const LAST: u64 = QueueIndex(u64::MAX).block();
        match block {
            ..LAST => u64::MAX,
            LAST => QueueIndex(u64::MAX).bit() - 1,
            _ => 0,
        }
    }

    /// The next place.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
