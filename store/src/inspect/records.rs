//! The records of both logs, one after the other, with the names of what they speak of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{EndReason, GroupId, Run, TopicId};

use super::{Snapshot, StoreLog};
use crate::clock;
use crate::error::Result;
use crate::fault::Fault;
use crate::format::Rule;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{Cause, CommitRecord, MessageRecord, Properties, Settlement};
use crate::format::frame::Frame;
use crate::log::{FrameAt, Step, Unrecovered, Walk};
use crate::recover::directory;

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
    /// Damage; reading goes on behind it.
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
    /// How often it was delivered; 0 for one that was put back.
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
    /// When it happened, if it says so.
    pub happened_at: Option<SystemTime>,
    /// The end of the lease, or when the messages become visible.
    pub until: Option<SystemTime>,
    /// The messages it is about.
    pub places: Vec<Places>,
    /// Its other fields, by their names.
    pub fields: Vec<(&'static str, String)>,
}

/// Messages of one queue with the same attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Places {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue: u32,
    /// The attempt of the delivery that is meant.
    pub attempt: u32,
    /// Their places in the queue.
    pub indexes: Vec<u64>,
    /// What an image says that they are doing, since when, and until when.
    pub state: Option<(&'static str, Option<SystemTime>, Option<SystemTime>)>,
}

/// The names of topics and groups.
pub(super) struct Names {
    pub(super) topics: HashMap<TopicId, Arc<str>>,
    pub(super) groups: HashMap<GroupId, Arc<str>>,
}

/// Reads the commit log, record by record.
pub struct CommitReader {
    walk: Walk,
    names: Names,
    from: u64,
    dir: PathBuf,
}

/// Reads the checkpoint log, record by record.
pub struct CheckpointReader {
    walk: Walk,
    names: Names,
    runs: Vec<Run>,
    from: u64,
    dir: PathBuf,
}

impl Snapshot {
    /// Reads the commit log from the first record at or behind this position on; 0 is the whole log.
    ///
    /// # Errors
    /// A directory or file cannot be read.
    pub fn commit_log(&self, from: u64) -> Result<CommitReader> {
        let walk = self.walk(StoreLog::Commit, from)?;
        Ok(CommitReader { walk, names: self.names(), from, dir: self.dir.clone() })
    }

    /// Reads the checkpoint log from the first record at or behind this position on.
    ///
    /// # Errors
    /// A directory or file cannot be read.
    pub fn checkpoint_log(&self, from: u64) -> Result<CheckpointReader> {
        let walk = self.walk(StoreLog::Checkpoint, from)?;
        Ok(CheckpointReader { walk, names: self.names(), runs: Vec::new(), from, dir: self.dir.clone() })
    }

    /// A walk from the start of the segment that holds `from`.
    pub(crate) fn walk(&self, log: StoreLog, from: u64) -> Result<Walk> {
        let dir = self.dir.join(log.name());
        // What is wrong with the segments as such is among the faults already.
        let looked = Unrecovered::look(&dir, log.kind(), self.identity.id, &mut Vec::new())?;
        let (begin, _, proven) = match log {
            StoreLog::Commit => self.state.commit,
            StoreLog::Checkpoint => self.state.checkpoint,
        };
        let start = looked.segment_start(from.max(begin));
        Ok(looked.walk(start, proven, self.identity.generation))
    }

    pub(super) fn names(&self) -> Names {
        let topics = self.state.topics.iter().map(|(id, topic)| (*id, Arc::clone(&topic.name)));
        let groups = self.state.consumers.groups().iter().map(|(id, entry)| (*id, Arc::clone(&entry.name)));
        Names { topics: topics.collect(), groups: groups.collect() }
    }
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
            attempts: settlement.attempt,
            popped_at: clock::wall(settlement.popped_at),
            appended_at: clock::wall(settlement.appended_at),
        }
    }
}

/// What a reader makes of the next step of a walk; records before `from` are passed over.
fn read<T>(
    walk: &mut Walk,
    from: u64,
    mut record: impl FnMut(&FrameAt<'_>, &Frame<'_>) -> Result<T, Rule>,
) -> Result<Option<Inspected<T>>> {
    while let Some(step) = walk.step()? {
        let (at, frame) = match step {
            Step::Gap(fault) => return Ok(Some(Inspected::Fault(fault))),
            Step::Tail(tail) => return Ok(Some(Inspected::TornTail(tail))),
            Step::Frame(at, frame) if at.position >= from => (at, frame),
            Step::Frame(..) | Step::Removed => continue,
        };
        let fault = |rule| Fault::of_payload(at.path, at.offset, rule).of_len(at.len as u64);
        let met = record(&at, &frame).map_or_else(|rule| Inspected::Fault(fault(rule)), Inspected::Record);
        return Ok(Some(met));
    }
    Ok(None)
}

fn record_at(at: &FrameAt<'_>, frame: &Frame<'_>) -> RecordAt {
    let Frame { generation, durable_through, .. } = *frame;
    let segment = at.position - at.offset;
    RecordAt { position: at.position, segment, len: at.len as u64, generation, durable_through }
}

impl CommitReader {
    /// Goes on behind the end, which may have moved: what was appended since is read next.
    ///
    /// # Errors
    /// The store's files cannot be read.
    pub fn poll(&mut self) -> Result<()> {
        again(&mut self.walk, &self.dir)
    }
}

impl Iterator for CommitReader {
    type Item = Result<Inspected<CommitEntry>>;

    fn next(&mut self) -> Option<Self::Item> {
        let names = &mut self.names;
        read(&mut self.walk, self.from, |at, frame| {
            let is = match CommitRecord::decode(frame)? {
                CommitRecord::Message(record) => CommitRecordKind::Message(names.message(&record, at.position)),
                CommitRecord::Topic(topic) => {
                    let name = names.topics.entry(topic.topic).or_insert_with(|| topic.name.into());
                    CommitRecordKind::Topic { name: Arc::clone(name), queues: topic.queues }
                }
                CommitRecord::End => return Err(Rule::Kind(frame.kind)),
            };
            Ok(CommitEntry { at: record_at(at, frame), is })
        })
        .transpose()
    }
}

impl CheckpointReader {
    /// Goes on behind the end, which may have moved: what was appended since is read next.
    ///
    /// # Errors
    /// The store's files cannot be read.
    pub fn poll(&mut self) -> Result<()> {
        again(&mut self.walk, &self.dir)
    }
}

fn again(walk: &mut Walk, dir: &Path) -> Result<()> {
    // The store may have been opened again, which raises its generation.
    let identity = directory::look_at_identity(dir)?;
    walk.again(identity.map_or(u32::MAX, |identity| identity.generation))
}

impl Iterator for CheckpointReader {
    type Item = Result<Inspected<CheckpointEntry>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (names, runs) = (&mut self.names, &mut self.runs);
        read(&mut self.walk, self.from, |at, frame| {
            let record = CheckpointRecord::decode(frame, runs)?;
            let entry = CheckpointEntry {
                at: record_at(at, frame),
                kind: super::tell::record_name(&record),
                group: None,
                happened_at: None,
                until: None,
                places: Vec::new(),
                fields: Vec::new(),
            };
            Ok(names.tell(&record, entry))
        })
        .transpose()
    }
}
