//! Appending to the commit log: room -> frames -> consume queue entries, all in one order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::queue::Tail;
use super::{Messages, Topic, record_bytes_max};
use crate::error::{Error, Result};
use crate::format::commit::{MessageRecord, TOPIC_OVERHEAD_MAX, TopicRecord, encode_message, encode_topic};
use crate::format::entry::{Entry, tag_hash};
use crate::format::limits::{DEAD_LETTERS, NAME_MAX, QUEUES_MAX};
use crate::log::{Appender, Room, room_max};
use crate::primitives::Hold;

/// Where a message was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Appended {
    /// The position of its record in the commit log, a byte.
    pub offset: u64,
    /// The queue of its topic.
    pub queue: u32,
    /// Its place in the queue.
    pub index: u64,
}

impl Messages {
    /// Refuses what no segment could hold.
    pub(crate) fn check_fits(&self, bytes: u64) -> Result<()> {
        let bytes_max = self.message_room();
        if bytes <= bytes_max { Ok(()) } else { Err(Error::TooLarge { what: "a batch", bytes, bytes_max }) }
    }

    /// Appends records of one topic in one piece; each gets the next index of its queue. Returns the log's end.
    pub(crate) fn append<'m>(
        &self,
        topic: &Topic,
        records: impl Iterator<Item = MessageRecord<'m>> + Clone,
        room: Room,
        mut place: impl FnMut(Appended),
    ) -> Result<u64> {
        let bytes: usize = records.clone().map(|record| record_bytes_max(&record)).sum();
        self.check_fits(bytes as u64)?;
        let mut appender = self.reserve(topic, bytes, room)?;
        let mut front = appender.take_front();
        let mut held: Option<(u32, Tail<'_>)> = None;
        for record in records {
            let number = record.queue.queue;
            if held.as_ref().is_none_or(|(held, _)| *held != number) {
                // Order matters: one queue's lock at a time.
                drop(held.take());
                held = topic.queue(number).map(|queue| (number, queue.tail()));
            }
            let Some((_, tail)) = &mut held else { continue };
            let index = tail.end();
            let record = MessageRecord { index, ..record };
            front.clear();
            encode_message(&record, &mut front);
            let place_in_log = appender.push(&mut front, record.body);
            let (offset, size) = (place_in_log.start, (place_in_log.end - place_in_log.start) as u32);
            tail.push(Entry { offset, size, tag: tag_hash(record.tag.as_bytes()) });
            topic.count_message();
            place(Appended { offset, queue: number, index: index.0 });
        }
        drop(held);
        appender.return_front(front);
        let end = appender.finish();
        if end >= self.mark_at.load(Ordering::Relaxed) {
            // No other wake-up before this much more is appended.
            self.mark_at.store(end + self.context.options.mark_every_bytes / 8, Ordering::Relaxed);
            let _ = self.context.wakes.maintain.try_send(());
        }
        Ok(end)
    }

    /// The right to append messages of a topic. In a segment that does not declare the topic yet, that comes first.
    #[inline(always)]
    pub(crate) fn reserve(&self, topic: &Topic, bytes: usize, room: Room) -> Result<Appender<'_>> {
        let mut appender = self.log.reserve(bytes + TOPIC_OVERHEAD_MAX + topic.name.len(), room)?;
        if topic.declared_in.load(Ordering::Relaxed) != appender.segment_base() {
            topic.declared_in.store(appender.segment_base(), Ordering::Relaxed);
            let declared = TopicRecord { topic: topic.id, queues: topic.count, name: &topic.name };
            appender.push_one(|out| encode_topic(&declared, out), &[]);
        }
        Ok(appender)
    }

    /// The most bytes of messages that are appended in one piece. The same for all topics: a message of one must fit into
    /// a dead-letter queue, too.
    pub(crate) fn message_room(&self) -> u64 {
        let topic = TOPIC_OVERHEAD_MAX + DEAD_LETTERS.len() + NAME_MAX;
        room_max(self.log.shape.segment_bytes).saturating_sub(topic as u64)
    }

    /// Makes a topic, or gives it more queues. Durable on return, in every mode.
    pub(crate) fn make_topic(&self, name: &str, queues: u32, room: Room) -> Result<Arc<Topic>> {
        if !(1..=QUEUES_MAX).contains(&queues) {
            return Err(Error::invalid("number of queues", queues.to_string(), "it must be 1 to 1024"));
        }
        let _one_at_a_time = self.making_topics.hold();
        let known = self.topics.find(name);
        let have = known.as_ref().map_or(0, |topic| topic.count);
        if let Some(topic) = known.as_ref().filter(|_| have >= queues) {
            // An open may have found it and not synced it yet.
            self.log.sync_recovered()?;
            return Ok(Arc::clone(topic));
        }
        let id = known.as_ref().map_or_else(|| self.topics.new_id(name), |topic| Ok(topic.id))?;
        let mut appender = self.log.reserve(TOPIC_OVERHEAD_MAX + name.len(), room)?;
        appender.push_one(|out| encode_topic(&TopicRecord { topic: id, queues, name }, out), &[]);
        // Order matters: a mark that lies behind the record must know the topic.
        let topic = self.topics.insert(id, name, queues);
        let end = appender.finish();
        self.log.sync_through(end)?;
        Ok(topic)
    }
}
