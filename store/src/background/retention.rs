//! Retention: whole segments of the commit log go, oldest first, and what somebody still needs is moved on.
//!
//! Order matters, for a crash between any two steps: what is still needed is copied and the copies are durable; the
//! queues' first indexes move; a mark tells both, and where the log will begin; then the files are removed, those of the
//! queues too. An open that finds a file before that place removes it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use popstore_revive::{QueueId, QueueIndex, Time, TopicId};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::commit::{CommitRecord, MESSAGE_OVERHEAD_MAX, MessageRecord, TOPIC_OVERHEAD_MAX, encode_message};
use crate::format::entry::Entry;
use crate::format::frame::{END_FRAME, KIND_END};
use crate::format::header::SEGMENT_HEADER;
use crate::ledger::consumers::Consumers;
use crate::log::{Room, Segment};
use crate::messages::message::record_bytes_max;
use crate::messages::topics::{DEAD_LETTERS, NAME_MAX, is_for_letters};
use crate::primitives::Hold;

/// What is needed of a segment is moved on if it is at most this part of it, or if all that was moved is at most that
/// part of the log: else the segment stays. So neither the log grows without an end, nor what is written for it.
const OF_SEGMENT: u64 = 8;
const OF_LOG: u64 = 4;
/// How many segments go by one mark.
const SEGMENTS_MAX: usize = 16;

/// What becomes of dead letters that nobody has put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    /// The segment is too old or too much: they go with it.
    Go,
    /// It goes when the groups are done with it: they are moved on.
    Stay,
}

/// The first index of each queue behind a segment: the segment's last message of it, and one more.
type Firsts = BTreeMap<QueueId, QueueIndex>;

/// What is known of the oldest segment.
pub(crate) struct Oldest {
    base: u64,
    firsts: Firsts,
    /// When its last message was appended. Those that were moved here are as old as they were.
    newest: Option<Time>,
    /// The same of those alone that were not moved here.
    appended: Option<Time>,
}

/// What somebody still needs of a segment.
#[derive(Default)]
struct Needed {
    messages: BTreeMap<(QueueId, QueueIndex), Entry>,
    /// What was moved out of segments before and is needed, too.
    moved_bytes: u64,
}

impl Needed {
    fn bytes(&self) -> u64 {
        self.messages.values().map(|entry| u64::from(entry.size)).sum()
    }

    /// What copies of them take, with the records of their topics, and a little that the last one must find.
    fn room(&self) -> u64 {
        let mut topics: Vec<TopicId> = self.messages.keys().map(|(queue, _)| queue.topic).collect();
        topics.dedup();
        let topic = TOPIC_OVERHEAD_MAX + DEAD_LETTERS.len() + NAME_MAX;
        self.bytes() + (topics.len() * topic + MESSAGE_OVERHEAD_MAX) as u64
    }
}

impl Engine {
    /// Lets go of the segments that the rules do not keep.
    pub(crate) fn retain(&self) -> Result<()> {
        let rules = &self.options.retention;
        if rules.after.is_none() && rules.bytes.is_none() && !rules.when_done {
            return Ok(());
        }
        if let Some((base, firsts)) = self.let_go()? {
            let end = self.move_mark_to(base)?;
            self.checkpoint.sync_through(end)?;
            // Order matters: a mark from before would lead to files that are gone, and opening would read the whole log.
            for (id, first) in firsts {
                if let Some(queue) = self.topics.queue(id) {
                    queue.retire_before(&self.disk, first)?;
                    let moved = queue.relocated().into_iter().map(|(index, _)| index);
                    self.consumers().index.forget_letters(id, first, moved);
                }
            }
            self.commit.retire_before(base)?;
            // What is left is for the next round: the other tasks of the keeper come between.
            let _ = self.wakes.keep.try_send(());
        }
        Ok(())
    }

    /// Makes all that depends on the oldest segments independent of them, as far as the rules do not keep them. Returns
    /// where the log will begin then, and the queues. One mark tells of many segments: each tells of all queues, and one for
    /// each segment would fall behind the appends.
    fn let_go(&self) -> Result<Option<(u64, Firsts)>> {
        let segments = self.commit.segments();
        let (mut base, mut begins) = (None, Firsts::new());
        for pair in segments.windows(2).take(SEGMENTS_MAX) {
            let (oldest, next) = (&pair[0], &pair[1]);
            // The log rolls before a staged group is written: what cannot be read yet is neither counted nor deleted.
            if self.commit.written() < next.base {
                break;
            }
            let known = match self.know(oldest, next) {
                // What lies before it can go first.
                Err(_) if base.is_some() => break,
                known => known?,
            };
            let Some(letters) = self.may_go(&known)? else { break };
            let moved = match self.move_on(oldest, next.base, &known.firsts, letters) {
                // The same; and it makes room for more.
                Err(_) if base.is_some() => false,
                moved => moved?,
            };
            if !moved {
                break;
            }
            begins.extend(known.firsts.iter());
            base = Some(next.base);
        }
        Ok(base.map(|base| (base, begins)))
    }

    fn know(&self, segment: &Segment, next: &Segment) -> Result<Arc<Oldest>> {
        let mut cache = self.oldest.hold();
        if let Some(known) = cache.as_ref().filter(|known| known.base == segment.base) {
            return Ok(Arc::clone(known));
        }
        let (mut known, end) = self.survey(segment)?;
        let pages = self.commit.pages(end);
        let closing = pages.as_ref().and_then(|pages| pages.bytes(end, END_FRAME));
        let closing = closing.and_then(|closing| self.commit.frame(closing, end).ok());
        if closing.is_none_or(|closing| closing.kind != KIND_END) {
            let damaged = self.commit.damaged(end, "a frame behind which nothing can be read");
            // Of what lies behind it the queues' entries tell, and that it came before what the next segment holds.
            let (firsts, newest) = (self.firsts_at(end..next.base, &known.firsts)?, self.survey(next)?.0.appended);
            let (Some(firsts), Some(newest)) = (firsts, newest) else { return Err(damaged) };
            (known.firsts, known.newest) = (firsts, known.newest.max(Some(newest)));
            self.tell_failure("look into the oldest segment", Err(damaged));
        }
        Ok(Arc::clone(cache.insert(Arc::new(known))))
    }

    /// What can be read of a segment up to the first frame that is damaged, and where that is or the segment ends.
    fn survey(&self, segment: &Segment) -> Result<(Oldest, u64)> {
        let (mut firsts, mut newest, mut appended) = (Firsts::new(), None, None);
        let mut end = segment.base + SEGMENT_HEADER as u64;
        self.commit.frames(segment.base, segment.end(), |offset, frame| {
            end = offset + frame.len() as u64;
            if let Ok(CommitRecord::Message(record)) = CommitRecord::decode(frame) {
                newest = newest.max(Some(record.appended_at));
                if !record.relocated {
                    appended = appended.max(Some(record.appended_at));
                    firsts.insert(record.queue, record.index.next());
                }
            }
            Ok(())
        })?;
        Ok((Oldest { base: segment.base, firsts, newest, appended }, end))
    }

    /// The first index of each queue whose message lies behind what cannot be read of a segment, by the queues' entries;
    /// nothing where these are not borne out by the messages there, or by those that could be read before.
    fn firsts_at(&self, unreadable: Range<u64>, read: &Firsts) -> Result<Option<Firsts>> {
        let mut firsts = Firsts::new();
        let topics = self.topics.all();
        for (topic, queue) in topics.iter().flat_map(|topic| topic.all_used().map(move |queue| (topic, queue))) {
            let (first, end) = (queue.first(), queue.end());
            let (mut low, mut high) = (first, end);
            while low < high {
                let middle = QueueIndex(low.0.midpoint(high.0));
                match queue.entry(&self.disk, middle)? {
                    Some(entry) if entry.offset >= unreadable.end => high = middle,
                    Some(entry) if entry.offset > 0 => low = middle.next(),
                    _ => return Ok(None),
                }
            }
            let lies = |index| Ok(self.fetch(topic, queue, index)?.map(|found| found.position()));
            let is_behind = low == end || matches!(lies(low), Ok(Some(place)) if place >= unreadable.end);
            let is_before = low == first || {
                let before = QueueIndex(low.0 - 1);
                match lies(before) {
                    Ok(place) => place.is_some_and(|place| place < unreadable.end),
                    Err(Error::Corrupt { .. }) => {
                        queue.entry(&self.disk, before)?.is_some_and(|entry| unreadable.contains(&entry.offset))
                    }
                    Err(error) => return Err(error),
                }
            };
            if !is_behind || !is_before || read.get(&queue.id).is_some_and(|read| low < *read) {
                return Ok(None);
            }
            if low > first {
                firsts.insert(queue.id, low);
            }
        }
        Ok(Some(firsts))
    }

    /// Whether the rules let the oldest segment go, and then what becomes of the dead letters in it. Whether the groups are
    /// done with it, where that counts, is looked at when it goes.
    fn may_go(&self, oldest: &Oldest) -> Result<Option<Letters>> {
        let rules = &self.options.retention;
        let too_much = rules.bytes.is_some_and(|bytes| self.commit.written().saturating_sub(oldest.base) > bytes);
        let is_older = match (rules.after, oldest.newest) {
            (Some(after), Some(newest)) => self.now().since(self.counts_from(oldest.base, newest, after)?) > after,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if too_much || is_older {
            return Ok(Some(Letters::Go));
        }
        Ok(rules.when_done.then_some(Letters::Stay))
    }

    fn is_done(&self, consumers: &Consumers, firsts: &Firsts) -> bool {
        firsts.iter().all(|(queue, first)| {
            let letters = self.topics.by_id(queue.topic).is_none_or(|topic| is_for_letters(&topic.name));
            let mut readers = consumers.index.readers(queue.topic).peekable();
            // Nobody has to read letters for them to be moved on; who does is not done with them before.
            let read = letters || readers.peek().is_some();
            let done = |group| consumers.index.done_through(group, *queue).is_some_and(|done| done >= *first);
            read && readers.all(done)
        })
    }

    /// Copies what somebody still needs of a segment to the end of the log, unless it is too much. Returns whether the
    /// segment may go; then the queues already begin behind it.
    fn move_on(&self, segment: &Segment, next_base: u64, firsts: &Firsts, letters: Letters) -> Result<bool> {
        loop {
            let needed = {
                let consumers = self.consumers();
                // Each time: a group may have begun to read while messages were copied, and nothing is done for it.
                if letters == Letters::Stay && !self.is_done(&consumers, firsts) {
                    return Ok(false);
                }
                let needed = self.needed(&consumers, next_base, firsts, letters)?;
                if needed.messages.is_empty() {
                    // Under the lock: no pop can take one of them between the look and this.
                    for (queue, first) in firsts.iter().filter_map(|(id, first)| Some((self.topics.queue(*id)?, first)))
                    {
                        queue.begin_at(*first);
                    }
                    return Ok(true);
                }
                needed
            };
            let (bytes, log) = (needed.bytes(), self.commit.bytes());
            if bytes > segment.capacity / OF_SEGMENT && needed.moved_bytes + bytes > log / OF_LOG {
                return Ok(false);
            }
            self.copy(&needed)?;
        }
    }

    /// The messages before `next_base` that a group holds, unless they were moved on already.
    fn needed(&self, consumers: &Consumers, next_base: u64, firsts: &Firsts, letters: Letters) -> Result<Needed> {
        let mut needed = Needed::default();
        for topic in self.topics.all() {
            let of_letters = is_for_letters(&topic.name);
            for queue in topic.all_used() {
                let relocated: BTreeMap<_, _> = queue.relocated().into_iter().collect();
                let is_letter = |index: QueueIndex| {
                    let finished = || consumers.index.finished(queue.id, index.block()) & index.bit() != 0;
                    of_letters && !consumers.index.is_redriven(queue.id, index) && !finished()
                };
                let held = |index| {
                    consumers.index.groups().any(|group| consumers.index.held(group, queue.id, index).is_some())
                };
                for (index, entry) in &relocated {
                    let goes = entry.offset < next_base;
                    let wanted = held(*index) || (is_letter(*index) && (letters == Letters::Stay || !goes));
                    match (wanted, goes) {
                        (false, _) => queue.drop_relocated(*index),
                        (true, true) => drop(needed.messages.insert((queue.id, *index), *entry)),
                        (true, false) => needed.moved_bytes += u64::from(entry.size),
                    }
                }
                let Some(first) = firsts.get(&queue.id) else { continue };
                let begins = if of_letters && letters == Letters::Stay { queue.first() } else { *first };
                for index in (begins.0..first.0).map(QueueIndex).filter(|index| is_letter(*index)) {
                    if !relocated.contains_key(&index)
                        && let Some(entry) = queue.entry(&self.disk, index)?
                    {
                        needed.messages.insert((queue.id, index), entry);
                    }
                }
                for group in consumers.index.groups() {
                    let cohorts = consumers.index.unsettled(group, queue.id);
                    for index in cohorts.flat_map(|(block, cohort)| cohort.indexes(block)) {
                        if index < *first
                            && !relocated.contains_key(&index)
                            && let Some(entry) = queue.entry(&self.disk, index)?
                        {
                            needed.messages.insert((queue.id, index), entry);
                        }
                    }
                }
            }
        }
        Ok(needed)
    }

    /// Appends messages again. What cannot be done stays as it is.
    fn copy(&self, needed: &Needed) -> Result<()> {
        // Order matters: a disk that has room for a part of it only would be left with none, and nothing could go.
        let room = needed.room().min(self.message_room());
        drop(self.commit.reserve(room as usize, Room::Kept)?);
        let mut moved = Vec::new();
        let copied = needed.messages.iter().try_for_each(|(place, entry)| {
            let copy = self.copy_one(*place, entry)?;
            moved.extend(copy.map(|copy| (*place, copy)));
            Ok(())
        });
        self.commit.sync_through(moved.last().map_or(0, |(_, copy)| copy.end()))?;
        // Order matters: a place is told when it can be read, for a message that was moved before is read there.
        for ((id, index), copy) in moved {
            if let Some(queue) = self.topics.queue(id) {
                queue.relocate(index, copy);
            }
        }
        copied
    }

    fn copy_one(&self, (id, index): (QueueId, QueueIndex), entry: &Entry) -> Result<Option<Entry>> {
        let Some(topic) = self.topics.by_id(id.topic) else { return Ok(None) };
        let Some(queue) = topic.queue(id.queue) else { return Ok(None) };
        let Some(message) = self.fetch(&topic, queue, index)? else { return Ok(None) };
        let record = MessageRecord { relocated: true, ..message.record() };
        let mut appender = self.reserve_for(&topic, record_bytes_max(&record), Room::Kept)?;
        let place = appender.push(|out| encode_message(&record, out), record.body);
        appender.finish();
        Ok(Some(Entry { offset: place.start, size: (place.end - place.start) as u32, tag: entry.tag }))
    }
}
