//! Fields of deliveries, as records of changes and images share them: their numbers, queues, spans of time, burials.

use std::ops::RangeInclusive;

use popstore_revive::{Burial, DELIVERY_MAX, QueueId, Time};

use super::Rule;
use super::varint::{Fields, put};

/// The numbers of deliveries, and of those that can be followed by one.
pub(super) const DELIVERIES: RangeInclusive<u32> = 1..=DELIVERY_MAX;
pub(super) const DELIVERIES_BUT_LAST: RangeInclusive<u32> = 1..=DELIVERY_MAX - 1;

/// A delivery, and how many up to it do not count: the last one does, unless it was released.
pub(super) fn put_delivery(delivery: u32, uncounted: u32, out: &mut Vec<u8>) {
    put(out, u64::from(delivery));
    put(out, u64::from(uncounted));
}

pub(super) fn delivery(fields: &mut Fields<'_>, is_hidden: bool) -> Result<(u32, u32), Rule> {
    let (delivery, uncounted) = (fields.u32()?, fields.u32()?);
    let numbers = if is_hidden { DELIVERIES_BUT_LAST } else { DELIVERIES };
    let uncounted_max = if is_hidden { delivery } else { delivery.saturating_sub(1) };
    if !numbers.contains(&delivery) || uncounted > uncounted_max {
        return Err(Rule::Field("delivery"));
    }
    Ok((delivery, uncounted))
}

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
