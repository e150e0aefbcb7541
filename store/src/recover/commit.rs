//! Reading the commit log behind the last mark: topics, consume queue entries, settlements, and where it ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use popstore_revive::{QueueId, QueueIndex, TopicId};

use super::batches::Batches;
use super::checkpoint::Replay;
use super::queue::FoundQueue;
use super::sequence::Sequence;
use crate::error::Result;
use crate::fault::{Fault, Faults};
use crate::format::commit::{CommitRecord, MessageRecord, Settlement};
use crate::format::entry::{Entry, tag_hash};
use crate::format::extent::Extent;
use crate::format::frame::{FRAME_HEADER, LogKind};
use crate::log::{FoundLog, FrameAt, Unrecovered, WalkStep, segment_name};
use crate::messages::Topics;
use crate::messages::aside::{self, InTheWay};
use crate::messages::sparse::Sparse;

/// The most entries behind the mark that inspection has in memory; the others are searched for when they are needed.
const ENTRIES_MAX: usize = 1 << 20;

/// The state that the commit log describes.
#[derive(Clone, Default)]
pub(crate) struct FoundMessages {
    pub(crate) found: FoundLog,
    /// Where reading began.
    pub(crate) mark: u64,
    pub(crate) topics: BTreeMap<TopicId, FoundTopic>,
    /// What messages behind the mark settle.
    pub(crate) settlements: Vec<Settlement>,
    batches: Batches<FoundMessage>,
    sequence: Sequence,
    /// How many more entries may be in memory.
    entries_left: usize,
}

/// A topic as the logs describe it.
#[derive(Clone, Default)]
pub(crate) struct FoundTopic {
    pub(crate) name: Arc<str>,
    pub(crate) queues: Sparse<FoundQueue>,
}

impl FoundTopic {
    /// The first message and the end of each queue.
    pub(crate) fn extents(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.queues.count()).map(|queue| self.queues.get(queue).map_or((0, 0), |queue| (queue.first, queue.end)))
    }
}

#[derive(Clone)]
struct FoundMessage {
    queue: QueueId,
    index: QueueIndex,
    entry: Entry,
    relocated: bool,
    /// Few have one.
    settlement: Option<Box<Settlement>>,
}

impl FoundMessages {
    /// Reads the log from the last mark on, changing nothing.
    pub(crate) fn read(
        log: Unrecovered,
        generation_max: u32,
        replay: &Replay,
        faults: &mut Faults,
    ) -> Result<(Unrecovered, Self)> {
        let start = log.start().unwrap_or(0);
        // With a part of the checkpoint log lost, it is not known where the log should begin.
        let known = faults.spare(&log.dir().with_file_name(LogKind::Checkpoint.name()));
        if start > replay.commit_start && known {
            let missing = log.dir().join(segment_name(replay.commit_start));
            let fault = Fault::new(
                &missing,
                0,
                "11.3",
                "the log's first segment",
                format!("segments before {start} are missing"),
            );
            faults.found(fault.of_len(start - replay.commit_start))?;
        }
        let before = faults.all.len();
        let mut messages = Self::marked(replay, start, faults);
        let walk = log.walk(messages.mark, replay.commit_proven, generation_max);
        let (log, found) = walk.through(faults, |step, faults| messages.meet(step, faults))?;
        messages.end(found);
        messages.found.disturb(start > replay.commit_start);
        let FoundLog { end, proven, disturbed, .. } = messages.found;
        if proven > end && faults.all.len() == before && !disturbed {
            let fault = Fault::new(log.dir(), 0, "11.4", format!("records to {proven}, as was durable"), end);
            faults.found(fault.of_len(proven - end))?;
        }
        if known && let Err(fault) = replay.check_against(log.dir(), &log.bases(), log.data_bytes(), end) {
            faults.found(fault)?;
        }
        if known
            && !disturbed
            && let Err(fault) = replay.check_ends(log.dir(), |queue| messages.end_of(queue))
        {
            faults.found(fault)?;
        }
        // There are not more messages than bytes on the disk, whatever an extent says.
        let messages_max = log.data_bytes() / FRAME_HEADER as u64;
        for (_, queue) in messages.topics.values_mut().flat_map(|topic| topic.queues.used_mut()) {
            queue.end = queue.end.clamp(queue.first, queue.first.saturating_add(messages_max));
        }
        Ok((log, messages))
    }

    /// The state at the last mark, of a log that begins at `start`.
    fn marked(replay: &Replay, start: u64, faults: &Faults) -> Self {
        let mark = replay.mark.commit;
        // Where messages may be missing behind the mark, its names are right all the same.
        let has_gap = faults.collects() && start > mark;
        let sequence = Sequence::beginning_at(if has_gap { start } else { 0 });
        let entries_left = if faults.collects() { ENTRIES_MAX } else { usize::MAX };
        let mut messages = Self { mark: mark.max(start), sequence, entries_left, ..Self::default() };
        for (topic, marked) in &replay.mark.topics {
            let ends = marked.queues.iter().zip(0..).map(|(extent, queue)| (queue, extent.end.0));
            let count = marked.queues.len() as u32;
            messages.sequence.add_known(*topic, &marked.name, count, ends.filter(|_| !has_gap));
            let mut queues = Sparse::default();
            queues.grow(count);
            for (queue, extent) in (0..).zip(&marked.queues).filter(|(_, extent)| **extent != Extent::default()) {
                if let Some(found) = queues.get_mut(queue) {
                    *found = FoundQueue::marked(extent);
                }
            }
            messages.topics.insert(*topic, FoundTopic { name: marked.name.as_str().into(), queues });
        }
        messages
    }

    fn meet(&mut self, step: &WalkStep<'_>, faults: &mut Faults) -> Result<()> {
        match step {
            WalkStep::Frame(at, frame) => match CommitRecord::decode(frame) {
                Ok(record) => match self.sequence.take(&record, at) {
                    Ok(()) => self.take(&record, at),
                    Err(fault) => faults.found(fault)?,
                },
                Err(rule) => faults.found(at.payload_fault(rule))?,
            },
            WalkStep::Gap(fault) => {
                self.sequence.gap(fault.len);
                let Self { batches, topics, settlements, entries_left, .. } = self;
                settlements.extend(batches.interrupt().filter_map(|message| place(topics, entries_left, message)));
            }
            WalkStep::Removed => self.sequence.removed(),
            WalkStep::Tail(_) => {}
        }
        Ok(())
    }

    fn take(&mut self, record: &CommitRecord<'_>, at: &FrameAt<'_>) {
        match record {
            CommitRecord::Message(message) => {
                let Self { batches, topics, settlements, entries_left, .. } = self;
                if let Some(whole) = batches.add(at.position, message.rest, found_message(message, at)) {
                    whole.for_each(|message| settlements.extend(place(topics, entries_left, message)));
                }
            }
            CommitRecord::Topic(topic) => {
                let new = || FoundTopic { name: topic.name.into(), queues: Sparse::default() };
                self.topics.entry(topic.topic).or_insert_with(new).queues.grow(topic.queues);
            }
            CommitRecord::End => {}
        }
    }

    /// A batch that is not whole never happened.
    fn end(&mut self, mut found: FoundLog) {
        if let Some((begin, count)) = self.batches.unfinished() {
            found.end_before(begin, count);
        }
        self.found = found;
    }

    /// Where a queue ends.
    pub(crate) fn end_of(&self, queue: QueueId) -> QueueIndex {
        let topic = self.topics.get(&queue.topic);
        QueueIndex(topic.and_then(|topic| topic.queues.get(queue.queue)).map_or(0, |queue| queue.end))
    }

    /// The things in the way of the queues' files.
    pub(crate) fn in_the_way(&self, store: &Path) -> Result<Vec<InTheWay>> {
        let topics = self.topics.values().map(|topic| (&*topic.name, topic.queues.count()));
        aside::in_the_way(store, &topics.collect())
    }

    /// Hands the topics and their queues over.
    pub(crate) fn fill(&mut self, topics: &Topics) {
        for (id, topic) in &mut self.topics {
            let made = topics.insert(*id, &topic.name, topic.queues.count());
            for (queue, found) in topic.queues.used_mut() {
                let (extent, tail) = found.take();
                topics.fill(&made, queue, &extent, tail);
            }
        }
    }
}

/// Puts a message where it belongs. Returns what it settles.
fn place(
    topics: &mut BTreeMap<TopicId, FoundTopic>,
    entries_left: &mut usize,
    message: FoundMessage,
) -> Option<Settlement> {
    let queue = topics.get_mut(&message.queue.topic)?.queues.get_mut(message.queue.queue)?;
    if message.relocated {
        queue.relocated.insert(message.index.0, message.entry);
        return None;
    }
    queue.push(message.index.0, message.entry, entries_left);
    message.settlement.map(|settlement| *settlement)
}

fn found_message(message: &MessageRecord<'_>, at: &FrameAt<'_>) -> FoundMessage {
    let entry = Entry { offset: at.position, size: at.len as u32, tag: tag_hash(message.tag.as_bytes()) };
    let MessageRecord { queue, index, relocated, .. } = *message;
    FoundMessage { queue, index, entry, relocated, settlement: message.settlement.map(Box::new) }
}
