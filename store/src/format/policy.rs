//! A group's settings as bytes.

use std::time::Duration;

use popstore_revive::{AtLimit, Backoff, Policy};

use super::Rule;
use super::limits::RUNGS_MAX;
use super::varint::{Fields, put};

pub(crate) fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    put(out, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
}

pub(crate) fn duration(fields: &mut Fields<'_>) -> Result<Duration, Rule> {
    Ok(Duration::from_micros(fields.u64()?))
}

pub(crate) fn encode(policy: &Policy, out: &mut Vec<u8>) {
    // One more than the limit, so that 0 can stand for no limit.
    put(out, policy.max_reconsume_times.map_or(0, |max| u64::from(max) + 1));
    put(out, u64::from(policy.at_limit == AtLimit::Discard) | u64::from(policy.ordered) << 1);
    match &policy.backoff {
        Backoff::None => put(out, 0),
        Backoff::Fixed(delay) => {
            put(out, 1);
            put_duration(out, *delay);
        }
        Backoff::Exponential { first, cap } => {
            put(out, 2);
            put_duration(out, *first);
            put_duration(out, *cap);
        }
        Backoff::Ladder(rungs) => {
            put(out, 3);
            put(out, rungs.len() as u64);
            rungs.iter().for_each(|rung| put_duration(out, *rung));
        }
    }
}

pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Policy, Rule> {
    let max_reconsume_times = match fields.u64()? {
        0 => None,
        more => Some(u32::try_from(more - 1).map_err(|_| Rule::Field("max_reconsume_times"))?),
    };
    let flags = fields.u64()?;
    if flags > 3 {
        return Err(Rule::Field("group flags"));
    }
    let backoff = match fields.u64()? {
        0 => Backoff::None,
        1 => Backoff::Fixed(duration(fields)?),
        2 => Backoff::Exponential { first: duration(fields)?, cap: duration(fields)? },
        3 => {
            let rungs = fields.count(1)?;
            if !(1..=RUNGS_MAX).contains(&rungs) {
                return Err(Rule::Field("backoff ladder"));
            }
            Backoff::Ladder((0..rungs).map(|_| duration(fields)).collect::<Result<_, _>>()?)
        }
        _ => return Err(Rule::Field("backoff")),
    };
    let at_limit = if flags & 1 == 1 { AtLimit::Discard } else { AtLimit::DeadLetter };
    Ok(Policy { max_reconsume_times, backoff, at_limit, ordered: flags & 2 == 2 })
}
