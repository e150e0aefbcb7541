//! Reading a message by its place: queue -> entry -> frame, and back to the commit log where the entry is wrong.

use popstore_revive::{QueueId, QueueIndex};

use super::{ConsumeQueue, Messages, Reader, StoredMessage, Topic};
use crate::callback;
use crate::error::{Error, Result};
use crate::format::commit::CommitRecord;
use crate::format::entry::{Entry, tag_hash};

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
        let actual = self.find_entries(queue, Some(index))?;
        let Some((_, actual)) = actual.first().filter(|(_, actual)| *actual != entry) else {
            // What is not written yet cannot be found, nor be damaged.
            if entry.end() <= self.log.written() {
                queue.seek_no_more(index);
            }
            return self.follow(topic, queue, index, entry).map(Some);
        };
        callback::log(
            || tracing::warn!(topic = %topic.name, queue = queue.id.queue, "a consume queue was wrong and is rebuilt"),
        );
        let message = self.follow(topic, queue, index, *actual)?;
        queue.rebuild(&self.disk, &self.find_entries(queue, None)?)?;
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
        let another = || self.log.damaged(entry.offset, "another message lies where the consume queue says");
        let read = Reader::new(&self.log, &topic.name).read(entry.offset, entry.size);
        let found = read.and_then(|message| if message.is_at(queue.id, index) { Ok(message) } else { Err(another()) });
        found.map_err(|error| in_message(error, topic, queue, index))
    }

    /// The entries of a queue, or of one message, as the commit log has them.
    pub(crate) fn find_entries(
        &self,
        queue: &ConsumeQueue,
        only: Option<QueueIndex>,
    ) -> Result<Vec<(QueueIndex, Entry)>> {
        let mut entries = Vec::new();
        self.log.frames(self.log.start(), self.log.written(), |offset, frame| {
            if let Ok(CommitRecord::Message(record)) = CommitRecord::decode(frame)
                && record.queue == queue.id
                && !record.relocated
                && only.is_none_or(|only| only == record.index)
            {
                let (size, tag) = (frame.len() as u32, tag_hash(record.tag.as_bytes()));
                entries.push((record.index, Entry { offset, size, tag }));
            }
            Ok(())
        })?;
        Ok(entries)
    }
}

/// Damage is told together with the message that it concerns: `Group::skip` wants to know.
fn in_message(error: Error, topic: &Topic, queue: &ConsumeQueue, index: QueueIndex) -> Error {
    match error {
        Error::Corrupt { path, offset, found } => {
            let place = format!("{}/{}/{}", topic.name, queue.id.queue, index.0);
            Error::Corrupt { path, offset, found: format!("{found}, in the message {place}") }
        }
        other => other,
    }
}
