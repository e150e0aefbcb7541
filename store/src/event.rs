//! Events that an operator should know of while a store runs.

use std::time::{Duration, SystemTime};

/// An event that an operator should know of. Each is also a `tracing` line at level `warn`.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use popstore::{Store, StoreEvent};
/// let store = Store::options().on_event(|event| match event {
///     StoreEvent::SlowAck { group, took, .. } => eprintln!("{group} took {took:?}"),
///     other => eprintln!("{other:?}"),
/// });
/// store.open(dir.path())?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreEvent {
    /// Handlers of a group come close to the invisible time, or exceed it: their messages are about to be delivered
    /// twice. This and [`StoreEvent::AckTooLate`] are emitted at most once in ten seconds per group.
    SlowAck {
        /// The group.
        group: String,
        /// How long this message took from pop to ack.
        took: Duration,
        /// The lease it had.
        invisible_for: Duration,
    },
    /// A handler took so long that its message was handed out again, dead-lettered or dropped before it acked.
    AckTooLate {
        /// The group.
        group: String,
    },
    /// Messages that should be dead-lettered cannot be, and wait in their group. It is tried again.
    DeadLetterDelayed {
        /// The group.
        group: String,
        /// How many.
        messages: u32,
        /// Why.
        reason: String,
    },
    /// Retention by age does not believe when messages were appended: the clock was ahead of those that came behind
    /// them, or it advanced by more than the age at once. Their age is counted from another time.
    ImplausibleTime {
        /// When the newest of a segment were appended, by the clock at that time.
        appended_at: SystemTime,
        /// The time that counts instead.
        counted_from: SystemTime,
    },
    /// A background task failed and will be tried again.
    BackgroundFailure {
        /// Which.
        task: &'static str,
        /// Why.
        reason: String,
    },
    /// The file `lock` was removed or replaced while the store was open. There is a new one; no other owner came in, since
    /// the directory is locked, too.
    LockReplaced,
}
