//! Appending messages: `Store::append` -> commit log -> consume queue entry -> wake waiting pops -> durable, by policy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use popstore_revive::QueueId;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::commit::{MessageRecord, TOPIC_OVERHEAD_MAX, TopicRecord, encode_message, encode_topic};
use crate::format::entry::{Entry, tag_hash};
use crate::log::{Appender, Room, room_max};
use crate::messages::message::{Message, record_bytes_max};
use crate::messages::queue::Tail;
use crate::messages::topics::{DEAD_LETTERS, NAME_MAX, QUEUES_MAX, Topic, check_name, is_for_letters};
use crate::primitives::Hold;

/// Where a message was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Appended {
    /// The position of its record in the commit log, a byte.
    pub offset: u64,
    /// The queue of its topic.
    pub queue: u32,
    /// Its place in the queue.
    pub index: u64,
}

impl Engine {
    pub(crate) fn append(&self, topic: &str, message: &Message<'_>) -> Result<Appended> {
        let mut appended = None;
        self.append_all(topic, std::slice::from_ref(message), |place| appended = Some(place))?;
        Ok(appended.expect("one message has one place"))
    }

    pub(crate) fn append_batch(&self, topic: &str, messages: &[Message<'_>]) -> Result<Vec<Appended>> {
        if messages.is_empty() {
            return Err(Error::invalid("batch", "", "it must hold at least one message"));
        }
        let mut places = Vec::with_capacity(messages.len());
        self.append_all(topic, messages, |place| places.push(place))?;
        Ok(places)
    }

    fn append_all(&self, topic: &str, messages: &[Message<'_>], place: impl FnMut(Appended)) -> Result<()> {
        self.check()?;
        messages.iter().try_for_each(|message| message.check(self.options.body_bytes_max))?;
        let topic = self.topic_to_append_to(topic, messages)?;
        let appended_at = self.clock.coarse();
        let queue = |message| Ok(QueueId { topic: topic.id, queue: choose_queue(&topic, message)? });
        let queues = match messages {
            // One message, the frequent case, needs no list.
            [one] => Queues::One(queue(one)?),
            many => Queues::Many(many.iter().map(queue).collect::<Result<_>>()?),
        };
        let records = messages.iter().enumerate().map(|(at, message)| MessageRecord {
            rest: (messages.len() - 1 - at) as u32,
            appended_at,
            queue: queues.of(at),
            ..message.record()
        });
        let end = self.append_records(&topic, records, Room::Free, place)?;
        self.settle(&self.commit, end)?;
        topic.signal.raise();
        Ok(())
    }

    /// Refuses what no segment could hold.
    fn check_fits(&self, bytes: u64) -> Result<()> {
        let bytes_max = self.message_room();
        if bytes <= bytes_max { Ok(()) } else { Err(Error::TooLarge { what: "a batch", bytes, bytes_max }) }
    }

    /// Appends records of one topic in one piece; each gets the next index of its queue. Returns the log's end.
    pub(crate) fn append_records<'m>(
        &self,
        topic: &Topic,
        records: impl Iterator<Item = MessageRecord<'m>> + Clone,
        room: Room,
        mut place: impl FnMut(Appended),
    ) -> Result<u64> {
        let bytes: usize = records.clone().map(|record| record_bytes_max(&record)).sum();
        self.check_fits(bytes as u64)?;
        let mut appender = self.reserve_for(topic, bytes, room)?;
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
            let place_in_log = appender.push(|out| encode_message(&record, out), record.body);
            let (offset, size) = (place_in_log.start, (place_in_log.end - place_in_log.start) as u32);
            tail.push(Entry { offset, size, tag: tag_hash(record.tag.as_bytes()) });
            place(Appended { offset, queue: number, index: index.0 });
        }
        drop(held);
        let end = appender.finish();
        self.wake_to_mark(end);
        Ok(end)
    }

    /// The right to append messages of a topic, which is told of before them where the segment has not done so yet.
    #[inline(always)]
    pub(crate) fn reserve_for(&self, topic: &Topic, bytes: usize, room: Room) -> Result<Appender<'_>> {
        let mut appender = self.commit.reserve(bytes + TOPIC_OVERHEAD_MAX + topic.name.len(), room)?;
        if topic.declared_in.load(Ordering::Relaxed) != appender.segment_base() {
            topic.declared_in.store(appender.segment_base(), Ordering::Relaxed);
            let declared = TopicRecord { topic: topic.id, queues: topic.count, name: &topic.name };
            appender.push(|out| encode_topic(&declared, out), &[]);
        }
        Ok(appender)
    }

    /// What messages that are appended in one piece can take. The same for all topics: what fits into one must fit into
    /// a dead-letter queue, too.
    pub(crate) fn message_room(&self) -> u64 {
        let topic = TOPIC_OVERHEAD_MAX + DEAD_LETTERS.len() + NAME_MAX;
        room_max(self.commit.shape.segment_bytes).saturating_sub(topic as u64)
    }

    /// The topic of that name. A missing one is made, unless no segment could hold what is for it.
    fn topic_to_append_to(&self, name: &str, messages: &[Message<'_>]) -> Result<Arc<Topic>> {
        match self.topics.find(name) {
            Some(topic) if !is_for_letters(name) => Ok(topic),
            _ => {
                check_name("topic", name)?;
                let bytes: usize = messages.iter().map(|message| record_bytes_max(&message.record())).sum();
                self.check_fits(bytes as u64)?;
                self.make_topic(name, self.options.queues, Room::Free)
            }
        }
    }

    /// Makes a topic, or gives it more queues. Durable on return, in every mode.
    pub(crate) fn make_topic(&self, name: &str, queues: u32, room: Room) -> Result<Arc<Topic>> {
        if !(1..=QUEUES_MAX).contains(&queues) {
            return Err(Error::invalid("number of queues", queues.to_string(), "1 to 1024"));
        }
        let _one_at_a_time = self.making_topics.hold();
        let known = self.topics.find(name);
        let have = known.as_ref().map_or(0, |topic| topic.count);
        if let Some(topic) = known.as_ref().filter(|_| have >= queues) {
            // An open may have found it and not synced it yet.
            self.commit.sync_recovered()?;
            return Ok(Arc::clone(topic));
        }
        let id = known.as_ref().map_or_else(|| self.topics.new_id(name), |topic| Ok(topic.id))?;
        let mut appender = self.commit.reserve(TOPIC_OVERHEAD_MAX + name.len(), room)?;
        appender.push(|out| encode_topic(&TopicRecord { topic: id, queues, name }, out), &[]);
        // Order matters: a mark that lies behind the record must know the topic.
        let topic = self.topics.insert(id, name, queues);
        let end = appender.finish();
        self.commit.sync_through(end)?;
        Ok(topic)
    }
}

enum Queues {
    One(QueueId),
    Many(Vec<QueueId>),
}

impl Queues {
    fn of(&self, at: usize) -> QueueId {
        match self {
            Self::One(queue) => *queue,
            Self::Many(queues) => queues[at],
        }
    }
}

fn choose_queue(topic: &Topic, message: &Message<'_>) -> Result<u32> {
    let queues = topic.count;
    match message.chosen_queue() {
        Some(queue) if queue < queues => Ok(queue),
        Some(queue) => Err(Error::invalid("queue", queue.to_string(), "it must be one of the topic's queues")),
        None if queues == 1 => Ok(0),
        None if message.key_bytes().is_empty() => Ok(topic.next_turn()),
        None => Ok(crc32fast::hash(message.key_bytes()) % queues),
    }
}
