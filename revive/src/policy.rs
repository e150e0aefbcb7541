//! What a group does with a message whose lease ends without an ack.
//!
//! [`Policy::end_lease`] is the one step in which a lease can end. It looks at the limit before it looks at anything
//! else, so there is no path, be it expiry, nack or recovery, on which a message becomes visible again past its limit.

use std::time::Duration;

/// The delivery rules of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often a message may be delivered again after its first delivery; `None` is without end.
    pub max_reconsume_times: Option<u32>,
    /// How long a message stays hidden between the end of a lease and the next delivery.
    pub backoff: Backoff,
    /// What becomes of a message that has used up its deliveries.
    pub at_limit: AtLimit,
    /// Per queue, nothing behind an unsettled message is handed out.
    pub ordered: bool,
}

/// The delay before a redelivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Visible again at once.
    None,
    /// The same delay each time.
    Fixed(Duration),
    /// `first`, then twice that, and so on, but never more than `cap`.
    Exponential {
        /// The delay after the first delivery.
        first: Duration,
        /// The longest delay.
        cap: Duration,
    },
    /// The n-th delay after the n-th delivery; the last one for all that follow.
    Ladder(Vec<Duration>),
}

/// What becomes of a message that has used up its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtLimit {
    /// It is copied to the group's dead-letter queue, with its origin and its history.
    DeadLetter,
    /// It is dropped for this group.
    Discard,
}

/// How a lease ends that was not acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The message is delivered again after this delay.
    Redeliver {
        /// How long it stays hidden first.
        after: Duration,
    },
    /// The message goes to the dead-letter queue.
    DeadLetter,
    /// The message is dropped for the group.
    Discard,
}

/// The number of the last delivery that there can be: each needs a larger one than that before.
pub const DELIVERY_MAX: u32 = u32::MAX - 1;

impl Default for Policy {
    fn default() -> Self {
        Self { max_reconsume_times: Some(16), backoff: Backoff::None, at_limit: AtLimit::DeadLetter, ordered: false }
    }
}

impl Policy {
    /// What happens when the lease of the `attempt`-th delivery ends without an ack.
    pub fn end_lease(&self, attempt: u32) -> Ending {
        // Attempt n has been reconsumed n - 1 times; delivering it again would make that n.
        let max = self.max_reconsume_times.unwrap_or(u32::MAX).min(DELIVERY_MAX - 1);
        match self.at_limit {
            AtLimit::DeadLetter if attempt > max => Ending::DeadLetter,
            AtLimit::Discard if attempt > max => Ending::Discard,
            _ => Ending::Redeliver { after: self.backoff.after(attempt) },
        }
    }
}

impl Backoff {
    /// The delay after the `attempt`-th delivery.
    pub fn after(&self, attempt: u32) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(delay) => *delay,
            Self::Exponential { first, cap } => {
                let doublings = attempt.saturating_sub(1).min(63);
                let micros = first.as_micros().saturating_mul(1 << doublings).min(cap.as_micros());
                Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            }
            Self::Ladder(rungs) => {
                let rung = (attempt.max(1) as usize - 1).min(rungs.len().saturating_sub(1));
                rungs.get(rung).copied().unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_n_allows_n_plus_one_deliveries() {
        for max in 0..4 {
            let policy = Policy { max_reconsume_times: Some(max), ..Policy::default() };
            let deliveries = (1..).find(|attempt| policy.end_lease(*attempt) == Ending::DeadLetter);
            assert_eq!(deliveries, Some(max + 1));
        }
    }

    #[test]
    fn without_a_limit_there_is_always_another_delivery() {
        let policy = Policy { max_reconsume_times: None, ..Policy::default() };
        assert!(matches!(policy.end_lease(DELIVERY_MAX - 1), Ending::Redeliver { .. }));
        assert_eq!(policy.end_lease(DELIVERY_MAX), Ending::DeadLetter, "no attempt has a larger number");
    }

    #[test]
    fn exponential_backoff_doubles_up_to_its_cap_without_overflow() {
        let second = Duration::from_secs(1);
        let backoff = Backoff::Exponential { first: second, cap: 10 * second };
        let delays: Vec<_> = [1, 2, 3, 4, 5, u32::MAX].map(|attempt| backoff.after(attempt).as_secs()).into();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn the_last_rung_of_a_ladder_repeats_and_no_rung_is_no_delay() {
        let second = Duration::from_secs(1);
        let ladder = Backoff::Ladder(vec![second, 5 * second]);
        assert_eq!([1, 2, 3, 9].map(|attempt| ladder.after(attempt).as_secs()), [1, 5, 5, 5]);
        assert_eq!(Backoff::Ladder(vec![]).after(1), Duration::ZERO);
    }
}
