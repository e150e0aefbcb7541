//! Checking everything: each record of both logs, each entry of the queues, and the rules between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;

use popstore_revive::QueueId;

use super::queue_files::{entries_per_file, firsts_now, list};
use super::{Snapshot, StoreLog};
use crate::error::{At, Error, Result};
use crate::fault::Fault;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, MessageRecord};
use crate::format::entry::{ENTRY, Entry, tag_hash};
use crate::format::frame::LogKind;
use crate::log::{FrameAt, WalkStep};
use crate::messages::aside::{InTheWay, in_the_way};
use crate::recover::{Sequence, directory};
use crate::segment::StoreFile;

/// How many bytes of a queue file are read at once, and of how many queues they stay in memory.
const CHUNK: usize = 512 * ENTRY;
const CHUNKS_MAX: usize = 1024;
const REPORT_EVERY: u64 = 1 << 22;

/// The result of a verification.
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
    /// How many faults were reported.
    pub faults: u64,
    /// Writes that were under way at the ends of the logs: recovery cuts them off, and they are no faults.
    pub torn_tails: Vec<Fault>,
}

/// A check under way.
struct Verify<'s, 't> {
    snapshot: &'s Snapshot,
    report_to: &'t mut dyn FnMut(&Fault),
    reported: HashSet<(PathBuf, u64)>,
    done: Verified,
    queues: HashMap<QueueId, QueueCheck>,
    sequence: Sequence,
    /// Segments were removed while they were read: the owner deletes them.
    removed: bool,
    /// The queues of which entries are in memory.
    loaded: Vec<QueueId>,
    /// Places from the first to before the second that no file has, by queue.
    missing: Vec<(QueueId, Range<u64>)>,
    generation: u32,
    /// The mark lies between two records, or at the end.
    mark_is_whole: bool,
    /// Something could not be read.
    gaps: bool,
}

/// The state of a queue's check so far.
#[derive(Default)]
struct QueueCheck {
    /// The first message seen, and the one that must come next.
    first: Option<u64>,
    next: Option<u64>,
    files: BTreeMap<u64, PathBuf>,
    /// The index of the first entry in `bytes`.
    from: u64,
    bytes: Vec<u8>,
    /// Places that no file has, by their first; the next file or the queue's end is behind each.
    missing: BTreeMap<u64, u64>,
    /// The moved messages that lie where the queue says.
    copies: BTreeSet<u64>,
}

impl Snapshot {
    /// Checks every record of both logs and every entry of the queues. `progress` gets the number of bytes done and
    /// of all, `fault` each fault as it is found. Reading continues behind a fault.
    ///
    /// # Errors
    /// A file cannot be read. Damage is no error.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64), mut fault: impl FnMut(&Fault)) -> Result<Verified> {
        let mut verify = Verify {
            snapshot: self,
            report_to: &mut fault,
            reported: HashSet::new(),
            done: Verified::default(),
            queues: HashMap::new(),
            sequence: Sequence::beginning_at(self.commit_extent().0),
            removed: false,
            loaded: Vec::new(),
            missing: Vec::new(),
            generation: 0,
            mark_is_whole: false,
            gaps: false,
        };
        for (id, topic) in &self.contents.topics {
            verify.sequence.add_known(*id, &topic.name, topic.queues.count(), std::iter::empty());
        }
        self.faults.iter().for_each(|fault| verify.report(fault.clone()));
        let (commit, checkpoint) = (self.commit_extent(), self.checkpoint_extent());
        let total = (commit.1 - commit.0).saturating_add(checkpoint.1 - checkpoint.0);
        verify.in_the_way()?;
        verify.commit(&mut progress, total)?;
        verify.checkpoint(&mut progress, total)?;
        verify.references();
        verify.report_missing()?;
        progress(total, total);
        Ok(verify.done)
    }
}

impl Verify<'_, '_> {
    fn report(&mut self, fault: Fault) {
        // Reading everything finds again what opening found.
        if self.reported.insert((fault.path.clone(), fault.offset)) {
            self.report_new(&fault);
        }
    }

    fn report_new(&mut self, fault: &Fault) {
        self.done.faults += 1;
        (self.report_to)(fault);
    }

    /// Reports things in the place of queues' files or directories that are none.
    fn in_the_way(&mut self) -> Result<()> {
        if let Err(Error::Format { path, found }) = directory::check_kinds(&self.snapshot.dir) {
            self.report(Fault::new(&path, 0, "11.1", "what opening accepts", found));
        }
        let topics = self.snapshot.contents.topics.values();
        let topics = topics.map(|topic| (&*topic.name, topic.queues.count())).collect();
        for InTheWay { path, expected, found } in in_the_way(&self.snapshot.dir, &topics)? {
            self.report(Fault::new(&path, 0, "2", expected, found));
        }
        Ok(())
    }

    fn commit(&mut self, progress: &mut impl FnMut(u64, u64), total: u64) -> Result<()> {
        let mut walk = self.snapshot.walk(StoreLog::Commit, 0)?;
        let mut report_at = REPORT_EVERY;
        while let Some(step) = walk.step()? {
            match step {
                WalkStep::Gap(fault) => {
                    self.sequence.gap(fault.len);
                    self.gaps = true;
                    self.report(fault);
                }
                WalkStep::Removed => {
                    self.sequence.removed();
                    self.removed = true;
                    self.queues.values_mut().for_each(|check| check.next = None);
                }
                WalkStep::Tail(tail) => self.done.torn_tails.push(tail),
                WalkStep::Frame(at, frame) => {
                    self.done.commit_records += 1;
                    self.done.bytes += at.len as u64;
                    self.generation = self.generation.max(frame.generation);
                    // A mark may lie before the record that ends a segment, which is not read here.
                    let borders = [at.position - at.offset, at.position, at.position + at.len as u64];
                    self.mark_is_whole |= borders.contains(&self.snapshot.mark());
                    match CommitRecord::decode(&frame) {
                        Ok(record) => {
                            if let Err(fault) = self.sequence.take(&record, &at) {
                                self.report(fault);
                            }
                            if let CommitRecord::Message(message) = record {
                                self.message(&message, &at)?;
                            }
                        }
                        Err(rule) => self.report(at.payload_fault(rule)),
                    }
                }
            }
            if self.done.bytes >= report_at {
                report_at = self.done.bytes + REPORT_EVERY;
                progress(self.done.bytes, total);
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &MessageRecord<'_>, at: &FrameAt<'_>) -> Result<()> {
        self.done.messages += 1;
        let (queue, index) = (message.queue, message.index.0);
        if message.relocated {
            let copy = self.snapshot.contents.queue(queue).and_then(|queue| queue.relocated.get(&index));
            if copy.is_some_and(|copy| (copy.offset, copy.size as usize) == (at.position, at.len)) {
                self.queues.entry(queue).or_default().copies.insert(index);
            }
            return Ok(());
        }
        let check = self.queues.entry(queue).or_default();
        check.first = check.first.or(Some(index));
        check.next = check.next.max(Some(index.saturating_add(1)));
        let (begin, mark) = (self.snapshot.contents.commit_start, self.snapshot.mark());
        let marked = self.snapshot.contents.queue(queue).map_or(0..0, |state| state.first..state.marked);
        if marked.contains(&index) {
            let wanted = Entry { offset: at.position, size: at.len as u32, tag: tag_hash(message.tag.as_bytes()) };
            return self.entry(queue, index, wanted);
        }
        if (begin..mark).contains(&at.position) {
            let expected = format!("a message of {} to {}, as the mark at {mark} says", marked.start, marked.end);
            let fault = Fault::new(at.path, at.offset, "11.8", expected, format!("message {index} of its queue"));
            self.report(fault.of_len(at.len as u64));
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
        self.report(Fault::new(&path, at, "8", expected, found).of_len(ENTRY as u64));
        Ok(())
    }

    /// The entry of a place with its file and place there; `None` when no file has it, which is reported at the end.
    fn read_entry(&mut self, queue: QueueId, index: u64) -> Result<Option<(Entry, PathBuf, u64)>> {
        let check = self.queues.entry(queue).or_default();
        if check.missing.range(..=index).next_back().is_some_and(|(_, end)| index < *end) {
            return Ok(None);
        }
        let within = |check: &QueueCheck| {
            let skip = usize::try_from(index.checked_sub(check.from)?).ok()?.checked_mul(ENTRY)?;
            check.bytes.get(skip..)?.first_chunk::<ENTRY>().map(Entry::decode)
        };
        let mut entry = within(check);
        if entry.is_none() {
            if check.bytes.is_empty() {
                if self.loaded.len() >= CHUNKS_MAX {
                    for loaded in self.loaded.drain(..) {
                        self.queues.entry(loaded).or_default().bytes = Vec::new();
                    }
                }
                self.loaded.push(queue);
            }
            let check = self.queues.entry(queue).or_default();
            if check.files.is_empty() {
                check.files = list(self.snapshot.queue_dir(queue))?;
            }
            check.load(index)?;
            entry = within(check);
        }
        let check = self.queues.entry(queue).or_default();
        match (entry, check.place(index)) {
            (Some(entry), Some((path, at))) => Ok(Some((entry, path, at))),
            _ => {
                // A file is missing or short; the next one may be there.
                let marked = self.snapshot.contents.queue(queue).map_or(0, |state| state.marked);
                let end = check.files.range(index.saturating_add(1)..).next().map_or(marked, |(first, _)| *first);
                check.missing.insert(index, end.min(marked));
                self.missing.push((queue, index..end.min(marked)));
                Ok(None)
            }
        }
    }

    /// Reports the entries that no file has, but for those that the store's owner has deleted meanwhile.
    fn report_missing(&mut self) -> Result<()> {
        let missing = std::mem::take(&mut self.missing);
        if missing.is_empty() {
            return Ok(());
        }
        let snapshot = self.snapshot;
        // Order matters: all files were listed before.
        let firsts = firsts_now(snapshot, missing.iter().map(|(queue, _)| *queue));
        let per_file = entries_per_file(snapshot)?;
        for (queue, Range { start, end }) in missing {
            let index = start.max(firsts.get(&queue).copied().unwrap_or(0));
            if index >= end {
                continue;
            }
            let place = self.queues.get(&queue).and_then(|check| check.place(index));
            let no_such = || (snapshot.queue_dir(queue).join(format!("{index:020}")), 0);
            let (path, at) = place.filter(|_| !index.is_multiple_of(per_file)).unwrap_or_else(no_such);
            let found = match path.exists() {
                true => format!("the end of the file, and no file {index:020}"),
                false => "no such file".to_string(),
            };
            let fault = Fault::new(&path, at, "8", format!("entries to {}", end - 1), found);
            self.report(fault.of_len((end - index).saturating_mul(ENTRY as u64)));
        }
        Ok(())
    }

    fn checkpoint(&mut self, progress: &mut impl FnMut(u64, u64), total: u64) -> Result<()> {
        let mut walk = self.snapshot.walk(StoreLog::Checkpoint, 0)?;
        let mut runs = Vec::new();
        let mut generation = 0;
        while let Some(step) = walk.step()? {
            match step {
                WalkStep::Gap(fault) => self.report(fault),
                WalkStep::Removed => self.removed = true,
                WalkStep::Tail(tail) => self.done.torn_tails.push(tail),
                WalkStep::Frame(at, frame) => {
                    self.done.checkpoint_records += 1;
                    self.done.bytes += at.len as u64;
                    generation = generation.max(frame.generation);
                    // The rules between records were checked when they were read first.
                    if let Err(rule) = CheckpointRecord::decode(&frame, &mut runs) {
                        self.report(at.payload_fault(rule));
                    }
                }
            }
        }
        progress(self.done.bytes.min(total), total);
        if self.generation > generation && !self.removed {
            let dir = self.snapshot.dir.join(StoreLog::Checkpoint.name());
            let expected = format!("records of generation {}, as in the commit log", self.generation);
            self.report(Fault::new(&dir, 0, "11.3", expected, format!("none after generation {generation}")));
        }
        Ok(())
    }

    /// Checks the rules between the two logs.
    fn references(&mut self) {
        let snapshot = self.snapshot;
        for (topic, state) in &snapshot.contents.topics {
            for (number, queue) in state.queues.used() {
                let id = QueueId { topic: *topic, queue: number };
                let seen = self.queues.get(&id);
                let (first, next) =
                    seen.map_or((queue.marked, 0), |check| (check.first.unwrap_or(0), check.next.unwrap_or(0)));
                let copies = seen.map(|check| &check.copies);
                let lost = queue.relocated.iter().find(|(index, _)| copies.is_none_or(|there| !there.contains(index)));
                if let Some((index, entry)) = lost.filter(|_| !self.removed && !self.gaps) {
                    let dir = snapshot.dir.join(StoreLog::Commit.name());
                    let expected = format!("the copy of message {}/{number}/{index} at {}", state.name, entry.offset);
                    self.report_new(&Fault::new(&dir, 0, "12.4", expected, "none"));
                }
                let missing = if first > queue.first { Some(queue.first) } else { None };
                let missing = missing.or((next < queue.marked && queue.first < queue.marked).then_some(next));
                if let Some(index) = missing.filter(|_| !self.removed) {
                    let dir = snapshot.dir.join(StoreLog::Commit.name());
                    let expected = format!("message {}/{number}/{index}", state.name);
                    self.report_new(&Fault::new(&dir, 0, "11.8", expected, "none in the whole log"));
                }
            }
        }
        let mark = snapshot.mark();
        let begins = |at| snapshot.segment_files(LogKind::Commit).iter().any(|(base, _)| *base == at);
        if !(self.mark_is_whole || self.removed || self.gaps || mark == 0 || begins(mark)) {
            let dir = snapshot.dir.join(StoreLog::Commit.name());
            self.report_new(&Fault::new(&dir, 0, "11.3", format!("a record at {mark}, where the mark is"), "none"));
        }
        for held in snapshot.leases() {
            let queue = snapshot.queue_id(&held.topic, held.queue).and_then(|id| snapshot.contents.queue(id));
            let there =
                queue.is_some_and(|queue| held.index >= queue.first || queue.relocated.contains_key(&held.index));
            if !there {
                let dir = snapshot.dir.join(StoreLog::Commit.name());
                let expected =
                    format!("message {}/{}/{}, which group {} holds", held.topic, held.queue, held.index, held.group);
                self.report_new(&Fault::new(&dir, 0, "12.4", expected, "none"));
            }
        }
    }
}

impl QueueCheck {
    /// The file that this entry belongs to, as far as there is one, and the place in it.
    fn place(&self, index: u64) -> Option<(PathBuf, u64)> {
        let (first, path) = self.files.range(..=index).next_back()?;
        Some((path.clone(), (index - first).saturating_mul(ENTRY as u64)))
    }

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
