//! The reviver: asks the index what is due, records what it decided, buries messages that have used up their deliveries.

use popstore_revive::{Burying, Command, Time};

use crate::engine::Engine;
use crate::error::Result;
use crate::event::StoreEvent;

/// How many blocks of messages are ended under one hold of the lock.
const BLOCKS_MAX: usize = 256;
/// When a step that failed is tried again.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

impl Engine {
    /// Does everything that is due and returns when there is more to do.
    pub(crate) fn revive(&self) -> Option<Time> {
        let before = self.ledger().log().appended();
        let next_due = self.revive_all();
        let end = self.ledger().log().appended();
        if end > before {
            // The decisions are as durable as anything else, so that a backoff does not start over after a kill. A
            // failure poisons the store, and every writer gets the error.
            let _ = self.make_records_durable(end);
        }
        next_due
    }

    fn revive_all(&self) -> Option<Time> {
        loop {
            if self.context().check().is_err() {
                // A closed or poisoned store decides nothing any more.
                return None;
            }
            let now = self.context().now();
            self.ledger().set_alarm(Some(now));
            let burials = match self.revive_some(now) {
                Ok(burials) => burials,
                Err(error) => {
                    let retry_at = now.after(RETRY_AFTER);
                    self.ledger().set_alarm(Some(retry_at));
                    self.context().emit(&StoreEvent::BackgroundFailure { task: "revive", reason: error.to_string() });
                    return Some(retry_at);
                }
            };
            self.ensure_checkpoint_room();
            self.bury(&burials);
            let next_due = self.consumers().next_due();
            if next_due.is_none_or(|due| due > now) {
                // Order matters: the alarm is set before a last check, so that a lease given between is seen by
                // either side.
                self.ledger().set_alarm(next_due);
                let next_due = self.consumers().next_due();
                if next_due.is_none_or(|due| due > now) {
                    return next_due;
                }
            }
        }
    }

    /// Ends the leases that are over, wakes waiters for messages that became visible, and returns what is to be buried.
    fn revive_some(&self, now: Time) -> Result<Vec<Burying>> {
        let mut consumers = self.consumers();
        let visible = consumers.became_visible(now);
        let ended = consumers.decide(&Command::Tick { blocks_max: BLOCKS_MAX }, now, None);
        let ended = ended.map(|(_, written)| (written.poppable, consumers.take_burials(now, BLOCKS_MAX)));
        drop(consumers);
        self.messages().raise(visible);
        // After a failure some leases may have ended all the same; those without a record stay due.
        let (poppable, burials) = ended.inspect_err(|_| self.messages().raise_all())?;
        self.messages().raise(poppable);
        Ok(burials)
    }
}
