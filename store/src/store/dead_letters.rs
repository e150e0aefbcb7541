//! Dead letters are read, with their origin and history, and put back to where they came from.

use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{EndReason, QueueId, QueueIndex};

use crate::background::bury::Unrecorded;
use crate::clock;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::commit::{Cause, MessageRecord, Settlement};
use crate::ledger::consumers::GroupEntry;
use crate::log::Room;
use crate::messages::message::StoredMessage;
use crate::messages::topics::{Topic, dead_letters_of};
use crate::store::Handle;

/// A message that used up its deliveries, with its history.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    store: u128,
    message: StoredMessage,
    settlement: Settlement,
    origin: Arc<str>,
}

/// What became of a letter that was to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Redriven {
    /// It is a new message at the end of this queue of its old topic.
    Done {
        /// The queue.
        queue: u32,
        /// Its place there.
        index: u64,
    },
    /// It was put back before; nothing changed.
    AlreadyRedriven,
    /// Every group that reads the dead-letter queue has finished with it; nothing changed.
    Finished,
}

impl DeadLetter {
    /// The letter itself: key, tag, properties and body are those of the original.
    pub fn message(&self) -> &StoredMessage {
        &self.message
    }

    /// The topic it came from.
    pub fn origin_topic(&self) -> &str {
        &self.origin
    }

    /// The queue it came from.
    pub fn origin_queue(&self) -> u32 {
        self.settlement.queue.queue
    }

    /// Its place in that queue.
    pub fn origin_index(&self) -> u64 {
        self.settlement.index.0
    }

    /// How often it was delivered.
    pub fn attempts(&self) -> u32 {
        self.settlement.attempt
    }

    /// Why its last lease ended.
    pub fn reason(&self) -> EndReason {
        match self.settlement.cause {
            Cause::DeadLetter(reason) => reason,
            Cause::Redrive => EndReason::Expired,
        }
    }

    /// When the original was appended.
    pub fn appended_at(&self) -> SystemTime {
        clock::wall(self.settlement.appended_at)
    }

    /// When it was delivered last.
    pub fn popped_at(&self) -> SystemTime {
        clock::wall(self.settlement.popped_at)
    }

    /// When it was dead-lettered.
    pub fn buried_at(&self) -> SystemTime {
        self.message.appended_at()
    }
}

/// The dead letters of a group, oldest first, without those that were redriven or finished with. Reads as it goes.
pub struct DeadLetters {
    handle: Arc<Handle>,
    topic: Option<Arc<Topic>>,
    /// Letters that retention has moved on; they come before the others.
    moved: std::vec::IntoIter<QueueIndex>,
    next: QueueIndex,
    end: QueueIndex,
    /// The last block that was asked for, and which of its letters are finished with.
    finished: Option<(u64, u64)>,
}

impl DeadLetters {
    pub(crate) fn of(handle: &Arc<Handle>, group: &GroupEntry) -> Result<Self> {
        handle.engine.check_open()?;
        let topic = handle.engine.topics.find(&dead_letters_of(&group.name));
        let queue = topic.as_ref().and_then(|topic| topic.queue(0));
        let (next, end) = queue.map_or_else(Default::default, |queue| queue.visible(handle.engine.poppable()));
        let moved = queue.map_or_else(Vec::new, |queue| queue.relocated());
        let moved: Vec<_> = moved.into_iter().map(|(index, _)| index).filter(|index| *index < next).collect();
        Ok(Self { handle: Arc::clone(handle), topic, moved: moved.into_iter(), next, end, finished: None })
    }

    /// Whether a letter waits for somebody. To ask for a block is to ask every group, so that is done once.
    fn is_listed(&mut self, queue: QueueId, index: QueueIndex) -> bool {
        let consumers = self.handle.engine.consumers();
        let known = self.finished.filter(|(block, _)| *block == index.block());
        let (block, finished) =
            known.unwrap_or_else(|| (index.block(), consumers.index.finished(queue, index.block())));
        self.finished = Some((block, finished));
        finished & index.bit() == 0 && !consumers.index.is_redriven(queue, index)
    }

    fn read(&mut self, topic: &Topic, index: QueueIndex) -> Result<Option<DeadLetter>> {
        self.handle.engine.check_open()?;
        let Some(queue) = topic.queue(0) else { return Ok(None) };
        if !self.is_listed(queue.id, index) {
            return Ok(None);
        }
        let engine = &self.handle.engine;
        let Some(message) = engine.fetch(topic, queue, index)? else { return Ok(None) };
        let Some(settlement) = message.settlement().copied() else { return Ok(None) };
        let origin =
            engine.topics.by_id(settlement.queue.topic).map_or_else(|| "".into(), |topic| Arc::clone(&topic.name));
        Ok(Some(DeadLetter { store: engine.identity.id, message, settlement, origin }))
    }
}

impl Iterator for DeadLetters {
    type Item = Result<DeadLetter>;

    fn next(&mut self) -> Option<Self::Item> {
        let topic = Arc::clone(self.topic.as_ref()?);
        loop {
            let index = match self.moved.next() {
                Some(index) => index,
                None if self.next < self.end => {
                    let index = self.next;
                    self.next = index.next();
                    index
                }
                None => return None,
            };
            if let Some(found) = self.read(&topic, index).transpose() {
                return Some(found);
            }
        }
    }
}

impl Engine {
    pub(crate) fn redrive(&self, group: &GroupEntry, letter: &DeadLetter) -> Result<Redriven> {
        self.check()?;
        if letter.store != self.identity.id || letter.message.topic() != dead_letters_of(&group.name) {
            let place = format!("{}/{}", letter.message.topic(), letter.message.index());
            return Err(Error::invalid("dead letter", place, "it must be of this store and this group"));
        }
        let place = letter.message.run();
        let origin = &letter.settlement.queue;
        let topic = self.topics.by_id(origin.topic).ok_or_else(|| Error::unknown("topic", &letter.origin))?;
        let settlement = Settlement {
            cause: Cause::Redrive,
            queue: place.queue,
            index: QueueIndex(letter.message.index()),
            attempt: 0,
            ..letter.settlement
        };
        let record = MessageRecord {
            appended_at: self.time()?,
            queue: *origin,
            settlement: Some(settlement),
            ..letter.message.record()
        };
        let mut unrecorded = self.letters();
        {
            let consumers = self.consumers();
            if consumers.index.is_redriven(place.queue, settlement.index) {
                return Ok(Redriven::AlreadyRedriven);
            }
            if consumers.index.finished(place.queue, settlement.index.block()) & settlement.index.bit() != 0 {
                return Ok(Redriven::Finished);
            }
        }
        // Order matters: what retention let go of is gone before it is forgotten that it was put back.
        if !self.has(place.queue, settlement.index)? {
            let place = format!("{}/{}", letter.message.topic(), letter.message.index());
            return Err(Error::unknown("dead letter", &place));
        }
        // A letter that lies about its origin is not settled by a copy that could not be written.
        topic.queue(origin.queue).ok_or_else(|| Error::unknown("topic", &letter.origin))?;
        let mut done = Redriven::AlreadyRedriven;
        let end = self.append_records(&topic, std::iter::once(record), Room::Free, |appended| {
            done = Redriven::Done { queue: appended.queue, index: appended.index };
        })?;
        self.commit.sync_through(end)?;
        let mut consumers = self.consumers();
        self.record_settled(
            &mut consumers,
            &mut unrecorded,
            Unrecorded { group: None, at: record.appended_at, runs: vec![place] },
        );
        drop(consumers);
        topic.signal.raise();
        Ok(done)
    }

    /// Whether retention has left the message at this place, or moved it on.
    fn has(&self, queue: QueueId, index: QueueIndex) -> Result<bool> {
        let queue = self.topics.queue(queue);
        queue.map_or(Ok(false), |queue| Ok(queue.entry(&self.disk, index)?.is_some()))
    }
}
