//! The store: what users hold in their hands.

pub(crate) mod dead_letters;
pub(crate) mod group;
pub(crate) mod handle;
mod open;

use std::path::Path;
use std::sync::Arc;

use popstore_revive::QueueIndex;

use crate::error::{Error, Result};
use crate::ledger::Receipt;
use crate::log::Room;
use crate::messages::{Appended, Message, StoredMessage, check_name};
use crate::options::Options;
use crate::recover::Recovery;
use crate::verbs::groups::GroupOptions;
use crate::verbs::stats::{StoreStats, TopicStats};
use group::Group;
use handle::Handle;

/// A store of messages in a directory. Cheap to clone, and to be shared between threads; the last clone that is
/// dropped, groups included, closes it.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use popstore::{Message, Store};
/// let store = Store::open(dir.path())?;
/// let place = store.append("orders", Message::new("12.50 EUR").key("order-42"))?;
/// let message = store.message("orders", place.queue, place.index)?.unwrap();
/// assert_eq!(message.body(), b"12.50 EUR");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) handle: Arc<Handle>,
}

impl Store {
    /// Opens the store in `dir`, or makes one there, with [`Options::default`]: everything acknowledged is durable.
    ///
    /// The store is the directory that was opened, whatever becomes of its name. Its files are mapped: a program that
    /// truncates one of them while the store is open ends this process (SIGBUS), and one that writes to them damages the
    /// store. In a forked child every call returns [`Error::Locked`], since the parent has the store open, and dropping it
    /// there does nothing.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(dir)
    }

    /// Options to open a store with.
    pub fn options() -> Options {
        Options::default()
    }

    /// Appends a message to a topic, which is made if it is missing. As durable on return as the store's policy says,
    /// and only then handed out.
    ///
    /// # Errors
    /// [`Error::Invalid`] topic or queue, [`Error::TooLarge`], [`Error::Full`] (nothing is half-written),
    /// [`Error::Poisoned`], [`Error::Closed`].
    pub fn append(&self, topic: &str, message: Message<'_>) -> Result<Appended> {
        let mut appended = None;
        self.handle.engine.append(topic, &[message], |place| appended = Some(place))?;
        Ok(appended.expect("one message has one place"))
    }

    /// Appends messages to a topic, all or none, also across a crash, at the price of one sync. They lie in one segment.
    ///
    /// # Errors
    /// Those of [`Store::append`]; [`Error::Invalid`] for none at all, [`Error::TooLarge`] when they do not fit into
    /// one segment.
    pub fn append_batch(&self, topic: &str, messages: &[Message<'_>]) -> Result<Vec<Appended>> {
        let mut places = Vec::with_capacity(messages.len());
        self.handle.engine.append(topic, messages, |place| places.push(place))?;
        Ok(places)
    }

    /// Makes a topic with so many queues, 1 to 1024, or gives it more; it never has less than before. Durable on
    /// return, in every mode.
    ///
    /// # Errors
    /// [`Error::Invalid`] name or number, [`Error::Full`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn create_topic(&self, topic: &str, queues: u32) -> Result<()> {
        self.handle.engine.context().check()?;
        check_name("topic", topic)?;
        self.handle.engine.messages().make_topic(topic, queues, Room::Free).map(|_| ())
    }

    /// Makes a group, or changes its settings if it is there; what it holds stays. Durable on return, in every mode. A
    /// lowered limit counts from the next end of a lease on.
    ///
    /// # Errors
    /// [`Error::Invalid`] name or settings, [`Error::Full`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn create_group(&self, name: &str, options: GroupOptions) -> Result<Group> {
        let entry = self.handle.engine.create_group(name, &options)?;
        Ok(Group { handle: Arc::clone(&self.handle), entry })
    }

    /// A group that was made before.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Closed`].
    pub fn group(&self, name: &str) -> Result<Group> {
        self.handle.engine.context().check_open()?;
        let entry = self.handle.engine.consumers().group(name)?;
        Ok(Group { handle: Arc::clone(&self.handle), entry })
    }

    /// The group that a receipt was given to, for those who were handed nothing else.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a receipt of another store, [`Error::Unknown`] when the group was removed, [`Error::Closed`].
    pub fn group_of(&self, receipt: &Receipt) -> Result<Group> {
        let engine = &self.handle.engine;
        engine.context().check_open()?;
        if receipt.lease.store != engine.context().identity.id {
            return Err(Error::invalid("receipt", receipt.to_string(), "it must be from this store"));
        }
        let entry = engine.consumers().groups().get(&receipt.lease.group).cloned();
        let entry = entry.ok_or_else(|| Error::unknown("group", &format!("number {}", receipt.lease.group.0)))?;
        Ok(Group { handle: Arc::clone(&self.handle), entry })
    }

    /// Removes a group with its position and leases. Its dead letters stay. Durable on return, in every mode.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Full`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn delete_group(&self, name: &str) -> Result<()> {
        self.handle.engine.delete_group(name)
    }

    /// The message at a place, without taking it from anyone; `None` when it is not or no longer there.
    ///
    /// # Errors
    /// [`Error::Unknown`] topic, [`Error::Corrupt`], [`Error::Io`], [`Error::Closed`].
    pub fn message(&self, topic: &str, queue: u32, index: u64) -> Result<Option<StoredMessage>> {
        let engine = &self.handle.engine;
        engine.context().check_open()?;
        let topic = engine.messages().topics().by_name(topic)?;
        let Some(queue) = topic.queue(queue) else { return Ok(None) };
        if QueueIndex(index) >= queue.visible(engine.messages().poppable()).1 {
            return Ok(None);
        }
        engine.messages().fetch(&topic, queue, QueueIndex(index))
    }

    /// Makes everything that was acknowledged durable, in every mode.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Closed`].
    pub fn sync(&self) -> Result<()> {
        let engine = &self.handle.engine;
        engine.context().check()?;
        engine.messages().log().sync_all()?;
        engine.ledger().log().sync_all()
    }

    /// The position in the commit log before which every message is durable; compare it with [`Appended::offset`].
    pub fn synced_through(&self) -> u64 {
        self.handle.engine.messages().log().durable()
    }

    /// What the store holds.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stats(&self) -> Result<StoreStats> {
        self.handle.engine.stats()
    }

    /// What one topic holds.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Closed`].
    pub fn topic_stats(&self, topic: &str) -> Result<TopicStats> {
        self.handle.engine.context().check_open()?;
        Ok(self.handle.engine.topic_stats(&*self.handle.engine.messages().topics().by_name(topic)?))
    }

    /// What opening the store did.
    pub fn recovery(&self) -> &Recovery {
        &self.handle.recovery
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.handle.engine.context().dir
    }

    /// Does what the threads would do by now, when the store runs on a clock that does not run by itself.
    pub fn run_pending(&self) {
        self.handle.run_pending();
    }

    /// Closes the store for all its clones: waiting pops return, everything becomes durable, and the next open has
    /// nothing to repair. Dropping the last clone does the same, but cannot tell what went wrong.
    ///
    /// # Errors
    /// [`Error::Poisoned`] or [`Error::Io`] when not everything could be made durable; [`Error::Closed`] the second time.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.dir().display())
    }
}
