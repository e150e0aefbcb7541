//! Appending messages: `Store::append` -> commit log -> consume queue entry -> wake waiting pops -> durable, by policy.

use std::sync::Arc;

use popstore_revive::QueueId;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::commit::{MessageRecord, TOPIC_OVERHEAD_MAX};
use crate::log::Room;
use crate::messages::{Appended, Message, Topic, check_name, is_for_letters, record_bytes_max};

impl Engine {
    /// Appends messages of one topic as one piece, and says where each of them lies.
    pub(crate) fn append(&self, topic: &str, messages: &[Message<'_>], place: impl FnMut(Appended)) -> Result<()> {
        let context = self.context();
        context.check()?;
        if messages.is_empty() {
            return Err(Error::invalid("batch", "", "it must hold at least one message"));
        }
        messages.iter().try_for_each(|message| message.check(context.options.body_bytes_max))?;
        let topic = self.topic_to_append_to(topic, messages)?;
        let appended_at = context.clock.coarse();
        let turn = topic.turn();
        let queue = |(at, message)| {
            Ok(QueueId { topic: topic.id, queue: choose_queue(&topic, message, turn.wrapping_add(at))? })
        };
        let queues = match messages {
            // One message, the frequent case, needs no list.
            [one] => Queues::One(queue((0, one))?),
            many => Queues::Many((0..).zip(many).map(queue).collect::<Result<_>>()?),
        };
        let records = messages.iter().enumerate().map(|(at, message)| MessageRecord {
            rest: (messages.len() - 1 - at) as u32,
            appended_at,
            queue: queues.of(at),
            ..message.record()
        });
        let end = self.messages().append(&topic, records, Room::Free, place)?;
        self.make_durable(end)?;
        topic.signal.raise();
        Ok(())
    }

    /// The topic of that name. A missing one is made, unless the messages for it would be refused.
    fn topic_to_append_to(&self, name: &str, messages: &[Message<'_>]) -> Result<Arc<Topic>> {
        match self.messages().topics().find(name) {
            Some(topic) if !is_for_letters(name) => Ok(topic),
            _ => {
                check_name("topic", name)?;
                let bytes: usize = messages.iter().map(|message| record_bytes_max(&message.record())).sum();
                self.messages().check_fits(bytes as u64)?;
                let queues = self.context().options.queues;
                let mut chosen = messages.iter().filter_map(Message::chosen_queue);
                chosen.try_for_each(|queue| check_queue(queue, queues))?;
                self.find_room_for_both(name, bytes)?;
                self.messages().make_topic(name, queues, Room::Free)
            }
        }
    }

    /// Finds room for a topic and its first messages together, so that a full disk refuses both. The topic is declared
    /// once by itself and once before the messages.
    fn find_room_for_both(&self, topic: &str, bytes: usize) -> Result<()> {
        let bytes = (bytes + 2 * (TOPIC_OVERHEAD_MAX + topic.len())) as u64;
        let room = bytes.min(self.messages().message_room());
        self.messages().log().reserve(room as usize, Room::Free)?.finish();
        Ok(())
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

pub(super) fn check_queue(queue: u32, queues: u32) -> Result<()> {
    if queue < queues { Ok(()) } else { Err(Error::no_queue(queue, queues)) }
}

fn choose_queue(topic: &Topic, message: &Message<'_>, turn: u64) -> Result<u32> {
    let queues = topic.count;
    match message.chosen_queue() {
        Some(queue) => check_queue(queue, queues).map(|()| queue),
        None if queues == 1 => Ok(0),
        None if message.key_bytes().is_empty() => Ok((turn % u64::from(queues)) as u32),
        None => Ok(crc32fast::hash(message.key_bytes()) % queues),
    }
}
