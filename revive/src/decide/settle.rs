//! Leases are presented by their consumers, and dead letters are written, put back and deleted.

use std::time::Duration;

use super::{Answer, Decided, Gathered, Lease, Leased, Outcome};
use crate::{
    Burial, Change, Cohort, DELIVERY_MAX, GroupId, Index, Policy, QueueId, QueueIndex, Run, Standing, State, Time,
    Verdict,
};

/// A lease that was presented: what it is good for, and what its message and the neighbours of one history are doing.
struct Presented<'i> {
    lease: &'i Lease,
    standing: Standing,
    held: Option<&'i Cohort>,
}

impl<'i> Presented<'i> {
    #[inline(always)]
    fn new(index: &'i Index, group: GroupId, lease: &'i Lease, now: Time) -> Self {
        let (standing, held) = index.look_up(group, lease, now);
        Self { lease, standing, held }
    }

    /// Whether the lease runs.
    fn is_running(&self) -> bool {
        matches!(self.standing, Standing::Leased { .. })
    }

    /// Whether nobody else was given the message and it has deliveries left.
    fn is_unsettled(&self) -> bool {
        matches!(self.standing, Standing::Leased { .. } | Standing::Over)
    }

    /// Whether the lease runs, or is over and nobody has ended it, and there can be another delivery.
    fn is_unended(&self) -> bool {
        let is_unended = |held: &Cohort| held.state == State::InFlight && held.delivery < DELIVERY_MAX;
        self.is_unsettled() && self.held.is_some_and(is_unended)
    }

    /// Whether another lease is of the same cohort, at the same delivery.
    fn includes(&self, other: &Lease) -> bool {
        let what = |lease: &Lease| (lease.queue, lease.index.block(), lease.delivery, lease.generation);
        what(self.lease) == what(other) && self.held.is_some_and(|held| held.mask & other.index.bit() != 0)
    }

    #[inline(always)]
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
        Run::one(self.queue, self.index, self.delivery)
    }
}

/// An ack is accepted as long as nobody else has the message and it has not used up its deliveries.
pub(super) fn ack(index: &Index, group: GroupId, leases: &[Lease], now: Time, out: &mut Decided) -> Answer {
    let acked = || Change::Acked { group, at: now, runs: &[] };
    let [lease] = leases else {
        return batch(index, group, leases, now, out, |lease| lease.is_unsettled(), acked);
    };
    // The frequent case.
    let presented = Presented::new(index, group, lease, now);
    let accepted = presented.is_unsettled();
    out.outcomes.push(presented.outcome(accepted));
    if accepted {
        out.push_one(lease.run(), acked());
    }
    Answer::Settled
}

/// A release is accepted of a lease that nobody has ended, over or not.
pub(super) fn release(
    index: &Index,
    group: GroupId,
    leases: &[Lease],
    delay: Duration,
    now: Time,
    out: &mut Decided,
) -> Answer {
    let released = || Change::Released { group, at: now, visible_at: now.after(delay), runs: &[] };
    batch(index, group, leases, now, out, |lease| lease.is_unended(), released)
}

/// One change of all leases of a batch that are good for it.
fn batch(
    index: &Index,
    group: GroupId,
    leases: &[Lease],
    now: Time,
    out: &mut Decided,
    is_good: impl Fn(&Presented<'_>) -> bool,
    change: impl FnOnce() -> Change<'static>,
) -> Answer {
    let Some(first) = leases.first() else { return Answer::Settled };
    let mut presented = Presented::new(index, group, first, now);
    for lease in leases {
        // Neighbours that were popped together are good for the same.
        if !presented.includes(lease) {
            presented = Presented::new(index, group, lease, now);
        }
        let accepted = is_good(&presented) && out.gathered.add(&mut out.runs, 0, lease.run()) != 0;
        out.outcomes.push(presented.outcome(accepted));
    }
    if !out.runs.is_empty() {
        out.push_from(0, change());
    }
    Answer::Settled
}

/// Of a lease that runs. At the limit a message can only leave the group, whatever the delay.
pub(super) fn nack(
    index: &Index,
    group: GroupId,
    leases: &[Lease],
    delay: Option<Duration>,
    now: Time,
    out: &mut Decided,
) -> Answer {
    let verdict = |held: &Cohort, policy: &Policy| match (policy.verdict(held.attempt_at_limit(), now), delay) {
        (Verdict::Redeliver { .. }, Some(delay)) => Verdict::Redeliver { visible_at: now.after(delay) },
        (verdict, _) => verdict,
    };
    let (mut nacked, mut all) = (Vec::new(), Vec::new());
    for lease in leases {
        let presented = Presented::new(index, group, lease, now);
        let held = presented.held.filter(|_| presented.is_running());
        let held = held.filter(|_| out.gathered.add(&mut all, 0, lease.run()) != 0);
        out.outcomes.push(presented.outcome(held.is_some()));
        nacked.extend(held.zip(index.policy(group)).map(|(held, policy)| (verdict(held, policy), lease.run())));
    }
    nacked.sort_by_key(|(verdict, _)| *verdict);
    for alike in nacked.chunk_by(|one, other| one.0 == other.0) {
        let (first, verdict) = (out.runs.len(), alike[0].0);
        out.runs.extend(Gathered::all(alike.iter().map(|(_, run)| *run)));
        out.push_from(first, Change::Nacked { group, at: now, verdict, runs: &[] });
    }
    Answer::Settled
}

/// Of a lease that runs.
pub(super) fn extend(
    index: &Index,
    group: GroupId,
    leases: &[Lease],
    due: Time,
    now: Time,
    out: &mut Decided,
) -> Answer {
    let extended = || Change::Extended { group, at: now, due, runs: &[] };
    batch(index, group, leases, now, out, |lease| lease.is_running(), extended)
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

pub(super) fn redrive(index: &Index, letters: &[Run], out: &mut Decided) -> Answer {
    let new = |run: &Run| Run { mask: run.mask & !index.redriven_of(run.queue, run.block), delivery: 0, ..*run };
    out.runs.extend(letters.iter().map(new).filter(|run| !run.is_empty()));
    if out.runs.is_empty() {
        return Answer::Nothing;
    }
    out.push_from(0, Change::Redriven { runs: &[] });
    Answer::Done
}

pub(super) fn forget(index: &Index, queue: QueueId, first: QueueIndex, moved: &[Run], out: &mut Decided) -> Answer {
    if !index.has_redriven_before(queue, first) {
        return Answer::Nothing;
    }
    let moved = moved.iter().filter(|run| run.queue == queue);
    let moved = moved.map(|run| Run { mask: run.mask & index.redriven_of(queue, run.block), delivery: 0, ..*run });
    out.runs.extend(moved.filter(|run| !run.is_empty()));
    out.push_from(0, Change::Forgotten { queue, first, runs: &[] });
    Answer::Done
}
