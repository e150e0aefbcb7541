//! The groups of a store: made, found by name or by a receipt, removed.

use std::sync::Arc;

use super::Store;
use super::group::Group;
use crate::error::{Error, Result};
use crate::ledger::Receipt;
use crate::verbs::groups::GroupOptions;

impl Store {
    /// Makes a group, or changes its settings if it exists; its position and leases stay. Durable on return, in every
    /// mode. A lowered limit takes effect from the next end of a lease on.
    ///
    /// # Errors
    /// [`Error::Invalid`] name or settings, [`Error::Full`], [`Error::Poisoned`], [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// let billing = store.create_group("billing", GroupOptions::default().max_reconsume_times(3))?;
    /// store.create_group("billing", billing.options()?.ordered(true))?;
    /// assert_eq!(billing.options()?.settings().max_reconsume_times, Some(3));
    /// # Ok(()) }
    /// ```
    pub fn create_group(&self, name: &str, options: GroupOptions) -> Result<Group> {
        let entry = self.handle.engine.create_group(name, &options)?;
        Ok(Group { handle: Arc::clone(&self.handle), entry })
    }

    /// A group that was made before.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// store.create_group("billing", GroupOptions::default())?;
    /// assert_eq!(store.group("billing")?.name(), "billing");
    /// assert!(matches!(store.group("biling"), Err(Error::Unknown { .. })));
    /// # Ok(()) }
    /// ```
    pub fn group(&self, name: &str) -> Result<Group> {
        self.handle.engine.context().check_open()?;
        let entry = self.handle.engine.consumers().group(name)?;
        Ok(Group { handle: Arc::clone(&self.handle), entry })
    }

    /// The group that a receipt belongs to, for callers that have only the receipt.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a receipt of another store, [`Error::Unknown`] when the group was removed,
    /// [`Error::Closed`].
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// # let billing = store.create_group("billing", GroupOptions::default())?;
    /// # store.append("orders", Message::new("12.50 EUR"))?;
    /// let text = billing.pop("orders", Pop::up_to(1))?[0].receipt().to_string();
    /// // Another process, or a shell, has only the text.
    /// let receipt: Receipt = text.parse()?;
    /// assert!(store.group_of(&receipt)?.ack(receipt)?.counted());
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use popstore::*;
    /// # let store = Store::open(dir.path())?;
    /// store.create_group("billing", GroupOptions::default())?;
    /// store.delete_group("billing")?;
    /// assert!(matches!(store.group("billing"), Err(Error::Unknown { .. })));
    /// # Ok(()) }
    /// ```
    pub fn delete_group(&self, name: &str) -> Result<()> {
        self.handle.engine.delete_group(name)
    }
}
