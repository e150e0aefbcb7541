//! Time as an argument: a point on the store's timeline, in microseconds since the Unix epoch.

use std::time::Duration;

/// A point in time, in microseconds since the Unix epoch as the store's clock counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// Later than every other time.
    pub const MAX: Self = Self(u64::MAX);

    /// This time and `by` later; stays at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this time; nothing when that is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
