//! Dead letters: written with their origin and history, read, and put back to where they came from.
//!
//! The copy in the commit log names its origin and thereby settles it: there is no moment at which a crash could find
//! the letter written and the original still due, or the other way round. The record in the checkpoint log that
//! follows only saves recovery the look.

use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{Burial, Burying, Change, EndReason, GroupId, QueueId, QueueIndex, Run, Time};

use crate::clock;
use crate::consumers::{Consumers, GroupEntry};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::StoreEvent;
use crate::format::commit::{Cause, MessageRecord, Settlement};
use crate::log::Room;
use crate::message::{StoredMessage, record_bytes_max};
use crate::store::Handle;
use crate::topics::{Topic, dead_letters_of};

/// How many letters are written and synced as one, and how many bytes at most; never more than fit into a segment.
const LETTERS_MAX: usize = 1024;
const LETTER_BYTES_MAX: u64 = 1 << 20;
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// A message that used up its deliveries, with its history.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    store: u128,
    message: StoredMessage,
    settlement: Settlement,
    origin: Arc<str>,
}

/// Where a redriven letter went.
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

/// The dead letters of a group, oldest first, without those that were redriven. Reads as it goes.
pub struct DeadLetters {
    handle: Arc<Handle>,
    topic: Option<Arc<Topic>>,
    /// Letters that retention has moved on; they come before the others.
    moved: std::vec::IntoIter<QueueIndex>,
    next: QueueIndex,
    end: QueueIndex,
}

impl DeadLetters {
    pub(crate) fn of(handle: &Arc<Handle>, group: &GroupEntry) -> Result<Self> {
        handle.engine.check_open()?;
        let topic = handle.engine.topics.find(&dead_letters_of(&group.name));
        let queue = topic.as_ref().and_then(|topic| topic.queue(0));
        let (next, end) = queue.map_or_else(Default::default, |queue| queue.visible(handle.engine.poppable()));
        let moved = queue.map_or_else(Vec::new, |queue| queue.relocated());
        let moved: Vec<_> = moved.into_iter().map(|(index, _)| index).filter(|index| *index < next).collect();
        Ok(Self { handle: Arc::clone(handle), topic, moved: moved.into_iter(), next, end })
    }

    fn read(&self, topic: &Topic, index: QueueIndex) -> Result<Option<DeadLetter>> {
        let engine = &self.handle.engine;
        let Some(queue) = topic.queue(0) else { return Ok(None) };
        if engine.consumers().index.is_redriven(queue.id, index) {
            return Ok(None);
        }
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

/// What messages in the commit log settled without a record of it in the checkpoint log.
#[derive(Clone)]
pub(crate) struct Unrecorded {
    /// The group whose messages were dead-lettered; without one, letters were redriven.
    group: Option<GroupId>,
    at: Time,
    runs: Vec<Run>,
}

impl Unrecorded {
    fn change<'r>(&self, runs: &'r [Run]) -> Change<'r> {
        match self.group {
            Some(group) => Change::Buried { group, at: self.at, burial: Burial::DeadLettered, runs },
            None => Change::Redriven { runs },
        }
    }
}

/// A letter about to be written.
struct Letter {
    original: StoredMessage,
    settlement: Settlement,
}

impl Engine {
    /// Copies messages to their groups' dead-letter queues and settles them there. What cannot be done now is due
    /// again later.
    pub(crate) fn bury(&self, burials: &[Burying]) {
        let bytes_max = LETTER_BYTES_MAX.min(self.message_room()) as usize;
        let mut letters: Vec<(Burying, Letter)> = Vec::new();
        let mut bytes = 0;
        for burying in burials {
            for index in burying.run.indexes() {
                let one = Burying { run: Run { mask: index.bit(), ..burying.run }, ..*burying };
                let letter = match self.letter_of(&one, index) {
                    Ok(letter) => letter,
                    Err(error) => {
                        self.delay(&[one], &error);
                        continue;
                    }
                };
                let more = record_bytes_max(&letter.original.record());
                if letters.len() >= LETTERS_MAX || (bytes + more > bytes_max && !letters.is_empty()) {
                    self.bury_some(&std::mem::take(&mut letters));
                    bytes = 0;
                }
                bytes += more;
                letters.push((one, letter));
            }
        }
        self.bury_some(&letters);
    }

    fn letter_of(&self, burying: &Burying, index: QueueIndex) -> Result<Letter> {
        let Burying { group, run, reason, popped_at } = *burying;
        let gone = || Error::unknown("topic", &format!("number {}", run.queue.topic.0));
        let topic = self.topics.by_id(run.queue.topic).ok_or_else(gone)?;
        let queue = topic.queue(run.queue.queue).ok_or_else(gone)?;
        let missing = || self.commit.damaged(self.commit.start(), format!("no message {}/{}", topic.name, index.0));
        let original = self.fetch(&topic, queue, index)?.ok_or_else(missing)?;
        let settlement = Settlement {
            cause: Cause::DeadLetter(reason),
            group,
            queue: run.queue,
            index,
            attempt: run.attempt,
            popped_at,
            appended_at: original.appended_time(),
        };
        Ok(Letter { original, settlement })
    }

    fn bury_some(&self, letters: &[(Burying, Letter)]) {
        // A group's letters lie together; a step of the reviver rarely has more than one group.
        for of_group in letters.chunk_by(|one, other| one.0.group == other.0.group) {
            let burials: Vec<Burying> = of_group.iter().map(|(burying, _)| *burying).collect();
            if let Err(error) = self.bury_for(of_group) {
                self.delay(&burials, &error);
            }
        }
    }

    fn bury_for(&self, letters: &[(Burying, Letter)]) -> Result<()> {
        let group: GroupId = letters[0].0.group;
        // A group that was removed meanwhile takes its messages with it.
        let Some(name) = self.consumers().groups.get(&group).map(|entry| dead_letters_of(&entry.name)) else {
            return Ok(());
        };
        // Order matters: the leases that end here are durable before the letters, in every mode. A letter that outlived
        // them would be written once more after a power cut.
        self.checkpoint.sync_all()?;
        let topic = self.make_topic(&name, 1, Room::Kept)?;
        let buried_at = self.now();
        let records = letters.iter().map(|(_, letter)| MessageRecord {
            appended_at: buried_at,
            queue: popstore_revive::QueueId { topic: topic.id, queue: 0 },
            settlement: Some(letter.settlement),
            ..letter.original.record()
        });
        let mut unrecorded = self.letters.lock().expect("no panic under the lock");
        let end = self.append_records(&topic, records, Room::Kept, |_| {})?;
        // Order matters: the copy is durable before the original is settled, in every mode.
        self.commit.sync_through(end)?;
        topic.signal.raise();
        let mut runs: Vec<Run> = Vec::new();
        for Burying { run, .. } in letters.iter().map(|(burying, _)| burying) {
            match runs.last_mut().filter(|last| Run { mask: 0, ..**last } == Run { mask: 0, ..*run }) {
                Some(last) => last.mask |= run.mask,
                None => runs.push(*run),
            }
        }
        let mut consumers = self.consumers();
        let settled = Unrecorded { group: Some(group), at: buried_at, runs };
        self.record_settled(&mut consumers, &mut unrecorded, settled.clone());
        let runs = settled.runs;
        let queues = self.unblocked(&consumers, group, &runs);
        drop(consumers);
        self.raise(queues);
        Ok(())
    }

    fn delay(&self, burials: &[Burying], error: &Error) {
        let now: Time = self.now();
        let mut consumers = self.consumers();
        for burying in burials {
            consumers.index.postpone(burying.group, &burying.run, now, now.after(RETRY_AFTER));
        }
        self.set_alarm(consumers.index.next_due());
        let messages = burials.iter().map(|burying| burying.run.len()).sum();
        let group = burials.first().and_then(|burying| consumers.groups.get(&burying.group));
        let group = group.map_or_else(String::new, |entry| entry.name.to_string());
        drop(consumers);
        if self.check().is_ok() {
            self.tell(&StoreEvent::DeadLetterDelayed { group, messages, reason: error.to_string() });
        }
    }

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
            appended_at: self.now(),
            queue: *origin,
            settlement: Some(settlement),
            ..letter.message.record()
        };
        let mut unrecorded = self.letters.lock().expect("no panic under the lock");
        if self.consumers().index.is_redriven(place.queue, settlement.index) {
            return Ok(Redriven::AlreadyRedriven);
        }
        // Order matters: what retention let go of is gone before it is forgotten that it was put back.
        if !self.has(place.queue, settlement.index)? {
            let place = format!("{}/{}", letter.message.topic(), letter.message.index());
            return Err(Error::unknown("dead letter", &place));
        }
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

    /// Records what a durable message in the commit log has settled. That happened, record or not: when it cannot be
    /// written now, it is before the next mark.
    fn record_settled(&self, consumers: &mut Consumers, unrecorded: &mut Vec<Unrecorded>, settled: Unrecorded) {
        if self.change_all(consumers, &settled.runs, |runs| settled.change(runs)).is_err() {
            consumers.index.apply(&settled.change(&settled.runs));
            unrecorded.push(settled);
        }
    }

    /// Records the settlements that could not be when they happened.
    pub(crate) fn record_unrecorded(&self, unrecorded: &mut Vec<Unrecorded>) -> Result<()> {
        let mut consumers = self.consumers();
        while let Some(settled) = unrecorded.last() {
            self.change_all(&mut consumers, &settled.runs, |runs| settled.change(runs))?;
            unrecorded.pop();
        }
        Ok(())
    }
}
