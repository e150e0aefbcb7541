//! The time from pop to ack, and the watch on handlers that come close to their lease.

use std::time::Duration;

use hdrhistogram::Histogram;
use popstore_revive::{Leased, Time};

use crate::event::StoreEvent;

/// An ack that took this part of its lease, in percent, or more is slow.
const SLOW_PERCENT: u64 = 80;
const WARN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Quantiles of the time from pop to ack, to about one percent.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let billing = store.create_group("billing", GroupOptions::default())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// let popped = billing.pop("orders", Pop::up_to(1))?;
/// assert!(billing.ack(popped[0].receipt())?.counted());
/// let times = billing.stats()?.pop_to_ack;
/// assert!(times.count == 1 && times.p50 <= times.max);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PopToAck {
    /// How many acks were timed.
    pub count: u64,
    /// Half were no slower.
    pub p50: Duration,
    /// Nine of ten were no slower.
    pub p90: Duration,
    /// 99 of 100 were no slower.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

/// The times from pop to ack of one group.
pub(crate) struct AckTimes {
    micros: Histogram<u64>,
    warned_at: Option<Time>,
}

impl Default for AckTimes {
    fn default() -> Self {
        let micros = Histogram::new(2).expect("two digits are possible");
        Self { micros, warned_at: None }
    }
}

impl AckTimes {
    /// Whether the last warning is long enough ago.
    fn may_warn(&mut self, now: Time) -> bool {
        let may = self.warned_at.is_none_or(|warned_at| now.since(warned_at) >= WARN_AGAIN_AFTER);
        if may {
            self.warned_at = Some(now);
        }
        may
    }

    /// Times an ack that counts. Returns the warning to give when it was slow.
    pub(crate) fn time(&mut self, group: &str, lease: Leased, now: Time) -> Option<StoreEvent> {
        let Leased { popped_at, due } = lease;
        let micros = |time: Time| time.0.saturating_sub(popped_at.0);
        // The histogram grows; a time that is too long for it is reported by the event alone.
        let _ = self.micros.record(micros(now));
        let slow = micros(now).saturating_mul(100) >= micros(due).saturating_mul(SLOW_PERCENT);
        if !slow || !self.may_warn(now) {
            return None;
        }
        let (took, invisible_for) = (now.since(popped_at), due.since(popped_at));
        Some(StoreEvent::SlowAck { group: group.to_string(), took, invisible_for })
    }

    /// The warning for an ack that came after somebody else got the message, or nobody will.
    pub(crate) fn too_late(&mut self, group: &str, now: Time) -> Option<StoreEvent> {
        self.may_warn(now).then(|| StoreEvent::AckTooLate { group: group.to_string() })
    }

    pub(crate) fn quantiles(&self) -> PopToAck {
        let at = |quantile| Duration::from_micros(self.micros.value_at_quantile(quantile));
        let max = Duration::from_micros(self.micros.max());
        PopToAck { count: self.micros.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max }
    }
}
