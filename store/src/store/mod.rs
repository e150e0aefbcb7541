//! The handle of a store.

pub(crate) mod dead_letters;
pub(crate) mod group;
mod groups;
pub(crate) mod handle;
mod open;
mod settling;

use std::path::Path;
use std::sync::Arc;

use popstore_revive::QueueIndex;

use crate::error::Result;
use crate::log::Room;
use crate::messages::{Appended, Message, StoredMessage, check_name};
use crate::options::Options;
use crate::recover::Recovery;
use crate::verbs::stats::{StoreStats, TopicStats};
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
    /// The store is the directory that was opened, also when that is renamed later. Its files are mapped: a program
    /// that truncates one of them while the store is open ends this process (SIGBUS), and one that writes to them
    /// damages the store. In a forked child every call returns [`Error::Locked`](crate::Error::Locked), since the
    /// parent has the store open, and dropping it there does nothing.
    ///
    /// # Errors
    /// Those of [`Options::open`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use popstore::Store;
    /// let store = Store::open(dir.path().join("store"))?;
    /// assert!(store.recovery().clean);
    /// # Ok(()) }
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(dir)
    }

    /// Options to open a store with.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use popstore::{Durability, Retention, Store};
    /// let options = Store::options().durability(Durability::Buffered).retention(Retention::keep().bytes(1 << 30));
    /// let store = options.open(dir.path())?;
    /// # Ok(()) }
    /// ```
    pub fn options() -> Options {
        Options::default()
    }

    /// Appends a message to a topic, which is made if it is missing. As durable on return as the store's policy says,
    /// and only then handed out.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) topic or queue, [`Error::TooLarge`](crate::Error::TooLarge),
    /// [`Error::Full`](crate::Error::Full) (nothing is half-written), [`Error::Poisoned`](crate::Error::Poisoned),
    /// [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let place = store.append("orders", Message::new("12.50 EUR").key("order-42").tag("paid"))?;
    /// assert_eq!((place.queue, place.index), (0, 0));
    /// # Ok(()) }
    /// ```
    pub fn append(&self, topic: &str, message: Message<'_>) -> Result<Appended> {
        let mut appended = None;
        self.handle.engine.append(topic, &[message], |place| appended = Some(place))?;
        Ok(appended.expect("one message has one place"))
    }

    /// Appends messages to a topic, all or none, also across a crash, at the price of one sync. They lie in one
    /// segment.
    ///
    /// # Errors
    /// Those of [`Store::append`]; [`Error::Invalid`](crate::Error::Invalid) for none at all,
    /// [`Error::TooLarge`](crate::Error::TooLarge) when they do not fit into one segment.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let places = store.append_batch("orders", &[Message::new("12.50 EUR"), Message::new("9.90 EUR")])?;
    /// assert_eq!(places[1].index, 1);
    /// # Ok(()) }
    /// ```
    pub fn append_batch(&self, topic: &str, messages: &[Message<'_>]) -> Result<Vec<Appended>> {
        let mut places = Vec::with_capacity(messages.len());
        self.handle.engine.append(topic, messages, |place| places.push(place))?;
        Ok(places)
    }

    /// Makes a topic with this number of queues, 1 to 1024, or gives it more; it never gets fewer. Durable on return,
    /// in every mode.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) name or number, [`Error::Full`](crate::Error::Full),
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// store.create_topic("orders", 4)?;
    /// let place = store.append("orders", Message::new("12.50 EUR").queue(3))?;
    /// assert_eq!(place.queue, 3);
    /// # Ok(()) }
    /// ```
    pub fn create_topic(&self, topic: &str, queues: u32) -> Result<()> {
        self.handle.engine.context().check()?;
        check_name("topic", topic)?;
        self.handle.engine.messages().make_topic(topic, queues, Room::Free).map(|_| ())
    }

    /// The message at a place, without a lease; `None` when there is none, or it was deleted.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) topic, [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let place = store.append("orders", Message::new("12.50 EUR"))?;
    /// let message = store.message("orders", place.queue, place.index)?.unwrap();
    /// assert_eq!(message.body(), b"12.50 EUR");
    /// assert!(store.message("orders", 0, 1)?.is_none());
    /// # Ok(()) }
    /// ```
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
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// let store = Store::options().durability(Durability::Buffered).open(dir.path())?;
    /// let place = store.append("orders", Message::new("12.50 EUR"))?;
    /// store.sync()?;
    /// assert!(place.offset < store.synced_through());
    /// # Ok(()) }
    /// ```
    pub fn sync(&self) -> Result<()> {
        let engine = &self.handle.engine;
        engine.context().check()?;
        engine.messages().log().sync_all()?;
        engine.ledger().log().sync_all()
    }

    /// The position in the commit log before which every message is durable; compare it with [`Appended::offset`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let place = store.append("orders", Message::new("12.50 EUR"))?;
    /// assert!(place.offset < store.synced_through(), "SyncEach is the default");
    /// # Ok(()) }
    /// ```
    pub fn synced_through(&self) -> u64 {
        self.handle.engine.messages().log().durable()
    }

    /// What the store holds.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// store.append("orders", Message::new("12.50 EUR"))?;
    /// let stats = store.stats()?;
    /// assert_eq!(stats.unsynced_bytes, 0);
    /// assert_eq!(stats.topics[0].messages(), 1);
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Result<StoreStats> {
        self.handle.engine.stats()
    }

    /// What one topic holds.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown), [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// store.append("orders", Message::new("12.50 EUR"))?;
    /// assert_eq!(store.topic_stats("orders")?.queues, [(0, 1)]);
    /// # Ok(()) }
    /// ```
    pub fn topic_stats(&self, topic: &str) -> Result<TopicStats> {
        self.handle.engine.context().check_open()?;
        Ok(self.handle.engine.topic_stats(&*self.handle.engine.messages().topics().by_name(topic)?))
    }

    /// What opening the store did.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// store.close()?;
    /// let store = Store::open(dir.path())?;
    /// assert!(store.recovery().clean);
    /// assert_eq!(store.recovery().tail_bytes_cut, 0);
    /// # Ok(()) }
    /// ```
    pub fn recovery(&self) -> &Recovery {
        &self.handle.recovery
    }

    /// The directory.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// assert_eq!(store.dir(), dir.path());
    /// # Ok(()) }
    /// ```
    pub fn dir(&self) -> &Path {
        &self.handle.engine.context().dir
    }

    /// Does the work of the threads that is due, when the store runs on a clock that does not run by itself.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// use popstore::clock::ManualClock;
    /// use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::at(Duration::ZERO));
    /// let store = Store::options().clock(clock.clone()).open(dir.path())?;
    /// store.append("orders", Message::new("12.50 EUR"))?;
    /// let billing = store.create_group("billing", GroupOptions::default())?;
    /// assert_eq!(billing.pop("orders", Pop::up_to(1))?[0].attempt(), 1);
    /// clock.advance(Duration::from_secs(31)); // over the lease
    /// store.run_pending();
    /// assert_eq!(billing.pop("orders", Pop::up_to(1))?[0].attempt(), 2);
    /// # Ok(()) }
    /// ```
    pub fn run_pending(&self) {
        self.handle.run_pending();
    }

    /// Closes the store for all its clones: waiting pops return, everything becomes durable, and the next open neither
    /// loses nor cuts anything. It only reuses room that was prepared ahead and writes the last record once more, since
    /// no later record can prove that it was durable. Dropping the last clone does the same, but cannot report a
    /// failure.
    ///
    /// # Errors
    /// [`Error::Poisoned`](crate::Error::Poisoned) or [`Error::Io`](crate::Error::Io) when not everything could be made
    /// durable; [`Error::Closed`](crate::Error::Closed) the second time.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let clone = store.clone();
    /// store.close()?;
    /// assert!(matches!(clone.sync(), Err(Error::Closed)));
    /// # Ok(()) }
    /// ```
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.dir().display())
    }
}
