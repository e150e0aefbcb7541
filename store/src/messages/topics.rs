//! The topics of a store, by name and by number.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use popstore_revive::{QueueId, TopicId};

use super::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::extent::Extent;
use crate::format::limits::DEAD_LETTERS;
use crate::format::limits::is_name;
use crate::messages::queue::ConsumeQueue;
use crate::messages::queue::slots::Slots;
use crate::messages::wait::Signal;
use crate::primitives::unpoisoned;

const NAME_RULE: &str = "it must be 1 to 127 characters of A-Z a-z 0-9 . _ - % and not start with . or %";

/// Whether a topic of that name is a dead-letter queue.
pub(crate) fn is_for_letters(name: &str) -> bool {
    name.starts_with(DEAD_LETTERS)
}

/// A topic and its queues.
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    /// How many queues it has.
    pub(crate) count: u32,
    slots: Arc<Slots>,
    maker: Arc<QueueMaker>,
    /// The base of the last commit segment with a record of the topic.
    pub(crate) declared_in: AtomicU64,
    /// Raised when a message of the topic may have become visible.
    pub(crate) signal: Arc<Signal>,
    /// How many messages it has ever had.
    messages: Arc<AtomicU64>,
}

impl Topic {
    /// One of its queues, which is used from now on.
    #[inline]
    pub(crate) fn queue(&self, queue: u32) -> Option<&Arc<ConsumeQueue>> {
        if queue >= self.count {
            return None;
        }
        self.slots.get_or_make(queue, || self.maker.make(self.id, &self.name, queue, &Extent::default(), Vec::new()))
    }

    /// One of its queues, if it was used: any other is empty.
    #[inline]
    pub(crate) fn used(&self, queue: u32) -> Option<&Arc<ConsumeQueue>> {
        self.slots.get(queue)
    }

    /// The queues that were used.
    pub(crate) fn all_used(&self) -> impl Iterator<Item = &Arc<ConsumeQueue>> {
        self.slots.used()
    }

    /// A value for each of its queues, by number; for one that was not used, the value of an empty queue.
    pub(crate) fn of_each<T: Default>(&self, of: impl Fn(&ConsumeQueue) -> T) -> impl Iterator<Item = T> {
        (0..self.count).map(move |queue| self.used(queue).map_or_else(T::default, |queue| of(queue)))
    }

    /// Whose turn it is among its queues, which follows from the number of messages appended.
    pub(crate) fn turn(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Counts an appended message; the caller holds the log.
    #[inline]
    pub(super) fn count_message(&self) {
        self.messages.store(self.messages.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// All topics. Numbers are never used twice.
pub(crate) struct Topics {
    maker: Arc<QueueMaker>,
    known: RwLock<KnownTopics>,
}

/// Makes consume queues: where their files lie, and what they have in common.
struct QueueMaker {
    dir: PathBuf,
    entries_per_file: u64,
    /// Entries that were read from the files of queues lately.
    chunks: Arc<Chunks>,
}

impl QueueMaker {
    fn make(&self, topic: TopicId, name: &str, queue: u32, extent: &Extent, tail: Vec<Entry>) -> ConsumeQueue {
        let dir = self.dir.join(name).join(queue.to_string());
        let id = QueueId { topic, queue };
        ConsumeQueue::new(id, dir, self.entries_per_file, extent, tail, Arc::clone(&self.chunks))
    }
}

#[derive(Default)]
struct KnownTopics {
    by_name: HashMap<Arc<str>, Arc<Topic>, foldhash::fast::RandomState>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
    next: u32,
    /// How many queues there are.
    queues: u64,
}

impl Topics {
    pub(crate) fn new(store: &Path, entries_per_file: u64, next: TopicId) -> Self {
        let known = KnownTopics { next: next.0, ..KnownTopics::default() };
        let maker = QueueMaker { dir: store.join("queues"), entries_per_file, chunks: Arc::default() };
        Self { maker: Arc::new(maker), known: RwLock::new(known) }
    }

    pub(crate) fn by_name(&self, name: &str) -> Result<Arc<Topic>> {
        self.find(name).ok_or_else(|| Error::unknown("topic", name))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        unpoisoned(self.known.read()).by_name.get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        unpoisoned(self.known.read()).by_id.get(&id).cloned()
    }

    pub(crate) fn queue(&self, id: QueueId) -> Option<Arc<ConsumeQueue>> {
        self.by_id(id.topic)?.queue(id.queue).cloned()
    }

    /// All topics in the order of their numbers.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        unpoisoned(self.known.read()).by_id.values().cloned().collect()
    }

    /// How many queues all of them have.
    pub(crate) fn queues(&self) -> u64 {
        unpoisoned(self.known.read()).queues
    }

    /// The number the next topic gets; none does when it is the largest there is.
    pub(crate) fn next_id(&self) -> TopicId {
        TopicId(unpoisoned(self.known.read()).next)
    }

    /// A number for a topic that is to be made.
    pub(crate) fn new_id(&self, name: &str) -> Result<TopicId> {
        let id = self.next_id();
        if id.0 < u32::MAX { Ok(id) } else { Err(Error::invalid("topic", name, "all numbers of topics are used up")) }
    }

    /// Takes in a topic with this number of queues, in place of an earlier one of its number.
    pub(crate) fn insert(&self, id: TopicId, name: &str, count: u32) -> Arc<Topic> {
        let mut known = unpoisoned(self.known.write());
        let before = known.by_id.get(&id);
        let replaced = before.map_or(0, |before| u64::from(before.count));
        let topic = Arc::new(Topic {
            id,
            name: before.map_or_else(|| Arc::from(name), |before| Arc::clone(&before.name)),
            count,
            slots: before.map_or_else(Arc::default, |before| Arc::clone(&before.slots)),
            maker: Arc::clone(&self.maker),
            declared_in: AtomicU64::new(u64::MAX),
            signal: before.map_or_else(Arc::default, |before| Arc::clone(&before.signal)),
            messages: before.map_or_else(Arc::default, |before| Arc::clone(&before.messages)),
        });
        known.queues = known.queues - replaced + u64::from(count);
        known.next = known.next.max(id.0.saturating_add(1));
        known.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        known.by_id.insert(id, Arc::clone(&topic));
        topic
    }

    /// Takes in a queue as it was found, before it is used.
    pub(crate) fn fill(&self, topic: &Topic, queue: u32, extent: &Extent, tail: Vec<Entry>) {
        topic.messages.fetch_add(extent.end.0.saturating_add(tail.len() as u64), Ordering::Relaxed);
        topic.slots.get_or_make(queue, || self.maker.make(topic.id, &topic.name, queue, extent, tail));
    }
}

/// Refuses names that users may not give to a topic or a group.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    if is_name(name) { Ok(()) } else { Err(Error::invalid(what, name, NAME_RULE)) }
}

/// The name of a group's dead-letter queue.
pub(crate) fn dead_letters_of(group: &str) -> String {
    format!("{DEAD_LETTERS}{group}")
}
