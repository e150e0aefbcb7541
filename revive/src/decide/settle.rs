//! Leases are presented by their consumers, and dead letters are written, put back and deleted.

use std::time::Duration;

use super::{Answer, Decided, Lease, Leased, Outcome};
use crate::{Burial, Change, Cohort, GroupId, Index, QueueId, QueueIndex, Run, Standing, State, Time, Verdict};

/// What a lease is good for, and what its message and its neighbours of one history are doing.
#[derive(Clone, Copy)]
struct Found<'i> {
    lease: Lease,
    standing: Standing,
    held: Option<&'i Cohort>,
}

impl<'i> Found<'i> {
    fn look_up(index: &'i Index, group: GroupId, lease: Lease, now: Time) -> Self {
        let Lease { queue, index: at, attempt, generation } = lease;
        let (standing, held) = index.look_up(group, queue, at, attempt, generation, now);
        Self { lease, standing, held }
    }

    /// Whether another lease is of the same cohort, at the same delivery.
    fn includes(&self, other: &Lease) -> bool {
        let what = |lease: &Lease| (lease.queue, lease.index.block(), lease.attempt, lease.generation);
        what(&self.lease) == what(other) && self.held.is_some_and(|held| held.mask & other.index.bit() != 0)
    }

    fn outcome(&self, accepted: bool) -> Outcome {
        let lease = self.held.map(|held| {
            // A lease that is over ended when the state began that followed it.
            let due = if held.state == State::InFlight { held.due } else { held.since };
            Leased { popped_at: held.popped_at, due }
        });
        Outcome { standing: self.standing, accepted, lease }
    }
}

impl Lease {
    fn run(&self) -> Run {
        Run::one(self.queue, self.index, self.attempt)
    }
}

/// An ack is accepted as long as nobody else has the message and it has not used up its deliveries.
pub(super) fn ack(index: &Index, group: GroupId, leases: &[Lease], now: Time, out: &mut Decided) -> Answer {
    let acked = Change::Acked { group, at: now, runs: &[] };
    batch(index, group, leases, now, out, acked, |_| true)
}

/// A release is accepted of a lease that nobody has ended, over or not.
pub(super) fn release(index: &Index, group: GroupId, leases: &[Lease], now: Time, out: &mut Decided) -> Answer {
    let released = Change::Released { group, at: now, runs: &[] };
    batch(index, group, leases, now, out, released, |held| held.state == State::InFlight)
}

/// One change of all leases of a batch that are good for it.
fn batch(
    index: &Index,
    group: GroupId,
    leases: &[Lease],
    now: Time,
    out: &mut Decided,
    change: Change<'static>,
    is_good: impl Fn(&Cohort) -> bool,
) -> Answer {
    let mut found: Option<Found<'_>> = None;
    for lease in leases {
        // Neighbours that were popped together are good for the same.
        found = found.filter(|found| found.includes(lease));
        let known = found.get_or_insert_with(|| Found::look_up(index, group, *lease, now));
        let good =
            matches!(known.standing, Standing::Leased { .. } | Standing::Over) && known.held.is_some_and(&is_good);
        let accepted = good && out.gathered.add(&mut out.runs, 0, lease.run()) != 0;
        out.outcomes.push(known.outcome(accepted));
    }
    if !out.runs.is_empty() {
        out.push_from(0, change);
    }
    Answer::Settled
}

/// Changes a lease that runs; any other is left as it is.
fn of_running(
    index: &Index,
    group: GroupId,
    lease: Lease,
    now: Time,
    out: &mut Decided,
    change: impl FnOnce() -> Option<Change<'static>>,
) -> Answer {
    let found = Found::look_up(index, group, lease, now);
    let runs = matches!(found.standing, Standing::Leased { .. });
    let change = if runs { change() } else { None };
    out.outcomes.push(found.outcome(change.is_some()));
    if let Some(change) = change {
        out.push_one(lease.run(), change);
    }
    Answer::Settled
}

/// At the limit the message can only leave the group, whatever the delay.
pub(super) fn nack(
    index: &Index,
    group: GroupId,
    lease: Lease,
    delay: Option<Duration>,
    now: Time,
    out: &mut Decided,
) -> Answer {
    of_running(index, group, lease, now, out, || {
        let verdict = match (index.policy(group)?.verdict(lease.attempt, now), delay) {
            (Verdict::Redeliver { .. }, Some(delay)) => Verdict::Redeliver { visible_at: now.after(delay) },
            (verdict, _) => verdict,
        };
        Some(Change::Nacked { group, at: now, verdict, runs: &[] })
    })
}

pub(super) fn extend(index: &Index, group: GroupId, lease: Lease, due: Time, now: Time, out: &mut Decided) -> Answer {
    of_running(index, group, lease, now, out, || Some(Change::Extended { group, at: now, due, runs: &[] }))
}

/// What is in flight by the index has a letter all the same: that its lease ended was lost with the tail of the log.
pub(super) fn bury(index: &Index, group: GroupId, runs: &[Run], now: Time, out: &mut Decided) -> Answer {
    let mut ended_at = now;
    for run in runs {
        for cohort in index.cohorts(group, run).filter(|cohort| cohort.state == State::InFlight) {
            ended_at = ended_at.max(cohort.due);
            out.runs.push(Run { mask: cohort.mask & run.mask, ..*run });
        }
    }
    if !out.runs.is_empty() {
        out.push_from(0, Change::Ended { group, at: ended_at, runs: &[] });
    }
    let first = out.runs.len();
    for run in runs {
        let buried = index.cohorts(group, run).filter(|cohort| cohort.state != State::Waiting);
        let mask = buried.fold(0, |mask, cohort| mask | cohort.mask) & run.mask;
        if mask != 0 {
            out.runs.push(Run { mask, ..*run });
        }
    }
    if out.runs.len() == first {
        return Answer::Nothing;
    }
    out.push_from(first, Change::Buried { group, at: ended_at, burial: Burial::DeadLettered, runs: &[] });
    Answer::Done
}

pub(super) fn redrive(index: &Index, queue: QueueId, at: QueueIndex, out: &mut Decided) -> Answer {
    if index.is_redriven(queue, at) {
        return Answer::AlreadyRedriven;
    }
    if index.finished(queue, at.block()) & at.bit() != 0 {
        return Answer::Finished;
    }
    out.push_one(Run::one(queue, at, 0), Change::Redriven { runs: &[] });
    Answer::Done
}

pub(super) fn forget(index: &Index, queue: QueueId, first: QueueIndex, moved: &[Run], out: &mut Decided) -> Answer {
    if !index.has_redriven_before(queue, first) {
        return Answer::Nothing;
    }
    let moved = moved.iter().filter(|run| run.queue == queue);
    let moved = moved.map(|run| Run { mask: run.mask & index.redriven_of(queue, run.block), attempt: 0, ..*run });
    out.runs.extend(moved.filter(|run| !run.is_empty()));
    out.push_from(0, Change::Forgotten { queue, first, runs: &[] });
    Answer::Done
}
