//! The read-only view of a store: it writes nothing, takes no lock, and also opens what is damaged.
//!
//! Everything that is whole is read, and every place that is not is listed as a [`Fault`]. Behind a damaged place
//! reading goes on at the next record whose checksum is right. A store that is open elsewhere can be looked at, too;
//! what was under way at that moment may be missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use popstore_revive::{Counts, QueueId, QueueIndex, Time, TopicId};

use crate::clock;
use crate::consumers::Consumers;
use crate::error::{At, Error, Fault, Result};
use crate::format::Rule;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, MessageRecord};
use crate::format::frame::{Frame, LogKind, Seed};
use crate::log::{FrameAt, Unrecovered};
use crate::recover::directory;
use crate::segment::StoreFile;
use crate::stats::{GroupStats, TopicStats};

/// A store as it lies on the disk.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use popstore::{Message, Snapshot, Store};
/// let store = Store::open(dir.path())?;
/// store.append("orders", Message::new("12.50 EUR"))?;
///
/// let snapshot = Snapshot::open(dir.path())?;
/// assert!(snapshot.faults().is_empty());
/// let bodies: Vec<_> = snapshot.messages("orders").map(|message| message.unwrap().body).collect();
/// assert_eq!(bodies, [b"12.50 EUR"]);
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct Snapshot {
    generation: u32,
    faults: Vec<Fault>,
    topics: BTreeMap<TopicId, (String, u32)>,
    /// The segments of the commit log, with their bases.
    files: Vec<(PathBuf, u64)>,
    seed: Option<Seed>,
    /// Where each message lies: file, offset in it, length.
    messages: BTreeMap<(QueueId, QueueIndex), (u32, u64, u32)>,
    consumers: Consumers,
}

/// A message of a snapshot, read into memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotMessage {
    /// Its queue and its place there.
    pub place: (u32, u64),
    /// When it was appended.
    pub appended_at: SystemTime,
    /// Its key; empty when none was given.
    pub key: Vec<u8>,
    /// Its tag; empty when none was given.
    pub tag: String,
    /// Its properties.
    pub properties: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Snapshot {
    /// Reads the store in a directory.
    ///
    /// # Errors
    /// [`Error::Format`] when the directory is no store or of another format, [`Error::Io`]. Damage is no error here.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let missing = || Error::format(dir, "it has no file \"store\"");
        let identity = directory::read_identity(dir)?.ok_or_else(missing)?;
        let mut snapshot = Self { generation: identity.generation, ..Self::default() };
        snapshot.read_checkpoint(&dir.join(LogKind::Checkpoint.name()), identity.id)?;
        snapshot.read_commit(&dir.join(LogKind::Commit.name()), identity.id)?;
        snapshot.faults.sort_by(|one, other| (&one.path, one.offset).cmp(&(&other.path, other.offset)));
        Ok(snapshot)
    }

    /// What is not whole, by file and place. Torn writes at the end of a log are no fault: recovery cuts them off.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How often the store was opened.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The topics, with the messages that can be read.
    pub fn topics(&self) -> Vec<TopicStats> {
        let extent = |queue| {
            let mut of_queue = self.messages.range((queue, QueueIndex(0))..=(queue, QueueIndex(u64::MAX)));
            let first = of_queue.next().map_or(0, |((_, index), _)| index.0);
            (first, of_queue.next_back().map_or(first, |((_, index), _)| index.0) + 1)
        };
        let topics = self.topics.iter().map(|(topic, (name, queues))| {
            let queues = (0..*queues).map(|queue| QueueId { topic: *topic, queue });
            let queues = queues.map(|queue| if self.has(queue) { extent(queue) } else { (0, 0) });
            TopicStats { name: name.clone(), queues: queues.collect() }
        });
        topics.collect()
    }

    /// The groups, as the last record left them.
    pub fn groups(&self) -> Vec<GroupStats> {
        self.consumers.groups.values().map(|entry| self.group(entry.id, &entry.name)).collect()
    }

    /// The messages of a topic that can be read, by queue and index.
    pub fn messages(&self, topic: &str) -> impl Iterator<Item = Result<SnapshotMessage>> {
        let id = self.topics.iter().find(|(_, (name, _))| name == topic).map(|(id, _)| *id);
        let queue = |queue| QueueId { topic: id.unwrap_or_default(), queue };
        let range = (queue(0), QueueIndex(0))..=(queue(u32::MAX), QueueIndex(u64::MAX));
        let places = self.messages.range(range).filter(move |_| id.is_some());
        places.map(|((queue, index), place)| self.read_message(*queue, *index, *place))
    }

    fn has(&self, queue: QueueId) -> bool {
        self.messages.range((queue, QueueIndex(0))..=(queue, QueueIndex(u64::MAX))).next().is_some()
    }

    fn group(&self, id: popstore_revive::GroupId, name: &str) -> GroupStats {
        let index = &self.consumers.index;
        let counters = index.counters(id).unwrap_or_default();
        let mut stats = GroupStats::of(name, &counters);
        for (queue, position) in index.positions(id) {
            let new = self.messages.range((queue, position)..=(queue, QueueIndex(u64::MAX))).count() as u64;
            let Counts { in_flight, waiting, ready, ending } = index.counts(id, queue);
            stats.ready += new + ready;
            stats.in_flight += in_flight;
            stats.waiting += waiting;
            stats.ending += ending;
        }
        stats.lag = stats.ready + stats.in_flight + stats.waiting + stats.ending;
        stats
    }

    fn read_checkpoint(&mut self, dir: &Path, store: u128) -> Result<()> {
        let log = Unrecovered::look(dir, LogKind::Checkpoint, store, &mut self.faults)?;
        let mut runs = Vec::new();
        let (consumers, topics) = (&mut self.consumers, &mut self.topics);
        log.salvage(&mut self.faults, |_, frame| {
            let record = CheckpointRecord::decode(frame, &mut runs)?;
            if let CheckpointRecord::MarkTopic { topic, name, queues } = &record {
                topics.insert(*topic, (name.to_string(), queues.len() as u32));
            }
            consumers.apply(&record);
            Ok(())
        })
    }

    fn read_commit(&mut self, dir: &Path, store: u128) -> Result<()> {
        self.seed = Some(Seed::new(store, LogKind::Commit));
        let log = Unrecovered::look(dir, LogKind::Commit, store, &mut self.faults)?;
        let (topics, messages, files) = (&mut self.topics, &mut self.messages, &mut self.files);
        let mut batch = Vec::new();
        log.salvage(&mut self.faults, |at: &FrameAt<'_>, frame| {
            match CommitRecord::decode(frame)? {
                CommitRecord::End => {}
                CommitRecord::Topic(topic) => {
                    let known = topics.entry(topic.topic).or_insert((topic.name.to_string(), 0));
                    known.1 = known.1.max(topic.queues);
                }
                CommitRecord::Message(message) => {
                    if files.last().is_none_or(|(last, _)| last != at.path) {
                        files.push((at.path.to_path_buf(), at.position - at.offset));
                        batch.clear();
                    }
                    let file = (files.len() - 1) as u32;
                    batch.push(((message.queue, message.index), (file, at.offset, at.len as u32)));
                    if message.rest == 0 {
                        messages.extend(batch.drain(..));
                    }
                }
            }
            Ok(())
        })
    }

    fn read_message(&self, queue: QueueId, index: QueueIndex, place: (u32, u64, u32)) -> Result<SnapshotMessage> {
        let (file, offset, len) = place;
        let (path, base) = &self.files[file as usize];
        let mut bytes = vec![0; len as usize];
        let file = StoreFile::read_only(path.clone()).at("open", path)?;
        let read = file.read_at(offset, &mut bytes).at("read", path)?;
        let gone = |rule| Error::corrupt(path, offset, rule);
        let seed = self.seed.ok_or_else(|| gone(Rule::Empty))?;
        let frame = Frame::decode(&bytes[..read], base + offset, seed).map_err(gone)?;
        match CommitRecord::decode(&frame).map_err(gone)? {
            CommitRecord::Message(record) if record.queue == queue && record.index == index => Ok(message(&record)),
            _ => Err(Error::corrupt(path, offset, "the message changed while it was read")),
        }
    }
}

fn message(record: &MessageRecord<'_>) -> SnapshotMessage {
    let properties = crate::format::commit::Properties::new(record.properties);
    SnapshotMessage {
        place: (record.queue.queue, record.index.0),
        appended_at: clock::wall(Time(record.appended_at.0)),
        key: record.key.to_vec(),
        tag: record.tag.to_string(),
        properties: properties.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        body: record.body.to_vec(),
    }
}
