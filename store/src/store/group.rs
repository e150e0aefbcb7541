//! The handle of a group, through which consumers work.

use std::sync::Arc;
use std::time::Duration;

use super::handle::Handle;
use crate::error::Result;
use crate::ledger::{GroupEntry, Receipt};
use crate::store::dead_letters::DeadLetters;
use crate::verbs::delivery::{Delivery, Settled};
use crate::verbs::groups::GroupOptions;
use crate::verbs::pop::Pop;
use crate::verbs::redrive::{DeadLetter, Redriven};
use crate::verbs::settle::Delay;
use crate::verbs::stats::GroupStats;

/// A group of competing consumers: each message goes to one of them at a time. Cheap to clone, and to be shared.
#[derive(Clone)]
pub struct Group {
    pub(crate) handle: Arc<Handle>,
    pub(crate) entry: Arc<GroupEntry>,
}

impl Group {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// Takes up to so many messages of a topic under a lease: redeliveries first, then new ones. An empty list means
    /// that there is nothing to be had now. The deliveries are durable, by the store's policy, before this returns, so
    /// that a message which kills its consumer is still counted. A message that cannot be read has had no delivery, and
    /// neither have those behind it in the same pop: they are given back without counting.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] topic or group, [`crate::Error::Invalid`] numbers, [`crate::Error::Corrupt`] when the next message is damaged
    /// (see [`Group::skip`]), [`crate::Error::Poisoned`], [`crate::Error::Closed`], [`crate::Error::Full`].
    pub fn pop(&self, topic: &str, pop: Pop) -> Result<Vec<Delivery>> {
        self.handle.engine.pop(&self.entry, topic, pop)
    }

    /// Like [`Group::pop`], but waits for something to be had, at most so long. It is woken by appends, redeliveries
    /// and the store's end. On a clock that does not run by itself it looks once. The topic must have been made, by an
    /// append or by [`crate::Store::create_topic`].
    ///
    /// # Errors
    /// Those of [`Group::pop`].
    pub fn pop_wait(&self, topic: &str, pop: Pop, timeout: Duration) -> Result<Vec<Delivery>> {
        self.handle.engine.pop_wait(&self.entry, topic, pop, timeout)
    }

    /// The message is done. Durable, by the store's policy, on return.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a receipt of another store or group, [`crate::Error::Poisoned`], [`crate::Error::Closed`], [`crate::Error::Full`]. A
    /// receipt that came too late is no error but an outcome.
    pub fn ack(&self, receipt: Receipt) -> Result<Settled> {
        let mut settled = None;
        self.handle.engine.ack(&self.entry, &[receipt], |one| settled = Some(one))?;
        Ok(settled.expect("one receipt has one outcome"))
    }

    /// Many acks at the price of one, with an outcome for each.
    ///
    /// # Errors
    /// Those of [`Group::ack`], and [`crate::Error::Invalid`] for none at all. A batch over so many blocks of 64 neighbours that it
    /// needs several records, some 26,000 by default, may be acked in part after [`crate::Error::Full`]: acking it again completes it.
    pub fn ack_batch(&self, receipts: &[Receipt]) -> Result<Vec<Settled>> {
        let mut settled = Vec::with_capacity(receipts.len());
        self.handle.engine.ack(&self.entry, receipts, |one| settled.push(one))?;
        Ok(settled)
    }

    /// Gives the message back, to be delivered again after the delay; at the group's limit it leaves the group instead.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    pub fn nack(&self, receipt: Receipt, delay: impl Into<Delay>) -> Result<Settled> {
        self.handle.engine.nack(&self.entry, receipt, delay.into())
    }

    /// Sets the end of the lease to so long from now, 1 ms to 7 days, earlier or later than it was.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    pub fn extend(&self, receipt: Receipt, lease: Duration) -> Result<Settled> {
        self.handle.engine.extend(&self.entry, receipt, lease)
    }

    /// The messages that have used up their deliveries, oldest first, without those that were put back and those that are
    /// finished with: a letter that a group has popped from the dead-letter queue and settled is off the list as soon as no
    /// other group that was given letters of that queue has it before it. A group that is deleted takes back what it said.
    ///
    /// # Errors
    /// [`crate::Error::Closed`].
    pub fn dead_letters(&self) -> Result<DeadLetters> {
        DeadLetters::of(&self.handle, &self.entry)
    }

    /// Puts a dead letter back to the topic it came from, as a new message there, and takes it off the list; both
    /// happen or neither. A letter that is off the list already stays where it is. Every group that reads the topic sees the new message. Durable on return, in every mode.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a letter of another store or group, [`crate::Error::Unknown`] when the topic it came from is
    /// gone, or retention deleted the letter since it was read, [`crate::Error::Full`], [`crate::Error::Poisoned`], [`crate::Error::Closed`].
    pub fn redrive(&self, letter: &DeadLetter) -> Result<Redriven> {
        let mut done = self.handle.engine.redrive(&self.entry, std::slice::from_ref(letter))?;
        done.pop().expect("one letter has one outcome")
    }

    /// Puts letters back like [`Group::redrive`], at the price of one sync, with an outcome for each.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a letter of another store or group: then none is put back. [`crate::Error::Poisoned`],
    /// [`crate::Error::Closed`]. The outcome of each has the others of [`Group::redrive`].
    pub fn redrive_batch(&self, letters: &[DeadLetter]) -> Result<Vec<Result<Redriven>>> {
        self.handle.engine.redrive(&self.entry, letters)
    }

    /// Gives up a message that cannot be delivered because it is damaged: it counts as discarded, and the group goes
    /// on behind it. Returns whether there was such a message to give up.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] topic, [`crate::Error::Invalid`] queue, [`crate::Error::Poisoned`], [`crate::Error::Closed`], [`crate::Error::Full`].
    pub fn skip(&self, topic: &str, queue: u32, index: u64) -> Result<bool> {
        self.handle.engine.skip(&self.entry, topic, queue, index)
    }

    /// Its settings now, to change one and hand them to [`crate::Store::create_group`] again.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] when the group was removed, [`crate::Error::Closed`].
    pub fn options(&self) -> Result<GroupOptions> {
        self.handle.engine.group_options(&self.entry)
    }

    /// What the group holds of the topics that it has popped from, and what it has done. Before its first pop it holds the
    /// messages of every topic: a lag of 0 means that nothing waits for it.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] when the group was removed, [`crate::Error::Closed`].
    pub fn stats(&self) -> Result<GroupStats> {
        self.handle.engine.group_stats(&self.entry, None)
    }

    /// Like [`Group::stats`], but what it holds is counted of this topic only, popped from or not.
    ///
    /// # Errors
    /// [`crate::Error::Unknown`] when there is no such topic, and those of [`Group::stats`].
    pub fn stats_of(&self, topic: &str) -> Result<GroupStats> {
        self.handle.engine.group_stats(&self.entry, Some(topic))
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.entry.name)
    }
}
