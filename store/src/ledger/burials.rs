//! What the reviver has yet to bury: a memo beside the index, which knows it all.

use std::collections::BTreeSet;

use popstore_revive::{Burying, Change, Index, Place, Time};

/// The blocks with messages that have used up their deliveries and were not tried yet.
#[derive(Default)]
pub(super) struct Burials {
    blocks: BTreeSet<Place>,
    /// When everything is tried once more.
    retry_at: Option<Time>,
}

impl Burials {
    /// Takes note of a change that leaves messages to be buried.
    pub(super) fn note(&mut self, change: &Change<'_>) {
        if let Change::Ended { group, runs, .. } | Change::Nacked { group, runs, .. } = change {
            self.blocks.extend(runs.iter().map(|run| (*group, run.queue, run.block)));
        }
    }

    /// Something is left over: all is tried once more at that time.
    pub(super) fn retry_at(&mut self, at: Time) {
        self.retry_at = Some(self.retry_at.map_or(at, |before| before.min(at)));
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        if self.blocks.is_empty() { self.retry_at } else { Some(Time(0)) }
    }

    /// What is to be tried now, of a number of blocks.
    pub(super) fn take(&mut self, index: &Index, now: Time, blocks_max: usize) -> Vec<Burying> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.blocks.extend(index.to_bury());
        }
        let next = std::iter::from_fn(|| self.blocks.pop_first());
        next.take(blocks_max).flat_map(|place| index.burials(place)).collect()
    }
}
