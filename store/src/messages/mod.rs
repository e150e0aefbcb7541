//! Messages: the commit log, the topics and their consume queues. Nothing here knows of consumers.

mod chunks;
mod fetch;
mod message;
mod queue;
mod topics;
mod wait;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use popstore_revive::QueueId;

use crate::context::Context;
use crate::log::Log;
use crate::segment::Disk;

pub use message::{Message, StoredMessage};
pub(crate) use message::{Reader, record_bytes_max};
pub(crate) use queue::{ConsumeQueue, aside, sparse};
pub(crate) use topics::{Topic, Topics, check_name, dead_letters_of, is_for_letters};
pub use writer::Appended;

/// All messages.
///
/// Locks are taken in this order: `making_topics`, the log's own, the queues' own.
pub(crate) struct Messages {
    context: Arc<Context>,
    log: Log,
    topics: Topics,
    disk: Disk,
    /// One topic is made at a time.
    making_topics: Mutex<()>,
    /// From this end of the log on maintenance has something to do. Every append compares it.
    mark_at: AtomicU64,
}

impl Messages {
    pub(crate) fn new(context: Arc<Context>, log: Log, topics: Topics, disk: Disk) -> Self {
        Self { context, log, topics, disk, making_topics: Mutex::default(), mark_at: AtomicU64::new(0) }
    }

    /// The commit log, to be read, synced or shortened.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The files of the consume queues are reached through it.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The end of the messages that may be handed out.
    pub(crate) fn poppable(&self) -> u64 {
        if self.context.syncs_each() { self.log.durable() } else { self.log.written() }
    }

    /// Wakes maintenance when the log has reached this end.
    pub(crate) fn wake_maintenance_at(&self, end: u64) {
        self.mark_at.store(end, Ordering::Relaxed);
    }

    /// Wakes all that wait for a message of any topic.
    pub(crate) fn raise_all(&self) {
        self.topics.all().iter().for_each(|topic| topic.signal.raise());
    }

    /// Wakes all that wait for messages of these queues, where one may have become visible.
    pub(crate) fn raise(&self, queues: impl IntoIterator<Item = QueueId>) {
        let mut before = None;
        for queue in queues {
            if before != Some(queue.topic)
                && let Some(topic) = self.topics.by_id(queue.topic)
            {
                topic.signal.raise();
            }
            before = Some(queue.topic);
        }
    }
}
