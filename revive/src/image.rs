//! Images: the index told as changes, a bounded piece at a time, while it goes on changing.
//!
//! A snapshot is a walk over groups and queues that writes each piece as it is at that point of the log, with live
//! changes between the pieces. Replaying from the walk's beginning gives the exact state at its end: a change before
//! a piece is inside it, a change after it is applied on top, and a change about what has no piece yet is ignored or
//! overwritten. What such a change adds up to is therefore told last: the burials of a queue with its last piece, and
//! a group's counters once more behind its queues.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use crate::block::Block;
use crate::index::{Group, Index};
use crate::queue::{BURIED_MAX, Queue};
use crate::{Buried, Change, Cohort, GroupId, QueueId, QueueIndex};

/// What a group holds of the blocks `from..end` of a queue; nothing else of that range is unsettled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueImage {
    /// The group.
    pub group: GroupId,
    /// The queue.
    pub queue: QueueId,
    /// The group's position in it.
    pub position: QueueIndex,
    /// The first block told.
    pub from: u64,
    /// The first block not told; `None` is the end of the queue.
    pub end: Option<u64>,
    /// The unsettled messages by block.
    pub cohorts: Vec<(u64, Cohort)>,
    /// What was buried last; told with the last piece.
    pub buried: Vec<Buried>,
    /// The first message that the group was given, its position if it was given none; told with the last piece.
    pub begun: QueueIndex,
}

/// What a walk over everything tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Told {
    /// Queues, once for each group that has read from them.
    pub queues: u64,
    /// Cohorts of unsettled messages.
    pub cohorts: u64,
    /// Burials that are remembered.
    pub buried: u64,
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cursor(Step);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Step {
    #[default]
    Begin,
    /// A group told, but none of its queues.
    Group(GroupId),
    /// The next block of a queue to tell.
    Queue(GroupId, QueueId, u64),
    /// A queue told to its end.
    QueueDone(GroupId, QueueId),
    /// A group told to its end.
    GroupDone(GroupId),
    Done,
}

impl Index {
    /// The next piece of a walk over everything but the redriven letters: a group, before and after its queues, or at
    /// most `blocks_max` blocks of one queue. `None` ends it.
    pub fn image(&self, cursor: &mut Cursor, blocks_max: usize) -> Option<Change<'static>> {
        let (group, queues, from) = match cursor.0 {
            Step::Begin => return self.next_group(cursor, Unbounded),
            Step::GroupDone(group) => return self.next_group(cursor, Excluded(group)),
            Step::Done => return None,
            Step::Group(group) => (group, Unbounded, 0),
            Step::Queue(group, queue, from) => (group, Included(queue), from),
            Step::QueueDone(group, queue) => (group, Excluded(queue), 0),
        };
        let Some(known) = self.groups.get(&group) else { return self.next_group(cursor, Excluded(group)) };
        let Some((queue, held)) = known.queues.range((queues, Unbounded)).next() else {
            cursor.0 = Step::GroupDone(group);
            return Some(known.image(group));
        };
        let from = if queues == Included(*queue) { from } else { 0 };
        let image = piece(group, *queue, held, from, blocks_max.max(1));
        cursor.0 = match image.end {
            Some(end) => Step::Queue(group, *queue, end),
            None => Step::QueueDone(group, *queue),
        };
        Some(Change::Image(Box::new(image)))
    }

    /// What a walk would tell now. Looks at every queue of every group, but not at what they hold.
    pub fn told(&self) -> Told {
        let mut told = Told::default();
        for queue in self.groups.values().flat_map(|group| group.queues.values()) {
            told.queues += 1;
            told.cohorts += queue.cohorts;
            told.buried += queue.buried.len() as u64;
        }
        told
    }

    fn next_group(&self, cursor: &mut Cursor, after: Bound<GroupId>) -> Option<Change<'static>> {
        let next = self.groups.range((after, Unbounded)).next();
        cursor.0 = next.map_or(Step::Done, |(group, _)| Step::Group(*group));
        next.map(|(group, known)| known.image(*group))
    }

    pub(crate) fn apply_image(&mut self, image: &QueueImage) {
        let Some(known) = self.groups.get_mut(&image.group) else { return };
        let queue = known.queues.entry(image.queue).or_default();
        queue.position = image.position;
        if image.end.is_none() {
            queue.buried = image.buried.iter().copied().take(BURIED_MAX).collect();
            queue.begun = image.begun;
        }
        queue.begun = queue.begun.min(queue.position);
        let gone: Vec<u64> = queue.blocks.range(image.from, image.end).map(|(number, _)| number).collect();
        for number in gone {
            self.cut(image.group, image.queue, number, u64::MAX);
        }
        for (number, cohort) in &image.cohorts {
            let inside = *number >= image.from && image.end.is_none_or(|end| *number < end);
            let Self { groups, agenda, .. } = self;
            let Some(known) = groups.get_mut(&image.group).filter(|_| inside) else { continue };
            let queue = known.queues.entry(image.queue).or_default();
            queue.change_or_make(agenda, (image.group, image.queue, *number), |block, counts| {
                // An image never overlaps itself unless its bytes lie; the first word counts then.
                let mask = cohort.mask & QueueIndex::possible(*number) & !block.mask();
                if mask != 0 {
                    block.insert(Cohort { mask, ..*cohort }, counts);
                }
            });
        }
    }
}

impl Group {
    fn image(&self, group: GroupId) -> Change<'static> {
        Change::Group { group, policy: Box::new(self.policy.clone()), counters: Box::new(self.counters) }
    }
}

fn piece(group: GroupId, id: QueueId, queue: &Queue, from: u64, blocks_max: usize) -> QueueImage {
    let mut blocks = queue.blocks.range(from, None);
    let told: Vec<(u64, &Block)> = blocks.by_ref().take(blocks_max).collect();
    let cohorts = told.iter().flat_map(|(number, block)| block.cohorts.iter().map(|cohort| (*number, *cohort)));
    let end = blocks.next().map(|(number, _)| number);
    QueueImage {
        group,
        queue: id,
        position: queue.position,
        from,
        end,
        cohorts: cohorts.collect(),
        buried: if end.is_none() { queue.buried.iter().copied().collect() } else { Vec::new() },
        begun: if end.is_none() { queue.begun } else { QueueIndex(0) },
    }
}
