//! The unsettled messages of one block of 64 neighbours, grouped into cohorts that share their history.

use crate::{Counts, DELIVERY_MAX, EndReason, QueueId, QueueIndex, Run, Time};

/// What an unsettled message is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A consumer holds it until `due`.
    InFlight,
    /// It has used up its deliveries and belongs into the dead-letter queue.
    Ended(EndReason),
    /// It is hidden until `due`; from then on it can be delivered again.
    Waiting,
}

/// Messages of one block with the same history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cohort {
    /// Which of the block's messages.
    pub mask: u64,
    /// When they were handed out last.
    pub popped_at: Time,
    /// When `due` was set.
    pub since: Time,
    /// When the lease ends, or the message becomes visible.
    pub due: Time,
    /// The number of the last delivery: 1 is the first. It names the lease, and never goes down.
    pub delivery: u32,
    /// How many of the deliveries do not count, since they were given back so.
    pub uncounted: u32,
    /// The store's generation at the last delivery.
    pub generation: u32,
    /// What they are doing.
    pub state: State,
}

impl Cohort {
    /// The attempt of the last delivery: how many of them count. 0 where all were given back.
    pub fn attempt(&self) -> u32 {
        self.delivery.saturating_sub(self.uncounted)
    }

    /// The same for the limit: there is no delivery behind the last that there can be.
    pub(crate) fn attempt_at_limit(&self) -> u32 {
        if self.delivery >= DELIVERY_MAX { DELIVERY_MAX } else { self.attempt() }
    }

    /// Whether its messages can be delivered at `now`.
    pub(crate) fn is_ready(&self, now: Time) -> bool {
        self.state == State::Waiting && self.due <= now
    }

    /// Whether its lease is over at `at`.
    pub(crate) fn is_over(&self, at: Time) -> bool {
        self.state == State::InFlight && self.due <= at
    }

    /// The places of its messages, in a block of this number.
    pub fn indexes(&self, block: u64) -> impl Iterator<Item = QueueIndex> + use<> {
        let queue = QueueId::default();
        Run { queue, block, mask: self.mask, delivery: self.delivery }.indexes()
    }

    fn same_history(&self, other: &Self) -> bool {
        Self { mask: 0, ..*self } == Self { mask: 0, ..*other }
    }
}

/// The unsettled messages of one block.
///
/// Invariant: the masks of the cohorts are not empty and do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) cohorts: Vec<Cohort>,
}

impl Block {
    /// Whether nothing is held here any more.
    pub(crate) fn is_hole(&self) -> bool {
        self.cohorts.is_empty()
    }

    /// The unsettled messages.
    pub(crate) fn mask(&self) -> u64 {
        self.cohorts.iter().fold(0, |mask, cohort| mask | cohort.mask)
    }

    /// The messages of which no delivery counts: they were given back before.
    pub(crate) fn undelivered(&self) -> u64 {
        self.cohorts.iter().filter(|cohort| cohort.attempt() == 0).fold(0, |mask, cohort| mask | cohort.mask)
    }

    /// The cohort of one message.
    pub(crate) fn cohort(&self, bit: u64) -> Option<&Cohort> {
        self.cohorts.iter().find(|cohort| cohort.mask & bit != 0)
    }

    /// What an agenda has to know of it.
    #[inline]
    pub(crate) fn times(&self) -> Times {
        let mut times = Times { lease_end: None, waits: false, ended: false, undelivered: false };
        for cohort in &self.cohorts {
            times.undelivered |= cohort.attempt() == 0;
            match cohort.state {
                State::InFlight => {
                    times.lease_end = Some(times.lease_end.map_or(cohort.due, |due| due.min(cohort.due)));
                }
                State::Waiting => times.waits = true,
                State::Ended(_) => times.ended = true,
            }
        }
        times
    }

    /// When its hidden messages become visible, once for each cohort of them.
    pub(crate) fn waits(&self) -> impl Iterator<Item = Time> {
        self.cohorts.iter().filter(|cohort| cohort.state == State::Waiting).map(|cohort| cohort.due)
    }

    /// Adds a cohort for messages that were not held before.
    pub(crate) fn insert(&mut self, cohort: Cohort, counts: &mut Counts) {
        debug_assert_eq!(self.mask() & cohort.mask, 0);
        counts.add(cohort.state, cohort.mask.count_ones());
        self.join(cohort);
    }

    /// Runs `step` over the part of each cohort that lies in `mask`: it returns the cohort's new history, or `None`
    /// when its messages are settled, or leaves the cohort alone with `Err`. Returns what was changed.
    pub(crate) fn edit(
        &mut self,
        mask: u64,
        counts: &mut Counts,
        mut step: impl FnMut(&Cohort) -> Result<Option<Cohort>, Untouched>,
    ) -> u64 {
        let mut touched = 0;
        for at in 0..self.cohorts.len() {
            let hit = self.cohorts[at].mask & mask & !touched;
            if hit == 0 {
                continue;
            }
            let part = Cohort { mask: hit, ..self.cohorts[at] };
            let Ok(next) = step(&part) else { continue };
            touched |= hit;
            // Order matters: what stays as it is stays where it is, so that a change seen twice moves nothing.
            if next.is_some_and(|next| next.same_history(&part)) {
                continue;
            }
            counts.sub(part.state, hit.count_ones());
            self.cohorts[at].mask &= !hit;
            if let Some(next) = next {
                counts.add(next.state, hit.count_ones());
                self.join(Cohort { mask: hit, ..next });
            }
        }
        self.cohorts.retain(|cohort| cohort.mask != 0);
        touched
    }

    fn join(&mut self, cohort: Cohort) {
        match self.cohorts.iter_mut().find(|known| known.mask != 0 && known.same_history(&cohort)) {
            Some(known) => known.mask |= cohort.mask,
            None => {
                // Most blocks have one cohort or two, and there are very many blocks.
                if self.cohorts.len() == self.cohorts.capacity() {
                    self.cohorts.reserve_exact(1 + self.cohorts.len() / 2);
                }
                self.cohorts.push(cohort);
            }
        }
    }
}

/// What a block waits for.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// When the first of its leases ends.
    pub(crate) lease_end: Option<Time>,
    /// Whether some of its messages are hidden or ready.
    pub(crate) waits: bool,
    /// Whether a message has used up its deliveries.
    pub(crate) ended: bool,
    /// Whether no delivery of a message counts.
    pub(crate) undelivered: bool,
}

/// The step does not apply to this cohort.
pub(crate) struct Untouched;
