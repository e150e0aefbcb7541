//! Which blocks of a file were ever written, and which never will be.
//!
//! Space that a file was only given counts as unwritten until a page of it was stored and synced. ext4 forgets that when the
//! first write of the page fails: later ones succeed and leave the block unwritten, so that after a power cut the page is
//! what it was before. Another file, or space that is given afresh, has no such blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const PAGE: usize = 4096;

#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// Pages that were written to by a call since they were synced.
    dirty: BTreeSet<usize>,
    /// Pages that a sync made durable after they were written.
    written: BTreeSet<usize>,
    /// Pages that reach the disk no more, and what it has of them.
    stuck: BTreeMap<usize, Vec<u8>>,
}

impl Blocks {
    pub fn written(&mut self, part: Range<usize>) {
        self.dirty.extend(pages(&part));
    }

    /// A part of the file was synced; what is stored through a map is noticed by what it holds.
    pub fn synced(&mut self, part: Range<usize>) {
        let synced: Vec<usize> = self.dirty.iter().copied().filter(|page| pages(&part).contains(page)).collect();
        for page in synced {
            self.dirty.remove(&page);
            if !self.stuck.contains_key(&page) {
                self.written.insert(page);
            }
        }
    }

    pub fn made_afresh(&mut self, part: Range<usize>) {
        for page in part.start.div_ceil(PAGE)..part.end / PAGE {
            self.stuck.remove(&page);
            self.dirty.remove(&page);
            self.written.remove(&page);
        }
    }

    /// What was changed since the last sync and never written before is stuck as it was.
    pub fn sync_failed(&mut self, before: &[u8], now: &[u8]) {
        let of = |bytes: &[u8], page: usize| {
            let mut own = vec![0; PAGE];
            let from = bytes.get(page * PAGE..).unwrap_or_default();
            let len = from.len().min(PAGE);
            own[..len].copy_from_slice(&from[..len]);
            own
        };
        for page in 0..now.len().div_ceil(PAGE) {
            let changed = self.dirty.contains(&page) || of(before, page) != of(now, page);
            if changed && !self.written.contains(&page) {
                self.stuck.entry(page).or_insert_with(|| of(before, page));
            }
        }
    }

    /// Puts what the disk has in place of what is stuck.
    pub fn hold_back(&self, bytes: &mut [u8]) {
        for (page, own) in &self.stuck {
            if let Some(at) = bytes.get_mut(page * PAGE..) {
                let len = at.len().min(PAGE);
                at[..len].copy_from_slice(&own[..len]);
            }
        }
    }
}

fn pages(part: &Range<usize>) -> Range<usize> {
    part.start / PAGE..part.end.div_ceil(PAGE)
}
