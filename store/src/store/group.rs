//! The handle of a group, through which consumers work.

use std::sync::Arc;
use std::time::Duration;

use super::handle::Handle;
use crate::error::Result;
use crate::ledger::GroupEntry;
use crate::store::dead_letters::DeadLetters;
use crate::verbs::delivery::Delivery;
use crate::verbs::groups::GroupOptions;
use crate::verbs::pop::Pop;
use crate::verbs::redrive::{DeadLetter, Redriven};
use crate::verbs::stats::GroupStats;
use crate::verbs::status::MessageStatus;

/// A group of competing consumers: each message goes to one of them at a time. Cheap to clone, and to be shared.
#[derive(Clone)]
pub struct Group {
    pub(crate) handle: Arc<Handle>,
    pub(crate) entry: Arc<GroupEntry>,
}

impl Group {
    /// Its name.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let billing = store.create_group("billing", GroupOptions::default())?;
    /// assert_eq!(billing.name(), "billing");
    /// # Ok(()) }
    /// ```
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// Takes messages of a topic under a lease: redeliveries first, then new ones. An empty list means that no message
    /// is available now. The deliveries are durable, by the store's policy, before this returns, so the delivery of a
    /// message that kills its consumer is still counted. A message that cannot be
    /// read has had no delivery, nor have those behind it in the same pop: they are given back without counting.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) topic or group, [`Error::Invalid`](crate::Error::Invalid) numbers,
    /// [`Error::Corrupt`](crate::Error::Corrupt) when the next message is damaged (see [`Group::skip`]),
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Full`](crate::Error::Full).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// for delivery in billing.pop("orders", Pop::up_to(32).invisible_for(Duration::from_secs(60)))? {
    ///     assert_eq!((delivery.body(), delivery.attempt()), (&b"12.50 EUR"[..], 1));
    ///     assert!(billing.ack(delivery.receipt())?.counted());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn pop(&self, topic: &str, pop: Pop) -> Result<Vec<Delivery>> {
        self.handle.engine.pop(&self.entry, topic, pop)
    }

    /// Like [`Group::pop`], but waits up to `timeout` for a message. Appends, redeliveries and the closing of the store
    /// end the wait. On a clock that does not run by itself it tries once. The topic must have been made, by an
    /// append or by [`Store::create_topic`](crate::Store::create_topic).
    ///
    /// # Errors
    /// Those of [`Group::pop`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// let popped = billing.pop_wait("orders", Pop::up_to(1), Duration::from_secs(5))?;
    /// assert_eq!(popped.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn pop_wait(&self, topic: &str, pop: Pop, timeout: Duration) -> Result<Vec<Delivery>> {
        self.handle.engine.pop_wait(&self.entry, topic, pop, timeout)
    }

    /// The messages that have used up their deliveries, oldest first, without those that were redriven and those that
    /// are finished with: a letter that a group has popped from the dead-letter queue and settled leaves the list as
    /// soon as no other group that reads that queue has it unsettled. Deleting a group takes its settlements back.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let once = GroupOptions::default().max_reconsume_times(0);
    /// # let billing = store.create_group("billing", once)?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// # let popped = billing.pop("orders", Pop::up_to(1))?;
    /// # let _ = billing.nack(popped[0].receipt(), std::time::Duration::ZERO)?;
    /// # while billing.dead_letters()?.next().is_none() { std::thread::yield_now(); }
    /// for letter in billing.dead_letters()? {
    ///     let letter = letter?;
    ///     println!("message {} died after {} deliveries", letter.origin_index(), letter.attempts());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(&self) -> Result<DeadLetters> {
        DeadLetters::of(&self.handle, &self.entry)
    }

    /// Puts a dead letter back into the topic it came from, as a new message there, and takes it off the list: both
    /// happen or neither. A letter that is off the list already stays where it is. Every group that reads the topic
    /// sees the new message. Durable on return, in every mode.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a letter of another store or group,
    /// [`Error::Unknown`](crate::Error::Unknown) when the topic it came from does not exist, or retention deleted the letter
    /// since it was read, [`Error::Full`](crate::Error::Full), [`Error::Poisoned`](crate::Error::Poisoned),
    /// [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let once = GroupOptions::default().max_reconsume_times(0);
    /// # let billing = store.create_group("billing", once)?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// # let popped = billing.pop("orders", Pop::up_to(1))?;
    /// # let _ = billing.nack(popped[0].receipt(), std::time::Duration::ZERO)?;
    /// # while billing.dead_letters()?.next().is_none() { std::thread::yield_now(); }
    /// let letter = billing.dead_letters()?.next().unwrap()?;
    /// assert!(matches!(billing.redrive(&letter)?, Redriven::Done { queue: 0, index: 1 }));
    /// assert_eq!(billing.pop("orders", Pop::up_to(1))?[0].body(), letter.message().body());
    /// # Ok(()) }
    /// ```
    pub fn redrive(&self, letter: &DeadLetter) -> Result<Redriven> {
        let mut done = self.handle.engine.redrive(&self.entry, std::slice::from_ref(letter))?;
        done.pop().expect("one letter has one outcome")
    }

    /// Puts letters back like [`Group::redrive`], at the price of one sync, with an outcome for each.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a letter of another store or group: then none is put back.
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed). The outcome of each has
    /// the others of [`Group::redrive`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let once = GroupOptions::default().max_reconsume_times(0);
    /// # let billing = store.create_group("billing", once)?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// # let popped = billing.pop("orders", Pop::up_to(1))?;
    /// # let _ = billing.nack(popped[0].receipt(), std::time::Duration::ZERO)?;
    /// # while billing.dead_letters()?.next().is_none() { std::thread::yield_now(); }
    /// let letters: Vec<_> = billing.dead_letters()?.collect::<Result<_>>()?;
    /// for redriven in billing.redrive_batch(&letters)? {
    ///     assert!(matches!(redriven?, Redriven::Done { .. }));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn redrive_batch(&self, letters: &[DeadLetter]) -> Result<Vec<Result<Redriven>>> {
        self.handle.engine.redrive(&self.entry, letters)
    }

    /// Gives up a message that cannot be delivered because it is damaged: it is counted as discarded, and the group
    /// continues behind it. Returns whether there was such a message.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) topic, [`Error::Invalid`](crate::Error::Invalid) queue,
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Full`](crate::Error::Full).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// match billing.pop("orders", Pop::up_to(1)) {
    ///     Err(Error::Corrupt { message: Some(place), .. }) => {
    ///         billing.skip(&place.topic, place.queue, place.index)?;
    ///     }
    ///     popped => assert_eq!(popped?.len(), 1),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn skip(&self, topic: &str, queue: u32, index: u64) -> Result<bool> {
        self.handle.engine.skip(&self.entry, topic, queue, index)
    }

    /// What the message at a place is doing for the group; `None` if there is no such message yet. One look-up, whatever
    /// the group holds: no log is searched.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) topic or removed group, [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// let order = store.append("orders", Message::new("12.50 EUR"))?;
    /// let status = || billing.status("orders", order.queue, order.index);
    /// assert_eq!(status()?, Some(MessageStatus::Ready { attempts: 0 }));
    /// let delivery = billing.pop("orders", Pop::up_to(1))?.remove(0);
    /// assert!(matches!(status()?, Some(MessageStatus::InFlight { attempt: 1, .. })));
    /// assert!(billing.ack(delivery.receipt())?.counted());
    /// assert_eq!(status()?, Some(MessageStatus::Done));
    /// # Ok(()) }
    /// ```
    pub fn status(&self, topic: &str, queue: u32, index: u64) -> Result<Option<MessageStatus>> {
        self.handle.engine.status(&self.entry, topic, queue, index)
    }

    /// Its present settings, to change one and pass them to [`Store::create_group`](crate::Store::create_group) again.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) when the group was removed, [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// store.create_group("billing", billing.options()?.max_reconsume_times(3))?;
    /// assert_eq!(billing.options()?.settings().max_reconsume_times, Some(3));
    /// # Ok(()) }
    /// ```
    pub fn options(&self) -> Result<GroupOptions> {
        self.handle.engine.group_options(&self.entry)
    }

    /// What the group holds of the topics that it has popped from, and what it has done. Before its first pop it holds
    /// the messages of every topic but dead-letter queues: a lag of 0 means that nothing waits for it.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) when the group was removed, [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// let popped = billing.pop("orders", Pop::up_to(1))?;
    /// let stats = billing.stats()?;
    /// assert_eq!((stats.in_flight, stats.lag, stats.popped), (1, 1, 1));
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Result<GroupStats> {
        self.handle.engine.group_stats(&self.entry, None)
    }

    /// Like [`Group::stats`], but counts only what it holds of this topic, popped from or not.
    ///
    /// # Errors
    /// [`Error::Unknown`](crate::Error::Unknown) when there is no such topic, and those of [`Group::stats`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// assert_eq!(billing.stats_of("orders")?.lag, 1);
    /// assert!(matches!(billing.stats_of("order"), Err(Error::Unknown { .. })));
    /// # Ok(()) }
    /// ```
    pub fn stats_of(&self, topic: &str) -> Result<GroupStats> {
        self.handle.engine.group_stats(&self.entry, Some(topic))
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.entry.name)
    }
}
