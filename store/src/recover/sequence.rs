//! The rules between the records of the commit log: the one place that checks them, for opening, verifying, salvage
//! and the dry run alike. The rules for a single record are in its decoder.
//!
//! Opening stops at the first record that is wrong; a reader that continues behind damage states how many bytes it could not
//! read, and records that may lie there are not missed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use popstore_revive::TopicId;

use crate::fault::Fault;
use crate::format::commit::{CommitRecord, MessageRecord, Properties, TopicRecord};
use crate::format::frame::FRAME_HEADER;
use crate::log::FrameAt;

/// The records of the commit log in their order, as far as they were read.
#[derive(Clone, Default)]
pub(crate) struct Sequence {
    topics: BTreeMap<TopicId, SeenTopic>,
    by_name: HashMap<Arc<str>, TopicId>,
    /// A queue of which nothing is known may begin anywhere.
    begun_anywhere: bool,
    batch: Option<Batch>,
    /// The bytes that could not be read so far.
    gaps: u64,
}

#[derive(Clone)]
struct SeenTopic {
    name: Arc<str>,
    queues: u32,
    /// The ends of its queues, as far as they were read.
    ends: BTreeMap<u32, End>,
}

#[derive(Clone, Copy)]
struct End {
    /// The index of the next message, unless any may come.
    next: Option<u64>,
    /// The bytes that could not be read before that.
    gaps: u64,
}

/// A batch of which `rest` messages follow, in this segment.
#[derive(Clone, Copy)]
struct Batch {
    segment: u64,
    rest: u32,
}

impl Sequence {
    /// Nothing is known yet. From the log's first byte on each queue begins with its first message; behind any other position a
    /// queue may begin with any.
    pub(crate) fn beginning_at(position: u64) -> Self {
        Self { begun_anywhere: position > 0, ..Self::default() }
    }

    /// Takes in a topic that is known from elsewhere, with the ends of its queues.
    pub(crate) fn add_known(
        &mut self,
        topic: TopicId,
        name: &str,
        queues: u32,
        ends: impl Iterator<Item = (u32, u64)>,
    ) {
        let name: Arc<str> = name.into();
        let ends = ends.map(|(queue, end)| (queue, End { next: Some(end), gaps: 0 })).collect();
        self.by_name.insert(Arc::clone(&name), topic);
        self.topics.insert(topic, SeenTopic { name, queues, ends });
    }

    /// `len` bytes cannot be read.
    pub(crate) fn gap(&mut self, len: u64) {
        self.batch = None;
        self.gaps = self.gaps.saturating_add(len);
    }

    /// Segments were removed while they were read.
    pub(crate) fn removed(&mut self) {
        self.batch = None;
        self.begun_anywhere = true;
        self.topics.values_mut().for_each(|known| known.ends.clear());
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// It cannot stand there; then it has no effect, except for the place of a message.
    pub(crate) fn take(&mut self, record: &CommitRecord<'_>, at: &FrameAt<'_>) -> Result<(), Fault> {
        match record {
            CommitRecord::Message(message) => self.message(message, at),
            CommitRecord::Topic(topic) => self.topic(topic, at),
            CommitRecord::End => Ok(()),
        }
    }

    fn topic(&mut self, topic: &TopicRecord<'_>, at: &FrameAt<'_>) -> Result<(), Fault> {
        if self.batch.take().is_some() {
            let found = format!("a batch is interrupted by topic {:?}", topic.name);
            return Err(at.fault("10.5", "the next message of the batch", found));
        }
        let named = self.by_name.get(topic.name).copied();
        if named.is_some_and(|named| named != topic.topic) {
            let found = format!("two topics have the name {:?}", topic.name);
            return Err(at.fault("6", "another name", found));
        }
        let new = || SeenTopic { name: topic.name.into(), queues: 0, ends: BTreeMap::new() };
        let known = self.topics.entry(topic.topic).or_insert_with(new);
        if *known.name != *topic.name {
            let found = format!("a topic has two names: {:?}", topic.name);
            return Err(at.fault("6", format!("topic {:?}", known.name), found));
        }
        known.queues = known.queues.max(topic.queues);
        self.by_name.entry(Arc::clone(&known.name)).or_insert(topic.topic);
        Ok(())
    }

    fn message(&mut self, message: &MessageRecord<'_>, at: &FrameAt<'_>) -> Result<(), Fault> {
        let segment = at.position - at.offset;
        let before = self.batch.take();
        self.batch = message.rest.checked_sub(1).map(|rest| Batch { segment, rest });
        let placed = self.place(message, at);
        if let Some(Batch { segment: of, rest }) =
            before.filter(|one| (one.segment, one.rest) != (segment, message.rest))
        {
            let expected = format!("the message with {rest} behind it");
            if of != segment {
                return Err(at.fault("10.5", expected, "a batch lies in two segments"));
            }
            let found = format!("the batch does not count down: a message with {} behind it", message.rest);
            return Err(at.fault("10.5", expected, found));
        }
        placed?;
        if Properties::new(message.properties).are_whole() {
            Ok(())
        } else {
            Err(at.fault("6", "names and values of properties", "something else"))
        }
    }

    fn place(&mut self, message: &MessageRecord<'_>, at: &FrameAt<'_>) -> Result<(), Fault> {
        let (queue, index, gaps) = (message.queue, message.index.0, self.gaps);
        let known = self.topics.get_mut(&queue.topic).filter(|known| queue.queue < known.queues);
        let Some(known) = known else {
            let found = format!("topic number {}, queue {}", queue.topic.0, queue.queue);
            return Err(at.fault("6", "a queue of a topic with an earlier record", found));
        };
        let begin = End { next: (!self.begun_anywhere).then_some(0), gaps: 0 };
        let SeenTopic { name, ends, .. } = known;
        let end = ends.entry(queue.queue).or_insert(begin);
        // Missing messages may be in the gaps.
        let messages_max = (gaps - end.gaps) / FRAME_HEADER as u64;
        let place = |index| format!("message {name}/{}/{index}", queue.queue);
        if message.relocated {
            return match end.next.filter(|next| index >= next.saturating_add(messages_max)) {
                None => Ok(()),
                Some(next) => {
                    let found = format!("a copy of {}, which is not before the end of its queue", place(index));
                    Err(at.fault("12.4", format!("a copy of one before {}", place(next)), found))
                }
            };
        }
        let next = end.next;
        if next.is_none_or(|next| index >= next) {
            *end = End { next: Some(index + 1), gaps };
        }
        match next.filter(|next| index < *next || index - next > messages_max) {
            None => Ok(()),
            Some(next) => {
                let found = format!("{}, which is not at the end of its queue", place(index));
                Err(at.fault("1", place(next), found))
            }
        }
    }
}
