//! popstore: an embedded, persistent message store.
//!
//! Messages are appended to topics; consumers of a group **pop** them under a lease (the invisible time) and **ack**,
//! **nack** or **extend** them. What is not acked in time is delivered again, and what has used up its deliveries goes
//! to the group's dead-letter queue: exactly as often as the group allows, also when the process is killed or the
//! power fails half-way.
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
//!
//! # The house
//!
//! `format` knows bytes, `segment` knows files, `log` is made of both; `recover` is what happens at open; the verbs
//! (`append`, `pop`, `settle`, `group`, `dead_letter`) are what users call; `reviver`, `keeper` and `threads` run behind;
//! `reserve` sees to it that a full disk does not stop consumers. The leases themselves are `popstore_revive`, which is
//! pure. `FORMAT.md` tells every byte on disk.

mod age;
mod append;
mod bury;
mod callback;
mod chunks;
mod clock;
mod consumers;
mod dead_letter;
mod delivery;
mod engine;
mod error;
mod event;
mod fault;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod inspect;
mod keeper;
mod log;
mod mark;
mod message;
mod options;
mod pop;
mod primitives;
mod queue;
mod receipt;
mod recover;
mod reserve;
mod retention;
mod reviver;
mod runs;
mod segment;
mod settle;
mod stats;
mod store;
mod threads;
mod topics;
mod wait;

pub use append::Appended;
pub use clock::{Clock, ManualClock, SystemClock};
pub use dead_letter::{DeadLetter, DeadLetters, Redriven};
pub use delivery::{Delivery, Settled};
pub use error::{Error, Result};
pub use event::StoreEvent;
pub use fault::Fault;
pub use format::VERSION as FORMAT_VERSION;
pub use format::commit::Properties;
pub use group::{Group, GroupOptions, StartAt};
pub use inspect::{
    CheckpointEntry, CheckpointReader, CommitEntry, CommitReader, CommitRecordKind, HeldMessage, HeldState, Inspected,
    Lookup, Origin, Pinned, Places, QueueEntry, RecordAt, Salvaged, SegmentInfo, Snapshot, SnapshotMessage, StoreLog,
    Verified,
};
pub use message::{Message, StoredMessage};
pub use options::{Durability, Options, Retention};
pub use pop::Pop;
pub use popstore_revive::{AtLimit, Backoff, EndReason, Policy, Time};
pub use receipt::Receipt;
pub use recover::{PlannedStep, Recovery, RecoveryPlan};
#[doc(hidden)]
pub use segment::{Event, Hook};
pub use settle::Delay;
pub use stats::{GroupStats, PopToAck, StoreStats, TopicStats};
pub use store::Store;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
