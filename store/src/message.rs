//! Messages: what is handed in, and what is read back without a copy.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{QueueId, Time};

use crate::clock;
use crate::error::{Error, Result};
use crate::format::commit::{CommitRecord, MESSAGE_OVERHEAD_MAX, MessageRecord, Properties, Settlement};
use crate::format::varint::put_bytes;
use crate::log::{Bytes, Log};

/// The most bytes of a key, and of a tag.
const KEY_MAX: usize = 1024;
/// The most bytes of all properties together.
const PROPERTIES_MAX: usize = 1 << 16;

/// A message to be appended: a body, and if wanted a key, a tag and properties. Borrows what it is made of.
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

    /// What the message is about. Messages of one key go to one queue, in order.
    #[must_use]
    pub fn key(mut self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.key = key.as_ref();
        self
    }

    /// Its kind, for consumers to tell apart.
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

    /// The queue of the topic it goes to. Without one, the key decides, or else it is the next queue's turn.
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
            index: popstore_revive::QueueIndex(0),
            relocated: false,
            settlement: None,
            key: self.key,
            tag: self.tag,
            properties: &self.properties,
            body: self.body,
        }
    }
}

/// No more than this is needed to append a message record.
pub(crate) fn record_bytes_max(record: &MessageRecord<'_>) -> usize {
    MESSAGE_OVERHEAD_MAX + record.key.len() + record.tag.len() + record.properties.len() + record.body.len()
}

/// A message read from the store. It borrows the map of its segment and keeps it alive, also when retention deletes
/// the file.
#[derive(Clone)]
pub struct StoredMessage {
    topic: Arc<str>,
    bytes: Bytes,
    key: Range<usize>,
    tag: Range<usize>,
    properties: Range<usize>,
    body: Range<usize>,
    queue: QueueId,
    index: u64,
    appended_at: Time,
    settlement: Option<Settlement>,
}

impl StoredMessage {
    /// Reads the message at a position of the commit log.
    pub(crate) fn read(log: &Log, topic: &Arc<str>, position: u64, len: u32) -> Result<Self> {
        let Some(bytes) = log.bytes_at(position, len as usize) else {
            return Err(log.damaged(position, "no message lies where the consume queue says"));
        };
        let frame = log.frame(&bytes, position)?;
        let record = match CommitRecord::decode(&frame) {
            Ok(CommitRecord::Message(record)) => record,
            Ok(_) => return Err(log.damaged(position, "the record is no message")),
            Err(rule) => return Err(log.damaged(position, rule)),
        };
        let base = bytes.get().as_ptr() as usize;
        let range = |part: &[u8]| match part.len() {
            0 => 0..0,
            len => part.as_ptr() as usize - base..part.as_ptr() as usize - base + len,
        };
        let (key, tag) = (range(record.key), range(record.tag.as_bytes()));
        let (properties, body) = (range(record.properties), range(record.body));
        let MessageRecord { queue, index, appended_at, settlement, .. } = record;
        let topic = Arc::clone(topic);
        Ok(Self { topic, key, tag, properties, body, queue, index: index.0, appended_at, settlement, bytes })
    }

    /// The body, straight out of the map.
    pub fn body(&self) -> &[u8] {
        &self.bytes.get()[self.body.clone()]
    }

    /// The key; empty when none was given.
    pub fn key(&self) -> &[u8] {
        &self.bytes.get()[self.key.clone()]
    }

    /// The tag; empty when none was given.
    pub fn tag(&self) -> &str {
        std::str::from_utf8(&self.bytes.get()[self.tag.clone()]).unwrap_or_default()
    }

    /// The properties, in the order they were given.
    pub fn properties(&self) -> Properties<'_> {
        Properties::new(&self.bytes.get()[self.properties.clone()])
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The queue of the topic.
    pub fn queue(&self) -> u32 {
        self.queue.queue
    }

    /// The place in the queue.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// When it was appended, to the millisecond.
    pub fn appended_at(&self) -> SystemTime {
        clock::wall(self.appended_at)
    }

    pub(crate) fn id(&self) -> QueueId {
        self.queue
    }

    pub(crate) fn appended_time(&self) -> Time {
        self.appended_at
    }

    pub(crate) fn settlement(&self) -> Option<&Settlement> {
        self.settlement.as_ref()
    }

    /// The message as a record to be appended once more.
    pub(crate) fn record(&self) -> MessageRecord<'_> {
        MessageRecord {
            rest: 0,
            appended_at: self.appended_at,
            queue: self.queue,
            index: popstore_revive::QueueIndex(self.index),
            relocated: false,
            settlement: self.settlement,
            key: self.key(),
            tag: self.tag(),
            properties: &self.bytes.get()[self.properties.clone()],
            body: self.body(),
        }
    }
}

impl std::fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { topic, queue, index, body, .. } = self;
        write!(f, "StoredMessage({topic}/{}/{index}, {} bytes)", queue.queue, body.len())
    }
}
