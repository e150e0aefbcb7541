//! The read-only view of a store: it writes nothing, takes no lock, works beside a running owner, and also opens what
//! is damaged.
//!
//! [`Snapshot::open`] reads what an open of the store would read: the checkpoint log, and the commit log behind the last
//! mark. Everything that is whole is taken in, every place that is not becomes a [`Fault`]. Everything else
//! (every message, every entry) is read on demand, so memory grows with the leases and groups, not with the store's size.

mod contents;
mod describe;
mod entries;
mod identity;
mod leases;
mod lookup;
mod queue_files;
mod records;
mod segments;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use popstore_revive::{QueueId, QueueIndex, TopicId};

use crate::clock::{self, Clock, SystemClock};
use crate::error::{At, Result};
use crate::fault::Faults;
use crate::format::frame::{LogKind, Seed};
use crate::format::identity::{AT_GENERATION, Identity};
use crate::ledger::Consumers;
use crate::log::Unrecovered;
use crate::recover::{FoundQueue, FoundTopic, directory};
use crate::verbs::groups::GroupOptions;
use crate::verbs::stats::{GroupStats, TopicStats};

pub use crate::fault::Fault;
pub use crate::format::VERSION as FORMAT_VERSION;
pub use crate::recover::{PlannedStep, RecoveryPlan};
pub use entries::{
    CheckpointEntry, CommitEntry, CommitRecordKind, Inspected, Origin, Places, RecordAt, SnapshotMessage,
};
pub use leases::{HeldMessage, HeldState};
pub use lookup::{Lookup, QueueEntry};
pub use records::{CheckpointReader, CommitReader};
pub use segments::{Pinned, SegmentInfo};
pub use verify::Verified;

use contents::Contents;

/// How often reading starts over when the store's owner removes files under it.
const RETRIES: usize = 32;

/// One of the two logs of a store.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # use popstore::inspect::*;
/// let snapshot = Snapshot::open(dir.path())?;
/// for log in [StoreLog::Commit, StoreLog::Checkpoint] {
///     println!("{}: {} segments", log.name(), snapshot.segments(log)?.len());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLog {
    /// The log of all messages.
    Commit,
    /// The log of what consumers did.
    Checkpoint,
}

impl StoreLog {
    pub(crate) fn kind(self) -> LogKind {
        match self {
            Self::Commit => LogKind::Commit,
            Self::Checkpoint => LogKind::Checkpoint,
        }
    }

    /// Its directory in a store.
    pub fn name(self) -> &'static str {
        self.kind().name()
    }
}

/// A store as it lies on the disk.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use popstore::{Message, Store};
/// use popstore::inspect::Snapshot;
/// let store = Store::open(dir.path())?;
/// store.append("orders", Message::new("12.50 EUR"))?;
///
/// let snapshot = Snapshot::open(dir.path())?;
/// assert!(snapshot.faults().is_empty());
/// let message = snapshot.lookup().message("orders", 0, 0)?.unwrap();
/// assert_eq!(message.body, b"12.50 EUR");
/// # Ok(()) }
/// ```
pub struct Snapshot {
    /// The directory as it was given, for the paths in reports.
    dir: PathBuf,
    /// The same, whatever the working directory is by now.
    home: PathBuf,
    identity: Identity,
    faults: Vec<Fault>,
    contents: Contents,
}

impl Snapshot {
    /// Reads the store in a directory.
    ///
    /// # Errors
    /// [`crate::Error::Format`] when the directory is no store or of another format, [`crate::Error::Io`]. Damage is no
    /// error here.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut before = None;
        for _ in 0..RETRIES {
            let (snapshot, disturbed) = Self::read(dir)?;
            // With the same extents twice, what is wrong is damage and not the owner's work.
            let extents = Some((snapshot.contents.commit, snapshot.contents.checkpoint));
            if !disturbed || extents == before {
                return Ok(snapshot);
            }
            before = extents;
        }
        Self::read(dir).map(|(snapshot, _)| snapshot)
    }

    fn read(dir: &Path) -> Result<(Self, bool)> {
        let mut faults = Faults::collected();
        let identity = identity::find(dir, &mut faults.all)?;
        let contents = Contents::read(dir, identity, &mut faults)?;
        let mut disturbed = contents.disturbed;
        if let Some(generation) = contents.too_late {
            // An owner writes the generation there first.
            if identity::find(dir, &mut Vec::new())? == identity {
                let expected = format!("generation {generation} at least, as in the logs");
                let found = format!("generation {}", identity.generation);
                let fault = Fault::new(&dir.join(directory::STORE), AT_GENERATION as u64, "3", expected, found);
                faults.all.push(fault.of_len(size_of::<u32>() as u64));
            } else {
                disturbed = true;
            }
        }
        let by_place = |one: &Fault, other: &Fault| (&one.path, one.offset).cmp(&(&other.path, other.offset));
        faults.all.sort_by(by_place);
        let home = std::path::absolute(dir).at("read", dir)?;
        Ok((Self { dir: dir.to_path_buf(), home, identity, faults: faults.all, contents }, disturbed))
    }

    pub(crate) fn consumers(&self) -> &Consumers {
        &self.contents.consumers
    }

    pub(crate) fn topic_states(&self) -> &BTreeMap<TopicId, FoundTopic> {
        &self.contents.topics
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory, whatever the working directory is by now.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A fault whose path begins with that, as it is reported.
    pub(crate) fn reported(&self, fault: &Fault) -> Fault {
        let path = fault.path.strip_prefix(&self.home).map_or_else(|_| fault.path.clone(), |rest| self.dir.join(rest));
        Fault { path, ..fault.clone() }
    }

    /// The store's id.
    pub fn store_id(&self) -> u128 {
        self.identity.id
    }

    /// How often the store was opened; the largest number found when the file with that number is damaged.
    pub fn generation(&self) -> u32 {
        if self.identity.generation == u32::MAX { self.contents.generation } else { self.identity.generation }
    }

    /// When it was opened last, if the checkpoint log still has that record.
    pub fn opened_at(&self) -> Option<SystemTime> {
        self.contents.opened_at.map(clock::wall)
    }

    /// Whether it was closed in order after that, with nothing written since.
    pub fn is_closed(&self) -> bool {
        self.contents.closed
    }

    /// The faults in the part that opening the store would read, by file and place. [`Snapshot::verify`] reads everything.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Writes that were under way at the ends of the logs: recovery cuts them off, and nothing acknowledged is lost.
    pub fn torn_tails(&self) -> &[Fault] {
        &self.contents.tails
    }

    /// The commit offset where the log begins, where it ends, and through which it is known to be durable.
    pub fn commit_extent(&self) -> (u64, u64, u64) {
        self.contents.commit
    }

    /// The same of the checkpoint log.
    pub fn checkpoint_extent(&self) -> (u64, u64, u64) {
        self.contents.checkpoint
    }

    /// The queue files are durable for all messages before this commit offset: the last mark.
    pub fn mark(&self) -> u64 {
        self.contents.mark
    }

    /// The topics, dead-letter queues included, in the order they were made.
    pub fn topics(&self) -> Vec<TopicStats> {
        let topics = self
            .contents
            .topics
            .values()
            .map(|topic| TopicStats { name: topic.name.to_string(), queues: topic.extents().collect() });
        topics.collect()
    }

    /// The groups, as the last record left them, without what only a running process measures.
    pub fn groups(&self) -> Vec<GroupStats> {
        let consumers = &self.contents.consumers;
        let now = SystemClock::start().now();
        let groups = consumers.groups().values().map(|entry| {
            let oldest_lease_for = consumers.index().oldest_lease(entry.id).map(|popped_at| now.since(popped_at));
            GroupStats { oldest_lease_for, ..self.contents.group(entry.id, &entry.name, now) }
        });
        groups.collect()
    }

    /// The settings of a group.
    pub fn group_options(&self, group: &str) -> Option<GroupOptions> {
        let entry = self.contents.consumers.group(group).ok()?;
        let policy = self.contents.consumers.index().policy(entry.id)?.clone();
        Some(GroupOptions { policy, invisible_for: entry.invisible_for, ..GroupOptions::default() })
    }

    /// The next new message of a queue for a group, if the group ever read from the topic.
    pub fn position(&self, group: &str, topic: &str, queue: u32) -> Option<u64> {
        let group = self.contents.consumers.group(group).ok()?.id;
        let queue = QueueId { topic: self.contents.topic(topic)?, queue };
        self.contents.consumers.index().position(group, queue).map(|position| position.0)
    }

    /// The places of a queue that have a message: those that retention moved on since a group still needs them, and
    /// then those from the queue's first on.
    pub fn places(&self, topic: &str, queue: u32) -> impl Iterator<Item = u64> + '_ {
        let queue = self.queue_id(topic, queue).and_then(|queue| self.contents.queue(queue));
        queue.into_iter().flat_map(FoundQueue::indexes)
    }

    /// Whether a dead letter was put back to where it came from.
    pub fn is_redriven(&self, letters: &str, index: u64) -> bool {
        let Some(topic) = self.contents.topic(letters) else { return false };
        self.contents.consumers.index().is_redriven(QueueId { topic, queue: 0 }, QueueIndex(index))
    }

    /// Whether the groups that read a dead-letter queue have finished with a letter; see [`crate::Group::dead_letters`].
    pub fn is_finished(&self, letters: &str, index: u64) -> bool {
        let (Some(topic), index) = (self.contents.topic(letters), QueueIndex(index)) else { return false };
        self.contents.consumers.index().finished(QueueId { topic, queue: 0 }, index.block()) & index.bit() != 0
    }

    /// The files of a log as they are now; their faults are among those of the snapshot already.
    fn log(&self, dir: &Path, log: LogKind) -> Result<Unrecovered> {
        Unrecovered::find(dir.join(log.name()), log, self.identity.id, &mut Faults::collected())
    }

    fn seed(&self, log: LogKind) -> Seed {
        Seed::new(self.identity.id, log)
    }
}
