//! The records of both logs, one after the other, with the names of their topics and groups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use popstore_revive::Run;

use super::entries::{CheckpointEntry, CommitEntry, CommitRecordKind, Inspected, Names, RecordAt};
use super::{Snapshot, StoreLog};
use crate::error::Result;
use crate::format::Rule;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::CommitRecord;
use crate::format::frame::Frame;
use crate::log::{FrameAt, Walk, WalkStep};
use crate::recover::directory;

/// Reads the commit log, record by record.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # use popstore::inspect::*;
/// let mut reader = Snapshot::open(dir.path())?.commit_log(0)?;
/// assert!(reader.by_ref().count() > 0, "the topic and its message");
/// store.append("orders", Message::new("9.90 EUR"))?;
/// reader.poll()?; // for what was appended meanwhile
/// assert!(reader.count() > 0);
/// # Ok(()) }
/// ```
pub struct CommitReader {
    walk: Walk,
    names: Names,
    from: u64,
    dir: PathBuf,
}

/// Reads the checkpoint log, record by record.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # use popstore::inspect::*;
/// for record in Snapshot::open(dir.path())?.checkpoint_log(0)? {
///     if let Inspected::Record(entry) = record? {
///         println!("{} at {}", entry.kind, entry.at.position);
///     }
/// }
/// # Ok(()) }
/// ```
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
        self.walk_in(&self.dir, log, from)
    }

    /// The same by another name of the store's directory.
    pub(crate) fn walk_in(&self, dir: &Path, log: StoreLog, from: u64) -> Result<Walk> {
        let listed = self.log(dir, log.kind())?;
        let (begin, _, proven) = match log {
            StoreLog::Commit => self.contents.commit,
            StoreLog::Checkpoint => self.contents.checkpoint,
        };
        let start = listed.segment_start(from.max(begin));
        Ok(listed.walk(start, proven, self.identity.generation))
    }

    pub(super) fn names(&self) -> Names {
        let topics = self.contents.topics.iter().map(|(id, topic)| (*id, Arc::clone(&topic.name)));
        let groups = self.contents.consumers.groups().iter().map(|(id, entry)| (*id, Arc::clone(&entry.name)));
        Names { topics: topics.collect(), groups: groups.collect() }
    }
}

/// The next item of a reader; records before `from` are passed over.
fn read<T>(
    walk: &mut Walk,
    from: u64,
    mut record: impl FnMut(&FrameAt<'_>, &Frame<'_>) -> Result<T, Rule>,
) -> Result<Option<Inspected<T>>> {
    while let Some(step) = walk.step()? {
        let (at, frame) = match step {
            WalkStep::Gap(fault) => return Ok(Some(Inspected::Fault(fault))),
            WalkStep::Tail(tail) => return Ok(Some(Inspected::TornTail(tail))),
            WalkStep::Frame(at, frame) if at.position >= from => (at, frame),
            WalkStep::Frame(..) | WalkStep::Removed => continue,
        };
        let fault = |rule| at.payload_fault(rule);
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
    /// Continues behind the end, which may have moved: records appended since are read next.
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
    /// Continues behind the end, which may have moved: records appended since are read next.
    ///
    /// # Errors
    /// The store's files cannot be read.
    pub fn poll(&mut self) -> Result<()> {
        again(&mut self.walk, &self.dir)
    }
}

fn again(walk: &mut Walk, dir: &Path) -> Result<()> {
    // The store may have been opened again, which raises its generation.
    let identity = directory::decode_identity(dir)?;
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
                kind: super::describe::record_name(&record),
                group: None,
                happened_at: None,
                until: None,
                places: Vec::new(),
                fields: Vec::new(),
            };
            Ok(names.describe(&record, entry))
        })
        .transpose()
    }
}
