//! Waiting without polling and without a lost wake-up: an event count.
//!
//! A waiter reads the count, checks for work, and sleeps only while the count is still what it read. A thread that
//! makes work visible raises the count first and then wakes. There is no moment in between at which a wake-up could be
//! lost.

use std::time::Duration;

use crate::primitives::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, in_order};

/// Signals waiters that there may be work.
pub(crate) struct Signal {
    count: AtomicU64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Default for Signal {
    fn default() -> Self {
        let (count, waiting) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { count, waiting, lock: Mutex::new(()), changed: Condvar::new() }
    }
}

impl Signal {
    /// The count to read before checking for work.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Work may be there now.
    pub(crate) fn raise(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        in_order();
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().expect("no panic under the lock"));
            self.changed.notify_all();
        }
    }

    /// Sleeps until the count is not `seen` any more, up to the timeout.
    pub(crate) fn wait(&self, seen: u64, at_most: Duration) {
        // Order matters: a raise after this line sees the waiter, one before it is seen in the count.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        in_order();
        let mut lock = self.lock.lock().expect("no panic under the lock");
        // A wake-up for nothing only makes the caller check once more; it knows how long it wants to wait.
        if self.count() == seen {
            lock = self.changed.wait_timeout(lock, at_most).expect("no panic under the lock").0;
        }
        drop(lock);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
