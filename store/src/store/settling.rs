//! Settling deliveries: what consumers do with the messages that a group has given them.

use std::time::Duration;

use crate::error::Result;
use crate::ledger::Receipt;
use crate::store::group::Group;
use crate::verbs::delivery::Settled;
use crate::verbs::settle::Delay;

impl Group {
    /// Settles a message as done. Durable, by the store's policy, on return.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a receipt of another store or group,
    /// [`Error::Poisoned`](crate::Error::Poisoned), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Full`](crate::Error::Full). A receipt that came too late is no error but an outcome.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// let popped = billing.pop("orders", Pop::up_to(1))?;
    /// assert_eq!(billing.ack(popped[0].receipt())?, Settled::Done);
    /// assert_eq!(billing.ack(popped[0].receipt())?, Settled::AlreadySettled);
    /// # Ok(()) }
    /// ```
    pub fn ack(&self, receipt: Receipt) -> Result<Settled> {
        let mut settled = None;
        self.handle.engine.ack(&self.entry, &[receipt], |one| settled = Some(one))?;
        Ok(settled.expect("one receipt has one outcome"))
    }

    /// Many acks at the price of one, with an outcome for each.
    ///
    /// # Errors
    /// Those of [`Group::ack`], and [`Error::Invalid`](crate::Error::Invalid) for an empty batch. A batch that names more
    /// blocks of 64 neighbours than fit into one record, some 26,000 by default, may be acked in part after
    /// [`Error::Full`](crate::Error::Full): acking it again completes it.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// let receipts: Vec<_> = billing.pop("orders", Pop::up_to(32))?.iter().map(Delivery::receipt).collect();
    /// for settled in billing.ack_batch(&receipts)? {
    ///     assert!(settled.counted());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn ack_batch(&self, receipts: &[Receipt]) -> Result<Vec<Settled>> {
        let mut settled = Vec::with_capacity(receipts.len());
        self.handle.engine.ack(&self.entry, receipts, |one| settled.push(one))?;
        Ok(settled)
    }

    /// Gives the message back, to be delivered again after the delay; at the group's limit it leaves the group instead.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// let popped = billing.pop("orders", Pop::up_to(1))?;
    /// assert!(billing.nack(popped[0].receipt(), Duration::ZERO)?.counted());
    /// let again = billing.pop("orders", Pop::up_to(1))?;
    /// assert_eq!(again[0].attempt(), 2);
    /// assert!(billing.nack(again[0].receipt(), Delay::Backoff)?.counted());
    /// # Ok(()) }
    /// ```
    pub fn nack(&self, receipt: Receipt, delay: impl Into<Delay>) -> Result<Settled> {
        only(self.nack_batch(&[receipt], delay))
    }

    /// Many nacks at the price of one, with an outcome for each.
    ///
    /// # Errors
    /// Those of [`Group::ack_batch`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// let receipts: Vec<_> = billing.pop("orders", Pop::up_to(32))?.iter().map(Delivery::receipt).collect();
    /// assert_eq!(billing.nack_batch(&receipts, Delay::Backoff)?, [Settled::Done]);
    /// # Ok(()) }
    /// ```
    pub fn nack_batch(&self, receipts: &[Receipt], delay: impl Into<Delay>) -> Result<Vec<Settled>> {
        self.handle.engine.nack(&self.entry, receipts, delay.into())
    }

    /// Gives the message back as if it had not been delivered, now or hidden for up to 366 days: the attempt does not
    /// count. For a worker that shuts down, or that cannot do its work yet. Durable, by the store's policy, on return.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default().max_reconsume_times(0))?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// let popped = billing.pop("orders", Pop::up_to(1))?;
    /// assert_eq!(billing.release(popped[0].receipt(), Duration::ZERO)?, Settled::Done);
    /// let again = billing.pop("orders", Pop::up_to(1))?;
    /// assert_eq!((again[0].attempt(), again[0].receipt().delivery()), (1, 2));
    /// # Ok(()) }
    /// ```
    pub fn release(&self, receipt: Receipt, delay: Duration) -> Result<Settled> {
        only(self.release_batch(&[receipt], delay))
    }

    /// Many releases at the price of one, with an outcome for each.
    ///
    /// # Errors
    /// Those of [`Group::ack_batch`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// let not_started: Vec<_> = billing.pop("orders", Pop::up_to(32))?.iter().map(Delivery::receipt).collect();
    /// assert_eq!(billing.release_batch(&not_started, Duration::ZERO)?, [Settled::Done]);
    /// # Ok(()) }
    /// ```
    pub fn release_batch(&self, receipts: &[Receipt], delay: Duration) -> Result<Vec<Settled>> {
        self.handle.engine.release(&self.entry, receipts, delay)
    }

    /// Makes the lease end `lease` from now, 1 ms to 7 days: earlier or later than before.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// let popped = billing.pop("orders", Pop::up_to(1))?;
    /// assert!(billing.extend(popped[0].receipt(), Duration::from_secs(300))?.counted());
    /// # Ok(()) }
    /// ```
    pub fn extend(&self, receipt: Receipt, lease: Duration) -> Result<Settled> {
        only(self.extend_batch(&[receipt], lease))
    }

    /// Many extensions at the price of one, with an outcome for each.
    ///
    /// # Errors
    /// Those of [`Group::ack_batch`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// use std::time::Duration;
    /// let receipts: Vec<_> = billing.pop("orders", Pop::up_to(32))?.iter().map(Delivery::receipt).collect();
    /// assert_eq!(billing.extend_batch(&receipts, Duration::from_secs(300))?, [Settled::Done]);
    /// # Ok(()) }
    /// ```
    pub fn extend_batch(&self, receipts: &[Receipt], lease: Duration) -> Result<Vec<Settled>> {
        self.handle.engine.extend(&self.entry, receipts, lease)
    }
}

/// The outcome of a batch of one.
fn only(settled: Result<Vec<Settled>>) -> Result<Settled> {
    Ok(settled?.pop().expect("one receipt has one outcome"))
}
