//! A record of either log as it is shown: names in place of numbers, and times of the wall clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{EndReason, GroupId, TopicId};

use crate::clock;
use crate::fault::Fault;
use crate::format::commit::{Cause, MessageRecord, Properties, Settlement};

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordAt {
    /// Its position in the log.
    pub position: u64,
    /// The base of its segment, which is the name of the file.
    pub segment: u64,
    /// Its frame's length.
    pub len: u64,
    /// The store's generation when it was written.
    pub generation: u32,
    /// How far the log was durable when it was written.
    pub durable_through: u64,
}

/// What a reader of a log meets.
#[derive(Clone, Debug)]
pub enum Inspected<R> {
    /// A whole record.
    Record(R),
    /// Damage; reading continues behind it.
    Fault(Fault),
    /// Writes that were under way at the end of the log; recovery cuts them off.
    TornTail(Fault),
}

/// A record of the commit log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommitEntry {
    /// Where it lies.
    pub at: RecordAt,
    /// What it is.
    pub is: CommitRecordKind,
}

/// What a record of the commit log is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CommitRecordKind {
    /// A topic exists, with this many queues.
    Topic {
        /// Its name.
        name: Arc<str>,
        /// How many queues it has.
        queues: u32,
    },
    /// A message.
    Message(SnapshotMessage),
}

/// A message, read into memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotMessage {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue of the topic.
    pub queue: u32,
    /// Its place in the queue.
    pub index: u64,
    /// The position of its record in the commit log.
    pub offset: u64,
    /// When it was appended, to the millisecond.
    pub appended_at: SystemTime,
    /// How many messages of the same batch follow it.
    pub batch_rest: u32,
    /// A copy made by retention, which stands for the message at its place.
    pub relocated: bool,
    /// For a dead letter and for one that was put back: where it came from.
    pub origin: Option<Origin>,
    /// Its key; empty when none was given.
    pub key: Vec<u8>,
    /// Its tag; empty when none was given.
    pub tag: String,
    /// Its properties, in the order they were given.
    pub properties: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// The message that another one was written on behalf of, which settles it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// Why its last lease ended; `None` for a dead letter that was put back.
    pub reason: Option<EndReason>,
    /// Whose message it was.
    pub group: Arc<str>,
    /// The place of the original; for one that was put back, of the letter.
    pub topic: Arc<str>,
    /// The queue.
    pub queue: u32,
    /// The index.
    pub index: u64,
    /// The number of its last delivery; 0 for one that was put back.
    pub delivery: u32,
    /// How many of its deliveries count.
    pub attempts: u32,
    /// When it was delivered last.
    pub popped_at: SystemTime,
    /// When the original was appended.
    pub appended_at: SystemTime,
}

/// A record of the checkpoint log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckpointEntry {
    /// Where it lies.
    pub at: RecordAt,
    /// Its name in FORMAT.md, in lower case.
    pub kind: &'static str,
    /// The group it is about.
    pub group: Option<Arc<str>>,
    /// When it happened, if the record holds that.
    pub happened_at: Option<SystemTime>,
    /// The end of the lease, or when the messages become visible.
    pub until: Option<SystemTime>,
    /// The messages it is about.
    pub places: Vec<Places>,
    /// Its other fields, by their names.
    pub fields: Vec<(&'static str, String)>,
}

/// Messages of one queue at the same delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Places {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue: u32,
    /// The number of the delivery that is meant: 1 is the first.
    pub delivery: u32,
    /// Their places in the queue.
    pub indexes: Vec<u64>,
    /// The state that an image gives them, since when, and until when.
    pub state: Option<(&'static str, Option<SystemTime>, Option<SystemTime>)>,
}

/// The names of topics and groups.
pub(super) struct Names {
    pub(super) topics: HashMap<TopicId, Arc<str>>,
    pub(super) groups: HashMap<GroupId, Arc<str>>,
}

impl Names {
    pub(super) fn topic(&self, topic: TopicId) -> Arc<str> {
        self.topics.get(&topic).map_or_else(|| format!("#{}", topic.0).into(), Arc::clone)
    }

    pub(super) fn group(&self, group: GroupId) -> Arc<str> {
        self.groups.get(&group).map_or_else(|| format!("#{}", group.0).into(), Arc::clone)
    }

    pub(super) fn message(&self, record: &MessageRecord<'_>, offset: u64) -> SnapshotMessage {
        let properties = Properties::new(record.properties);
        SnapshotMessage {
            topic: self.topic(record.queue.topic),
            queue: record.queue.queue,
            index: record.index.0,
            offset,
            appended_at: clock::wall(record.appended_at),
            batch_rest: record.rest,
            relocated: record.relocated,
            origin: record.settlement.map(|settlement| self.origin(&settlement)),
            key: record.key.to_vec(),
            tag: record.tag.to_string(),
            properties: properties.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: record.body.to_vec(),
        }
    }

    fn origin(&self, settlement: &Settlement) -> Origin {
        Origin {
            reason: match settlement.cause {
                Cause::DeadLetter(reason) => Some(reason),
                Cause::Redrive => None,
            },
            group: self.group(settlement.group),
            topic: self.topic(settlement.queue.topic),
            queue: settlement.queue.queue,
            index: settlement.index.0,
            delivery: settlement.delivery,
            attempts: settlement.attempts(),
            popped_at: clock::wall(settlement.popped_at),
            appended_at: clock::wall(settlement.appended_at),
        }
    }
}
