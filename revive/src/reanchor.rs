//! A clock that was set back: no wait lasts longer from then on than it was set to last.

use crate::block::Untouched;
use crate::index::Index;
use crate::{Cohort, Place, Time};

impl Cohort {
    /// When its wait ends at the latest if it begins at `at`.
    fn latest(&self, at: Time) -> Time {
        at.after(self.due.since(self.since))
    }
}

impl Index {
    /// Whether a wait lasts longer from `at` on than it was set to last: the clock was set back, and
    /// [`crate::Change::Reanchored`] mends it. Visits everything that is held.
    pub fn outlasts(&self, at: Time) -> bool {
        let queues = self.groups.values().flat_map(|group| group.queues.values());
        let mut cohorts = queues.flat_map(|queue| queue.blocks.iter()).flat_map(|(_, block)| &block.cohorts);
        cohorts.any(|cohort| cohort.due > cohort.latest(at))
    }

    /// Shortens such waits, and says of how many messages.
    pub(crate) fn reanchor(&mut self, at: Time) -> u64 {
        let places: Vec<Place> = self.places().collect();
        let mut shortened = 0;
        for place in places {
            let touched = self.change_block(place, |block, counts| {
                block.edit(u64::MAX, counts, |cohort| match cohort.latest(at) {
                    latest if cohort.due > latest => Ok(Some(Cohort { since: at, due: latest, ..*cohort })),
                    _ => Err(Untouched),
                })
            });
            shortened += u64::from(touched.count_ones());
        }
        shortened
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        self.groups.iter().flat_map(|(group, known)| {
            let queues = known.queues.iter();
            queues.flat_map(|(queue, held)| held.blocks.iter().map(|(number, _)| (*group, *queue, number)))
        })
    }
}
