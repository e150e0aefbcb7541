//! Fields of deliveries, as records of changes and images share them: attempts, queues, spans of time, burials.

use std::ops::RangeInclusive;

use popstore_revive::{ATTEMPT_MAX, Burial, QueueId, Time};

use super::Rule;
use super::varint::{Fields, put};

/// The attempts of deliveries, and of those that are to be followed by one.
pub(super) const ATTEMPTS: RangeInclusive<u32> = 1..=ATTEMPT_MAX;
pub(super) const ATTEMPTS_BUT_LAST: RangeInclusive<u32> = 1..=ATTEMPT_MAX - 1;

/// The same of hidden messages: one that was released may have had none that counts.
pub(super) const ATTEMPTS_WHILE_HIDDEN: RangeInclusive<u32> = 0..=ATTEMPT_MAX - 1;

pub(super) fn put_queue(queue: QueueId, out: &mut Vec<u8>) {
    put(out, u64::from(queue.topic.0));
    put(out, u64::from(queue.queue));
}

/// A time and one that is not before it, as a distance.
pub(super) fn put_span(at: Time, end: Time, out: &mut Vec<u8>) {
    put(out, at.0);
    put(out, end.0.saturating_sub(at.0));
}

pub(super) fn span(fields: &mut Fields<'_>) -> Result<(Time, Time), Rule> {
    let at = fields.u64()?;
    Ok((Time(at), Time(at.saturating_add(fields.u64()?))))
}

pub(super) fn burial_code(burial: Burial) -> u64 {
    match burial {
        Burial::DeadLettered => 1,
        Burial::Discarded => 2,
    }
}

pub(super) fn burial(fields: &mut Fields<'_>) -> Result<Burial, Rule> {
    match fields.u64()? {
        1 => Ok(Burial::DeadLettered),
        2 => Ok(Burial::Discarded),
        _ => Err(Rule::Field("burial")),
    }
}
