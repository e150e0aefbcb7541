//! The topics of a store, by name and by number.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use popstore_revive::{QueueId, TopicId};

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::extent::Extent;
use crate::format::limits::is_name;
pub(crate) use crate::format::limits::{DEAD_LETTERS, NAME_MAX, QUEUES_MAX};
use crate::primitives::unpoisoned;
use crate::queue::ConsumeQueue;
use crate::wait::Signal;

const NAME_RULE: &str = "1 to 127 of A-Z a-z 0-9 . _ - %, not starting with . or %: only the store writes to %DLQ%";

/// Whether a topic of that name is a dead-letter queue.
pub(crate) fn is_for_letters(name: &str) -> bool {
    name.starts_with(DEAD_LETTERS)
}

/// A topic and its queues.
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) queues: Vec<Arc<ConsumeQueue>>,
    /// The base of the commit segment that told of the topic last.
    pub(crate) declared_in: AtomicU64,
    /// Told when something of the topic may have become visible.
    pub(crate) signal: Arc<Signal>,
    turn: AtomicU32,
}

impl Topic {
    pub(crate) fn queue(&self, queue: u32) -> Option<&Arc<ConsumeQueue>> {
        self.queues.get(queue as usize)
    }

    /// The next queue, round robin.
    pub(crate) fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.queues.len() as u32
    }
}

/// All topics. Numbers are never used twice.
pub(crate) struct Topics {
    dir: PathBuf,
    entries_per_file: u64,
    /// What was read from the files of queues lately.
    chunks: Arc<Chunks>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_name: HashMap<Arc<str>, Arc<Topic>, foldhash::fast::RandomState>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
    next: u32,
    /// How many queues there are.
    queues: u64,
}

impl Topics {
    pub(crate) fn new(store: &Path, entries_per_file: u64, next: TopicId) -> Self {
        let known = Known { next: next.0, ..Known::default() };
        Self { dir: store.join("queues"), entries_per_file, chunks: Arc::default(), known: RwLock::new(known) }
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

    /// Takes in a topic with these queues, in place of what was known of it.
    pub(crate) fn insert(&self, id: TopicId, name: &str, queues: Vec<Arc<ConsumeQueue>>) -> Arc<Topic> {
        let mut known = unpoisoned(self.known.write());
        let added = queues.len() as u64;
        let before = known.by_id.get(&id);
        let replaced = before.map_or(0, |before| before.queues.len() as u64);
        let topic = Arc::new(Topic {
            id,
            name: before.map_or_else(|| Arc::from(name), |before| Arc::clone(&before.name)),
            queues,
            declared_in: AtomicU64::new(u64::MAX),
            signal: before.map_or_else(Arc::default, |before| Arc::clone(&before.signal)),
            turn: AtomicU32::new(0),
        });
        known.queues = known.queues - replaced + added;
        known.next = known.next.max(id.0.saturating_add(1));
        known.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        known.by_id.insert(id, Arc::clone(&topic));
        topic
    }

    /// An empty queue of a topic.
    pub(crate) fn empty_queue(&self, id: QueueId, name: &str) -> Arc<ConsumeQueue> {
        Arc::new(self.make_queue(id, name, &Extent::default(), Vec::new()))
    }

    pub(crate) fn make_queue(
        &self,
        id: QueueId,
        name: &str,
        extent: &Extent,
        tail: Vec<crate::format::entry::Entry>,
    ) -> ConsumeQueue {
        let dir = self.dir.join(name).join(id.queue.to_string());
        ConsumeQueue::new(id, dir, self.entries_per_file, extent, tail, Arc::clone(&self.chunks))
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
