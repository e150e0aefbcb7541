//! Times as people write them: `250ms`, `30s`, `5m`, `12h`, `7d`; a bare number is seconds.

use std::time::Duration;

use popstore::Backoff;

/// From the longest name to the shortest, so that `ms` is not taken for `s`.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a time.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit = UNITS.iter().find_map(|(name, millis)| Some((text.strip_suffix(name)?, *millis)));
    let (number, millis) = unit.unwrap_or((text, 1_000));
    let total = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    total.map(Duration::from_millis).ok_or_else(|| "write it as 250ms, 30s, 5m, 12h or 7d".to_string())
}

/// Reads a backoff: `none`, a time, `FIRST..CAP` for one that doubles, or a ladder of times with commas between.
pub(crate) fn parse_backoff(text: &str) -> Result<Backoff, String> {
    if text == "none" {
        Ok(Backoff::None)
    } else if let Some((first, cap)) = text.split_once("..") {
        Ok(Backoff::Exponential { first: parse(first)?, cap: parse(cap)? })
    } else if text.contains(',') {
        text.split(',').map(parse).collect::<Result<_, _>>().map(Backoff::Ladder)
    } else {
        parse(text).map(Backoff::Fixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        let millis = |text| parse(text).map(|time| time.as_millis());
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis("30"), Ok(30_000));
        assert_eq!(millis("5m"), Ok(300_000));
        assert_eq!(millis("7d"), Ok(604_800_000));
        for wrong in ["", "s", "-1s", "1.5s", "1 week", "18446744073709551615d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_backoff_is_none_fixed_doubling_or_a_ladder() {
        let second = Duration::from_secs(1);
        assert_eq!(parse_backoff("none"), Ok(Backoff::None));
        assert_eq!(parse_backoff("1s"), Ok(Backoff::Fixed(second)));
        assert_eq!(parse_backoff("1s..60s"), Ok(Backoff::Exponential { first: second, cap: 60 * second }));
        assert_eq!(parse_backoff("1s,5s"), Ok(Backoff::Ladder(vec![second, 5 * second])));
        assert!(parse_backoff("1s..").is_err() && parse_backoff("1s,,2s").is_err());
    }
}
