//! The POP index and the merge: who holds which message until when, and what happens when a lease ends.
//!
//! This crate is the pure core of `popstore`. It opens no file, starts no thread, takes no lock and reads no clock:
//! [`Command`]s and the [`Time`] go in, [`Change`]s come out: [`decide`] says what a command comes to, and changes nothing.
//! A store applies every change twice in its life, once when it happens and once when it replays its checkpoint log, and both go through [`Index::apply`]: what was decided
//! before a crash and what is rebuilt after it cannot differ.
//!
//! The algebra, held by `tests/algebra.rs`:
//!
//! - a change seen twice in a row changes nothing the second time (counters included);
//! - a replay that starts at any complete image gives the same state as one from the beginning;
//! - a replay split anywhere, with a snapshot in between, gives the same merge;
//! - a change that speaks of something the index does not know is ignored, it never panics;
//! - nothing but a change changes the state: time passes as an argument, and what is ready follows from it.
//!
//! Messages are named by [`Run`]s: 64 neighbours of one queue and a bitmap over them. A pop, an ack or an expiry of many
//! messages is therefore one change and one edit of a few machine words.
//!
//! ```
//! use popstore_revive::*;
//! let (group, queue) = (GroupId(1), QueueId { topic: TopicId(1), queue: 0 });
//! let mut index = Index::default();
//! let policy = Policy { max_reconsume_times: Some(0), ..Policy::default() };
//! index.apply(&Change::Group { group, policy: policy.into(), counters: Box::default() });
//!
//! // Three messages exist; one consumer takes two of them for a second.
//! let mut runs = Vec::new();
//! index.pick(group, queue, 2, (QueueIndex(0), QueueIndex(3)), Time(0), &mut runs);
//! let (at, due) = (Time(0), Time(1_000_000));
//! index.apply(&Change::Popped { group, generation: 1, at, due, runs: &runs });
//! assert_eq!(index.next_due(at), Some(due));
//!
//! // Nobody acks: with no retries allowed the one thing that can happen is the dead-letter queue.
//! let mut decided = Vec::new();
//! index.decide_over(due, 100, &mut decided);
//! assert_eq!(decided[0].verdict, Verdict::DeadLetter);
//! index.apply(&Change::Ended { group, at: due, runs: &[decided[0].run] });
//! assert_eq!(index.to_bury().count(), 1);
//! ```

mod agenda;
mod apply;
mod block;
mod blocks;
mod change;
mod decide;
mod effects;
mod expiry;
mod ids;
mod image;
mod index;
mod letters;
mod policy;
mod queue;
mod readers;
mod reanchor;
mod time;
mod truncate;

pub use agenda::Place;
pub use block::{Cohort, State};
pub use change::{Burial, Change, Counters, EndReason, Run};
pub use decide::{Answer, Command, Decided, Gathered, Lease, Leased, Outcome, Pop, Span, decide};
pub use effects::Effects;
pub use expiry::{Burying, Decision, Verdict};
pub use ids::{GroupId, QueueId, QueueIndex, TopicId};
pub use image::{Cursor, QueueImage, Told};
pub use index::Index;
pub use letters::Letter;
pub use policy::{AtLimit, Backoff, DELIVERY_MAX, Ending, Policy};
pub use queue::{Buried, Counts, Standing};
pub use time::Time;
