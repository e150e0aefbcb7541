//! Decide, then apply: all rules about consumers lie behind these two functions.
//!
//! [`decide`] reads the index and says which [`Change`]s a command comes to at a time; [`Index::apply`] is the only way in
//! which they happen. A store writes a record of each change between the two, under one lock. The same commands at the
//! same times give the same changes, and the same changes the same index, on every machine: nothing here reads a clock,
//! and what depends on a machine is an argument of the command. Times never go back from one command to the next, but for
//! [`Command::Reanchor`].
//!
//! ```
//! use popstore_revive::*;
//! use std::time::Duration;
//! let (group, queue) = (GroupId(1), QueueId { topic: TopicId(1), queue: 0 });
//! let (mut index, mut decided) = (Index::default(), Decided::default());
//! let mut run = |index: &mut Index, command: Command<'_>, now| {
//!     let answer = decide(index, &command, now, &mut decided);
//!     decided.changes().for_each(|change| drop(index.apply(&change)));
//!     (answer, decided.outcomes().to_vec())
//! };
//! let policy = Policy::default();
//! run(&mut index, Command::SetGroup { group, policy: &policy, from: &[] }, Time(0));
//! let span = |_| Some(Span { queue, first: QueueIndex(0), end: QueueIndex(3) });
//! let (generation, lease) = (1, Duration::from_secs(1));
//! let pop = Command::Pop(Pop { group, generation, lease, limit: 1, runs_max: 100, queues: 1, span: &span });
//! assert_eq!(run(&mut index, pop, Time(0)).0, Answer::Done);
//!
//! // The handler is late, but nobody else has the message yet.
//! let lease = Lease { queue, index: QueueIndex(0), delivery: 1, generation };
//! let (_, outcomes) = run(&mut index, Command::Ack { group, leases: &[lease] }, Time(1_000_000));
//! assert!(outcomes[0].accepted && outcomes[0].standing == Standing::Over);
//! ```

mod command;
mod gathered;
mod groups;
mod leases;
mod settle;

use std::ops::Range;

pub use command::{Answer, Command, Lease, Leased, Outcome, Pop, Span};
pub use gathered::Gathered;

use crate::{Change, Decision, Index, Run, Time};

/// What a command comes to. The caller owns it and uses it again, so that a pop and an ack allocate nothing.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// The changes without their runs, and where these are.
    changes: Vec<(Change<'static>, Range<usize>)>,
    runs: Vec<Run>,
    outcomes: Vec<Outcome>,
    gathered: Gathered,
    over: Vec<Decision>,
}

impl Decided {
    /// The changes, in the order in which they are to be applied.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.parts().map(|(change, runs)| change.with_runs(runs))
    }

    /// The changes and their runs, for those who apply a change of many runs in parts.
    pub fn parts(&self) -> impl Iterator<Item = (&Change<'static>, &[Run])> {
        self.changes.iter().map(|(change, runs)| (change, &self.runs[runs.clone()]))
    }

    /// For [`Answer::Settled`]: what becomes of each lease, in the order in which they were presented.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    fn clear(&mut self) {
        self.changes.clear();
        self.runs.clear();
        self.outcomes.clear();
        self.gathered.clear();
        self.over.clear();
    }

    /// Adds a change of the runs from `first` on.
    #[inline(always)]
    fn push_from(&mut self, first: usize, change: Change<'static>) {
        self.changes.push((change, first..self.runs.len()));
    }

    /// Adds a change of one run.
    #[inline(always)]
    fn push_one(&mut self, run: Run, change: Change<'static>) {
        self.runs.push(run);
        self.push_from(self.runs.len() - 1, change);
    }

    /// Adds a change that names no messages.
    fn push(&mut self, change: Change<'static>) {
        self.push_from(self.runs.len(), change);
    }
}

/// Decides what a command comes to at `now`. Reads, and changes nothing; `out` is for this command alone afterwards.
#[inline]
pub fn decide(index: &Index, command: &Command<'_>, now: Time, out: &mut Decided) -> Answer {
    out.clear();
    match *command {
        Command::Pop(ref pop) => leases::pop(index, pop, now, out),
        Command::Tick { blocks_max } => leases::tick(index, blocks_max, now, out),
        Command::Skip { group, generation, queue, index: at } => {
            leases::skip(index, (group, generation), queue, at, now, out)
        }
        Command::Ack { group, leases } => settle::ack(index, group, leases, now, out),
        Command::Release { group, leases, delay } => settle::release(index, group, leases, delay, now, out),
        Command::Nack { group, leases, delay } => settle::nack(index, group, leases, delay, now, out),
        Command::Extend { group, leases, by } => settle::extend(index, group, leases, now.after(by), now, out),
        Command::Bury { group, runs } => settle::bury(index, group, runs, now, out),
        Command::Redrive { letters } => settle::redrive(index, letters, out),
        Command::Forget { queue, first, moved } => settle::forget(index, queue, first, moved, out),
        Command::SetGroup { group, policy, from } => groups::set(index, group, policy, from, out),
        Command::RemoveGroup { group } => groups::remove(index, group, out),
        Command::BeginReading { group, from } => groups::begin_reading(index, group, from, out),
        Command::Truncate { queue, end } => {
            out.push(Change::Truncated { queue, end });
            Answer::Done
        }
        Command::Reanchor if index.outlasts(now) => {
            out.push(Change::Reanchored { at: now });
            Answer::Done
        }
        Command::Reanchor => Answer::Nothing,
    }
}
