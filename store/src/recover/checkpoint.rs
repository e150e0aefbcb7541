//! Replaying the checkpoint log into the POP index.

use std::collections::BTreeMap;

use popstore_revive::{Told, TopicId};

use crate::consumers::Consumers;
use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::extent::Extent;
use crate::log::{Found, FrameAt, Unrecovered};
use crate::topics::is_written_name;

/// What the checkpoint log tells.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) found: Found,
    pub(crate) consumers: Consumers,
    /// The last complete mark.
    pub(crate) mark: Mark,
    /// The commit log was durable that far at least.
    pub(crate) commit_proven: u64,
    /// Where the commit log begins.
    pub(crate) commit_start: u64,
    /// The last record says that the store was closed, with the commit log's end.
    pub(crate) closed: Option<u64>,
    pub(crate) next_topic: TopicId,
    pub(crate) snapshot_begin: u64,
    pub(crate) snapshot_bytes: u64,
    /// What that one told.
    pub(crate) snapshot_told: Told,
    /// The topics told for a mark that did not come yet.
    pending: BTreeMap<TopicId, MarkedTopic>,
    snapshots: u32,
    /// The position of the first record.
    first: u64,
}

/// The consume queues are durable for what lies before `commit`.
#[derive(Default)]
pub(crate) struct Mark {
    pub(crate) commit: u64,
    pub(crate) topics: BTreeMap<TopicId, MarkedTopic>,
}

pub(crate) struct MarkedTopic {
    pub(crate) name: String,
    pub(crate) queues: Vec<Extent>,
}

impl Mark {
    /// The mark as the keeper tells it.
    pub(crate) fn retold(&self, base: u64) -> crate::mark::Mark {
        let topics = self.topics.iter();
        let topics = topics.map(|(topic, marked)| (*topic, marked.name.as_str().into(), marked.queues.clone()));
        crate::mark::Mark { commit: self.commit, base, topics: topics.collect() }
    }
}

impl Replay {
    /// Nothing yet, of a log that begins there.
    pub(crate) fn beginning_at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// Whether a snapshot was seen from its beginning to its end.
    pub(crate) fn has_snapshot(&self) -> bool {
        self.snapshots > 0
    }

    /// Reads the whole log, changing nothing.
    pub(crate) fn read(log: &Unrecovered, generation_max: u32) -> Result<Self> {
        let start = log.start().unwrap_or(0);
        let mut replay = Self::beginning_at(start);
        let mut runs = Vec::new();
        let found = log.scan(start, 0, generation_max, |at, frame| {
            let record = CheckpointRecord::decode(frame, &mut runs);
            let record =
                record.map_err(|rule| Error::corrupt(at.path, at.offset, format!("checkpoint record: {rule}")))?;
            let name = match &record {
                CheckpointRecord::Group { name, .. } | CheckpointRecord::MarkTopic { name, .. } => Some(*name),
                _ => None,
            };
            if name.is_some_and(|name| !is_written_name(name)) {
                return Err(Error::corrupt(at.path, at.offset, "a topic or group has an impossible name"));
            }
            replay.take(&record, at);
            Ok(())
        })?;
        if start > 0 && !replay.has_snapshot() {
            return Err(Error::corrupt(log.dir(), 0, "the log begins in its middle and holds no whole snapshot"));
        }
        if log.start().is_none() && generation_max > 0 {
            return Err(Error::corrupt(log.dir(), 0, "the log is missing"));
        }
        replay.found = found;
        Ok(replay)
    }

    /// Takes in the next record.
    pub(crate) fn take(&mut self, record: &CheckpointRecord<'_>, at: &FrameAt<'_>) {
        self.consumers.apply(record);
        self.closed = None;
        match record {
            CheckpointRecord::MarkTopic { topic, name, part } => {
                let new = || MarkedTopic { name: name.to_string(), queues: Vec::new() };
                let marked = self.pending.entry(*topic).or_insert_with(new);
                if !part.clone().add_to(&mut marked.queues) {
                    // The mark is short of it then.
                    self.pending.remove(topic);
                }
            }
            CheckpointRecord::Mark { commit, topics } => {
                let told = std::mem::take(&mut self.pending);
                if told.len() == *topics as usize {
                    self.mark = Mark { commit: *commit, topics: told };
                }
                self.commit_proven = self.commit_proven.max(*commit);
            }
            CheckpointRecord::CommitStart { base } => self.commit_start = self.commit_start.max(*base),
            CheckpointRecord::Closed { commit } => {
                self.closed = Some(*commit);
                self.commit_proven = self.commit_proven.max(*commit);
            }
            CheckpointRecord::SnapshotBegin { next_topic, .. } => {
                self.next_topic = self.next_topic.max(*next_topic);
                self.pending.clear();
            }
            CheckpointRecord::SnapshotEnd { begin } if *begin <= at.position && *begin >= self.first => {
                self.snapshots += 1;
                self.snapshot_begin = *begin;
                self.snapshot_bytes = at.position - begin;
                self.snapshot_told = self.consumers.index.told();
            }
            _ => {}
        }
    }
}
