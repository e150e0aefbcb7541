//! Points in time: the present, and those that people write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use popstore::clock::{Clock, SystemClock};

use crate::duration;

/// The present, by the wall clock.
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(SystemClock::start().now().0)
}

/// Reads a point in time: an age, or a date and time in UTC.
pub(super) fn parse(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text.trim_end_matches('Z')) {
        return Ok(time);
    }
    let ago = duration::parse(text).ok().and_then(|ago| now().checked_sub(ago));
    ago.ok_or_else(|| "write an age such as 90s, 2h or 7d, or a time such as 2026-01-31T12:00:00Z".to_string())
}

/// How long before or after the present something is: `3.2s ago`, `in 5m`.
pub(super) fn from_now(at: SystemTime, now: SystemTime) -> String {
    match now.duration_since(at) {
        Ok(ago) => format!("{} ago", short(ago)),
        Err(ahead) => format!("in {}", short(ahead.duration())),
    }
}

/// A time with its two largest units.
pub(super) fn short(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0 if time.as_millis() == 0 => format!("{}us", time.as_micros()),
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{}.{}s", secs, time.subsec_millis() / 100),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d {}h", secs / 86_400, secs / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_an_age_or_a_date() {
        let day = Duration::from_secs(86_400);
        let (before, parsed, after) = (now(), parse("1d").unwrap() + day, now());
        assert!((before..=after).contains(&parsed), "{parsed:?}");
        for text in ["1970-01-02T00:00:00Z", "1970-01-02T00:00:00", "1970-01-02 00:00:00"] {
            assert_eq!(parse(text).unwrap().duration_since(UNIX_EPOCH).unwrap(), day, "{text}");
        }
        assert!(parse("yesterday").is_err() && parse("-1d").is_err());
    }

    #[test]
    fn an_age_has_two_units() {
        let texts = [0, 7, 7_300, 61_000, 3_700_000, 90_000_000].map(|millis| short(Duration::from_millis(millis)));
        assert_eq!(texts, ["0us", "7ms", "7.3s", "1m 1s", "1h 1m", "1d 1h"]);
    }
}
