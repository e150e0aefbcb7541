//! Messages: those to be appended, and those that are read back without a copy.

use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{QueueId, QueueIndex, Run, Time};

use crate::clock;
use crate::error::{Error, Result};
use crate::format::commit::{CommitRecord, MESSAGE_OVERHEAD_MAX, MessageRecord, Properties, Settlement};
use crate::format::entry::Entry;
use crate::format::varint::put_bytes;
use crate::log::{Log, Pages};

/// The most bytes of a key, and of a tag.
const KEY_MAX: usize = 1024;
/// The most bytes of all properties together.
const PROPERTIES_MAX: usize = 1 << 16;

/// A message to be appended: a body, and optionally a key, a tag and properties. Borrows all of them.
///
/// ```
/// use popstore::Message;
/// let message = Message::new(b"12.50 EUR").key("order-42").tag("paid").property("source", "till 3");
/// assert_eq!(message.body(), b"12.50 EUR");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    body: &'a [u8],
    key: &'a [u8],
    tag: &'a str,
    properties: Vec<u8>,
    queue: Option<u32>,
}

impl<'a> Message<'a> {
    /// A message with this body; it may be empty.
    pub fn new(body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { body: body.as_ref(), ..Self::default() }
    }

    /// What the message is about. Messages of one key are appended to one queue, in order.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = key.as_ref();
        self
    }

    /// Its kind, by which consumers distinguish messages.
    #[must_use]
    pub fn tag(mut self, tag: &'a str) -> Self {
        self.tag = tag;
        self
    }

    /// Adds a named value.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        put_bytes(&mut self.properties, name.as_bytes());
        put_bytes(&mut self.properties, value.as_bytes());
        self
    }

    /// Chooses the queue of the topic. Without this the key chooses it, or else it is the next queue's turn.
    #[must_use]
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = Some(queue);
        self
    }

    /// The body.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    pub(crate) fn chosen_queue(&self) -> Option<u32> {
        self.queue
    }

    pub(crate) fn key_bytes(&self) -> &'a [u8] {
        self.key
    }

    pub(crate) fn check(&self, body_bytes_max: u64) -> Result<()> {
        let limits = [
            ("a body", self.body.len() as u64, body_bytes_max),
            ("a key", self.key.len() as u64, KEY_MAX as u64),
            ("a tag", self.tag.len() as u64, KEY_MAX as u64),
            ("the properties of a message", self.properties.len() as u64, PROPERTIES_MAX as u64),
        ];
        match limits.into_iter().find(|(_, bytes, max)| bytes > max) {
            Some((what, bytes, bytes_max)) => Err(Error::TooLarge { what, bytes, bytes_max }),
            None => Ok(()),
        }
    }

    pub(crate) fn record(&self) -> MessageRecord<'_> {
        MessageRecord {
            rest: 0,
            appended_at: Time(0),
            queue: QueueId::default(),
            index: QueueIndex(0),
            relocated: false,
            settlement: None,
            key: self.key,
            tag: self.tag,
            properties: &self.properties,
            body: self.body,
        }
    }
}

/// The most bytes that appending a message record takes.
pub(crate) fn record_bytes_max(record: &MessageRecord<'_>) -> usize {
    MESSAGE_OVERHEAD_MAX + record.key.len() + record.tag.len() + record.properties.len() + record.body.len()
}

/// A message read from the store. It borrows the map of its segment, which stays alive also when retention deletes
/// the file.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// store.append("orders", Message::new("12.50 EUR").key("order-42").property("source", "till 3"))?;
/// let message = store.message("orders", 0, 0)?.unwrap();
/// assert_eq!((message.key(), message.body()), (&b"order-42"[..], &b"12.50 EUR"[..]));
/// assert_eq!(message.properties().next(), Some(("source", "till 3")));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct StoredMessage {
    source: Arc<MessageSource>,
    /// Where its frame lies in the log.
    position: u64,
    len: u32,
    key: Part,
    tag: Part,
    properties: Part,
    body: Part,
    queue: QueueId,
    index: QueueIndex,
    appended_at: Time,
    /// Few messages settle others.
    settlement: Option<Box<Settlement>>,
}

/// What the messages of one topic in one segment share.
struct MessageSource {
    topic: Arc<str>,
    pages: Pages,
}

/// Some bytes of a frame.
#[derive(Clone, Copy)]
struct Part {
    at: u32,
    len: u32,
}

/// Reads messages of a topic. The data that neighbours share is made once.
pub(crate) struct Reader<'l> {
    log: &'l Log,
    topic: &'l Arc<str>,
    source: Option<Arc<MessageSource>>,
}

impl<'l> Reader<'l> {
    pub(crate) fn new(log: &'l Log, topic: &'l Arc<str>) -> Self {
        Self { log, topic, source: None }
    }

    /// Reads the message of a place, which lies where its entry says.
    #[inline(always)]
    pub(crate) fn read(&mut self, entry: Entry, queue: QueueId, index: QueueIndex) -> Result<StoredMessage> {
        let Entry { offset: position, size: len, .. } = entry;
        let missing = || self.log.damaged(position, "no message lies where the consume queue says");
        let source = match &self.source {
            Some(source) if source.pages.hold(position) => source,
            _ => {
                let pages = self.log.pages(position).ok_or_else(missing)?;
                self.source.insert(Arc::new(MessageSource { topic: Arc::clone(self.topic), pages }))
            }
        };
        let bytes = source.pages.bytes(position, len as usize).ok_or_else(missing)?;
        let frame = self.log.frame(bytes, position)?;
        let record = match CommitRecord::decode(&frame) {
            Ok(CommitRecord::Message(record)) if (record.queue, record.index) == (queue, index) => record,
            Ok(CommitRecord::Message(_)) => {
                return Err(self.log.damaged(position, "another message lies where the consume queue says"));
            }
            Ok(_) => return Err(self.log.damaged(position, "the record is not a message")),
            Err(rule) => return Err(self.log.damaged(position, rule)),
        };
        let base = bytes.as_ptr() as usize;
        // The parts lie within the frame, which is no longer than `len`.
        let part = |part: &[u8]| match part.len() {
            0 => Part { at: 0, len: 0 },
            len => Part { at: (part.as_ptr() as usize - base) as u32, len: len as u32 },
        };
        Ok(StoredMessage {
            source: Arc::clone(source),
            position,
            len,
            key: part(record.key),
            tag: part(record.tag.as_bytes()),
            properties: part(record.properties),
            body: part(record.body),
            queue,
            index,
            appended_at: record.appended_at,
            settlement: record.settlement.map(Box::new),
        })
    }
}

impl StoredMessage {
    /// The body, straight out of the map.
    pub fn body(&self) -> &[u8] {
        self.part(self.body)
    }

    /// The key; empty when none was given.
    pub fn key(&self) -> &[u8] {
        self.part(self.key)
    }

    /// The tag; empty when none was given.
    pub fn tag(&self) -> &str {
        std::str::from_utf8(self.part(self.tag)).unwrap_or_default()
    }

    /// The properties, in the order they were given.
    pub fn properties(&self) -> Properties<'_> {
        Properties::new(self.part(self.properties))
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.source.topic
    }

    /// The queue of the topic.
    pub fn queue(&self) -> u32 {
        self.queue.queue
    }

    /// The place in the queue.
    pub fn index(&self) -> u64 {
        self.index.0
    }

    /// When it was appended, to within a few milliseconds.
    pub fn appended_at(&self) -> SystemTime {
        clock::wall(self.appended_at)
    }

    /// Its place, with no delivery in mind.
    pub(crate) fn run(&self) -> Run {
        Run::one(self.queue, self.index, 0)
    }

    /// Where it lies in the commit log.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn appended_time(&self) -> Time {
        self.appended_at
    }

    pub(crate) fn settlement(&self) -> Option<&Settlement> {
        self.settlement.as_deref()
    }

    fn part(&self, part: Part) -> &[u8] {
        let frame = self.source.pages.bytes(self.position, self.len as usize).unwrap_or_default();
        &frame[part.at as usize..][..part.len as usize]
    }

    /// The message as a record to be appended once more.
    pub(crate) fn record(&self) -> MessageRecord<'_> {
        MessageRecord {
            rest: 0,
            appended_at: self.appended_at,
            queue: self.queue,
            index: self.index,
            relocated: false,
            settlement: self.settlement().copied(),
            key: self.key(),
            tag: self.tag(),
            properties: self.part(self.properties),
            body: self.body(),
        }
    }
}

impl std::fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, queue, index, body, .. } = self;
        write!(f, "StoredMessage({}/{}/{}, {} bytes)", source.topic, queue.queue, index.0, body.len)
    }
}
