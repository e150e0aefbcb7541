//! What the lock-free parts are made of, in one place: the test `loom` puts its own in their stead and tries every
//! order in which threads could meet.

pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex};

/// Stands between two sequentially consistent operations of different places whose order matters. They keep it by
/// themselves; loom, which takes them for acquire and release only, has a fence here.
#[inline]
pub(crate) fn in_order() {}
