//! One message by its place or its offset, by way of the consume queue; and the queue's entries themselves.
//!
//! An entry is believed only if it leads to the message of its place. When it does not, the commit log
//! is read once for that queue, and the places found there are used from then on.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use popstore_revive::{QueueId, QueueIndex};

use super::entries::{Names, SnapshotMessage};
use super::queue_files::{firsts_now, list};
use super::{Snapshot, StoreLog};
use crate::error::{At, Result};
use crate::fault::Fault;
use crate::format::commit::{CommitRecord, MessageRecord};
use crate::format::entry::{ENTRY, Entry};
use crate::format::frame::{Frame, LogKind};
use crate::log::{LARGE, WalkStep, Window};
use crate::segment::StoreFile;

/// How many files are open at once.
const OPEN_MAX: usize = 32;
/// How many bytes of a queue file are read at once.
const CHUNK: usize = 512 * ENTRY;

/// An entry of a consume queue, with the message that it leads to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueEntry {
    /// The place in the queue.
    pub index: u64,
    /// Where the message lies in the commit log; 0 when there is no entry.
    pub offset: u64,
    /// The length of its frame.
    pub size: u32,
    /// The hash of its tag, 0 without one.
    pub tag_hash: u32,
    /// The queue file and the byte in it; `None` for an entry that is in no file: one behind the mark, or relocated.
    pub file: Option<(PathBuf, u64)>,
    /// The message there, if it is the one of this place.
    pub message: Option<SnapshotMessage>,
    /// What is wrong with the entry.
    pub fault: Option<Fault>,
}

/// Finds messages. It holds files open and remembers what it read: use one for many questions.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # use popstore::inspect::*;
/// let snapshot = Snapshot::open(dir.path())?;
/// let mut lookup = snapshot.lookup();
/// assert_eq!(lookup.message("orders", 0, 0)?.unwrap().body, b"12.50 EUR");
/// let entry = lookup.queue_entry("orders", 0, 0)?.unwrap();
/// assert_eq!(lookup.message_at(entry.offset)?.unwrap().index, 0);
/// # Ok(()) }
/// ```
pub struct Lookup<'s> {
    snapshot: &'s Snapshot,
    names: Arc<Names>,
    segments: Vec<(u64, PathBuf)>,
    open: HashMap<u64, Window>,
    /// The files of a queue by their first index.
    files: HashMap<QueueId, BTreeMap<u64, PathBuf>>,
    chunk: Option<(QueueId, u64, Vec<u8>)>,
    /// Where queues without files begin by now.
    firsts: Option<HashMap<QueueId, u64>>,
    /// The messages that do not lie where their entries say, as the commit log has them.
    misled: Option<HashMap<(QueueId, u64), Entry>>,
}

impl Snapshot {
    /// A way to find single messages.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup {
            snapshot: self,
            names: Arc::new(self.names()),
            segments: self.segment_files(LogKind::Commit),
            open: HashMap::new(),
            files: HashMap::new(),
            chunk: None,
            firsts: None,
            misled: None,
        }
    }

    /// The messages of a topic that can be read, by queue and index.
    pub fn messages(&self, topic: &str) -> impl Iterator<Item = Result<SnapshotMessage>> + '_ {
        let id = self.contents.topic(topic);
        let queues = id.and_then(|id| self.contents.topics.get(&id)).into_iter().flat_map(|topic| topic.queues.used());
        let places = queues.flat_map(move |(queue, state)| {
            let id = QueueId { topic: id.unwrap_or_default(), queue };
            state.indexes().map(move |index| (id, index))
        });
        let mut lookup = self.lookup();
        places.filter_map(move |(queue, index)| lookup.find(queue, index).transpose())
    }

    pub(super) fn queue_id(&self, topic: &str, queue: u32) -> Option<QueueId> {
        let id = QueueId { topic: self.contents.topic(topic)?, queue };
        self.contents.queue(id).map(|_| id)
    }
}

impl Lookup<'_> {
    /// The message at a place.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn message(&mut self, topic: &str, queue: u32, index: u64) -> Result<Option<SnapshotMessage>> {
        match self.snapshot.queue_id(topic, queue) {
            Some(queue) => self.find(queue, index),
            None => Ok(None),
        }
    }

    /// The message whose record begins at this position of the commit log.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn message_at(&mut self, offset: u64) -> Result<Option<SnapshotMessage>> {
        let names = Arc::clone(&self.names);
        self.with_message(offset, |record| names.message(record, offset))
    }

    pub(crate) fn with_message<T>(
        &mut self,
        offset: u64,
        then: impl FnOnce(&MessageRecord<'_>) -> T,
    ) -> Result<Option<T>> {
        self.decode(offset, |_, record| Some(then(record)))
    }

    /// The entry at a place, if the queue has that place.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn queue_entry(&mut self, topic: &str, queue: u32, index: u64) -> Result<Option<QueueEntry>> {
        let Some(id) = self.snapshot.queue_id(topic, queue) else { return Ok(None) };
        let Some((entry, file_first)) = self.entry(id, index)? else { return Ok(None) };
        let file = file_first.and_then(|first| {
            let path = self.files.get(&id)?.get(&first)?.clone();
            Some((path, (index - first).saturating_mul(ENTRY as u64)))
        });
        let message = self.at_entry(id, index, entry)?;
        // The files reach as far as the mark. Behind it they may lack entries that are not remembered from the log either:
        // the owner of the store is far ahead of its marks, or has deleted the messages meanwhile.
        let marked = self.snapshot.contents.queue(id).map_or(0, |state| state.marked);
        let not_there_yet = entry == Entry::default() && index >= marked;
        if message.is_none() && (not_there_yet || self.is_gone(entry)) {
            return Ok(None);
        }
        let nowhere = (self.snapshot.queue_dir(id), index.saturating_mul(ENTRY as u64));
        let fault = message.is_none().then(|| {
            let (path, offset) = file.as_ref().unwrap_or(&nowhere);
            let expected = format!("the place of message {topic}/{queue}/{index}");
            let found = if entry == Entry::default() { "zeroes".into() } else { format!("offset {}", entry.offset) };
            Fault::new(path, *offset, "8", expected, found).of_len(ENTRY as u64)
        });
        let Entry { offset, size, tag: tag_hash } = entry;
        Ok(Some(QueueEntry { index, offset, size, tag_hash, file, message, fault }))
    }

    pub(super) fn find(&mut self, queue: QueueId, index: u64) -> Result<Option<SnapshotMessage>> {
        let Some((entry, _)) = self.entry(queue, index)? else { return Ok(None) };
        if let Some(message) = self.at_entry(queue, index, entry)? {
            return Ok(Some(message));
        }
        if self.is_gone(entry) {
            return Ok(None);
        }
        let misled = match self.misled.take() {
            Some(misled) => misled,
            None => self.search()?,
        };
        match self.misled.insert(misled).get(&(queue, index)).copied() {
            Some(entry) => self.at_entry(queue, index, entry),
            None => Ok(None),
        }
    }

    /// The entry of a place as it is, and the name of the file that it lies in.
    pub(super) fn entry(&mut self, queue: QueueId, index: u64) -> Result<Option<(Entry, Option<u64>)>> {
        let Some(state) = self.snapshot.contents.queue(queue) else { return Ok(None) };
        if let Some(entry) = state.entry(index) {
            return Ok(Some((entry, None)));
        }
        if index < state.first || index >= state.end {
            return Ok(None);
        }
        self.list_files(queue)?;
        let files = &self.files[&queue];
        let Some((first, path)) = files.range(..=index).next_back() else {
            // The store's owner deleted this one, as the files that begin later show, or else the store as it is now.
            let gone = if index < state.marked && files.is_empty() {
                index < self.first_now(queue)?
            } else {
                !files.is_empty()
            };
            return Ok((!gone).then(|| (Entry::default(), None)));
        };
        let first = *first;
        let inside = |chunk: &(QueueId, u64, Vec<u8>)| {
            let skip = usize::try_from(index.checked_sub(chunk.1)?).ok()?.checked_mul(ENTRY)?;
            chunk.2.get(skip..)?.first_chunk::<ENTRY>().map(Entry::decode)
        };
        let cached = self.chunk.as_ref().filter(|chunk| chunk.0 == queue && chunk.1 >= first).and_then(inside);
        let entry = match cached {
            Some(entry) => entry,
            None => {
                let Some(file) = StoreFile::read_only_if_there(path.clone()).at("open", path)? else {
                    return Ok(None);
                };
                let mut bytes = vec![0; CHUNK];
                let read = file.read_at((index - first).saturating_mul(ENTRY as u64), &mut bytes).at("read", path)?;
                bytes.truncate(read);
                let chunk = (queue, index, bytes);
                let entry = inside(&chunk).unwrap_or_default();
                self.chunk = Some(chunk);
                entry
            }
        };
        Ok(Some((entry, Some(first))))
    }

    fn at_entry(&mut self, queue: QueueId, index: u64, entry: Entry) -> Result<Option<SnapshotMessage>> {
        if entry.offset == 0 {
            return Ok(None);
        }
        let names = Arc::clone(&self.names);
        self.decode(entry.offset, |len, record| {
            let same = record.queue == queue && record.index == QueueIndex(index) && len <= entry.size as usize;
            same.then(|| names.message(record, entry.offset))
        })
    }

    fn decode<T>(
        &mut self,
        offset: u64,
        then: impl FnOnce(usize, &MessageRecord<'_>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some((base, window)) = self.window(offset)? else { return Ok(None) };
        // Somebody may have written since.
        window.refresh()?;
        let frame = window.decode(offset - base)?;
        let len = frame.as_ref().map_or(0, Frame::len);
        let found = match frame.map(|frame| CommitRecord::decode(&frame)) {
            Ok(Ok(CommitRecord::Message(record))) => then(len, &record),
            _ => None,
        };
        if len > LARGE {
            self.open.remove(&base);
        }
        Ok(found)
    }

    /// The segment that holds a position, and where it begins; `None` when there is none.
    fn window(&mut self, offset: u64) -> Result<Option<(u64, &mut Window)>> {
        let before = self.segments.partition_point(|(base, _)| *base <= offset);
        let Some((base, path)) = before.checked_sub(1).map(|at| &self.segments[at]) else { return Ok(None) };
        if !self.open.contains_key(base) {
            let Some(window) = Window::open(path.clone(), *base, self.snapshot.seed(LogKind::Commit))? else {
                return Ok(None);
            };
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(*base, window.for_single_frames());
        }
        Ok(self.open.get_mut(base).map(|window| (*base, window)))
    }

    /// Whether an entry leads to a segment that the owner of the store has deleted.
    fn is_gone(&self, entry: Entry) -> bool {
        let before = self.segments.partition_point(|(base, _)| *base <= entry.offset);
        match before.checked_sub(1).map(|at| &self.segments[at]) {
            Some((_, path)) => !path.exists(),
            None => entry.offset > 0,
        }
    }

    fn list_files(&mut self, queue: QueueId) -> Result<()> {
        if !self.files.contains_key(&queue) {
            self.files.insert(queue, list(self.snapshot.queue_dir(queue))?);
        }
        Ok(())
    }

    /// Where a queue without files begins by now.
    fn first_now(&mut self, queue: QueueId) -> Result<u64> {
        if self.firsts.is_none() {
            // Order matters: the files are listed before the store is read again, so that each deletion that the lists show is known.
            let snapshot = self.snapshot;
            snapshot.used_queues().try_for_each(|queue| self.list_files(queue))?;
            let without = self.files.iter().filter(|(_, files)| files.is_empty()).map(|(queue, _)| *queue);
            self.firsts = Some(firsts_now(snapshot, without));
        }
        Ok(self.firsts.as_ref().and_then(|firsts| firsts.get(&queue)).copied().unwrap_or(0))
    }

    /// Finds the messages of all queues that do not lie where their entries say, in one walk over the commit log.
    fn search(&mut self) -> Result<HashMap<(QueueId, u64), Entry>> {
        let mut misled = HashMap::new();
        let mut walk = self.snapshot.walk(StoreLog::Commit, 0)?;
        while let Some(step) = walk.step()? {
            if let WalkStep::Frame(at, frame) = step
                && let Ok(CommitRecord::Message(record)) = CommitRecord::decode(&frame)
                && let Some((entry, _)) = self.entry(record.queue, record.index.0)?
                && (entry.offset, entry.size) != (at.position, at.len as u32)
            {
                let found = Entry { offset: at.position, size: at.len as u32, tag: 0 };
                misled.insert((record.queue, record.index.0), found);
            }
        }
        Ok(misled)
    }
}
