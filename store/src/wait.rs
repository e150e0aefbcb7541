//! Waiting without polling and without a lost wake-up: an event count.
//!
//! A waiter reads the count, looks for work, and sleeps only while the count is still what it read. Whoever makes work
//! visible raises the count first and then wakes. There is no moment in between at which a wake-up could be lost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Tells waiters that it is worth to look again.
#[derive(Default)]
pub(crate) struct Signal {
    count: AtomicU64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Signal {
    /// The count to read before looking for work.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Work may be there now.
    pub(crate) fn raise(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().expect("no panic under the lock"));
            self.changed.notify_all();
        }
    }

    /// Sleeps until the count is not `seen` any more, at most so long.
    pub(crate) fn wait(&self, seen: u64, at_most: Duration) {
        // Order matters: a raise after this line sees the waiter, one before it is seen in the count.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let lock = self.lock.lock().expect("no panic under the lock");
        let unchanged = |_: &mut ()| self.count() == seen;
        drop(self.changed.wait_timeout_while(lock, at_most, unchanged).expect("no panic under the lock"));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
