//! What a store holds, as far as it can be read: groups, leases, topics, and where the messages behind the mark lie. It is
//! what opening the store would find; where opening stops at a fault, inspection continues.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use popstore_revive::{GroupId, QueueId, QueueIndex, Time, TopicId};

use crate::error::Result;
use crate::fault::{Fault, Faults};
use crate::format::identity::Identity;
use crate::ledger::Consumers;
use crate::log::{FoundLog, Unrecovered};
use crate::messages::is_for_letters;
use crate::recover::{EMPTY, FoundQueue, FoundStore, FoundTopic};
use crate::verbs::stats::{GroupStats, counted_topics};

/// The contents of a store.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) consumers: Consumers,
    pub(super) topics: BTreeMap<TopicId, FoundTopic>,
    /// The topics by name: of two with one name, the first.
    by_name: HashMap<Arc<str>, TopicId>,
    /// Start, end and proven end of the logs.
    pub(super) commit: (u64, u64, u64),
    pub(super) checkpoint: (u64, u64, u64),
    pub(super) mark: u64,
    /// Where the commit log begins, or will when the segments before are deleted.
    pub(super) commit_start: u64,
    /// The largest generation among the records.
    pub(super) generation: u32,
    pub(super) opened_at: Option<Time>,
    pub(super) closed: bool,
    /// The files changed while they were read.
    pub(super) disturbed: bool,
    /// The latest generation of a record, if the file `store` knows none so late.
    pub(super) too_late: Option<u32>,
    /// Writes that were under way at the ends of the logs.
    pub(super) tails: Vec<Fault>,
}

impl Contents {
    pub(super) fn read(dir: &Path, identity: Identity, faults: &mut Faults) -> Result<Self> {
        let FoundStore { checkpoint, commit, replay, messages } = FoundStore::read(dir, identity, faults)?;
        let mut consumers = replay.consumers;
        // A message settles another by being there, whether the checkpoint log says so yet or not.
        for settlement in &messages.settlements {
            consumers.carry_out(&settlement.command(&[settlement.run()]), settlement.popped_at);
        }
        let (topics, both) = (messages.topics, [replay.found, messages.found]);
        let extent =
            |log: &Unrecovered, found: &FoundLog| (log.start().unwrap_or(0), found.end, found.proven.min(found.end));
        Ok(Self {
            consumers,
            by_name: topics.iter().rev().map(|(id, topic)| (Arc::clone(&topic.name), *id)).collect(),
            topics,
            commit: extent(&commit, &both[1]),
            checkpoint: extent(&checkpoint, &both[0]),
            mark: replay.mark.commit,
            commit_start: replay.commit_start,
            generation: both[0].generation.max(both[1].generation),
            opened_at: replay.opened_at,
            closed: replay.closed == Some(both[1].end),
            disturbed: both.iter().any(|log| log.disturbed),
            too_late: both.iter().filter_map(|log| log.too_late).max(),
            tails: both.into_iter().filter_map(|log| log.torn).collect(),
        })
    }

    pub(super) fn topic(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn topic_name(&self, topic: TopicId) -> Arc<str> {
        self.topics.get(&topic).map_or_else(|| format!("#{}", topic.0).into(), |topic| Arc::clone(&topic.name))
    }

    pub(super) fn group_name(&self, group: GroupId) -> Arc<str> {
        let known = self.consumers.groups().get(&group);
        known.map_or_else(|| format!("#{}", group.0).into(), |entry| Arc::clone(&entry.name))
    }

    pub(super) fn queue(&self, queue: QueueId) -> Option<&FoundQueue> {
        let queues = &self.topics.get(&queue.topic)?.queues;
        (queue.queue < queues.count()).then(|| queues.get(queue.queue).unwrap_or(&EMPTY))
    }

    pub(super) fn group(&self, id: GroupId, name: &str, now: Time) -> GroupStats {
        let index = self.consumers.index();
        let mut stats = GroupStats::of(name, &index.counters(id).unwrap_or_default());
        let topics = || self.topics.iter().filter(|(_, it)| !is_for_letters(&it.name)).map(|(id, _)| *id).collect();
        let (has_read, counted) = counted_topics(index, id, None, topics);
        for (topic, known) in counted.into_iter().filter_map(|topic| Some((topic, self.topics.get(&topic)?))) {
            for (queue, held) in known.queues.used() {
                let span = (QueueIndex(held.first), QueueIndex(held.end));
                stats.count(index, id, QueueId { topic, queue }, span, now);
            }
        }
        GroupStats { has_read, ..stats }
    }
}
