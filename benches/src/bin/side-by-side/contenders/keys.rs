//! A queue in a key-value store: bodies by id, and the order of messages as (visible at, id) in a key of sixteen bytes,
//! with the attempt as its value.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Consumer, Opened, Popped, Producer};
use crate::bodies::Batch;
use crate::clock::wall_micros;

/// A place in the order.
pub(crate) type Key = [u8; 16];

pub(crate) fn key(visible_at: u64, id: u64) -> Key {
    (u128::from(visible_at) << 64 | u128::from(id)).to_be_bytes()
}

pub(crate) fn id(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[8..16].try_into().expect("eight bytes"))
}

/// The key behind all messages that are visible now.
pub(crate) fn visible_end() -> Key {
    key(wall_micros() + 1, 0)
}

/// Gives out ids.
#[derive(Default)]
pub(crate) struct Ids(AtomicU64);

impl Ids {
    /// From the first that is free.
    pub(crate) fn after(last: Option<u64>) -> Self {
        Self(AtomicU64::new(last.map_or(0, |last| last + 1)))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// No key is below this one. Without it every pop of a log-structured store would walk over the tombstones of all that
/// were popped before. A pop holds the lock while it reads and writes, so that nothing is popped twice.
pub(crate) type Lowest = Mutex<Key>;

/// Takes note of a key that was written.
pub(crate) fn lower(lowest: &Lowest, written: Key) {
    let mut lowest = lowest.lock().expect("no panic under the lock");
    *lowest = written.min(*lowest);
}

/// What a store does with such keys, each call in one transaction.
pub(crate) trait KeyedQueue: std::marker::Sync {
    /// Makes messages visible from now on.
    fn append(&self, batch: &Batch<'_>);
    /// Hides messages until the lease is over, reads their bodies, and notes their new keys in `held`, which is empty.
    fn pop(&self, messages_max: usize, lease: Duration, held: &mut Vec<Key>) -> Popped;
    /// Forgets these messages.
    fn ack(&self, held: &[Key]);
    /// See [`Opened::settle`].
    fn settle(&self) {}
}

/// A store with such a queue, at work.
pub(crate) struct Keyed<Q>(pub(crate) Q);

impl<Q: KeyedQueue> Opened for Keyed<Q> {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Inserter { queue: &self.0, batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Popper { queue: &self.0, held: Vec::new() })
    }

    fn settle(&self) {
        self.0.settle();
    }
}

struct Inserter<'a, Q> {
    queue: &'a Q,
    batches: &'a [Batch<'a>],
}

impl<Q: KeyedQueue> Producer for Inserter<'_, Q> {
    fn append(&mut self, batch: usize) {
        self.queue.append(&self.batches[batch % self.batches.len()]);
    }
}

struct Popper<'a, Q> {
    queue: &'a Q,
    held: Vec<Key>,
}

impl<Q: KeyedQueue> Consumer for Popper<'_, Q> {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        self.held.clear();
        self.queue.pop(messages_max, lease, &mut self.held)
    }

    fn ack_each(&mut self) {
        self.held.chunks(1).for_each(|one| self.queue.ack(one));
    }

    fn ack_as_one(&mut self) {
        self.queue.ack(&self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::{id, key};

    #[test]
    fn keys_are_in_the_order_of_time_then_id() {
        assert!(key(1, 9) < key(2, 0) && key(2, 0) < key(2, 1));
        assert_eq!(id(&key(7, 42)), 42);
    }
}
