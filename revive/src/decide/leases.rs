//! Leases are given, and end by time.

use super::{Answer, Decided, Pop, Span};
use crate::{Burial, Change, Decision, GroupId, Index, QueueId, QueueIndex, Run, State, Time, Verdict};

pub(super) fn pop(index: &Index, pop: &Pop<'_>, now: Time, out: &mut Decided) -> Answer {
    let Pop { group, generation, lease, limit, runs_max, queues, span } = *pop;
    let Some(counters) = index.counters(group) else { return Answer::UnknownGroup };
    let mut left = limit;
    for Span { queue, first, end } in in_turn(counters.popped, queues).filter_map(span) {
        let before = out.runs.len();
        if index.pick(group, queue, left, (first, end), now, &mut out.runs) {
            out.changes.push((Change::Positioned { group, queue, position: first }, 0..0));
        }
        left -= out.runs[before..].iter().map(Run::len).sum::<u32>();
        if left == 0 {
            break;
        }
    }
    out.runs.truncate(runs_max);
    if !out.runs.is_empty() {
        out.push_from(0, Change::Popped { group, generation, at: now, due: now.after(lease), runs: &[] });
    }
    if out.changes.is_empty() { Answer::Nothing } else { Answer::Done }
}

/// The queues, beginning with another one after each delivery: which one follows from how many there were.
fn in_turn(deliveries: u64, queues: u32) -> impl Iterator<Item = u32> {
    let first = scattered(deliveries).checked_rem(u64::from(queues)).unwrap_or(0) as u32;
    (first..queues).chain(0..first)
}

/// SplitMix64: groups that pop the same number at a time do not visit the same queues for that.
fn scattered(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

pub(super) fn tick(index: &Index, blocks_max: usize, now: Time, out: &mut Decided) -> Answer {
    let mut over = std::mem::take(&mut out.over);
    index.decide_over(now, blocks_max, &mut over);
    let alike = |one: &Decision, other: &Decision| (one.group, one.verdict) == (other.group, other.verdict);
    for alike in over.chunk_by(alike) {
        let Decision { group, verdict, .. } = alike[0];
        let first = out.runs.len();
        out.runs.extend(alike.iter().map(|decision| decision.run));
        out.push_from(first, verdict.change(group, now));
    }
    out.over = over;
    if out.changes.is_empty() { Answer::Nothing } else { Answer::Done }
}

impl Verdict {
    /// The change by which it happens to leases that are over at `at`; its runs are for the caller to give.
    pub fn change(self, group: GroupId, at: Time) -> Change<'static> {
        match self {
            Self::Redeliver { visible_at } => Change::Revived { group, at, visible_at, runs: &[] },
            Self::DeadLetter => Change::Ended { group, at, runs: &[] },
            Self::Discard => Change::Buried { group, at, burial: Burial::Discarded, runs: &[] },
        }
    }
}

/// The message is given up as it would be after a delivery, so that it is counted and a late handler hears of it.
pub(super) fn skip(
    index: &Index,
    (group, generation): (GroupId, u32),
    (queue, first): (QueueId, QueueIndex),
    at: QueueIndex,
    now: Time,
    out: &mut Decided,
) -> Answer {
    if index.policy(group).is_none() {
        return Answer::UnknownGroup;
    }
    let popped = Change::Popped { group, generation, at: now, due: now, runs: &[] };
    let held = index.held(group, queue, at);
    let delivery = match held.map(|held| (held.state, held.delivery)) {
        Some((State::Ended(_), delivery)) => delivery,
        Some((State::InFlight, delivery)) => {
            let ends = Change::Extended { group, at: now, due: now, runs: &[] };
            out.push_one(Run::one(queue, at, delivery), ends);
            delivery
        }
        Some((State::Waiting, delivery)) => {
            let next = delivery.saturating_add(1);
            out.push_one(Run::one(queue, at, next), popped);
            next
        }
        None if at == index.position(group, queue).unwrap_or_default().max(first) => {
            out.push_one(Run::one(queue, at, 1), popped);
            1
        }
        None => return Answer::Nothing,
    };
    let gone = Change::Buried { group, at: now, burial: Burial::Discarded, runs: &[] };
    out.push_one(Run::one(queue, at, delivery), gone);
    Answer::Done
}
