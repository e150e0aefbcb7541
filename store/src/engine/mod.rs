//! The parts of an open store, together. The verbs are `impl Engine` blocks in files of their own.

pub(crate) mod options;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::Sender;
use popstore_revive::{QueueIndex, Time};

use crate::background::age::Ages;
use crate::background::bury::Unrecorded;
use crate::background::keeper::{Due, Kept};
use crate::background::retention::Oldest;
use crate::callback;
use crate::clock::Timeline;
use crate::engine::options::{Durability, Options};
use crate::error::{Error, Result};
use crate::event::StoreEvent;
use crate::format::commit::CommitRecord;
use crate::format::entry::{Entry, tag_hash};
use crate::format::identity::Identity;
use crate::ledger::consumers::Consumers;
use crate::ledger::reserve::Reserve;
use crate::log::{Log, Poison};
use crate::messages::message::{Reader, StoredMessage};
use crate::messages::queue::ConsumeQueue;
use crate::messages::topics::{Topic, Topics};
use crate::primitives::Hold;
use crate::recover::Recovery;
use crate::segment::{Disk, Lock};

/// An open store.
///
/// Locks are taken in this order: `keeping`, `making_topics`, `letters`, `consumers`, the logs' own, the queues' own.
pub(crate) struct Engine {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) clock: Timeline,
    pub(crate) identity: Identity,
    pub(crate) disk: Disk,
    pub(crate) commit: Log,
    pub(crate) checkpoint: Log,
    pub(crate) topics: Topics,
    pub(crate) consumers: Mutex<Consumers>,
    /// One topic is made at a time.
    pub(crate) making_topics: Mutex<()>,
    /// Held from the first byte of a message that settles another to the record of that settlement, so that a mark
    /// never falls between them. Holds the settlements that could not be recorded when they happened.
    pub(crate) letters: Mutex<Vec<Unrecorded>>,
    /// Held by whoever marks, snapshots or deletes.
    pub(crate) keeping: Mutex<()>,
    pub(crate) kept: Mutex<Kept>,
    pub(crate) due: Due,
    pub(crate) reserve: Reserve,
    /// What retention knows of the oldest segment.
    pub(crate) oldest: Mutex<Option<Arc<Oldest>>>,
    pub(crate) ages: Mutex<Ages>,
    pub(crate) opened_at: Time,
    pub(crate) poison: Arc<Poison>,
    pub(crate) wakes: Wakes,
    /// When the reviver wakes by itself.
    pub(crate) alarm: AtomicU64,
    pub(crate) closed: AtomicBool,
    pub(crate) recovery: Recovery,
    /// Locked while the store is open; never deleted.
    pub(crate) lock: Arc<Lock>,
}

/// What wakes the threads. A full channel means that the thread is awake.
#[derive(Clone)]
pub(crate) struct Wakes {
    pub(crate) prepare: Sender<()>,
    pub(crate) make: Sender<()>,
    pub(crate) revive: Sender<()>,
    pub(crate) keep: Sender<()>,
    pub(crate) flush: Sender<()>,
}

impl Engine {
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The time, for a verb that would not notice by what it writes that the clock has failed.
    pub(crate) fn time(&self) -> Result<Time> {
        let now = self.now();
        if self.clock.has_failed() { self.poison.check().map(|()| now) } else { Ok(now) }
    }

    /// Refuses calls on a closed or poisoned store.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_open()?;
        self.poison.check()
    }

    /// Nothing more is acknowledged: what is in memory may be half done, or who should do the work is gone. Wakes all who
    /// wait for it.
    pub(crate) fn give_up(&self, why: &str) {
        self.poison.set(self.dir.clone(), std::io::Error::other(why));
        self.let_appends_prepare();
        self.raise_all();
    }

    /// Appends that need room make it themselves from here on.
    pub(crate) fn let_appends_prepare(&self) {
        [&self.checkpoint, &self.commit].iter().for_each(|log| log.attend(false));
    }

    /// Refuses calls on a closed store, and those of a forked child, whose parent has the store open.
    pub(crate) fn check_open(&self) -> Result<()> {
        if !self.lock.is_ours() {
            return Err(Error::Locked { path: self.lock.path().to_path_buf() });
        }
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    pub(crate) fn consumers(&self) -> MutexGuard<'_, Consumers> {
        self.held(&self.consumers)
    }

    pub(crate) fn letters(&self) -> MutexGuard<'_, Vec<Unrecorded>> {
        self.held(&self.letters)
    }

    /// Takes a lock. What a call that panicked has left half-way is not acknowledged.
    fn held<'l, T>(&self, lock: &'l Mutex<T>) -> MutexGuard<'l, T> {
        let guard = lock.hold();
        if lock.is_poisoned() {
            self.give_up("a call panicked half-way");
        }
        guard
    }

    /// The end of the messages that may be handed out.
    pub(crate) fn poppable(&self) -> u64 {
        match self.options.durability {
            Durability::SyncEach => self.commit.durable(),
            _ => self.commit.written(),
        }
    }

    /// Makes what was appended to a log as durable as was promised.
    pub(crate) fn settle(&self, log: &Log, end: u64) -> Result<()> {
        match self.options.durability {
            Durability::SyncEach => log.sync_through(end),
            Durability::SyncEvery(_) => {
                let _ = self.wakes.flush.try_send(());
                Ok(())
            }
            Durability::Buffered => Ok(()),
        }
    }

    pub(crate) fn settle_checkpoint(&self, end: u64) -> Result<()> {
        if self.checkpoint_is_due(end) {
            let _ = self.wakes.keep.try_send(());
        }
        self.see_to_reserve();
        self.settle(&self.checkpoint, end)
    }

    /// Tells whoever wants to know.
    pub(crate) fn tell(&self, event: &StoreEvent) {
        callback::log(|| tracing::warn!(?event, store = %self.dir.display(), "popstore"));
        let Some(hook) = &self.options.on_event else { return };
        if callback::call(|| hook(event)).is_none() {
            callback::log(|| tracing::error!(?event, "the hook for events panicked"));
        }
    }

    /// The message at a place, if it is there.
    ///
    /// An entry that does not lead to its message is wrong, and its queue is made anew from the commit log; if that
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
            // Retention moved it or let it go meanwhile.
            return self.fetch(topic, queue, index);
        }
        // The whole log is searched once: a group that stands before damage asks at each pop.
        if queue.was_sought_in_vain(index) {
            return self.follow(topic, queue, index, entry).map(Some);
        }
        let actual = self.find_entries(queue, Some(index))?;
        let Some((_, actual)) = actual.first().filter(|(_, actual)| *actual != entry) else {
            // What is not written yet cannot be found, nor be damaged.
            if entry.end() <= self.commit.written() {
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

    fn follow(&self, topic: &Topic, queue: &ConsumeQueue, index: QueueIndex, entry: Entry) -> Result<StoredMessage> {
        let another = || self.commit.damaged(entry.offset, "another message lies where the consume queue says");
        let read = Reader::new(&self.commit, &topic.name).read(entry.offset, entry.size);
        let found = read.and_then(|message| if message.is_at(queue.id, index) { Ok(message) } else { Err(another()) });
        found.map_err(|error| in_message(error, topic, queue, index))
    }

    /// The entries of a queue, or of one message, as the commit log tells them.
    pub(crate) fn find_entries(
        &self,
        queue: &ConsumeQueue,
        only: Option<QueueIndex>,
    ) -> Result<Vec<(QueueIndex, Entry)>> {
        let mut entries = Vec::new();
        self.commit.frames(self.commit.start(), self.commit.written(), |offset, frame| {
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
