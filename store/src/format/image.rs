//! A piece of a snapshot as bytes: what a group holds of a range of a queue.

use popstore_revive::{Buried, Cohort, EndReason, GroupId, QueueImage, QueueIndex, State, Time};

use super::Rule;
use super::delivery::{burial, burial_code, delivery, put_delivery, put_queue, put_span, span};
use super::limits::{self, queue};
use super::varint::{Fields, put};

pub(super) fn encode(image: &QueueImage, out: &mut Vec<u8>) {
    put(out, u64::from(image.group.0));
    put_queue(image.queue, out);
    put(out, image.position.0);
    put(out, image.from);
    // The end of the queue is written as 0: no range of blocks ends there.
    put(out, image.end.unwrap_or(0));
    put(out, image.cohorts.len() as u64);
    let mut before = image.from;
    for (block, cohort) in &image.cohorts {
        put(out, block.saturating_sub(before));
        before = *block;
        out.extend_from_slice(&cohort.mask.to_le_bytes());
        put(out, state_code(cohort.state));
        put(out, cohort.popped_at.0);
        put_span(cohort.since, cohort.due.max(cohort.since), out);
        put_delivery(cohort.delivery, cohort.uncounted, out);
        put(out, u64::from(cohort.generation));
    }
    put(out, image.buried.len() as u64);
    for buried in &image.buried {
        put(out, buried.index.0);
        put_delivery(buried.delivery, buried.uncounted, out);
        put(out, burial_code(buried.burial));
    }
    if image.end.is_none() {
        put(out, image.begun.0);
    }
}

pub(super) fn decode(mut fields: Fields<'_>) -> Result<QueueImage, Rule> {
    let group = GroupId(fields.u32()?);
    let queue = queue(&mut fields)?;
    let position = QueueIndex(fields.u64()?);
    let from = fields.u64()?;
    let end = Some(fields.u64()?).filter(|end| *end != 0);
    if end.is_some_and(|end| end <= from) {
        return Err(Rule::Field("block"));
    }
    let count = fields.count(16)?;
    let mut cohorts: Vec<(u64, Cohort)> = Vec::with_capacity(count);
    let (mut block, mut taken) = (Some(from), 0);
    for _ in 0..count {
        let step = fields.u64()?;
        block =
            block.and_then(|block| block.checked_add(step)).filter(|block| *block <= u64::MAX / QueueIndex::PER_BLOCK);
        let number = block.filter(|block| end.is_none_or(|end| *block < end)).ok_or(Rule::Field("block"))?;
        let cohort = cohort(&mut fields)?;
        taken = if step == 0 { taken } else { 0 };
        let last = QueueIndex::of_block(number).0.saturating_add(u64::from(63 - cohort.mask.leading_zeros().min(63)));
        // What a group holds it was given, so it lies before the group's position.
        if cohort.mask == 0 || cohort.mask & taken != 0 || last >= position.0 {
            return Err(Rule::Field("mask"));
        }
        taken |= cohort.mask;
        cohorts.push((number, cohort));
    }
    let count = fields.count(4)?;
    let mut buried = Vec::with_capacity(count);
    for _ in 0..count {
        let (index, (delivery, uncounted)) = (limits::index(&mut fields)?, delivery(&mut fields, false)?);
        if index >= position || end.is_some() {
            return Err(Rule::Field("buried"));
        }
        buried.push(Buried { index, delivery, uncounted, burial: burial(&mut fields)? });
    }
    let begun = QueueIndex(if end.is_none() { fields.u64()? } else { 0 });
    if begun > position {
        return Err(Rule::Field("begun"));
    }
    fields.end()?;
    Ok(QueueImage { group, queue, position, from, end, cohorts, buried, begun })
}

fn cohort(fields: &mut Fields<'_>) -> Result<Cohort, Rule> {
    let mask: [u8; 8] = fields.take(8)?.try_into().map_err(|_| Rule::Short)?;
    let state = state(fields.u64()?)?;
    let popped_at = Time(fields.u64()?);
    let (since, due) = span(fields)?;
    let (delivery, uncounted) = delivery(fields, state == State::Waiting)?;
    let generation = fields.u32()?;
    Ok(Cohort { mask: u64::from_le_bytes(mask), popped_at, since, due, delivery, uncounted, generation, state })
}

fn state_code(state: State) -> u64 {
    match state {
        State::InFlight => 1,
        State::Ended(EndReason::Expired) => 2,
        State::Ended(EndReason::Nacked) => 3,
        State::Waiting => 4,
    }
}

fn state(code: u64) -> Result<State, Rule> {
    match code {
        1 => Ok(State::InFlight),
        2 => Ok(State::Ended(EndReason::Expired)),
        3 => Ok(State::Ended(EndReason::Nacked)),
        4 => Ok(State::Waiting),
        _ => Err(Rule::Field("state")),
    }
}
