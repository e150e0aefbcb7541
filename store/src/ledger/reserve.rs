//! The reserve: on a full disk the checkpoint log lives off the space that it has, and must never be without a way out.
//!
//! A **snapshot** is that way: it tells the live state again and lets go of the segments before it. Let `live` be what the
//! next one takes at most, `segment` the length of a segment, `space` all segments and spares of the log. A snapshot needs
//! `live` bytes behind the end of the log, and when it is done the log is not longer than `live + segment`. So while there
//! is no more space to be had,
//!
//! 1. whatever makes the live state grow (pops, nacks, extensions, new groups) is refused when `space` is less than
//!    `5/2 live + 7/4 segment`;
//! 2. a snapshot is made when no more than `live + 1/2 segment` is free.
//!
//! Between two snapshots at least `1/2 live + 1/4 segment` can be written then: acks go on for ever, at a cost that does not
//! depend on how many there are, and there is room to close and to open again.

use std::sync::atomic::{AtomicU64, Ordering};

use popstore_revive::Told;

use crate::engine::Engine;
use crate::error::{At, Result};
use crate::primitives::Hold;

/// What a snapshot needs for a cohort, a queue of a group, and a burial that is remembered, at most but for odd numbers.
const COHORT_BYTES: u64 = 48;
const QUEUE_BYTES: u64 = 96;
const BURIED_BYTES: u64 = 12;
/// The live state is looked at so many times while a segment is filled, less often the more queues must be counted for it.
const LOOKS: std::ops::RangeInclusive<u64> = 8..=32;
const BYTES_PER_QUEUE: u64 = 64;

/// What is known of the live state.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    /// What the next snapshot takes at most.
    live: AtomicU64,
    /// What the last one took, and what it was thought to.
    snapshot: AtomicU64,
    snapshot_weight: AtomicU64,
    /// From this end of the checkpoint log on the live state is looked at again.
    look_at: AtomicU64,
}

impl Reserve {
    /// What is known behind a snapshot of that length, which told that much.
    pub(crate) fn behind(snapshot_bytes: u64, told: Told) -> Self {
        let reserve = Self::default();
        reserve.snapshot_was(snapshot_bytes, told);
        reserve
    }

    fn snapshot_was(&self, bytes: u64, told: Told) {
        self.live.store(bytes, Ordering::Relaxed);
        self.snapshot.store(bytes, Ordering::Relaxed);
        self.snapshot_weight.store(weight(told), Ordering::Relaxed);
    }

    /// Looks at the live state. Returns whether a snapshot would tell much more or much less than the last one.
    fn look(&self, told: Told) -> bool {
        let (weight, before) = (weight(told), self.snapshot_weight.load(Ordering::Relaxed));
        let grown = weight.saturating_sub(before);
        self.live.store(self.snapshot.load(Ordering::Relaxed) + grown, Ordering::Relaxed);
        weight.abs_diff(before) > before / 4
    }

    /// How many bytes should be at hand besides the log: until the next snapshot is complete there may be twice as much as
    /// the last one in new records, and then it.
    pub(crate) fn wanted(&self) -> u64 {
        3 * self.live()
    }

    fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}

fn weight(told: Told) -> u64 {
    told.queues * QUEUE_BYTES + told.cohorts * COHORT_BYTES + told.buried * BURIED_BYTES
}

impl Engine {
    /// Refuses what makes the live state grow when the reserve is not enough for that. Holds no lock before and after.
    pub(crate) fn check_reserve(&self) -> Result<()> {
        let log = &self.checkpoint;
        if log.appended() >= self.reserve.look_at.load(Ordering::Relaxed) {
            self.look_at_live_state();
        }
        if !log.lacks_space() || log.space_at_once().is_some_and(|(space, _)| self.is_enough(space)) {
            return Ok(());
        }
        // What prepares ahead may be behind, or there may be space again.
        while matches!(log.prepare(), Ok(true)) {}
        if self.may_grow() || self.lets_go_of_what_was_settled()? {
            return Ok(());
        }
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "the rest is for acks of what is in flight");
        Err(full).at("grow", &self.dir.join("checkpoint"))
    }

    /// Looks at the live state, and asks for more spares before they are needed: half as much again may live by then. Also
    /// behind what makes many queues known to a group in one go, since the disk may be full at the next look.
    pub(crate) fn look_at_live_state(&self) {
        let (log, reserve, segment) = (&self.checkpoint, &self.reserve, self.options.checkpoint_segment_bytes);
        let told = self.consumers().index.told();
        reserve.look(told);
        let next = (told.queues * BYTES_PER_QUEUE).clamp(segment / LOOKS.end(), segment / LOOKS.start());
        reserve.look_at.store(log.appended() + next, Ordering::Relaxed);
        let margin = reserve.live() / 2;
        if log.space_at_once().is_some_and(|(space, _)| !self.is_enough(space.saturating_sub(margin))) {
            log.keep_spare(reserve.wanted());
        }
    }

    fn may_grow(&self) -> bool {
        !self.checkpoint.lacks_space() || self.is_enough(self.checkpoint.space().0)
    }

    /// What was settled since the last snapshot is not in the way: a new one tells less. Returns whether there may be more then.
    fn lets_go_of_what_was_settled(&self) -> Result<bool> {
        let _one_at_a_time = self.keeping.hold();
        let told = self.consumers().index.told();
        let differs = self.reserve.look(told);
        let (space, used) = self.checkpoint.space();
        if differs && !self.is_enough(space) && space.saturating_sub(used) > self.reserve.live() {
            self.snapshot()?;
        }
        Ok(self.may_grow())
    }

    /// Whether so much space is enough for the live state to grow (rule 1).
    fn is_enough(&self, space: u64) -> bool {
        let (live, segment) = (self.reserve.live(), self.options.checkpoint_segment_bytes);
        space >= 5 * live / 2 + 7 * segment / 4
    }

    /// Whether it is time for a snapshot since there may be no room for it later (rule 2), and one that frees enough.
    fn must_free_checkpoint_room(&self) -> bool {
        let log = &self.checkpoint;
        if log.is_short() || !log.lacks_space() {
            return log.is_short();
        }
        let (live, segment) = (self.reserve.live(), self.options.checkpoint_segment_bytes);
        let is_tight = |(space, used): (u64, u64)| {
            space.saturating_sub(used) <= live + segment / 2 && 4 * used >= 5 * (live + segment)
        };
        log.space_at_once().is_some_and(is_tight)
    }

    /// Makes sure that there is room for the next snapshot (rule 2).
    pub(crate) fn see_to_reserve(&self) {
        if self.must_free_checkpoint_room() {
            self.free_checkpoint_room();
        }
    }

    /// On a full disk, makes the snapshot that frees the segments before it; who finds the log short does not go on without.
    fn free_checkpoint_room(&self) {
        if self.checkpoint.prepare().is_ok() && !self.checkpoint.lacks_space() {
            return;
        }
        let _one_at_a_time = self.keeping.hold();
        // Someone else may have been at it meanwhile.
        let _ = self.checkpoint.prepare();
        if self.checkpoint.lacks_space() && self.must_free_checkpoint_room() && self.checkpoint.segments().len() > 1 {
            self.tell_failure("snapshot", self.snapshot());
        }
    }

    /// A snapshot of that length is complete.
    pub(crate) fn note_snapshot(&self, bytes: u64, told: Told) {
        self.reserve.snapshot_was(bytes, told);
        self.checkpoint.keep_spare(self.reserve.wanted());
    }
}
