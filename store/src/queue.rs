//! A consume queue: for each message of one queue, where it lies in the commit log.
//!
//! Derived data: the commit log can make it anew at any time. Entries are pushed under the commit log's append lock and
//! stay in memory until a thread writes them to their files; reads of what is no longer in memory go to the files. An
//! entry may be there before its message can be read; [`ConsumeQueue::visible`] tells how far a reader may go.
//!
//! Files hold a fixed number of entries and are named by the index of their first. Nothing in them is trusted: whoever
//! follows an entry checks that the message it finds is the one it looked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;

use popstore_revive::{QueueId, QueueIndex};

use crate::error::{At, Error, Result};
use crate::format::checkpoint::Extent;
use crate::format::entry::{ENTRY, Entry};
use crate::segment::{Disk, StoreFile};

/// How many written entries stay in memory for those who read close behind the appends.
const KEPT: usize = 256;
/// How many entries are read from a file at once.
const CHUNK: u64 = 512;

/// One queue of a topic.
pub(crate) struct ConsumeQueue {
    pub(crate) id: QueueId,
    dir: PathBuf,
    per_file: u64,
    state: Mutex<State>,
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
    tail: VecDeque<Entry>,
    tail_from: u64,
    /// Messages before `first` that were moved because someone still needs them.
    relocated: BTreeMap<u64, Entry>,
    chunk: (u64, Vec<Entry>),
    open: Option<(u64, StoreFile)>,
    /// Files written since they were synced, by first index.
    unsynced: BTreeSet<u64>,
}

impl State {
    fn end(&self) -> u64 {
        self.tail_from + self.tail.len() as u64
    }
}

impl ConsumeQueue {
    /// A queue of which the entries `first..flushed` are in its files, followed by `tail`.
    pub(crate) fn new(id: QueueId, dir: PathBuf, per_file: u64, extent: &Extent, tail: Vec<Entry>) -> Self {
        let state = State {
            first: extent.first.0,
            kept_from: extent.first.0,
            visible: extent.end.0,
            flushed: extent.end.0,
            tail: tail.into(),
            tail_from: extent.end.0,
            relocated: extent.relocated.iter().map(|(index, entry)| (index.0, *entry)).collect(),
            ..State::default()
        };
        Self { id, dir, per_file, state: Mutex::new(state) }
    }

    /// Adds the next entry. The caller holds the commit log's append lock.
    pub(crate) fn push(&self, entry: Entry) {
        self.state().tail.push_back(entry);
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
        let mut state = self.state();
        if index.0 < state.first {
            return Ok(state.relocated.get(&index.0).copied());
        }
        if index.0 >= state.end() {
            return Ok(None);
        }
        if let Some(at) = index.0.checked_sub(state.tail_from) {
            return Ok(state.tail.get(at as usize).copied());
        }
        let cached = |state: &State| state.chunk.1.get(index.0.checked_sub(state.chunk.0)? as usize).copied();
        if let Some(entry) = cached(&state) {
            return Ok(Some(entry));
        }
        self.load(&mut state, disk, index.0)?;
        Ok(cached(&state))
    }

    fn load(&self, state: &mut State, disk: &Disk, index: u64) -> Result<()> {
        let file_first = index - index % self.per_file;
        let end = (index + CHUNK).min(file_first + self.per_file).min(state.flushed);
        let mut bytes = vec![0; (end - index) as usize * ENTRY];
        let path = self.path(file_first);
        match disk.open_to_read(path.clone()) {
            Ok(file) => {
                file.read_at((index - file_first) * ENTRY as u64, &mut bytes).at("read", &path)?;
            }
            // The entries are made anew by whoever stumbles over these zeroes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("open", &path, error)),
        }
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        state.chunk = (index, entries.iter().map(Entry::decode).collect());
        Ok(())
    }

    /// Writes the entries of messages before `limit` that are not in the files yet. Returns whether there were any.
    pub(crate) fn flush(&self, disk: &Disk, limit: u64) -> Result<bool> {
        let mut state = self.state();
        let end = state.tail_from + state.tail.partition_point(|entry| entry.end() <= limit) as u64;
        if state.flushed >= end {
            return Ok(false);
        }
        while state.flushed < end {
            let from = state.flushed;
            let file_first = from - from % self.per_file;
            let until = end.min(file_first + self.per_file);
            let tail = state.tail.range((from - state.tail_from) as usize..(until - state.tail_from) as usize);
            let bytes: Vec<u8> = tail.flat_map(Entry::encode).collect();
            self.write(&mut state, disk, file_first, from - file_first, &bytes)?;
            state.flushed = until;
        }
        // There can be more queues than a process may open files.
        state.open = None;
        let kept = (state.flushed - state.tail_from) as usize;
        // `visible` walks over the tail, so nothing it has not seen may go.
        let seen = (state.visible - state.tail_from) as usize;
        for _ in 0..kept.saturating_sub(KEPT).min(seen) {
            state.tail.pop_front();
            state.tail_from += 1;
        }
        Ok(true)
    }

    fn write(&self, state: &mut State, disk: &Disk, file_first: u64, at: u64, bytes: &[u8]) -> Result<()> {
        let path = self.path(file_first);
        if state.open.as_ref().is_none_or(|(first, _)| *first != file_first) {
            disk.make_dir(&self.dir).at("create", &self.dir)?;
            let file = if path.exists() { disk.open(path.clone()) } else { disk.create(path.clone()) };
            state.open = Some((file_first, file.at("open", &path)?));
        }
        let Some((_, file)) = &state.open else { return Ok(()) };
        disk.write_at(file, at * ENTRY as u64, bytes).at("write", &path)?;
        state.unsynced.insert(file_first);
        Ok(())
    }

    /// Makes what was flushed durable.
    pub(crate) fn sync(&self, disk: &Disk) -> Result<()> {
        let mut state = self.state();
        while let Some(file_first) = state.unsynced.first().copied() {
            let path = self.path(file_first);
            let file = disk.open(path.clone()).at("open", &path)?;
            disk.sync_file(&file).at("sync", &path)?;
            disk.sync_dir(&self.dir).at("sync", &self.dir)?;
            state.unsynced.remove(&file_first);
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
        let mut file_first = state.first - state.first % self.per_file;
        while file_first < state.flushed {
            let wanted = (state.flushed - file_first).min(self.per_file) * ENTRY as u64;
            if std::fs::metadata(self.path(file_first)).map_or(0, |file| file.len()) < wanted {
                return false;
            }
            file_first += self.per_file;
        }
        true
    }

    /// Replaces the entries before the tail by those found in the commit log, in the order of their indexes.
    pub(crate) fn rebuild(&self, disk: &Disk, entries: &[(QueueIndex, Entry)]) -> Result<()> {
        let mut state = self.state();
        state.chunk = (0, Vec::new());
        let end = state.flushed;
        for (index, entry) in entries {
            if index.0 < state.first || index.0 >= end {
                continue;
            }
            let file_first = index.0 - index.0 % self.per_file;
            self.write(&mut state, disk, file_first, index.0 - file_first, &entry.encode())?;
        }
        state.open = None;
        Ok(())
    }

    /// The message at `index` was copied to another place of the commit log.
    pub(crate) fn relocate(&self, index: QueueIndex, entry: Entry) {
        self.state().relocated.insert(index.0, entry);
    }

    /// Messages before `first` are no longer handed out from here on.
    pub(crate) fn begin_at(&self, first: QueueIndex) {
        let mut state = self.state();
        state.first = state.first.max(first.0);
    }

    /// Forgets the messages before `first` and removes the files that only tell of them.
    pub(crate) fn retire_before(&self, disk: &Disk, first: QueueIndex) -> Result<()> {
        let mut state = self.state();
        let mut file_first = state.kept_from - state.kept_from % self.per_file;
        state.first = state.first.max(first.0);
        while file_first + self.per_file <= state.first && file_first + self.per_file <= state.flushed {
            let path = self.path(file_first);
            state.unsynced.remove(&file_first);
            state.open = None;
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
        let before = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() == 20);
            let file_first = name.and_then(|name| name.parse::<u64>().ok());
            file_first.is_some_and(|file_first| file_first.saturating_add(self.per_file) <= first)
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

    fn path(&self, file_first: u64) -> PathBuf {
        self.dir.join(format!("{file_first:020}"))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }
}
