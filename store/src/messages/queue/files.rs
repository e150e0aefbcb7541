//! The files of a consume queue: entries are written to them and made durable; files are rebuilt and removed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use popstore_revive::QueueIndex;

use super::super::chunks::Chunk;
use super::ConsumeQueue;
use crate::error::{At, Result};
use crate::format::entry::{ENTRY, Entry};
use crate::log::Name;
use crate::primitives::Hold;
use crate::segment::{Disk, StoreFile};

/// How many entries are written at once, and how many of them are copied while appends of the queue wait: few enough that
/// these need not sleep.
const FLUSHED_AT_ONCE: u64 = 4096;
const COPIED_AT_ONCE: usize = 32;

impl ConsumeQueue {
    /// Writes the entries of messages before `limit`, which are durable, as far as they are not in the files yet, and
    /// makes them durable. Appends and reads continue meanwhile.
    pub(crate) fn flush(&self, disk: &Disk, limit: u64) -> Result<()> {
        let _alone = self.files.hold();
        let mut open = None;
        while let Some((from, bytes)) = self.unflushed(limit) {
            self.write(&mut open, disk, from, &bytes)?;
            self.state().flushed_through(from + (bytes.len() / ENTRY) as u64);
        }
        self.sync(open, disk)
    }

    /// The next entries to write, as bytes; all for one file. Only the caller advances `flushed`.
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

    /// Makes the written entries durable.
    fn sync(&self, open: Option<(u64, StoreFile)>, disk: &Disk) -> Result<()> {
        let mut open = open;
        // Taken out first: entries that are written while the sync runs need another.
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
            file_first = file_first.saturating_add(self.per_file);
        }
        true
    }

    /// The messages of which the entries are in files.
    pub(crate) fn in_files(&self) -> Range<u64> {
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
        state.rebuilds += 1;
        self.chunks.forget(self.id);
        Ok(())
    }

    /// Forgets the messages before `first` and removes the files that hold only their entries.
    pub(crate) fn retire_before(&self, disk: &Disk, first: QueueIndex) -> Result<()> {
        let _alone = self.files.hold();
        let (mut file_first, end) = {
            let mut state = self.state();
            state.first = state.first.max(first.0);
            let end = self.file_first(state.first.min(state.flushed));
            state.unsynced = state.unsynced.split_off(&end);
            (self.file_first(state.filed_from), end)
        };
        let mut listed = None;
        while file_first < end {
            let path = self.path(file_first);
            file_first = match disk.remove(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A queue that begins at a far number has no files for most of those before.
                    let listed = listed.get_or_insert_with(|| self.listed());
                    listed.range(file_first + 1..end).next().copied().unwrap_or(end)
                }
                removed => removed.map(|()| file_first + self.per_file).at("remove", &path)?,
            };
            self.state().filed_from = file_first;
        }
        Ok(())
    }

    /// The first indexes of the files that are there. What cannot be listed stays until the next opening.
    fn listed(&self) -> BTreeSet<u64> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let names = entries.filter_map(|entry| match Name::of(&entry.path()) {
            Some(Name::Segment(first)) => Some(first),
            _ => None,
        });
        names.filter(|first| first.is_multiple_of(self.per_file)).collect()
    }

    /// The files that do not belong to the queue, and why: those with entries of messages before the first only, which
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
                Some("retention was about to delete it: the queue begins behind it")
            }
            Some(Name::Segment(file_first)) if file_first % self.per_file != 0 => {
                Some("no file with this number of entries begins there: the queue is rebuilt from the log")
            }
            _ => None,
        };
        paths.filter_map(|path| why(&path).map(|why| (path, why))).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use popstore_revive::QueueId;

    use super::*;
    use crate::format::extent::Extent;

    /// A queue of one entry for each file, with files for these messages only.
    fn queue(range: Range<u64>, there: &[u64]) -> (tempfile::TempDir, Disk, ConsumeQueue) {
        let home = tempfile::tempdir().unwrap();
        let disk = Disk::open_dir(home.path(), 0o600, None).unwrap();
        let extent = Extent { first: QueueIndex(range.start), end: QueueIndex(range.end), ..Extent::default() };
        let dir = home.path().join("0");
        disk.make_dir(&dir).unwrap();
        let queue = ConsumeQueue::new(QueueId::default(), dir, 1, &extent, Vec::new(), Arc::default());
        there.iter().for_each(|at| std::fs::write(queue.path(*at), [0; ENTRY]).unwrap());
        (home, disk, queue)
    }

    /// A step for each number would take years.
    #[test]
    fn files_are_removed_by_their_names_and_not_by_all_numbers() {
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let (_home, disk, queue) = queue(0..1 << 60, &[0, 1, 1 << 50, 1 << 58, 1 << 59]);
            queue.retire_before(&disk, QueueIndex(1 << 59)).unwrap();
            done.send(queue.listed())
        });
        assert_eq!(wait.recv_timeout(Duration::from_mins(5)), Ok(BTreeSet::from([1 << 59])));
    }

    #[test]
    fn files_at_the_end_of_the_numbers_are_checked_and_removed() {
        let end = u64::MAX;
        let (_home, disk, queue) = queue(end - 3..end, &[end - 3, end - 2, end - 1]);
        assert!(queue.files_are_long_enough());
        assert!(queue.left_files().is_empty());
        queue.retire_before(&disk, QueueIndex(end)).unwrap();
        assert!(queue.listed().is_empty() && queue.files_are_long_enough());
    }
}
