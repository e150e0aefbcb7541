//! The parts of an open store, together: messages, ledger, settlements under way. The verbs are `impl Engine` blocks in
//! files of their own, and reach the parts through these doors.

mod letters;

use std::sync::Arc;

use crate::context::Context;
use crate::error::Result;
use crate::ledger::{Ledger, Locked};
use crate::log::Log;
use crate::messages::Messages;
use crate::options::Durability;

pub(crate) use letters::{Letters, RETRY_AFTER, Unrecorded};

/// An open store.
///
/// Locks are taken in this order: that of maintenance, those of the letters, of the ledger, of the messages.
pub(crate) struct Engine {
    context: Arc<Context>,
    messages: Messages,
    ledger: Ledger,
    letters: Letters,
}

impl Engine {
    pub(crate) fn new(context: Arc<Context>, messages: Messages, ledger: Ledger) -> Self {
        Self { context, messages, ledger, letters: Letters::default() }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn messages(&self) -> &Messages {
        &self.messages
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn letters(&self) -> &Letters {
        &self.letters
    }

    /// Locks the ledger. What a call that panicked has left half-way is not acknowledged.
    pub(crate) fn consumers(&self) -> Locked<'_> {
        let locked = self.ledger.lock();
        if self.ledger.is_half_done() {
            self.give_up("a call panicked half-way");
        }
        locked
    }

    /// Nothing more is acknowledged: what is in memory may be half done, or who should do the work is gone. Wakes all who
    /// wait for it.
    pub(crate) fn give_up(&self, why: &str) {
        self.context.poison.set(self.context.dir.clone(), std::io::Error::other(why));
        self.let_appends_prepare();
        self.messages.raise_all();
    }

    /// Appends that need room make it themselves from here on.
    pub(crate) fn let_appends_prepare(&self) {
        [self.ledger.log(), self.messages.log()].iter().for_each(|log| log.prepare_in_background(false));
    }

    /// Refuses what makes the live state grow when the space for it is not certain.
    pub(crate) fn check_reserve(&self) -> Result<()> {
        self.ledger.check_reserve(|| self.messages.topics().next_id())
    }

    /// Makes messages that were appended as durable as was promised.
    pub(crate) fn make_durable(&self, end: u64) -> Result<()> {
        self.sync(self.messages.log(), end)
    }

    /// Makes records that were written as durable as was promised, and keeps the room for those to come.
    pub(crate) fn make_records_durable(&self, end: u64) -> Result<()> {
        if self.ledger.is_snapshot_due(end) {
            let _ = self.context.wakes.maintain.try_send(());
        }
        self.ensure_checkpoint_room();
        self.sync(self.ledger.log(), end)
    }

    /// On a full disk, makes room for the next snapshot of the ledger before there is none.
    pub(crate) fn ensure_checkpoint_room(&self) {
        if let Err(error) = self.ledger.ensure_room(|| self.messages.topics().next_id()) {
            self.context.emit_failure("snapshot", Err(error));
        }
    }

    fn sync(&self, log: &Log, end: u64) -> Result<()> {
        match self.context.options.durability {
            Durability::SyncEach => log.sync_through(end),
            Durability::SyncEvery(_) => {
                let _ = self.context.wakes.flush.try_send(());
                Ok(())
            }
            Durability::Buffered => Ok(()),
        }
    }
}
