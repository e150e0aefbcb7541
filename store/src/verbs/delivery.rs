//! What a pop hands out, and what its receipt is worth later.

use std::time::SystemTime;

use popstore_revive::Time;

use crate::clock;
use crate::format::commit::Properties;
use crate::ledger::Receipt;
use crate::messages::StoredMessage;

/// A message under a lease. Reads like a [`StoredMessage`].
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let billing = store.create_group("billing", GroupOptions::default())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// let delivery = billing.pop("orders", Pop::up_to(1))?.remove(0);
/// assert_eq!((delivery.topic(), delivery.queue(), delivery.index()), ("orders", 0, 0));
/// assert_eq!((delivery.body(), delivery.attempt()), (&b"12.50 EUR"[..], 1));
/// assert!(billing.ack(delivery.receipt())?.counted());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Delivery {
    pub(crate) message: StoredMessage,
    pub(crate) receipt: Receipt,
    pub(crate) attempt: u32,
    pub(crate) due: Time,
}

impl Delivery {
    /// The body, straight out of the map.
    pub fn body(&self) -> &[u8] {
        self.message.body()
    }

    /// The key; empty when none was given.
    pub fn key(&self) -> &[u8] {
        self.message.key()
    }

    /// The tag; empty when none was given.
    pub fn tag(&self) -> &str {
        self.message.tag()
    }

    /// The properties, in the order they were given.
    pub fn properties(&self) -> Properties<'_> {
        self.message.properties()
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.message.topic()
    }

    /// The queue of the topic.
    pub fn queue(&self) -> u32 {
        self.message.queue()
    }

    /// The place in the queue.
    pub fn index(&self) -> u64 {
        self.message.index()
    }

    /// The whole message.
    pub fn message(&self) -> &StoredMessage {
        &self.message
    }

    /// What to ack, nack or extend it with.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// 1 on the first delivery; those that do not count are left out.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the lease ends, unless it is extended.
    pub fn due_at(&self) -> SystemTime {
        clock::wall(self.due)
    }
}

/// What became of an ack, nack or extend. Late handlers get exactly this; it is no error.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let billing = store.create_group("billing", GroupOptions::default())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// let delivery = billing.pop("orders", Pop::up_to(1))?.remove(0);
/// match billing.ack(delivery.receipt())? {
///     Settled::HandedOutAgain { attempt } => println!("delivery {attempt} works on it now: undo"),
///     settled => assert!(settled.counted()),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a late handler is told here that its work may be done again"]
#[non_exhaustive]
pub enum Settled {
    /// Done as asked, within the lease.
    Done,
    /// The lease was over, but nobody else had the message: the ack counts and the redelivery is cancelled.
    Late,
    /// The lease was over, so it cannot be given back or extended any more. Nothing changed; an ack would count.
    LeaseOver,
    /// The message was handed out again; nothing changed.
    HandedOutAgain {
        /// The attempt of the latest delivery.
        attempt: u32,
    },
    /// The message went to the dead-letter queue; nothing changed.
    DeadLettered,
    /// The message was dropped at its limit; nothing changed.
    Discarded,
    /// The message was settled before; nothing changed.
    AlreadySettled,
    /// This store has never given that lease, or lost it with an unsynced tail; nothing changed.
    Unknown,
}

impl Settled {
    /// Whether the call changed something: the message is acked, given back or extended.
    pub fn counted(self) -> bool {
        matches!(self, Self::Done | Self::Late)
    }
}
