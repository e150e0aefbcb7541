//! Which messages of a damaged log can be read, and the dense indexes that they get in a fresh one.

use std::collections::BTreeMap;
use std::ops::Range;

use popstore_revive::{QueueId, QueueIndex};

use crate::error::Result;
use crate::fault::Fault;
use crate::format::commit::CommitRecord;
use crate::inspect::{Snapshot, StoreLog};
use crate::log::WalkStep;
use crate::recover::{Batches, Sequence};

/// The readable messages of all queues.
#[derive(Default)]
pub(super) struct Readable {
    pub(super) queues: BTreeMap<QueueId, Ranks>,
    /// What recovery would cut off, from here on.
    pub(super) end: u64,
    /// The length of the longest frame.
    pub(super) frame_max: u64,
    /// The faults of records that are whole.
    pub(super) faults: Vec<Fault>,
}

/// The readable messages of one queue.
#[derive(Default)]
pub(super) struct Ranks {
    /// Ranges of neighbours, each with the number of messages before it.
    ranges: Vec<(Range<u64>, u64)>,
    /// Messages that lie elsewhere than between their neighbours: copies made by retention, by their offsets.
    pub(super) moved: BTreeMap<u64, u64>,
}

impl Readable {
    /// Reads the commit log once, as far as it reached when the consumers' state was read: what the owner of a store in
    /// use has appended since may settle what that state still holds.
    pub(super) fn read(snapshot: &Snapshot) -> Result<Self> {
        let mut readable = Self::default();
        let mut walk = snapshot.walk_in(snapshot.home(), StoreLog::Commit, 0)?;
        let mut sequence = Sequence::beginning_at(snapshot.commit_extent().0);
        for (id, topic) in snapshot.topic_states() {
            sequence.add_known(*id, &topic.name, topic.queues.count(), std::iter::empty());
        }
        let mut end = snapshot.commit_extent().1;
        let mut batches = Batches::default();
        while let Some(step) = walk.step()? {
            match step {
                WalkStep::Frame(at, _) if at.position >= end => break,
                WalkStep::Frame(at, frame) => {
                    if at.position + at.len as u64 > end {
                        // A mark in the middle of a record is wrong, and so is an end that was read from there on.
                        let found = format!("a record from {} on", at.position);
                        let expected = format!("a record at {end}, where the mark is");
                        readable.faults.push(Fault::new(at.path, at.offset, "11.3", expected, found));
                        end = u64::MAX;
                    }
                    match CommitRecord::decode(&frame) {
                        Ok(record) => {
                            readable.faults.extend(sequence.take(&record, &at).err());
                            if let CommitRecord::Message(record) = record {
                                let message = (record.queue, record.index, record.relocated, at.position);
                                let whole = batches.add(at.position, record.rest, message);
                                whole.into_iter().flatten().for_each(|message| readable.take(message));
                            }
                        }
                        Err(rule) => readable.faults.push(at.payload_fault(rule)),
                    }
                    readable.end = at.position + at.len as u64;
                    readable.frame_max = readable.frame_max.max(at.len as u64);
                }
                WalkStep::Gap(fault) => {
                    sequence.gap(fault.len);
                    batches.interrupt().for_each(|message| readable.take(message));
                }
                WalkStep::Removed => {
                    sequence.removed();
                    batches.interrupt().for_each(|message| readable.take(message));
                }
                WalkStep::Tail(_) => {}
            }
        }
        if let Some((begin, _)) = batches.unfinished() {
            readable.end = begin;
        }
        readable.queues.values_mut().for_each(Ranks::close);
        Ok(readable)
    }

    fn take(&mut self, (queue, QueueIndex(index), relocated, offset): (QueueId, QueueIndex, bool, u64)) {
        let ranks = self.queues.entry(queue).or_default();
        match ranks.ranges.last_mut() {
            _ if relocated => drop(ranks.moved.insert(index, offset)),
            Some((range, _)) if range.end == index => range.end += 1,
            // Indexes of a queue only grow: a smaller one is damage.
            Some((range, _)) if index < range.end => {}
            _ => ranks.ranges.push((index..index.saturating_add(1), 0)),
        }
    }
}

impl Ranks {
    fn close(&mut self) {
        let mut ranges = std::mem::take(&mut self.ranges).into_iter().peekable();
        let mut all = Vec::with_capacity(ranges.len() + self.moved.len());
        // Both are in order.
        self.moved.retain(|index, _| {
            all.extend(std::iter::from_fn(|| ranges.next_if(|(range, _)| range.end <= *index)));
            let lies_elsewhere = ranges.peek().is_none_or(|(range, _)| index < &range.start);
            all.extend(lies_elsewhere.then(|| (*index..index.saturating_add(1), 0)));
            lies_elsewhere
        });
        all.extend(ranges);
        let mut before = 0;
        for (range, rank) in &mut all {
            *rank = before;
            before += range.end - range.start;
        }
        self.ranges = all;
    }

    /// How many messages before this place can be read: the place of the next one among them.
    pub(super) fn rank(&self, index: u64) -> u64 {
        let after = self.ranges.partition_point(|(range, _)| range.start <= index);
        let Some((range, before)) = after.checked_sub(1).map(|at| &self.ranges[at]) else { return 0 };
        before + (index.min(range.end) - range.start)
    }

    /// By how many places the last message moves up.
    pub(super) fn last_moved_by(&self) -> u64 {
        self.ranges.last().map_or(0, |(range, before)| range.start - before)
    }

    /// The new place of a message, if it can be read.
    pub(super) fn place(&self, index: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|(range, _)| range.start <= index);
        let (range, before) = &self.ranges[after.checked_sub(1)?];
        range.contains(&index).then(|| before + (index - range.start))
    }

    /// The places from `first` to `end` that cannot be read.
    pub(super) fn holes(&self, first: u64, end: u64) -> Vec<Range<u64>> {
        let mut holes = Vec::new();
        let mut next = first;
        for (range, _) in &self.ranges {
            if range.start > next {
                holes.push(next..range.start.min(end));
            }
            next = next.max(range.end);
        }
        if next < end {
            holes.push(next..end);
        }
        holes.retain(|hole| !hole.is_empty());
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(ranges: &[Range<u64>], moved: &[u64]) -> Ranks {
        let ranges = ranges.iter().map(|range| (range.clone(), 0)).collect();
        let mut ranks = Ranks { ranges, moved: moved.iter().map(|index| (*index, 0)).collect() };
        ranks.close();
        ranks
    }

    #[test]
    fn readable_messages_get_dense_places_in_their_old_order() {
        let ranks = ranks(&[5..8, 10..12], &[2, 9]);
        assert_eq!([2, 5, 6, 7, 9, 10, 11].map(|index| ranks.place(index)), [0, 1, 2, 3, 4, 5, 6].map(Some));
        assert_eq!([0, 3, 8, 12].map(|index| ranks.place(index)), [None; 4]);
        assert_eq!((ranks.rank(u64::MAX), ranks.last_moved_by()), (7, 5));
    }

    #[test]
    fn indexes_up_to_the_largest_number_do_not_overflow() {
        let ranks = ranks(&[5..8, u64::MAX - 9..u64::MAX - 1], &[]);
        assert_eq!([u64::MAX - 9, u64::MAX - 2].map(|index| ranks.place(index)), [Some(3), Some(10)]);
        assert_eq!((ranks.rank(u64::MAX - 2), ranks.rank(u64::MAX)), (10, 11));
    }

    #[test]
    fn a_copy_of_a_message_that_is_still_there_has_no_own_place() {
        let ranks = ranks(&[5..8, 10..12], &[4, 5, 7, 8, 11, 12]);
        assert_eq!(ranks.moved.keys().copied().collect::<Vec<_>>(), [4, 8, 12]);
        assert_eq!([4, 5, 7, 8, 10, 11, 12].map(|index| ranks.place(index)), [0, 1, 3, 4, 5, 6, 7].map(Some));
    }

    /// To compare each copy with each range would take hours.
    #[test]
    fn many_copies_between_many_ranges_get_their_places_in_one_pass() {
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let ranges: Vec<_> = (0..1 << 20).map(|at| 4 * at..4 * at + 1).collect();
            let moved: Vec<_> = (0..1 << 20).map(|at| 4 * at + 2).collect();
            done.send(ranks(&ranges, &moved).last_moved_by())
        });
        assert_eq!(wait.recv_timeout(std::time::Duration::from_mins(5)), Ok((1 << 21) - 1));
    }

    #[test]
    fn a_position_becomes_the_number_of_readable_messages_before_it() {
        let ranks = ranks(&[5..8, 10..12], &[2]);
        assert_eq!([0, 2, 3, 5, 7, 8, 9, 10, 11, 12, 99].map(|at| ranks.rank(at)), [0, 0, 1, 1, 3, 4, 4, 4, 5, 6, 6]);
    }

    #[test]
    fn what_lies_between_is_lost_and_what_retention_took_is_not() {
        let ranks = ranks(&[5..8, 10..12], &[2]);
        assert_eq!(ranks.holes(5, 14), [8..10, 12..14]);
        assert_eq!(ranks.holes(3, 12), [3..5, 8..10]);
        assert_eq!(ranks.holes(5, 15), [8..10, 12..15]);
    }
}
