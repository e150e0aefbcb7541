//! Copies the messages of a segment that are still needed to the end of the log, before the segment is deleted.

use std::collections::{BTreeMap, BTreeSet};

use popstore_revive::{Letter, QueueId, QueueIndex, TopicId};

use crate::engine::Engine;
use crate::error::Result;
use crate::format::commit::{MESSAGE_OVERHEAD_MAX, MessageRecord, TOPIC_OVERHEAD_MAX, encode_message};
use crate::format::entry::Entry;
use crate::format::limits::{DEAD_LETTERS, NAME_MAX};
use crate::ledger::Locked;
use crate::log::{Room, Segment};
use crate::messages::{ConsumeQueue, Messages, is_for_letters, record_bytes_max};

/// The needed messages of a segment are moved on if they are at most this part of it, or if all that was moved is at most that
/// part of the log: else the segment stays. That bounds both the log and the bytes that are written for it.
const OF_SEGMENT: u64 = 8;
const OF_LOG: u64 = 4;

/// What retention does with dead letters that were not put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LetterRule {
    /// The segment is over a limit of age or bytes: they are deleted with it.
    Delete,
    /// It is deleted once the groups are done with it: they are moved on.
    Move,
}

/// The first index of each queue behind a segment: the segment's last message of it, and one more.
pub(super) type Firsts = BTreeMap<QueueId, QueueIndex>;

/// The needed messages of a segment, by their places.
#[derive(Default)]
struct NeededPlaces {
    places: BTreeSet<(QueueId, QueueIndex)>,
    /// What was moved out of segments before and is needed, too.
    moved_bytes: u64,
}

impl NeededPlaces {
    /// Finds where they lie, which may read the disk.
    fn find(self, messages: &Messages) -> Result<Needed> {
        let mut needed = Needed { messages: BTreeMap::new(), moved_bytes: self.moved_bytes };
        for (id, index) in self.places {
            let Some(queue) = messages.topics().queue(id) else { continue };
            if let Some(entry) = queue.entry(messages.disk(), index)? {
                needed.messages.insert((id, index), entry);
            }
        }
        Ok(needed)
    }
}

/// The same, by where they lie.
struct Needed {
    messages: BTreeMap<(QueueId, QueueIndex), Entry>,
    /// What was moved out of segments before and is needed, too.
    moved_bytes: u64,
}

impl Needed {
    fn bytes(&self) -> u64 {
        self.messages.values().map(|entry| u64::from(entry.size)).sum()
    }

    /// The bytes that copies of them take, with the records of their topics, and the overhead that the last one must find.
    fn room(&self) -> u64 {
        let mut topics: Vec<TopicId> = self.messages.keys().map(|(queue, _)| queue.topic).collect();
        topics.dedup();
        let topic = TOPIC_OVERHEAD_MAX + DEAD_LETTERS.len() + NAME_MAX;
        self.bytes() + (topics.len() * topic + MESSAGE_OVERHEAD_MAX) as u64
    }
}

/// Copies the needed messages of a segment to the end of the log, unless they are over the limits. Returns whether the
/// segment may be deleted; then the queues already begin behind it.
pub(super) fn move_on(
    engine: &Engine,
    segment: &Segment,
    next_base: u64,
    firsts: &Firsts,
    letters: LetterRule,
) -> Result<bool> {
    let messages = engine.messages();
    loop {
        let needed = {
            let consumers = engine.consumers();
            // Each time: a group may have begun to read while messages were copied, and nothing is done for it.
            if letters == LetterRule::Move && !is_done(messages, &consumers, firsts) {
                return Ok(false);
            }
            let needed = needed_places(messages, &consumers, next_base, firsts, letters);
            if needed.places.is_empty() {
                // Under the lock: no pop can take one of them between.
                for (queue, first) in
                    firsts.iter().filter_map(|(id, first)| Some((messages.topics().queue(*id)?, first)))
                {
                    queue.begin_at(*first);
                }
                return Ok(true);
            }
            needed
        };
        let needed = needed.find(messages)?;
        let (bytes, log) = (needed.bytes(), messages.log().bytes());
        if bytes > segment.capacity / OF_SEGMENT && needed.moved_bytes + bytes > log / OF_LOG {
            return Ok(false);
        }
        copy(messages, &needed)?;
    }
}

fn is_done(messages: &Messages, consumers: &Locked<'_>, firsts: &Firsts) -> bool {
    firsts.iter().all(|(queue, first)| {
        let letters = messages.topics().by_id(queue.topic).is_none_or(|topic| is_for_letters(&topic.name));
        let mut readers = consumers.index().readers(queue.topic).peekable();
        // Letters are moved on without a reader; a group that reads them must be done with them first.
        let read = letters || readers.peek().is_some();
        let done = |group| consumers.index().done_through(group, *queue).is_some_and(|done| done >= *first);
        read && readers.all(done)
    })
}

/// The messages before `next_base` that a group holds, unless they were moved on already: a message of which no delivery
/// counts is like one that nobody popped. Reads no disk.
fn needed_places(
    messages: &Messages,
    consumers: &Locked<'_>,
    next_base: u64,
    firsts: &Firsts,
    letters: LetterRule,
) -> NeededPlaces {
    let mut needed = NeededPlaces::default();
    for topic in messages.topics().all() {
        let of_letters = is_for_letters(&topic.name);
        for queue in topic.all_used() {
            add_needed(
                &mut needed,
                consumers,
                queue,
                next_base,
                firsts.get(&queue.id).copied(),
                of_letters.then_some(letters),
            );
        }
    }
    needed
}

fn add_needed(
    needed: &mut NeededPlaces,
    consumers: &Locked<'_>,
    queue: &ConsumeQueue,
    next_base: u64,
    first_behind: Option<QueueIndex>,
    letters: Option<LetterRule>,
) {
    let index = consumers.index();
    let is_letter = |at: QueueIndex| letters.is_some() && index.letter(queue.id, at) == Letter::Listed;
    let relocated: BTreeMap<_, _> = queue.relocated().into_iter().collect();
    for (at, entry) in &relocated {
        let is_deleted = entry.offset < next_base;
        let held = index.groups().any(|group| index.held(group, queue.id, *at).is_some_and(|held| held.attempt() > 0));
        let is_wanted = held || (is_letter(*at) && (letters == Some(LetterRule::Move) || !is_deleted));
        match (is_wanted, is_deleted) {
            (false, _) => queue.drop_relocated(*at),
            (true, true) => drop(needed.places.insert((queue.id, *at))),
            (true, false) => needed.moved_bytes += u64::from(entry.size),
        }
    }
    let Some(behind) = first_behind else { return };
    // Messages before the queue's first were deleted earlier, and moved if they were needed.
    let (first, behind) = (queue.first(), behind.min(queue.end()));
    let letters_from = if letters == Some(LetterRule::Move) { first } else { behind };
    let stay = (letters_from.0..behind.0).map(QueueIndex).filter(|at| is_letter(*at));
    let held = index.groups().flat_map(|group| index.unsettled(group, queue.id));
    let held = held.filter(|(_, cohort)| cohort.attempt() > 0).flat_map(|(block, cohort)| cohort.indexes(block));
    let held = held.filter(|at| (first..behind).contains(at));
    let still_there = stay.chain(held).filter(|at| !relocated.contains_key(at));
    needed.places.extend(still_there.map(|at| (queue.id, at)));
}

/// Appends messages again. What cannot be done stays as it is.
fn copy(messages: &Messages, needed: &Needed) -> Result<()> {
    // Order matters: a disk that has room for a part of it only would be left with none, and nothing could go.
    let room = needed.room().min(messages.message_room());
    drop(messages.log().reserve(room as usize, Room::Reserved)?);
    let mut moved = Vec::new();
    let copied = needed.messages.iter().try_for_each(|(place, entry)| {
        let copy = copy_one(messages, *place, entry)?;
        moved.extend(copy.map(|copy| (*place, copy)));
        Ok(())
    });
    messages.log().sync_through(moved.last().map_or(0, |(_, copy)| copy.end()))?;
    // Order matters: a place is changed when it can be read, for a message that was moved before is read there.
    for ((id, index), copy) in moved {
        if let Some(queue) = messages.topics().queue(id) {
            queue.relocate(index, copy);
        }
    }
    copied
}

fn copy_one(messages: &Messages, (id, index): (QueueId, QueueIndex), entry: &Entry) -> Result<Option<Entry>> {
    let Some(topic) = messages.topics().by_id(id.topic) else { return Ok(None) };
    let Some(queue) = topic.queue(id.queue) else { return Ok(None) };
    let Some(message) = messages.fetch(&topic, queue, index)? else { return Ok(None) };
    let record = MessageRecord { relocated: true, ..message.record() };
    let mut appender = messages.reserve(&topic, record_bytes_max(&record), Room::Reserved)?;
    let place = appender.push_one(|out| encode_message(&record, out), record.body);
    appender.finish();
    Ok(Some(Entry { offset: place.start, size: (place.end - place.start) as u32, tag: entry.tag }))
}
