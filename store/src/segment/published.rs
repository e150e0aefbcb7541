//! How far a mapped segment may be read: the only thing that its writer and its readers share beside the bytes.

use crate::primitives::{AtomicUsize, Ordering};

/// The end of the bytes that are written and will not change any more. It only moves forward.
pub(crate) struct Published(AtomicUsize);

impl Published {
    pub(crate) fn new(through: usize) -> Self {
        Self(AtomicUsize::new(through))
    }

    /// Lets readers see everything before `through`, which was written before this call.
    pub(crate) fn publish(&self, through: usize) {
        // Only one thread publishes, so no other store comes in between.
        if self.is_before(through) {
            self.0.store(through, Ordering::Release);
        }
    }

    /// How far everything may be read.
    pub(crate) fn through(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Whether everything before `end` may be read: then it was written before this call returned.
    pub(crate) fn covers(&self, end: usize) -> bool {
        end <= self.0.load(Ordering::Acquire)
    }

    /// Whether the bytes from `at` on were not published by this thread, which is the only one that does.
    pub(crate) fn is_before(&self, at: usize) -> bool {
        self.0.load(Ordering::Relaxed) <= at
    }
}
