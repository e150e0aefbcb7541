//! A consume queue: for each message of one queue, where it lies in the commit log.
//!
//! Derived data: the commit log can make it anew at any time. Entries are pushed under the commit log's append lock and
//! stay in memory until a thread writes them to their files; reads of what is no longer in memory go to the files. An
//! entry may be there before its message can be read; [`ConsumeQueue::visible`] tells how far a reader may go.
//!
//! Files hold a fixed number of entries and are named by the index of their first. Nothing in them is trusted: whoever
//! follows an entry checks that the message it finds is the one it looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use popstore_revive::{QueueId, QueueIndex, Run};

use crate::chunks::{CHUNK, Chunk, Chunks};
use crate::error::{At, Error, Result};
use crate::format::entry::{ENTRY, Entry};
use crate::format::extent::Extent;
use crate::log::Name;
use crate::recent::Recent;
use crate::segment::{Disk, StoreFile};

/// How many written entries stay in memory for those who read close behind the appends.
const KEPT: usize = 256;
/// How many entries are written at once, and how many of them are copied while appends of the queue wait: few enough that
/// these need not go to sleep.
const FLUSHED_AT_ONCE: u64 = 4096;
const COPIED_AT_ONCE: usize = 32;

/// The end of a queue, while messages are appended to it.
pub(crate) struct Tail<'q>(MutexGuard<'q, State>);

impl Tail<'_> {
    /// The index the next message gets.
    pub(crate) fn end(&self) -> QueueIndex {
        QueueIndex(self.0.end())
    }

    /// Adds the entry of that message.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.tail.push(entry);
    }
}

/// One queue of a topic.
pub(crate) struct ConsumeQueue {
    pub(crate) id: QueueId,
    dir: PathBuf,
    per_file: u64,
    /// Held by whoever writes or removes files; taken before the state's lock, which appends and reads need.
    files: Mutex<()>,
    state: Mutex<State>,
    /// What was read from the files of this queue and others.
    chunks: Arc<Chunks>,
}

#[derive(Default)]
struct State {
    /// The first message that retention left.
    first: u64,
    /// The first entry that is kept in files.
    kept_from: u64,
    /// How far readers may go; everything before is in the commit log to stay.
    visible: u64,
    /// The entries before are in the files.
    flushed: u64,
    /// The entries from `tail_from` to the end of the queue.
    tail: Recent,
    tail_from: u64,
    /// Messages before `first` that were moved because someone still needs them.
    relocated: BTreeMap<u64, Entry>,
    /// The entries that were read last.
    chunk: Chunk,
    /// Files written since they were synced, by first index.
    unsynced: BTreeSet<u64>,
    /// The last file of which the name is durable. A file that open found may have been made by who was killed before that.
    named: Option<u64>,
}

impl State {
    fn end(&self) -> u64 {
        self.tail_from + self.tail.len() as u64
    }

    /// The entries before `end` are in the files, or not needed there: all but the last of them need not be in memory.
    fn flushed_through(&mut self, end: u64) {
        self.flushed = self.flushed.max(end);
        self.visible = self.visible.max(end);
        let gone = (self.flushed.saturating_sub(self.tail_from) as usize).saturating_sub(KEPT);
        self.tail.forget(gone);
        self.tail_from += gone as u64;
    }
}

impl ConsumeQueue {
    /// A queue of which the entries `first..flushed` are in its files, followed by `tail`.
    pub(crate) fn new(
        id: QueueId,
        dir: PathBuf,
        per_file: u64,
        extent: &Extent,
        tail: Vec<Entry>,
        chunks: Arc<Chunks>,
    ) -> Self {
        let state = State {
            first: extent.first.0,
            kept_from: extent.first.0,
            visible: extent.end.0,
            flushed: extent.end.0,
            tail: tail.into_iter().collect(),
            tail_from: extent.end.0,
            relocated: extent.relocated.iter().map(|(index, entry)| (index.0, *entry)).collect(),
            ..State::default()
        };
        Self { id, dir, per_file, files: Mutex::new(()), state: Mutex::new(state), chunks }
    }

    /// The right to add entries. The caller holds the commit log's append lock.
    pub(crate) fn tail(&self) -> Tail<'_> {
        Tail(self.state())
    }

    /// The directory of its files.
    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    /// The index the next message gets.
    pub(crate) fn end(&self) -> QueueIndex {
        QueueIndex(self.state().end())
    }

    /// The first message that is kept, those that were moved on aside.
    pub(crate) fn first(&self) -> QueueIndex {
        QueueIndex(self.state().first)
    }

    /// The first message and the end of those whose bytes lie before `limit` in the commit log.
    pub(crate) fn visible(&self, limit: u64) -> (QueueIndex, QueueIndex) {
        let mut state = self.state();
        while let Some(entry) = state.tail.get((state.visible - state.tail_from) as usize) {
            if entry.end() > limit {
                break;
            }
            state.visible += 1;
        }
        (QueueIndex(state.first), QueueIndex(state.visible))
    }

    /// Where a message lies; `None` when it is no longer or not yet there.
    ///
    /// # Errors
    /// A file cannot be read. A file that is too short shows as an entry of zeroes.
    pub(crate) fn entry(&self, disk: &Disk, index: QueueIndex) -> Result<Option<Entry>> {
        self.find(&mut self.state(), disk, index)
    }

    /// Where the messages of a run lie.
    pub(crate) fn entries(&self, disk: &Disk, run: &Run, out: &mut Vec<Option<Entry>>) -> Result<()> {
        let mut state = self.state();
        run.indexes().try_for_each(|index| {
            out.push(self.find(&mut state, disk, index)?);
            Ok(())
        })
    }

    fn find(&self, state: &mut State, disk: &Disk, index: QueueIndex) -> Result<Option<Entry>> {
        if index.0 < state.first {
            return Ok(state.relocated.get(&index.0).copied());
        }
        if index.0 >= state.end() {
            return Ok(None);
        }
        if let Some(at) = index.0.checked_sub(state.tail_from) {
            return Ok(state.tail.get(at as usize).copied());
        }
        if let Some(entry) = state.chunk.entry(index) {
            return Ok(Some(entry));
        }
        // At multiples of a chunk in each file: where one group has read another finds it.
        let file_first = self.file_first(index.0);
        let first = index.0 - (index.0 - file_first) % CHUNK;
        state.chunk = self.chunks.get(self.id, first).unwrap_or_default();
        if state.chunk.entry(index).is_none() {
            let end = (first + CHUNK).min(file_first + self.per_file).min(state.flushed);
            state.chunk = Chunk::read(disk, self.path(file_first), file_first, first..end)?;
            self.chunks.keep(self.id, &state.chunk);
        }
        Ok(state.chunk.entry(index))
    }

    /// Writes the entries of messages before `limit`, which are durable, as far as they are not in the files yet, and
    /// makes them durable. Appends and reads go on meanwhile.
    pub(crate) fn flush(&self, disk: &Disk, limit: u64) -> Result<()> {
        let _alone = self.files.lock().expect("no panic under the lock");
        let mut open = None;
        while let Some((from, bytes)) = self.unflushed(limit) {
            self.write(&mut open, disk, from, &bytes)?;
            self.state().flushed_through(from + (bytes.len() / ENTRY) as u64);
        }
        self.sync(open, disk)
    }

    /// The next entries to write, as bytes; all for one file. The caller alone moves on what is flushed.
    fn unflushed(&self, limit: u64) -> Option<(u64, Vec<u8>)> {
        let (from, end) = {
            let state = self.state();
            let file_end = self.file_first(state.flushed) + self.per_file;
            (state.flushed, file_end.min(state.flushed + FLUSHED_AT_ONCE).min(state.end()))
        };
        let mut entries = Vec::with_capacity((end - from) as usize);
        let mut at = from;
        while self.copy_tail(at..end, limit, &mut entries) {
            at = from + entries.len() as u64;
        }
        let bytes = entries.iter().flat_map(Entry::encode).collect();
        (!entries.is_empty()).then_some((from, bytes))
    }

    /// Adds some of the entries of a range of messages in memory, of those before `limit`. Returns whether there may be more.
    fn copy_tail(&self, range: Range<u64>, limit: u64, entries: &mut Vec<Entry>) -> bool {
        let state = self.state();
        let [from, end] = [range.start, range.end].map(|index| (index - state.tail_from) as usize);
        let before = entries.len();
        entries.extend(
            state.tail.from(from).take((end - from).min(COPIED_AT_ONCE)).take_while(|entry| entry.end() <= limit),
        );
        entries.len() == before + COPIED_AT_ONCE
    }

    /// Writes entries of one file, from that of the message `index` on.
    fn write(&self, open: &mut Option<(u64, StoreFile)>, disk: &Disk, index: u64, bytes: &[u8]) -> Result<()> {
        let file_first = self.file_first(index);
        let path = self.path(file_first);
        if open.as_ref().is_none_or(|(first, _)| *first != file_first) {
            let file = match disk.open(path.clone()) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    disk.make_dir(&self.dir).at("create", &self.dir)?;
                    disk.create(path.clone())
                }
                opened => opened,
            };
            *open = Some((file_first, file.at("open", &path)?));
        }
        let Some((_, file)) = open else { return Ok(()) };
        disk.write_at(file, (index - file_first) * ENTRY as u64, bytes).at("write", &path)?;
        self.state().unsynced.insert(file_first);
        Ok(())
    }

    /// Makes what was written durable.
    fn sync(&self, open: Option<(u64, StoreFile)>, disk: &Disk) -> Result<()> {
        let mut open = open;
        // Taken out first: what is written while the sync runs needs another.
        let unsynced = || self.state().unsynced.pop_first();
        while let Some(file_first) = unsynced() {
            let file = open.take_if(|(first, _)| *first == file_first).map(|(_, file)| file);
            let synced = self.sync_file(disk, file_first, file);
            if synced.is_err() {
                self.state().unsynced.insert(file_first);
            }
            synced?;
        }
        Ok(())
    }

    fn sync_file(&self, disk: &Disk, file_first: u64, open: Option<StoreFile>) -> Result<()> {
        let path = self.path(file_first);
        let file = open.map_or_else(|| disk.open(path.clone()), Ok);
        file.and_then(|file| disk.sync_file(&file)).at("sync", &path)?;
        if self.state().named != Some(file_first) {
            disk.sync_dir(&self.dir).at("sync", &self.dir)?;
            self.state().named = Some(file_first);
        }
        Ok(())
    }

    /// What a mark tells about the queue: how far the files reach.
    pub(crate) fn extent(&self) -> Extent {
        let state = self.state();
        Extent {
            first: QueueIndex(state.first),
            end: QueueIndex(state.flushed),
            relocated: state.relocated.iter().map(|(index, entry)| (QueueIndex(*index), *entry)).collect(),
        }
    }

    /// Whether the files hold as many entries as they should.
    pub(crate) fn files_are_long_enough(&self) -> bool {
        let state = self.state();
        if state.first >= state.flushed {
            return true;
        }
        let mut file_first = self.file_first(state.first);
        while file_first < state.flushed {
            let wanted = (state.flushed - file_first).min(self.per_file) * ENTRY as u64;
            if std::fs::metadata(self.path(file_first)).map_or(0, |file| file.len()) < wanted {
                return false;
            }
            file_first += self.per_file;
        }
        true
    }

    /// The messages of which the entries are in files.
    fn in_files(&self) -> Range<u64> {
        let state = self.state();
        state.first..state.flushed
    }

    /// Replaces the entries before the tail by those found in the commit log, in the order of their indexes.
    pub(crate) fn rebuild(&self, disk: &Disk, entries: &[(QueueIndex, Entry)]) -> Result<()> {
        let _alone = self.files.lock().expect("no panic under the lock");
        let (in_files, mut open) = (self.in_files(), None);
        for (index, entry) in entries.iter().filter(|(index, _)| in_files.contains(&index.0)) {
            self.write(&mut open, disk, index.0, &entry.encode())?;
        }
        let mut state = self.state();
        state.chunk = Chunk::default();
        self.chunks.forget(self.id);
        Ok(())
    }

    /// The message at `index` was copied to another place of the commit log.
    pub(crate) fn relocate(&self, index: QueueIndex, entry: Entry) {
        self.state().relocated.insert(index.0, entry);
    }

    /// Messages before `first` are no longer handed out from here on, nor are their entries written.
    pub(crate) fn begin_at(&self, first: QueueIndex) {
        let mut state = self.state();
        state.first = state.first.max(first.0);
        state.flushed_through(first.0);
    }

    /// Forgets the messages before `first` and removes the files that only tell of them.
    pub(crate) fn retire_before(&self, disk: &Disk, first: QueueIndex) -> Result<()> {
        let _alone = self.files.lock().expect("no panic under the lock");
        let mut state = self.state();
        let mut file_first = self.file_first(state.kept_from);
        state.first = state.first.max(first.0);
        while file_first + self.per_file <= state.first && file_first + self.per_file <= state.flushed {
            let path = self.path(file_first);
            state.unsynced.remove(&file_first);
            match disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, error));
                }
                _ => file_first += self.per_file,
            }
            state.kept_from = file_first;
        }
        Ok(())
    }

    /// The files that only tell of messages before the first: retention was killed before it removed them.
    pub(crate) fn left_files(&self) -> Vec<PathBuf> {
        let first = self.state().first;
        if first == 0 {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        // They are named like segments: by a number.
        let before = |path: &PathBuf| match Name::of(path) {
            Some(Name::Segment(file_first)) => file_first.saturating_add(self.per_file) <= first,
            _ => false,
        };
        paths.filter(before).collect()
    }

    /// The messages that were moved and are still held for someone.
    pub(crate) fn relocated(&self) -> Vec<(QueueIndex, Entry)> {
        self.extent().relocated
    }

    /// Nobody needs the moved message any more.
    pub(crate) fn drop_relocated(&self, index: QueueIndex) {
        self.state().relocated.remove(&index.0);
    }

    /// The first message of the file that has this one's entry.
    fn file_first(&self, index: u64) -> u64 {
        index - index % self.per_file
    }

    fn path(&self, file_first: u64) -> PathBuf {
        self.dir.join(format!("{file_first:020}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}
