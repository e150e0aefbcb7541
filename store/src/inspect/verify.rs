//! Checking everything: each record of both logs, each entry of the queues, and what they say of each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use popstore_revive::{QueueId, TopicId};

use super::lookup::{entries_per_file, list};
use super::{Snapshot, StoreLog};
use crate::error::{At, Result};
use crate::fault::Fault;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, MessageRecord, TopicRecord};
use crate::format::entry::{ENTRY, Entry, tag_hash};
use crate::format::frame::FRAME_HEADER;
use crate::log::{FrameAt, Step};
use crate::segment::StoreFile;
use crate::topics::{QUEUES_MAX, is_written_name};

/// How many bytes of a queue file are read at once, and of how many queues they are kept.
const CHUNK: usize = 512 * ENTRY;
const CHUNKS_MAX: usize = 1024;
const TELL_EVERY: u64 = 1 << 22;

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Whole records of the commit log.
    pub commit_records: u64,
    /// Messages among them.
    pub messages: u64,
    /// Whole records of the checkpoint log.
    pub checkpoint_records: u64,
    /// Entries of consume queues that were compared with their messages.
    pub queue_entries: u64,
    /// Bytes of both logs that were read.
    pub bytes: u64,
    /// How many faults were told.
    pub faults: u64,
    /// Writes that were under way at the ends of the logs: recovery cuts them off, and they are no faults.
    pub torn_tails: Vec<Fault>,
}

/// A check under way.
struct Verify<'s, 't> {
    snapshot: &'s Snapshot,
    tell: &'t mut dyn FnMut(&Fault),
    told: HashSet<(PathBuf, u64)>,
    done: Verified,
    queues: HashMap<QueueId, QueueCheck>,
    /// The topics' names and numbers of queues.
    topics: HashMap<TopicId, (String, u32)>,
    /// Segments went away while they were read: the owner lets go of them.
    removed: bool,
    chunks: usize,
    /// The next message belongs to the batch of the one before, of this segment, with so many behind it.
    batch: Option<(u64, u32)>,
    generation: u32,
    /// The bytes that could not be read so far.
    gaps: u64,
}

/// What is known of a queue so far.
#[derive(Default)]
struct QueueCheck {
    /// The first message seen, and the one that must come next.
    first: Option<u64>,
    next: Option<u64>,
    /// The gaps there were before that.
    gaps: u64,
    files: BTreeMap<u64, PathBuf>,
    /// The index of the first entry in `bytes`.
    from: u64,
    bytes: Vec<u8>,
    /// The entries from here on are in no file, and that was told.
    missing_from: Option<u64>,
    /// The store's owner has let go of the messages before this one meanwhile.
    gone_before: u64,
}

impl Snapshot {
    /// Checks every record of both logs and every entry of the queues. `progress` is told the bytes done and the bytes
    /// there are, `fault` each fault as it is found. Reading goes on behind a fault.
    ///
    /// # Errors
    /// A file cannot be read. Damage is no error.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64), mut fault: impl FnMut(&Fault)) -> Result<Verified> {
        let mut verify = Verify {
            snapshot: self,
            tell: &mut fault,
            told: HashSet::new(),
            done: Verified::default(),
            queues: HashMap::new(),
            topics: self
                .state
                .topics
                .iter()
                .map(|(id, topic)| (*id, (topic.name.to_string(), topic.queues.len() as u32)))
                .collect(),
            removed: false,
            chunks: 0,
            batch: None,
            generation: 0,
            gaps: 0,
        };
        self.faults.iter().for_each(|fault| verify.tell(fault.clone()));
        let (commit, checkpoint) = (self.commit_extent(), self.checkpoint_extent());
        let total = (commit.1 - commit.0) + (checkpoint.1 - checkpoint.0);
        verify.commit(&mut progress, total)?;
        verify.checkpoint(&mut progress, total)?;
        verify.references();
        progress(total, total);
        Ok(verify.done)
    }
}

impl Verify<'_, '_> {
    fn tell(&mut self, fault: Fault) {
        // What opening found is found again by reading everything.
        if self.told.insert((fault.path.clone(), fault.offset)) {
            self.tell_anew(&fault);
        }
    }

    fn tell_anew(&mut self, fault: &Fault) {
        self.done.faults += 1;
        (self.tell)(fault);
    }

    fn commit(&mut self, progress: &mut impl FnMut(u64, u64), total: u64) -> Result<()> {
        let mut walk = self.snapshot.walk(StoreLog::Commit, 0)?;
        let mut tell_at = TELL_EVERY;
        while let Some(step) = walk.step()? {
            match step {
                Step::Gap(fault) => {
                    self.batch = None;
                    self.gaps += fault.len;
                    self.tell(fault);
                }
                Step::Removed => {
                    self.batch = None;
                    self.removed = true;
                    self.queues.values_mut().for_each(|check| check.next = None);
                }
                Step::Tail(tail) => self.done.torn_tails.push(tail),
                Step::Frame(at, frame) => {
                    self.done.commit_records += 1;
                    self.done.bytes += at.len as u64;
                    self.generation = self.generation.max(frame.generation);
                    match CommitRecord::decode(&frame) {
                        Ok(CommitRecord::Message(message)) => self.message(&message, &at)?,
                        Ok(CommitRecord::Topic(topic)) => self.topic(&topic, &at),
                        Ok(CommitRecord::End) => {}
                        Err(rule) => self.tell(Fault::of_payload(at.path, at.offset, rule).of_len(at.len as u64)),
                    }
                }
            }
            if self.done.bytes >= tell_at {
                tell_at = self.done.bytes + TELL_EVERY;
                progress(self.done.bytes, total);
            }
        }
        Ok(())
    }

    fn topic(&mut self, topic: &TopicRecord<'_>, at: &FrameAt<'_>) {
        let fault = |rule, expected: &str, found: String| Fault::new(at.path, at.offset, rule, expected, found);
        if self.batch.take().is_some() {
            self.tell(fault("10.5", "the next message of the batch", format!("topic {:?}", topic.name)));
        }
        if !is_written_name(topic.name) || !(1..=QUEUES_MAX).contains(&topic.queues) {
            self.tell(fault("6", "a topic's name and 1 to 1024 queues", format!("{:?}, {}", topic.name, topic.queues)));
        }
        let (known, queues) = self.topics.entry(topic.topic).or_insert_with(|| (topic.name.to_string(), 0));
        *queues = topic.queues.max(*queues);
        if known != topic.name {
            let expected = format!("topic {known:?}");
            self.tell(fault("6", &expected, format!("{:?} with the same number", topic.name)));
        }
    }

    fn message(&mut self, message: &MessageRecord<'_>, at: &FrameAt<'_>) -> Result<()> {
        self.done.messages += 1;
        let (queue, index) = (message.queue, message.index.0);
        let segment = at.position - at.offset;
        if let Some((of, rest)) = self.batch.take()
            && (of != segment || message.rest != rest)
        {
            let found = format!("a message with {} behind it", message.rest);
            self.tell(Fault::new(at.path, at.offset, "10.5", format!("the message with {rest} behind it"), found));
        }
        self.batch = message.rest.checked_sub(1).map(|rest| (segment, rest));
        if self.topics.get(&queue.topic).is_none_or(|(_, queues)| queue.queue >= *queues) {
            let found = format!("topic number {}, queue {}", queue.topic.0, queue.queue);
            self.tell(Fault::new(at.path, at.offset, "6", "a queue of a topic that was told before", found));
            return Ok(());
        }
        if message.relocated {
            return Ok(());
        }
        let check = self.queues.entry(queue).or_default();
        check.first = check.first.or(Some(index));
        let next = check.next.replace(index.saturating_add(1));
        // What is missing may be in the gap that was told.
        let gaps = self.gaps - std::mem::replace(&mut check.gaps, self.gaps);
        let in_gap = |next: u64| index > next && (index - next).saturating_mul(FRAME_HEADER as u64) <= gaps;
        if let Some(next) = next.filter(|next| *next != index && !in_gap(*next)) {
            let (name, _) = &self.topics[&queue.topic];
            let expected = format!("message {name}/{}/{next}", queue.queue);
            let found = format!("message {name}/{}/{index}", queue.queue);
            self.tell(Fault::new(at.path, at.offset, "1", expected, found).of_len(at.len as u64));
        }
        let marked = self.snapshot.state.queue(queue).map_or(0..0, |state| state.first..state.marked);
        if marked.contains(&index) {
            let wanted = Entry { offset: at.position, size: at.len as u32, tag: tag_hash(message.tag.as_bytes()) };
            self.entry(queue, index, wanted)?;
        }
        Ok(())
    }

    /// Compares an entry with the message that it must lead to.
    fn entry(&mut self, queue: QueueId, index: u64, wanted: Entry) -> Result<()> {
        let found = match self.read_entry(queue, index)? {
            None => return Ok(()),
            Some((found, ..)) if found == wanted => {
                self.done.queue_entries += 1;
                return Ok(());
            }
            Some(found) => found,
        };
        let (Entry { offset, size, tag }, path, at) = found;
        let expected = format!("offset {}, size {}, tag hash {:08x}", wanted.offset, wanted.size, wanted.tag);
        let found = format!("offset {offset}, size {size}, tag hash {tag:08x}");
        self.tell(Fault::new(&path, at, "8", expected, found).of_len(ENTRY as u64));
        Ok(())
    }

    /// The entry of a place with its file and place there; `None` when no file has it, which is told once a file.
    fn read_entry(&mut self, queue: QueueId, index: u64) -> Result<Option<(Entry, PathBuf, u64)>> {
        let chunks_full = self.chunks >= CHUNKS_MAX;
        let check = self.queues.entry(queue).or_default();
        if index < check.gone_before || check.missing_from.is_some_and(|from| index >= from) {
            return Ok(None);
        }
        let within = |check: &QueueCheck| {
            let skip = usize::try_from(index.checked_sub(check.from)?).ok()?.checked_mul(ENTRY)?;
            check.bytes.get(skip..)?.first_chunk::<ENTRY>().map(Entry::decode)
        };
        let mut entry = within(check);
        if entry.is_none() {
            if chunks_full {
                self.queues.values_mut().for_each(|check| check.bytes = Vec::new());
                self.chunks = 0;
            }
            let check = self.queues.entry(queue).or_default();
            if check.files.is_empty() {
                check.files = list(self.snapshot.queue_dir(queue))?;
            }
            self.chunks += usize::from(check.bytes.is_empty());
            check.load(index)?;
            entry = within(check);
        }
        let check = &self.queues[&queue];
        let place = check.files.range(..=index).next_back();
        let place = place.map(|(first, path)| (path.clone(), (index - first).saturating_mul(ENTRY as u64)));
        match (entry, place) {
            (Some(entry), Some((path, at))) => Ok(Some((entry, path, at))),
            (_, place) => {
                self.tell_missing(queue, index, place)?;
                Ok(None)
            }
        }
    }

    /// A queue file is missing or short; the next file may be there.
    fn tell_missing(&mut self, queue: QueueId, index: u64, place: Option<(PathBuf, u64)>) -> Result<()> {
        let snapshot = self.snapshot;
        let dir = snapshot.queue_dir(queue);
        let marked = self.snapshot.state.queue(queue).map_or(0, |state| state.marked);
        let Some(check) = self.queues.get_mut(&queue) else { return Ok(()) };
        let next_file = check.files.range(index..).next().map_or(marked, |(first, _)| *first);
        let whole_file_gone = index.is_multiple_of(entries_per_file(snapshot)?);
        let missing = place.filter(|_| !whole_file_gone).unwrap_or_else(|| (dir.join(format!("{index:020}")), 0));
        if next_file >= marked {
            check.missing_from = Some(index);
        }
        check.gone_before = first_now(snapshot, queue);
        if index < check.gone_before {
            return Ok(());
        }
        let (path, at) = missing;
        let what = format!("entries to {}", marked - 1);
        let found = match path.exists() {
            true => format!("the end of the file, and no file {index:020}"),
            false => "no such file".to_string(),
        };
        self.tell(Fault::new(&path, at, "8", what, found).of_len((next_file - index).saturating_mul(ENTRY as u64)));
        Ok(())
    }

    fn checkpoint(&mut self, progress: &mut impl FnMut(u64, u64), total: u64) -> Result<()> {
        let mut walk = self.snapshot.walk(StoreLog::Checkpoint, 0)?;
        let mut runs = Vec::new();
        let mut generation = 0;
        while let Some(step) = walk.step()? {
            match step {
                Step::Gap(fault) => self.tell(fault),
                Step::Removed => self.removed = true,
                Step::Tail(tail) => self.done.torn_tails.push(tail),
                Step::Frame(at, frame) => {
                    self.done.checkpoint_records += 1;
                    self.done.bytes += at.len as u64;
                    generation = generation.max(frame.generation);
                    match CheckpointRecord::decode(&frame, &mut runs) {
                        Err(rule) => self.tell(Fault::of_payload(at.path, at.offset, rule).of_len(at.len as u64)),
                        Ok(CheckpointRecord::Group { name, .. } | CheckpointRecord::MarkTopic { name, .. })
                            if !is_written_name(name) =>
                        {
                            let fault = Fault::new(at.path, at.offset, "7", "a possible name", format!("{name:?}"));
                            self.tell(fault);
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
        progress(self.done.bytes.min(total), total);
        if self.generation > generation && !self.removed {
            let dir = self.snapshot.dir.join(StoreLog::Checkpoint.name());
            let expected = format!("records of generation {}, as in the commit log", self.generation);
            self.tell(Fault::new(&dir, 0, "11.3", expected, format!("none after generation {generation}")));
        }
        Ok(())
    }

    /// What the logs say of each other's messages.
    fn references(&mut self) {
        let snapshot = self.snapshot;
        for (topic, state) in &snapshot.state.topics {
            for (number, queue) in state.queues.iter().enumerate() {
                let id = QueueId { topic: *topic, queue: number as u32 };
                let seen = self.queues.get(&id);
                let (first, next) =
                    seen.map_or((queue.marked, 0), |check| (check.first.unwrap_or(0), check.next.unwrap_or(0)));
                let missing = if first > queue.first { Some(queue.first) } else { None };
                let missing = missing.or((next < queue.marked && queue.first < queue.marked).then_some(next));
                if let Some(index) = missing.filter(|_| !self.removed) {
                    let dir = snapshot.dir.join(StoreLog::Commit.name());
                    let expected = format!("message {}/{number}/{index}", state.name);
                    self.tell_anew(&Fault::new(&dir, 0, "11.8", expected, "none in the whole log"));
                }
            }
        }
        for held in snapshot.leases() {
            let queue = snapshot.queue_id(&held.topic, held.queue).and_then(|id| snapshot.state.queue(id));
            let there =
                queue.is_some_and(|queue| held.index >= queue.first || queue.relocated.contains_key(&held.index));
            if !there {
                let dir = snapshot.dir.join(StoreLog::Commit.name());
                let expected =
                    format!("message {}/{}/{}, which group {} holds", held.topic, held.queue, held.index, held.group);
                self.tell_anew(&Fault::new(&dir, 0, "12.4", expected, "none"));
            }
        }
    }
}

/// The first message of a queue now: the store's owner may have let go of some since the snapshot was taken.
pub(super) fn first_now(snapshot: &Snapshot, queue: QueueId) -> u64 {
    let now = Snapshot::open(&snapshot.dir).ok();
    now.and_then(|now| now.state.queue(queue).map(|queue| queue.first)).unwrap_or(0)
}

impl QueueCheck {
    /// Reads the entries from `index` on, as far as one file and one chunk reach.
    fn load(&mut self, index: u64) -> Result<()> {
        self.from = index;
        self.bytes.clear();
        let Some((first, path)) = self.files.range(..=index).next_back() else { return Ok(()) };
        let next = self.files.range(index.saturating_add(1)..).next().map_or(u64::MAX, |(first, _)| *first);
        let len = CHUNK.min(usize::try_from((next - index).saturating_mul(ENTRY as u64)).unwrap_or(CHUNK));
        let Some(file) = StoreFile::read_only_if_there(path.clone()).at("open", path)? else { return Ok(()) };
        self.bytes.resize(len, 0);
        let read = file.read_at((index - first).saturating_mul(ENTRY as u64), &mut self.bytes).at("read", path)?;
        self.bytes.truncate(read);
        Ok(())
    }
}
