//! How old messages are where the clock that stamped them cannot have been right.
//!
//! Within one process time is trusted. Between two processes a clock may have been set, so there the order
//! of the log counts: a message is at least as old as any behind it, which bounds one from the future; and where the time
//! advances by more than the age that retention asks for, from one message to the next or to the opening of the store, the
//! clock may have been wrong before: that time is not counted. After a long pause messages are retained longer by the pause.

use std::collections::BTreeMap;
use std::time::Duration;

use popstore_revive::Time;

use crate::clock;
use crate::context::Context;
use crate::error::Result;
use crate::event::StoreEvent;
use crate::format::commit::CommitRecord;
use crate::log::{Log, Segment};

/// When the last message of each segment counts as appended, of the segments at the last calculation.
pub(super) struct Ages {
    opened_at: Time,
    last_base: Option<u64>,
    counted_from: BTreeMap<u64, Time>,
    /// The times of the segments that are closed and wholly written, by base: these do not change.
    closed: BTreeMap<u64, Option<SegmentTimes>>,
}

/// The times of the messages of a segment, in their order.
#[derive(Clone, Copy)]
struct SegmentTimes {
    first: Time,
    last: Time,
    /// The time between them that is not counted.
    pauses: Duration,
    /// The earliest of them, each put off by the pauses behind it.
    earliest: Time,
}

impl SegmentTimes {
    fn add(known: Option<Self>, at: Time, after: Duration) -> Self {
        let Some(Self { first, last, pauses, earliest }) = known else {
            return Self { first: at, last: at, pauses: Duration::ZERO, earliest: at };
        };
        let pause = pause(last, at, after);
        Self { first, last: at, pauses: pauses.saturating_add(pause), earliest: earliest.after(pause).min(at) }
    }
}

/// The part of the time between two messages that is not counted.
fn pause(before: Time, at: Time, after: Duration) -> Duration {
    Some(at.since(before)).filter(|pause| *pause > after).unwrap_or_default()
}

/// When the last message of each segment counts as appended, oldest first.
fn counted_from(segments: &[Option<SegmentTimes>], opened_at: Time, after: Duration) -> Vec<Time> {
    let (mut next, mut pauses, mut bound) = (opened_at, Duration::ZERO, Time::MAX);
    let counted = segments.iter().rev().map(|times| {
        let Some(SegmentTimes { first, last, pauses: inside, earliest }) = times else { return bound };
        pauses = pauses.saturating_add(pause(*last, next, after));
        let counted = last.after(pauses).min(bound);
        bound = bound.min(earliest.after(pauses));
        (pauses, next) = (pauses.saturating_add(*inside), *first);
        counted
    });
    let mut counted: Vec<Time> = counted.collect();
    counted.reverse();
    counted
}

impl Ages {
    pub(super) fn of_store_opened_at(opened_at: Time) -> Self {
        Self { opened_at, last_base: None, counted_from: BTreeMap::new(), closed: BTreeMap::new() }
    }

    /// When the last message of the oldest segment counts as appended, which is at `newest` by the clock.
    pub(super) fn counts_from(
        &mut self,
        context: &Context,
        log: &Log,
        base: u64,
        newest: Time,
        after: Duration,
    ) -> Result<Time> {
        let now = context.now();
        let from_the_future = newest > now;
        let never_seen_so_old = newest.after(after) < self.opened_at && now.since(newest) > after;
        if !from_the_future && !never_seen_so_old {
            return Ok(newest);
        }
        let segments = log.segments();
        let last_base = segments.last().map(|last| last.base);
        let is_new = self.last_base != last_base || !self.counted_from.contains_key(&base);
        if is_new {
            let is_closed = |segment: &Segment| Some(segment.base) != last_base && segment.end() <= log.written();
            let known = segments.iter().map(|segment| (segment.base, is_closed(segment))).collect::<Vec<_>>();
            let times = self.times(&known, |at| times(log, &segments[at], after))?;
            let counted = counted_from(&times, self.opened_at, after);
            self.counted_from = segments.iter().map(|segment| segment.base).zip(counted).collect();
            self.last_base = last_base;
        }
        let counted = self.counted_from.get(&base).copied().unwrap_or(newest);
        let counted = if counted == Time::MAX { newest } else { counted };
        if is_new && counted != newest {
            let [appended_at, counted_from] = [newest, counted].map(clock::wall);
            context.emit(&StoreEvent::ImplausibleTime { appended_at, counted_from });
        }
        Ok(counted)
    }

    /// The times of the messages of these segments, each by its base and whether it is closed. Reads those that are open or
    /// not known yet.
    fn times(
        &mut self,
        segments: &[(u64, bool)],
        mut read: impl FnMut(usize) -> Result<Option<SegmentTimes>>,
    ) -> Result<Vec<Option<SegmentTimes>>> {
        if let Some((first, _)) = segments.first() {
            self.closed = self.closed.split_off(first);
        }
        let mut all = Vec::with_capacity(segments.len());
        for (at, (base, is_closed)) in segments.iter().enumerate() {
            let times = match self.closed.get(base) {
                Some(known) => *known,
                None => read(at)?,
            };
            if *is_closed {
                self.closed.insert(*base, times);
            }
            all.push(times);
        }
        Ok(all)
    }
}

fn times(log: &Log, segment: &Segment, after: Duration) -> Result<Option<SegmentTimes>> {
    let mut times = None;
    log.frames(segment.base, segment.end().min(log.written()), |_, frame| {
        if let Ok(CommitRecord::Message(record)) = CommitRecord::decode(frame)
            && !record.relocated
        {
            times = Some(SegmentTimes::add(times.take(), record.appended_at, after));
        }
        Ok(())
    })?;
    Ok(times)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_micros(10);

    fn counted(segments: &[&[u64]], opened_at: u64) -> Vec<u64> {
        let times = segments
            .iter()
            .map(|of| of.iter().fold(None, |known, at| Some(SegmentTimes::add(known, Time(*at), AFTER))));
        counted_from(&times.collect::<Vec<_>>(), Time(opened_at), AFTER).into_iter().map(|time| time.0).collect()
    }

    #[test]
    fn times_that_follow_one_another_count_as_they_are() {
        assert_eq!(counted(&[&[100, 105], &[110, 119], &[120]], 125), [105, 119, 120]);
        assert_eq!(counted(&[&[100], &[]], 101), [100, u64::MAX]);
    }

    #[test]
    fn pauses_longer_than_any_duration_are_the_longest_duration() {
        let long = SegmentTimes { first: Time(1), last: Time(9), pauses: Duration::MAX, earliest: Time(1) };
        let added = SegmentTimes::add(Some(long), Time(5000), AFTER);
        assert_eq!(added.pauses, Duration::MAX);
        let counted = counted_from(&[Some(added), Some(SegmentTimes::add(None, Time(1), AFTER))], Time(9000), AFTER);
        assert_eq!(counted.len(), 2);
    }

    #[test]
    fn a_segment_is_read_again_only_until_it_is_closed() {
        let mut ages = Ages::of_store_opened_at(Time(9));
        let mut reads = Vec::new();
        let mut rounds = |segments: &[(u64, bool)]| {
            let read = |at: usize| {
                reads.push(segments[at].0);
                Ok(Some(SegmentTimes::add(None, Time(segments[at].0), AFTER)))
            };
            let firsts = ages.times(segments, read).unwrap().into_iter().map(|times| times.unwrap().first.0);
            assert_eq!(firsts.collect::<Vec<_>>(), segments.iter().map(|(base, _)| *base).collect::<Vec<_>>());
        };
        rounds(&[(0, true), (10, true), (20, false)]);
        rounds(&[(0, true), (10, true), (20, true), (30, false)]);
        // Retention has deleted the first two.
        rounds(&[(20, true), (30, true), (40, false)]);
        assert_eq!(ages.closed.len(), 2);
        assert_eq!(reads, [0, 10, 20, 20, 30, 30, 40]);
    }

    #[test]
    fn a_message_is_at_least_as_old_as_any_behind_it() {
        assert_eq!(counted(&[&[100, 9000], &[103]], 104), [103, 103]);
        assert_eq!(counted(&[&[100, 9000, 101], &[9001, 103]], 104), [103, 103]);
    }

    #[test]
    fn time_in_which_nothing_was_appended_or_opened_does_not_count() {
        assert_eq!(counted(&[&[1, 3], &[4]], 5000), [4999, 5000]);
        assert_eq!(counted(&[&[1, 3], &[4, 5000]], 5001), [4999, 5000]);
        // The clock fell back to its beginning for one message: to count messages as younger than they are does no harm.
        assert_eq!(counted(&[&[4998], &[4999, 1, 5000]], 5001), [5000, 5000]);
    }
}
