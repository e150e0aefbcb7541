//! A consume queue as the two logs describe it, without its files.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use popstore_revive::QueueIndex;

use crate::format::entry::Entry;
use crate::format::extent::Extent;

/// A queue as the logs describe it.
#[derive(Clone, Default)]
pub(crate) struct FoundQueue {
    pub(crate) first: u64,
    /// The entries before are in the queue's files.
    pub(crate) marked: u64,
    pub(crate) end: u64,
    /// The last copy of a message takes effect.
    pub(crate) relocated: BTreeMap<u64, Entry>,
    /// The entries behind the mark, as runs of neighbours, each with its first index; one run but for damage.
    tail: Vec<(u64, Vec<Entry>)>,
}

/// A queue without messages.
pub(crate) static EMPTY: FoundQueue =
    FoundQueue { first: 0, marked: 0, end: 0, relocated: BTreeMap::new(), tail: Vec::new() };

impl FoundQueue {
    /// The queue as a mark describes it.
    pub(super) fn marked(extent: &Extent) -> Self {
        let relocated = extent.relocated.iter().map(|(index, entry)| (index.0, *entry)).collect();
        let (first, end) = (extent.first.0, extent.end.0);
        Self { first, marked: end, end, relocated, tail: Vec::new() }
    }

    /// Adds a message at its end, or behind that where messages are missing.
    pub(super) fn push(&mut self, index: u64, entry: Entry, entries_left: &mut usize) {
        if self.end == 0 {
            self.first = index;
        }
        if *entries_left > 0 && (index >= self.end || self.tail.is_empty()) {
            *entries_left -= 1;
            match self.tail.last_mut().filter(|(first, run)| first.saturating_add(run.len() as u64) == index) {
                Some((_, run)) => run.push(entry),
                None => self.tail.push((index, vec![entry])),
            }
        }
        self.end = self.end.max(index.saturating_add(1));
    }

    /// Where a message lies that is not in the queue's files.
    pub(crate) fn entry(&self, index: u64) -> Option<Entry> {
        let in_tail = || {
            let behind = self.tail.partition_point(|(first, _)| *first <= index);
            let (first, run) = &self.tail[behind.checked_sub(1)?];
            run.get(usize::try_from(index - first).ok()?).copied()
        };
        self.relocated.get(&index).copied().or_else(in_tail)
    }

    /// The relocated messages before the first one, and then all from that on.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = u64> + '_ {
        let moved = self.relocated.range((Unbounded, Excluded(self.first))).map(|(index, _)| *index);
        moved.chain(self.first..self.end)
    }

    /// The marked extent and the entries behind it, which are handed over.
    pub(super) fn take(&mut self) -> (Extent, Vec<Entry>) {
        let relocated = self.relocated.iter().map(|(index, entry)| (QueueIndex(*index), *entry)).collect();
        let extent = Extent { first: QueueIndex(self.first), end: QueueIndex(self.marked), relocated };
        let mut tail = std::mem::take(&mut self.tail).into_iter().map(|(_, run)| run);
        let mut entries = tail.next().unwrap_or_default();
        tail.for_each(|run| entries.extend(run));
        (extent, entries)
    }
}
