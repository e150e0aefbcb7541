//! What the lock-free parts are made of, in one place: the test `loom` puts its own in their stead and tries every
//! order in which threads could meet.

pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex};
use std::sync::{LockResult, MutexGuard, PoisonError};

/// Stands between two sequentially consistent operations on different places whose order matters. They are ordered by
/// themselves; loom, which takes them for acquire and release only, has a fence here.
#[inline]
pub(crate) fn in_order() {}

/// Takes a lock, also when a thread panicked while it had it: the store is poisoned then (`threads`, `Engine::held`), so
/// that nothing is acknowledged from state that may be half done, and waiters get an error and not a panic of their own.
pub(crate) trait Hold {
    type Guard<'l>
    where
        Self: 'l;

    fn hold(&self) -> Self::Guard<'_>;
}

impl<T> Hold for Mutex<T> {
    type Guard<'l>
        = MutexGuard<'l, T>
    where
        T: 'l;

    #[inline(always)]
    fn hold(&self) -> MutexGuard<'_, T> {
        unpoisoned(self.lock())
    }
}

/// The value that a lock guards, whether or not an earlier holder panicked ([`Hold`]).
#[inline(always)]
pub(crate) fn unpoisoned<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}
