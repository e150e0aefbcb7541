//! Reading the commit log behind the last mark: topics, consume queue entries, settlements, and where it ends.

use std::collections::BTreeMap;
use std::path::Path;

use popstore_revive::{QueueId, QueueIndex, TopicId};

use super::batches::Batches;
use super::checkpoint::Replay;
use super::sequence::Sequence;
use crate::error::{Error, Result};
use crate::format::commit::{CommitRecord, MessageRecord, Settlement};
use crate::format::entry::{Entry, tag_hash};
use crate::format::extent::Extent;
use crate::log::{Found, FrameAt, Unrecovered};
use crate::messages::Topics;
use crate::messages::aside::{self, InTheWay};
use crate::messages::sparse::Sparse;

/// What the commit log tells.
#[derive(Clone, Default)]
pub(crate) struct FoundMessages {
    pub(crate) found: Found,
    /// Where reading began.
    pub(crate) mark: u64,
    pub(crate) topics: BTreeMap<TopicId, FoundTopic>,
    /// What messages behind the mark settle.
    pub(crate) settlements: Vec<Settlement>,
    batches: Batches<FoundMessage>,
    sequence: Sequence,
}

/// A topic as the logs tell it.
#[derive(Clone)]
pub(crate) struct FoundTopic {
    pub(crate) name: String,
    /// Per queue, what was marked and what came after.
    pub(crate) queues: Sparse<(Extent, Vec<Entry>)>,
}

#[derive(Clone, Copy)]
struct FoundMessage {
    queue: QueueId,
    index: QueueIndex,
    entry: Entry,
    relocated: bool,
    settlement: Option<Settlement>,
}

impl FoundMessages {
    /// Reads the log from the last mark on, changing nothing.
    pub(crate) fn read(log: &Unrecovered, generation_max: u32, replay: &Replay) -> Result<Self> {
        let start = log.start().unwrap_or(0);
        if start > replay.commit_start {
            let what = format!("segments before {start} are missing; the log begins at {}", replay.commit_start);
            return Err(Error::corrupt(log.dir(), 0, what));
        }
        if log.start().is_none() && generation_max > 0 {
            return Err(Error::corrupt(log.dir(), 0, "the log is missing"));
        }
        let mut messages = Self { mark: replay.mark.commit.max(start), ..Self::default() };
        for (topic, marked) in &replay.mark.topics {
            let ends = marked.queues.iter().zip(0..).map(|(extent, queue)| (queue, extent.end.0));
            messages.sequence.know(*topic, &marked.name, marked.queues.len() as u32, ends);
            let mut queues = Sparse::default();
            queues.grow(marked.queues.len() as u32);
            for (queue, extent) in (0..).zip(&marked.queues).filter(|(_, extent)| **extent != Extent::default()) {
                if let Some(found) = queues.get_mut(queue) {
                    *found = (extent.clone(), Vec::new());
                }
            }
            messages.topics.insert(*topic, FoundTopic { name: marked.name.clone(), queues });
        }
        let mut found = log.scan(messages.mark, replay.commit_proven, generation_max, |at, frame| {
            let record = CommitRecord::decode(frame);
            let record = record.map_err(|rule| Error::corrupt(at.path, at.offset, format!("commit record: {rule}")))?;
            messages.take(&record, at)
        })?;
        if let Some((begin, count)) = messages.batches.unfinished() {
            if found.proven > begin {
                return Err(Error::corrupt(log.dir(), begin, "a batch that was durable is not whole"));
            }
            found.tail_bytes += found.end - begin;
            found.records -= count;
            found.end = begin;
            // They were counted from the end that was.
            found.blank = 0;
        }
        messages.found = found;
        replay
            .check_against(&log.bases(), log.data_bytes(), messages.found.end)
            .map_err(|wrong| Error::corrupt(log.dir(), 0, wrong))?;
        replay.check_ends(|queue| messages.end(queue)).map_err(|wrong| Error::corrupt(log.dir(), 0, wrong))?;
        Ok(messages)
    }

    fn take(&mut self, record: &CommitRecord<'_>, at: &FrameAt<'_>) -> Result<()> {
        self.sequence.take(record, at).map_err(|wrong| wrong.error(at))?;
        match record {
            CommitRecord::Message(message) => {
                let Self { batches, topics, settlements, .. } = self;
                for message in batches.add(at.position, message.rest, found_message(message, at)).into_iter().flatten()
                {
                    settlements.extend(place(topics, message));
                }
            }
            CommitRecord::Topic(topic) => {
                let new = || FoundTopic { name: topic.name.to_string(), queues: Sparse::default() };
                let known = self.topics.entry(topic.topic).or_insert_with(new);
                known.queues.grow(topic.queues);
            }
            CommitRecord::End => {}
        }
        Ok(())
    }

    /// Where a queue ends.
    pub(crate) fn end(&self, queue: QueueId) -> QueueIndex {
        let topic = self.topics.get(&queue.topic);
        let queue = topic.and_then(|topic| topic.queues.get(queue.queue));
        queue.map_or(QueueIndex(0), |(extent, tail)| QueueIndex(extent.end.0 + tail.len() as u64))
    }

    /// What is in the way of the queues' files.
    pub(crate) fn in_the_way(&self, store: &Path) -> Result<Vec<InTheWay>> {
        let topics = self.topics.values().map(|topic| (topic.name.as_str(), topic.queues.count()));
        aside::in_the_way(store, &topics.collect())
    }

    /// Hands the topics and their queues over.
    pub(crate) fn fill(&mut self, topics: &Topics) {
        for (id, topic) in &mut self.topics {
            let made = topics.insert(*id, &topic.name, topic.queues.count());
            for (queue, (extent, tail)) in topic.queues.used_mut() {
                topics.fill(&made, queue, extent, std::mem::take(tail));
            }
        }
    }
}

/// Puts a message where it belongs. Returns what it settles.
fn place(topics: &mut BTreeMap<TopicId, FoundTopic>, message: FoundMessage) -> Option<Settlement> {
    let (extent, tail) = topics.get_mut(&message.queue.topic)?.queues.get_mut(message.queue.queue)?;
    if message.relocated {
        // Of one message the last that was told counts.
        extent.relocated.push((message.index, message.entry));
        return None;
    }
    tail.push(message.entry);
    message.settlement
}

fn found_message(message: &MessageRecord<'_>, at: &FrameAt<'_>) -> FoundMessage {
    let entry = Entry { offset: at.position, size: at.len as u32, tag: tag_hash(message.tag.as_bytes()) };
    let MessageRecord { queue, index, relocated, settlement, .. } = *message;
    FoundMessage { queue, index, entry, relocated, settlement }
}
