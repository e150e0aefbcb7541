//! The entries of a queue that are in memory: those that no file has yet, and the last ones before them.
//!
//! In blocks that stay where they are. One piece of memory that is copied to one of twice its length is no worse for one
//! queue; but appends in turns to ten thousand of them took 1.3 times as long, most of it on new pages, and five times as
//! long while all of them grew.

use std::collections::VecDeque;

use crate::format::entry::Entry;

/// The entries of a block: half a KiB.
const BLOCK: usize = 32;

#[derive(Default)]
pub(super) struct Recent {
    full: VecDeque<Vec<Entry>>,
    last: Vec<Entry>,
    /// How many entries of the first block were dropped.
    dropped: usize,
}

impl Recent {
    pub(super) fn len(&self) -> usize {
        self.full.len() * BLOCK + self.last.len() - self.dropped
    }

    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        if self.last.len().is_multiple_of(BLOCK) {
            self.begin_block();
        }
        self.last.push(entry);
    }

    #[cold]
    fn begin_block(&mut self) {
        let full = std::mem::replace(&mut self.last, Vec::with_capacity(BLOCK));
        if !full.is_empty() {
            self.full.push_back(full);
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Entry> {
        let at = self.dropped + at;
        self.full.get(at / BLOCK).unwrap_or(&self.last).get(at % BLOCK).filter(|_| at / BLOCK <= self.full.len())
    }

    /// The entries from `at` on.
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = &Entry> {
        (at..self.len()).map_while(|at| self.get(at))
    }

    /// Drops the first entries.
    pub(super) fn forget(&mut self, count: usize) {
        self.dropped += count.min(self.len());
        let blocks = (self.dropped / BLOCK).min(self.full.len());
        self.full.drain(..blocks);
        self.dropped -= blocks * BLOCK;
    }
}

impl FromIterator<Entry> for Recent {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut recent = Self::default();
        entries.into_iter().for_each(|entry| recent.push(entry));
        recent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64) -> Entry {
        Entry { offset: number, ..Entry::default() }
    }

    proptest! {
        #[test]
        fn it_has_what_a_list_would_have(steps in proptest::collection::vec((0_usize..100, 0_usize..100), 0..20)) {
            let (mut recent, mut list, mut next) = (Recent::default(), VecDeque::new(), 0);
            for (pushed, dropped) in steps {
                for _ in 0..pushed {
                    recent.push(entry(next));
                    list.push_back(entry(next));
                    next += 1;
                }
                recent.forget(dropped);
                list.drain(..dropped.min(list.len()));
                prop_assert_eq!(recent.len(), list.len());
                let middle = list.len() / 2;
                prop_assert!(recent.from(middle).eq(list.range(middle..)));
                prop_assert_eq!([0, middle, list.len()].map(|at| recent.get(at)), [0, middle, list.len()].map(|at| list.get(at)));
            }
        }
    }
}
