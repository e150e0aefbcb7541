//! What a store, its topics and its groups hold and do.

use std::time::Duration;

use popstore_revive::{Counters, Counts, GroupId, Index, QueueId, QueueIndex, Time, TopicId};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ledger::{AckTimes, Consumers, GroupEntry, PopToAck};
use crate::messages::{Topic, is_for_letters};

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Bytes of the commit log.
    pub commit_bytes: u64,
    /// Bytes of the checkpoint log.
    pub checkpoint_bytes: u64,
    /// Bytes appended that a power cut could still take.
    pub unsynced_bytes: u64,
    /// Every topic, dead-letter queues included, in the order they were made.
    pub topics: Vec<TopicStats>,
    /// Every group.
    pub groups: Vec<GroupStats>,
}

/// What a topic holds.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// store.append_batch("orders", &[Message::new("a"), Message::new("b")])?;
/// let stats = store.topic_stats("orders")?;
/// assert_eq!((stats.queues[0], stats.messages()), ((0, 2), 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStats {
    /// Its name.
    pub name: String,
    /// Per queue, the first message that is there and the end.
    pub queues: Vec<(u64, u64)>,
}

impl TopicStats {
    /// How many messages are where they were appended. Dead letters and leased messages that retention has moved on are
    /// not among them.
    pub fn messages(&self) -> u64 {
        self.queues.iter().map(|(first, end)| end - first).sum()
    }
}

/// What a group holds and has done.
///
/// [`crate::Group::stats`] counts the messages of all topics that the group has popped from. Before its first pop it
/// counts those of every topic but dead-letter queues: a pop could get any of them. [`crate::Group::stats_of`] counts
/// the messages of one topic, whether the group has popped from it or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Its name.
    pub name: String,
    /// Whether the group has popped from what is counted.
    pub has_read: bool,
    /// Messages a pop could get now.
    pub ready: u64,
    /// Messages under a lease.
    pub in_flight: u64,
    /// Messages hidden until their next delivery.
    pub waiting: u64,
    /// Messages at their limit, on the way to the dead-letter queue.
    pub ending: u64,
    /// Messages not settled: all of the above.
    pub lag: u64,
    /// How long the longest lease has been running.
    pub oldest_lease_for: Option<Duration>,
    /// Deliveries that count, ever.
    pub popped: u64,
    /// Deliveries that were not the first of their message, ever.
    pub redelivered: u64,
    /// Messages acked, ever.
    pub acked: u64,
    /// Messages given back, ever.
    pub nacked: u64,
    /// Deliveries that do not count: released, or of messages that could not be read. Ever.
    pub released: u64,
    /// Messages sent to the dead-letter queue, ever.
    pub dead_lettered: u64,
    /// Messages dropped at the limit, ever.
    pub discarded: u64,
    /// The time from pop to ack, since the store was opened.
    pub pop_to_ack: PopToAck,
}

impl GroupStats {
    /// What a group has done; what it holds of each queue is for the caller to count.
    pub(crate) fn of(name: &str, counters: &Counters) -> Self {
        let Counters { popped, redelivered, acked, nacked, dead_lettered, discarded, released } = *counters;
        let (name, popped) = (name.to_string(), popped.saturating_sub(released));
        Self { name, popped, redelivered, acked, nacked, released, dead_lettered, discarded, ..Self::default() }
    }

    /// Counts what a group holds of a queue whose messages are these.
    pub(crate) fn count(
        &mut self,
        index: &Index,
        group: GroupId,
        queue: QueueId,
        (first, end): (QueueIndex, QueueIndex),
        now: Time,
    ) {
        let position = index.position(group, queue).unwrap_or_default().max(first);
        let held = index.counts(group, queue, now);
        let Counts { in_flight, waiting, ready, ending } = held;
        let new = end.0.saturating_sub(position.0);
        self.ready += new + ready;
        self.in_flight += in_flight;
        self.waiting += waiting;
        self.ending += ending;
        self.lag += new + held.total();
    }
}

impl Engine {
    pub(crate) fn stats(&self) -> Result<StoreStats> {
        self.context().check_open()?;
        let (now, topics) = (self.context().time()?, self.messages().topics().all());
        let consumers = self.consumers();
        let groups = consumers.groups().values().map(|entry| self.stats_of(&consumers, entry, None, now)).collect();
        drop(consumers);
        let unsynced = |log: &crate::log::Log| log.appended().saturating_sub(log.durable());
        Ok(StoreStats {
            commit_bytes: self.messages().log().bytes(),
            checkpoint_bytes: self.ledger().log().bytes(),
            unsynced_bytes: unsynced(self.messages().log()) + unsynced(self.ledger().log()),
            topics: topics.iter().map(|topic| self.topic_stats(topic)).collect(),
            groups,
        })
    }

    pub(crate) fn topic_stats(&self, topic: &Topic) -> TopicStats {
        let limit = self.messages().poppable();
        let extents = topic.of_each(|queue| queue.visible(limit));
        TopicStats { name: topic.name.to_string(), queues: extents.map(|(first, end)| (first.0, end.0)).collect() }
    }

    /// What a group holds, of one topic or of all, and what it has done.
    pub(crate) fn group_stats(&self, group: &GroupEntry, topic: Option<&str>) -> Result<GroupStats> {
        self.context().check_open()?;
        let only = topic.map(|topic| self.messages().topics().by_name(topic)).transpose()?.map(|topic| topic.id);
        let now = self.context().time()?;
        let consumers = self.consumers();
        match consumers.groups().get(&group.id) {
            Some(entry) => Ok(self.stats_of(&consumers, entry, only, now)),
            None => Err(Error::unknown("group", &group.name)),
        }
    }

    fn stats_of(&self, consumers: &Consumers, entry: &GroupEntry, only: Option<TopicId>, now: Time) -> GroupStats {
        let (limit, index) = (self.messages().poppable(), consumers.index());
        let topics =
            || self.messages().topics().all().iter().filter(|it| !is_for_letters(&it.name)).map(|it| it.id).collect();
        let (has_read, counted) = counted_topics(index, entry.id, only, topics);
        let mut stats = GroupStats::of(&entry.name, &index.counters(entry.id).unwrap_or_default());
        for topic in counted.into_iter().filter_map(|topic| self.messages().topics().by_id(topic)) {
            for queue in topic.all_used() {
                stats.count(index, entry.id, queue.id, queue.visible(limit), now);
            }
        }
        GroupStats {
            has_read,
            oldest_lease_for: index.oldest_lease(entry.id).map(|popped_at| now.since(popped_at)),
            pop_to_ack: consumers.ack_times(entry.id).map(AckTimes::quantiles).unwrap_or_default(),
            ..stats
        }
    }
}

/// The topics that count in the statistics of a group, and whether it has popped from them: from all of them, or from
/// none.
pub(crate) fn counted_topics(
    index: &Index,
    group: GroupId,
    only: Option<TopicId>,
    all: impl FnOnce() -> Vec<TopicId>,
) -> (bool, Vec<TopicId>) {
    if let Some(only) = only {
        return (index.has_read(group, only), vec![only]);
    }
    let read: Vec<_> = index.topics(group).collect();
    if read.is_empty() { (false, all()) } else { (true, read) }
}
