//! popstore: an embedded, persistent message store.
//!
//! Messages are appended to topics; consumers of a group **pop** them under a lease (the invisible time) and **ack**,
//! **nack** or **extend** them. A message that is not acked in time is delivered again. One that has used up its
//! deliveries goes to the group's dead-letter queue, after exactly as many deliveries as the group allows, also when the
//! process is killed or, with [`Durability::SyncEach`], the power fails half-way.
//!
//! ```
//! # fn main() -> popstore::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use popstore::{GroupOptions, Message, Pop, Store};
//! use std::time::Duration;
//!
//! let store = Store::open(dir.path())?;
//! store.append("orders", Message::new("12.50 EUR").key("order-42"))?;
//!
//! let billing = store.create_group("billing", GroupOptions::default().max_reconsume_times(3))?;
//! for delivery in billing.pop("orders", Pop::up_to(32).invisible_for(Duration::from_secs(30)))? {
//!     assert_eq!(delivery.body(), b"12.50 EUR");
//!     assert!(billing.ack(delivery.receipt())?.counted());
//! }
//! store.close()
//! # }
//! ```

mod background;
mod callback;
pub mod clock;
mod context;
mod engine;
mod error;
mod event;
mod fault;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
mod ledger;
mod log;
mod messages;
mod options;
mod primitives;
mod recover;
pub mod salvage;
mod segment;
mod store;
mod verbs;

pub use error::{Error, MessagePlace, Result};
pub use event::StoreEvent;
pub use format::commit::Properties;
pub use ledger::Receipt;
pub use messages::{Appended, Message, StoredMessage};
pub use options::{Durability, Options, Retention};
pub use popstore_revive::{AtLimit, Backoff, EndReason};
pub use recover::Recovery;
#[doc(hidden)]
pub use segment::{Event, Hook};
pub use store::Store;
pub use store::dead_letters::DeadLetters;
pub use store::group::Group;
pub use verbs::delivery::{Delivery, Settled};
pub use verbs::groups::{GroupOptions, GroupSettings, StartAt};
pub use verbs::pop::Pop;
pub use verbs::redrive::{DeadLetter, Redriven};
pub use verbs::settle::Delay;
pub use verbs::status::MessageStatus;

/// What a store, its topics and its groups hold and have done: [`Store::stats`], [`Group::stats`].
pub mod stats {
    pub use crate::ledger::PopToAck;
    pub use crate::verbs::stats::{GroupStats, StoreStats, TopicStats};
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
