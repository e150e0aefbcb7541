//! What an index tells about itself, message by message, and the log that rebuilds it.

use std::collections::BTreeMap;

use popstore_revive::*;

use super::{Held, Place};

/// The places a run names; no queue ever reaches the last number there is.
pub(crate) fn indexes(run: &Run) -> impl Iterator<Item = u64> + use<> {
    let Run { block, mask, .. } = *run;
    let set = (0..64).filter(move |bit| mask >> bit & 1 == 1);
    set.filter_map(move |bit| block.checked_mul(64)?.checked_add(bit)).filter(|at| *at < u64::MAX)
}

/// The pieces of a whole walk over an index that stands still.
pub(crate) fn pieces(index: &Index, blocks_max: usize) -> Vec<Change<'static>> {
    let mut cursor = Cursor::default();
    std::iter::from_fn(|| index.image(&mut cursor, blocks_max)).collect()
}

/// Everything an index holds, as it stands in memory.
pub(crate) fn held(index: &Index) -> BTreeMap<Place, Held> {
    let mut held = BTreeMap::new();
    for group in index.groups() {
        for (queue, _) in index.positions(group) {
            for (block, cohort) in index.unsettled(group, queue) {
                let run = Run { queue, block, mask: cohort.mask, delivery: cohort.delivery };
                held.extend(indexes(&run).map(|at| ((group, queue, at), Held::from(&cohort))));
            }
        }
    }
    held
}

/// What an index decided, message by message.
pub(crate) fn outcomes(decided: &[Decision]) -> Vec<(Place, u32, Verdict)> {
    let each = decided.iter().flat_map(|Decision { group, run, verdict }| {
        indexes(run).map(move |at| ((*group, run.queue, at), run.delivery, *verdict))
    });
    let mut outcomes: Vec<_> = each.collect();
    outcomes.sort();
    outcomes
}

/// A change that owns its runs.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    change: Change<'static>,
    runs: Vec<Run>,
}

impl Logged {
    /// The runs take the place of those of the change, which names none.
    pub(crate) fn new(change: Change<'static>, runs: Vec<Run>) -> Self {
        Self { change, runs }
    }

    /// The change with its runs.
    pub(crate) fn told(&self) -> Change<'_> {
        self.change.with_runs(&self.runs)
    }
}

/// The index that a log rebuilds.
pub(crate) fn replay<'a>(log: impl IntoIterator<Item = &'a Logged>) -> Index {
    let mut index = Index::default();
    for logged in log {
        index.apply(&logged.told());
    }
    index
}

/// A whole snapshot of an index that stands still: its images and its redriven letters.
pub(crate) fn snapshot(index: &Index, blocks_max: usize) -> Vec<Logged> {
    let images = pieces(index, blocks_max).into_iter().map(|piece| Logged::new(piece, vec![]));
    images.chain([Logged::new(Change::Redriven { runs: &[] }, index.redriven().collect())]).collect()
}
