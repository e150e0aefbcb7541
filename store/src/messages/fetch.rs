//! Reading a message by its place: queue -> entry -> frame, and back to the commit log where the entry is wrong.

use std::collections::{BTreeMap, HashMap};

use popstore_revive::{QueueId, QueueIndex};

use super::{ConsumeQueue, Messages, Reader, StoredMessage, Topic};
use crate::callback;
use crate::error::{Error, MessagePlace, Result};
use crate::format::commit::CommitRecord;
use crate::format::entry::{Entry, tag_hash};

/// How many entries of a rebuild are in memory at once, before they are written to their queues' files.
const REBUILT_AT_ONCE: usize = 1 << 16;

impl Messages {
    /// The message at a place, if it is there.
    ///
    /// An entry that does not lead to its message is wrong, and its queue is rebuilt from the commit log; if that
    /// does not help, the message itself is damaged.
    pub(crate) fn fetch(
        &self,
        topic: &Topic,
        queue: &ConsumeQueue,
        index: QueueIndex,
    ) -> Result<Option<StoredMessage>> {
        let Some(entry) = queue.entry(&self.disk, index)? else { return Ok(None) };
        if let Ok(message) = self.follow(topic, queue, index, entry) {
            return Ok(Some(message));
        }
        if queue.entry(&self.disk, index)? != Some(entry) {
            // Retention moved it or deleted it meanwhile.
            return self.fetch(topic, queue, index);
        }
        // The whole log is searched once: a group that stands before damage asks at each pop.
        if queue.was_sought_in_vain(index) {
            return self.follow(topic, queue, index, entry).map(Some);
        }
        let Some(actual) = self.find_entry(queue, index)?.filter(|actual| *actual != entry) else {
            // A message that is not written yet cannot be found, nor be damaged.
            if entry.end() <= self.log.written() {
                queue.seek_no_more(index);
            }
            return self.follow(topic, queue, index, entry).map(Some);
        };
        callback::log(
            || tracing::warn!(topic = %topic.name, queue = queue.id.queue, "a consume queue was wrong and is rebuilt"),
        );
        let message = self.follow(topic, queue, index, actual)?;
        self.rebuild(&[queue])?;
        Ok(Some(message))
    }

    /// Whether retention has left the message at this place, or moved it on.
    pub(crate) fn has(&self, queue: QueueId, index: QueueIndex) -> Result<bool> {
        let queue = self.topics.queue(queue);
        queue.map_or(Ok(false), |queue| Ok(queue.entry(&self.disk, index)?.is_some()))
    }

    /// The error for a message that should be there.
    pub(crate) fn missing(&self, topic: &Topic, index: QueueIndex) -> Error {
        self.log.damaged(self.log.start(), format!("no message {}/{}", topic.name, index.0))
    }

    fn follow(&self, topic: &Topic, queue: &ConsumeQueue, index: QueueIndex, entry: Entry) -> Result<StoredMessage> {
        let read = Reader::new(&self.log, &topic.name).read(entry, queue.id, index);
        read.map_err(|error| in_message(error, topic, queue, index))
    }

    /// The entry of one message as the commit log has it.
    fn find_entry(&self, queue: &ConsumeQueue, index: QueueIndex) -> Result<Option<Entry>> {
        let mut found = None;
        self.each_entry(|of, at, entry| {
            if found.is_none() && (of, at) == (queue.id, index) {
                found = Some(entry);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Writes the entries of some queues again as the commit log has them, in one walk over it for all of them. Returns how
    /// many records were read.
    pub(crate) fn rebuild(&self, queues: &[&ConsumeQueue]) -> Result<u64> {
        if queues.is_empty() {
            return Ok(0);
        }
        let queues: HashMap<QueueId, &ConsumeQueue> = queues.iter().map(|queue| (queue.id, *queue)).collect();
        let (mut found, mut count) = (BTreeMap::<QueueId, Vec<_>>::new(), 0_usize);
        let write = |found: &mut BTreeMap<_, Vec<_>>| {
            std::mem::take(found).iter().try_for_each(|(id, entries)| match queues.get(id) {
                Some(queue) => queue.rebuild(&self.disk, entries),
                None => Ok(()),
            })
        };
        let records = self.each_entry(|queue, index, entry| {
            if queues.contains_key(&queue) {
                found.entry(queue).or_default().push((index, entry));
                count += 1;
                if count.is_multiple_of(REBUILT_AT_ONCE) {
                    write(&mut found)?;
                }
            }
            Ok(())
        })?;
        write(&mut found)?;
        Ok(records)
    }

    /// Visits the entries of all queues, as the commit log has them. Returns how many records it has.
    fn each_entry(&self, mut visit: impl FnMut(QueueId, QueueIndex, Entry) -> Result<()>) -> Result<u64> {
        let mut records = 0;
        self.log.frames(self.log.start(), self.log.written(), |offset, frame| {
            records += 1;
            match CommitRecord::decode(frame) {
                Ok(CommitRecord::Message(record)) if !record.relocated => {
                    let (size, tag) = (frame.len() as u32, tag_hash(record.tag.as_bytes()));
                    visit(record.queue, record.index, Entry { offset, size, tag })
                }
                _ => Ok(()),
            }
        })?;
        Ok(records)
    }
}

/// Names the message that damage concerns.
fn in_message(error: Error, topic: &Topic, queue: &ConsumeQueue, index: QueueIndex) -> Error {
    match error {
        Error::Corrupt { path, offset, found, .. } => {
            let place = MessagePlace { topic: topic.name.to_string(), queue: queue.id.queue, index: index.0 };
            Error::Corrupt { path, offset, found, message: Some(Box::new(place)) }
        }
        other => other,
    }
}
