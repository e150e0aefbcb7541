//! A consume queue: for each message of one queue, where it lies in the commit log.
//!
//! Derived data: it can be rebuilt from the commit log at any time. Entries are pushed under the commit log's append lock and
//! stay in memory until a thread writes them to their files; entries that are no longer in memory are read from the files. An
//! entry may be there before its message can be read; [`ConsumeQueue::visible`] is the range that a reader may read.
//!
//! Files hold a fixed number of entries and are named by the index of their first. Nothing in them is trusted: whoever
//! follows an entry checks that it leads to the right message.

pub(crate) mod aside;
mod files;
mod recent;
pub(crate) mod slots;
pub(crate) mod sparse;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use popstore_revive::{QueueId, QueueIndex, Run};

use super::chunks::{CHUNK, Chunk, Chunks};
use crate::error::Result;
use crate::format::entry::Entry;
use crate::format::extent::Extent;
use crate::primitives::Hold;
use crate::segment::Disk;
use recent::Recent;

/// How many written entries stay in memory for readers close behind the appends.
const WRITTEN_IN_MEMORY: usize = 256;

/// The end of a queue, while messages are appended to it.
pub(crate) struct Tail<'q>(MutexGuard<'q, QueueState>);

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
    state: Mutex<QueueState>,
    /// Entries that were read from the files of this queue and others.
    chunks: Arc<Chunks>,
}

#[derive(Default)]
struct QueueState {
    /// The first message that retention did not delete.
    first: u64,
    /// The first entry that the files hold.
    filed_from: u64,
    /// The end of what readers may read; the messages before it stay in the commit log.
    visible: u64,
    /// The entries before are in the files.
    flushed: u64,
    /// The entries from `tail_from` to the end of the queue.
    tail: Recent,
    tail_from: u64,
    /// Messages before `first` that were moved because they are still needed.
    relocated: BTreeMap<u64, Entry>,
    /// The entries that were read last.
    chunk: Chunk,
    /// How often the files were written again.
    rebuilds: u64,
    /// Files written since they were synced, by first index.
    unsynced: BTreeSet<u64>,
    /// Damaged messages: the commit log has them nowhere else.
    nowhere: BTreeSet<u64>,
    /// The last file whose name is durable. A file that opening found may have been made by an owner that was killed before that.
    named: Option<u64>,
}

impl QueueState {
    fn end(&self) -> u64 {
        self.tail_from + self.tail.len() as u64
    }

    /// The entry of a message that retention left, if it is one of the last or was read lately.
    #[inline]
    fn in_memory(&self, index: QueueIndex) -> Option<&Entry> {
        match index.0.checked_sub(self.tail_from) {
            _ if index.0 < self.first => None,
            Some(at) => self.tail.get(at as usize),
            None => self.chunk.entry(index),
        }
    }

    /// The entries before `end` are in the files, or not needed there: all but the last of them need not be in memory.
    fn flushed_through(&mut self, end: u64) {
        self.flushed = self.flushed.max(end);
        self.visible = self.visible.max(end);
        let dropped = (self.flushed.saturating_sub(self.tail_from) as usize).saturating_sub(WRITTEN_IN_MEMORY);
        self.tail.forget(dropped);
        self.tail_from += dropped as u64;
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
        let state = QueueState {
            first: extent.first.0,
            filed_from: extent.first.0,
            visible: extent.end.0,
            flushed: extent.end.0,
            tail: tail.into_iter().collect(),
            tail_from: extent.end.0,
            relocated: extent.relocated.iter().map(|(index, entry)| (index.0, *entry)).collect(),
            ..QueueState::default()
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

    /// The first message that was not deleted, except for those that were moved on.
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
        Ok(self.find(self.state(), disk, index)?.1)
    }

    /// Where the messages of a run lie.
    pub(crate) fn entries(&self, disk: &Disk, run: &Run, out: &mut Vec<Option<Entry>>) -> Result<()> {
        let mut state = self.state();
        for index in run.indexes() {
            match state.in_memory(index) {
                Some(entry) => out.push(Some(*entry)),
                None => {
                    let entry;
                    (state, entry) = self.find(state, disk, index)?;
                    out.push(entry);
                }
            }
        }
        Ok(())
    }

    /// Finds where a message lies. The lock is released while a file is read: appends need it, and pops that hold the
    /// ledger's lock.
    fn find<'q>(
        &'q self,
        mut state: MutexGuard<'q, QueueState>,
        disk: &Disk,
        index: QueueIndex,
    ) -> Result<(MutexGuard<'q, QueueState>, Option<Entry>)> {
        loop {
            let known = match state.in_memory(index) {
                None if index.0 < state.first => Some(state.relocated.get(&index.0)),
                None if index.0 < state.tail_from => None,
                entry => Some(entry),
            };
            if let Some(entry) = known.map(|entry| entry.copied()) {
                return Ok((state, entry));
            }
            // At multiples of a chunk in each file: where one group has read another finds it.
            let file_first = self.file_first(index.0);
            let first = index.0 - (index.0 - file_first) % CHUNK;
            if let Some(chunk) = self.chunks.get(self.id, first).filter(|chunk| chunk.entry(index).is_some()) {
                state.chunk = chunk;
                continue;
            }
            let end = (first + CHUNK).min(file_first + self.per_file).min(state.flushed);
            let rebuilds = state.rebuilds;
            drop(state);
            let chunk = Chunk::read(disk, self.path(file_first), file_first, first..end)?;
            state = self.state();
            // What was read may be from before the files were written again, or retention may have moved the message on.
            if state.rebuilds == rebuilds && index.0 >= state.first {
                self.chunks.insert(self.id, &chunk);
                let entry = chunk.entry(index).copied();
                state.chunk = chunk;
                return Ok((state, entry));
            }
        }
    }

    /// Whether the commit log was searched for a message that does not lie where its entry says, and had none.
    pub(crate) fn was_sought_in_vain(&self, index: QueueIndex) -> bool {
        self.state().nowhere.contains(&index.0)
    }

    pub(crate) fn seek_no_more(&self, index: QueueIndex) {
        self.state().nowhere.insert(index.0);
    }

    /// The queue as a mark describes it: how far the files reach.
    pub(crate) fn extent(&self) -> Extent {
        let state = self.state();
        Extent {
            first: QueueIndex(state.first),
            end: QueueIndex(state.flushed),
            relocated: state.relocated.iter().map(|(index, entry)| (QueueIndex(*index), *entry)).collect(),
        }
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

    /// The messages that were moved and are still needed.
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

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.hold()
    }
}
