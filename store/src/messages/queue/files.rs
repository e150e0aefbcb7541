//! The files of a consume queue: entries are written to them, made durable, made anew, and removed.

use std::ops::Range;
use std::path::PathBuf;

use popstore_revive::QueueIndex;

use super::super::chunks::Chunk;
use super::ConsumeQueue;
use crate::error::{At, Error, Result};
use crate::format::entry::{ENTRY, Entry};
use crate::log::Name;
use crate::primitives::Hold;
use crate::segment::{Disk, StoreFile};

/// How many entries are written at once, and how many of them are copied while appends of the queue wait: few enough that
/// these need not go to sleep.
const FLUSHED_AT_ONCE: u64 = 4096;
const COPIED_AT_ONCE: usize = 32;

impl ConsumeQueue {
    /// Writes the entries of messages before `limit`, which are durable, as far as they are not in the files yet, and
    /// makes them durable. Appends and reads go on meanwhile.
    pub(crate) fn flush(&self, disk: &Disk, limit: u64) -> Result<()> {
        let _alone = self.files.hold();
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
            let file_end = self.file_first(state.flushed).saturating_add(self.per_file);
            (state.flushed, file_end.min(state.flushed.saturating_add(FLUSHED_AT_ONCE)).min(state.end()))
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

    /// Whether the files hold as many entries as they should.
    pub(crate) fn files_are_long_enough(&self) -> bool {
        let state = self.state();
        if state.first >= state.flushed {
            return true;
        }
        let mut file_first = self.file_first(state.first);
        while file_first < state.flushed {
            let wanted = (state.flushed - file_first).min(self.per_file) * ENTRY as u64;
            let found = std::fs::symlink_metadata(self.path(file_first)).ok().filter(std::fs::Metadata::is_file);
            if found.map_or(0, |file| file.len()) < wanted {
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
        let _alone = self.files.hold();
        let (in_files, mut open) = (self.in_files(), None);
        for (index, entry) in entries.iter().filter(|(index, _)| in_files.contains(&index.0)) {
            self.write(&mut open, disk, index.0, &entry.encode())?;
        }
        let mut state = self.state();
        state.chunk = Chunk::default();
        self.chunks.forget(self.id);
        Ok(())
    }

    /// Forgets the messages before `first` and removes the files that only tell of them.
    pub(crate) fn retire_before(&self, disk: &Disk, first: QueueIndex) -> Result<()> {
        let _alone = self.files.hold();
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

    /// The files that do not belong to the queue, and why: those that only speak of messages before the first, which
    /// retention was killed before it removed, and those of an open that put another number of entries into each.
    pub(crate) fn left_files(&self) -> Vec<(PathBuf, &'static str)> {
        let (first, flushed) = {
            let state = self.state();
            (state.first, state.flushed)
        };
        if flushed == 0 {
            return Vec::new();
        }
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        // They are named like segments: by a number.
        let why = |path: &PathBuf| match Name::of(path) {
            Some(Name::Segment(file_first)) if file_first.saturating_add(self.per_file) <= first => {
                Some("retention was about to: the queue begins behind it")
            }
            Some(Name::Segment(file_first)) if file_first % self.per_file != 0 => {
                Some("it begins where no file of so many entries does: the queue is made again from the log")
            }
            _ => None,
        };
        paths.filter_map(|path| why(&path).map(|why| (path, why))).collect()
    }
}
