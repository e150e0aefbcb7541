//! The time, for the one crate that measures it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, for differences.
#[allow(clippy::disallowed_methods, reason = "measuring is what this program is for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now, in microseconds since 1970: what the tables of the contenders are ordered by.
#[allow(clippy::disallowed_methods, reason = "the contenders' leases end by the wall clock")]
pub(crate) fn wall_micros() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}
