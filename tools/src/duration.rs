//! Times as people write them: `250ms`, `1.5s`, `30s`, `5m`, `12h`, `7d`; a bare number is seconds.

use std::time::Duration;

use popstore::Backoff;

/// From the longest name to the shortest, so that `ms` is not taken for `s`; each with its nanoseconds.
const UNITS: [(&str, u128); 5] =
    [("ms", 1_000_000), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND), ("d", 86_400 * SECOND)];
const SECOND: u128 = 1_000_000_000;

/// Decimals beyond these are refused: no unit needs more.
const DECIMALS_MAX: usize = 9;

/// Reads a time.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit = UNITS.iter().find_map(|(name, nanos)| Some((text.strip_suffix(name)?, *nanos)));
    let (number, unit) = unit.unwrap_or((text, SECOND));
    let help = || "a time is a number with ms, s, m, h or d: 250ms, 1.5s, 30s, 5m, 12h, 7d".to_string();
    let (whole, decimals) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || decimals.is_some_and(|part| !digits(part) || part.len() > DECIMALS_MAX) {
        return Err(help());
    }
    let decimals = decimals.unwrap_or_default();
    let nanos = (format!("{whole}{decimals}").parse::<u128>().ok())
        .and_then(|number| number.checked_mul(unit))
        .map(|scaled| scaled / 10_u128.pow(decimals.len() as u32));
    let seconds = nanos.and_then(|nanos| u64::try_from(nanos / SECOND).ok());
    let (Some(nanos), Some(seconds)) = (nanos, seconds) else { return Err("the time is too long".to_string()) };
    Ok(Duration::new(seconds, (nanos % SECOND) as u32))
}

/// Reads a backoff: `none`, a time, `FIRST..CAP` for one that doubles, or a ladder of times with commas between.
pub(crate) fn parse_backoff(text: &str) -> Result<Backoff, String> {
    let backoff = if text == "none" {
        Ok(Backoff::None)
    } else if let Some((first, cap)) = text.split_once("..") {
        parse(first).and_then(|first| Ok(Backoff::Exponential { first, cap: parse(cap)? }))
    } else if text.contains(',') {
        text.split(',').map(parse).collect::<Result<_, _>>().map(Backoff::Ladder)
    } else {
        parse(text).map(Backoff::Fixed)
    };
    backoff.map_err(|why| format!("a backoff is none, a time, FIRST..CAP or a ladder as 1s,10s,1m; {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds_and_may_have_a_fraction() {
        let micros = |text| parse(text).map(|time| time.as_micros());
        assert_eq!(micros("250ms"), Ok(250_000));
        assert_eq!(micros("30s"), Ok(30_000_000));
        assert_eq!(micros("30"), Ok(30_000_000));
        assert_eq!(micros("1.5s"), Ok(1_500_000));
        assert_eq!(micros("0.25"), Ok(250_000));
        assert_eq!(micros("0.5ms"), Ok(500));
        assert_eq!(micros("1.5m"), Ok(90_000_000));
        assert_eq!(micros("7d"), Ok(604_800_000_000));
        assert_eq!(parse("1.000000001s"), Ok(Duration::new(1, 1)));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_form_of_one() {
        for wrong in ["", "s", "-1s", "+1s", "1.s", ".5s", "1.5.5s", "1 s", "1 week", "1e3", "1.0000000001s"] {
            assert!(parse(wrong).is_err_and(|why| why.contains("1.5s")), "{wrong}");
        }
        for long in ["18446744073709551615d", "999999999999999999999999999999999999999s"] {
            assert!(parse(long).is_err_and(|why| why.contains("too long")), "{long}");
        }
    }

    #[test]
    fn a_backoff_is_none_fixed_doubling_or_a_ladder() {
        let second = Duration::from_secs(1);
        assert_eq!(parse_backoff("none"), Ok(Backoff::None));
        assert_eq!(parse_backoff("1s"), Ok(Backoff::Fixed(second)));
        assert_eq!(parse_backoff("1s..60s"), Ok(Backoff::Exponential { first: second, cap: 60 * second }));
        assert_eq!(parse_backoff("0.5s,1s"), Ok(Backoff::Ladder(vec![second / 2, second])));
        for wrong in ["1s..", "1s,,2s", "sometimes"] {
            assert!(parse_backoff(wrong).is_err_and(|why| why.contains("FIRST..CAP")), "{wrong}");
        }
    }
}
