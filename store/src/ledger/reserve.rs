//! The reserve: on a full disk the checkpoint log lives off the space that it has, and must never be without a way out.
//!
//! A **snapshot** is that way: it writes the live state again and deletes the segments before it. Let `live` be what
//! the next one takes at most, `segment` the length of a segment, `space` all segments and spares of the log. A
//! snapshot needs `live` bytes behind the end of the log, and when it is done the log is not longer than `live +
//! segment`. So while there is no more space to be had,
//!
//! 1. whatever makes the live state grow (pops, nacks, extensions, new groups) is refused when `space` is less than
//!    `5/2 live + 7/4 segment`;
//! 2. a snapshot is made when no more than `live + 1/2 segment` is free.
//!
//! Between two snapshots at least `1/2 live + 1/4 segment` can be written then: acks always continue, at a cost that
//! does not depend on how many there are, and there is room to close and to open again.

use std::sync::atomic::{AtomicU64, Ordering};

use popstore_revive::{Told, TopicId};

use super::{LastSnapshot, Ledger};
use crate::error::{At, Result};
use crate::primitives::Hold;

/// What a snapshot needs for a cohort, a queue of a group, and a burial that is remembered, at most but for odd
/// numbers.
const COHORT_BYTES: u64 = 48;
const QUEUE_BYTES: u64 = 96;
const BURIED_BYTES: u64 = 12;
/// How often the live state is estimated while a segment is filled: less often the more queues must be counted for it.
const ESTIMATES_PER_SEGMENT: std::ops::RangeInclusive<u64> = 8..=32;
const BYTES_PER_QUEUE: u64 = 64;

/// What is known of the live state.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// What the next snapshot takes at most.
    live: AtomicU64,
    /// What the last one took, and what it was thought to.
    snapshot: AtomicU64,
    snapshot_weight: AtomicU64,
    /// From this end of the checkpoint log on the live state is estimated again.
    estimate_at: AtomicU64,
}

impl Reserve {
    /// What is known behind a snapshot.
    pub(super) fn behind(last: &LastSnapshot) -> Self {
        let reserve = Self::default();
        reserve.note_snapshot(last);
        reserve
    }

    /// A snapshot is complete.
    pub(super) fn note_snapshot(&self, last: &LastSnapshot) {
        self.live.store(last.bytes, Ordering::Relaxed);
        self.snapshot.store(last.bytes, Ordering::Relaxed);
        self.snapshot_weight.store(weight(last.live), Ordering::Relaxed);
    }

    /// Estimates the live state. Returns whether a snapshot would be much longer or much shorter than the last one.
    fn estimate(&self, live: Told) -> bool {
        let (weight, before) = (weight(live), self.snapshot_weight.load(Ordering::Relaxed));
        let grown = weight.saturating_sub(before);
        self.live.store(self.snapshot.load(Ordering::Relaxed) + grown, Ordering::Relaxed);
        weight.abs_diff(before) > before / 4
    }

    /// How many bytes should be at hand besides the log: until the next snapshot is complete there may be twice as much
    /// as the last one in new records, and then it.
    pub(super) fn wanted(&self) -> u64 {
        3 * self.live()
    }

    fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }
}

fn weight(live: Told) -> u64 {
    live.queues * QUEUE_BYTES + live.cohorts * COHORT_BYTES + live.buried * BURIED_BYTES
}

impl Ledger {
    /// Refuses what makes the live state grow when the reserve is not enough for that. Holds no lock before and after.
    pub(crate) fn check_reserve(&self, next_topic: impl Fn() -> TopicId) -> Result<()> {
        let log = &self.log;
        if log.appended() >= self.reserve.estimate_at.load(Ordering::Relaxed) {
            self.estimate_live_state();
        }
        if !log.lacks_space() || log.space_at_once().is_some_and(|(space, _)| self.is_enough(space)) {
            return Ok(());
        }
        // What prepares ahead may be behind, or there may be space again.
        while matches!(log.prepare(), Ok(true)) {}
        if self.may_grow() || self.compact(next_topic())? {
            return Ok(());
        }
        let full = std::io::Error::new(std::io::ErrorKind::StorageFull, "the rest is for acks of what is in flight");
        Err(full).at("grow", &self.context.dir.join("checkpoint"))
    }

    /// Estimates the live state, and asks for more spares before they are needed: half as much again may live by then.
    /// Also behind what makes many queues known to a group in one go, since the disk may be full at the next estimate.
    pub(crate) fn estimate_live_state(&self) {
        let (log, reserve, segment) = (&self.log, &self.reserve, self.context.options.checkpoint_segment_bytes);
        let live = self.lock().index().told();
        reserve.estimate(live);
        let (least, most) = (segment / ESTIMATES_PER_SEGMENT.end(), segment / ESTIMATES_PER_SEGMENT.start());
        let next = (live.queues * BYTES_PER_QUEUE).clamp(least, most);
        reserve.estimate_at.store(log.appended() + next, Ordering::Relaxed);
        let margin = reserve.live() / 2;
        if log.space_at_once().is_some_and(|(space, _)| !self.is_enough(space.saturating_sub(margin))) {
            log.reserve_spares(reserve.wanted());
        }
    }

    fn may_grow(&self) -> bool {
        !self.log.lacks_space() || self.is_enough(self.log.space().0)
    }

    /// Makes a snapshot when it would be shorter than the last one: what was acked since is not in it. Returns whether
    /// the live state may grow then.
    fn compact(&self, next_topic: TopicId) -> Result<bool> {
        let _one_at_a_time = self.rewriting.hold();
        let live = self.lock().index().told();
        let differs = self.reserve.estimate(live);
        let (space, used) = self.log.space();
        if differs && !self.is_enough(space) && space.saturating_sub(used) > self.reserve.live() {
            self.snapshot_alone(next_topic)?;
        }
        Ok(self.may_grow())
    }

    /// Whether this space is enough for the live state to grow (rule 1).
    fn is_enough(&self, space: u64) -> bool {
        let (live, segment) = (self.reserve.live(), self.context.options.checkpoint_segment_bytes);
        space >= 5 * live / 2 + 7 * segment / 4
    }

    /// Whether it is time for a snapshot since there may be no room for it later (rule 2), and one that frees enough.
    fn must_free_room(&self) -> bool {
        let log = &self.log;
        if log.is_short() || !log.lacks_space() {
            return log.is_short();
        }
        let (live, segment) = (self.reserve.live(), self.context.options.checkpoint_segment_bytes);
        let is_tight = |(space, used): (u64, u64)| {
            space.saturating_sub(used) <= live + segment / 2 && 4 * used >= 5 * (live + segment)
        };
        log.space_at_once().is_some_and(is_tight)
    }

    /// On a full disk, makes the snapshot that frees the segments before it, before there is no room for it (rule 2);
    /// who finds the log short does not go on without.
    pub(crate) fn ensure_room(&self, next_topic: impl Fn() -> TopicId) -> Result<()> {
        if !self.must_free_room() || (self.log.prepare().is_ok() && !self.log.lacks_space()) {
            return Ok(());
        }
        let _one_at_a_time = self.rewriting.hold();
        // Someone else may have been at it meanwhile.
        let _ = self.log.prepare();
        if self.log.lacks_space() && self.must_free_room() && self.log.segments().len() > 1 {
            return self.snapshot_alone(next_topic());
        }
        Ok(())
    }
}
