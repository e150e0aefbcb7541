//! The desk of the claims: one group on one queue, and a verb for each thing that can happen to it.

use std::time::Duration;

use popstore_revive::*;

pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const QUEUE: QueueId = QueueId { topic: TopicId(1), queue: 0 };
pub(crate) const NOTHING: &[QueueIndex] = &[];

/// One group on one queue, leases of ten microseconds, and a clock that stands still until it is told.
pub(crate) struct Desk {
    pub(crate) index: Index,
    pub(crate) now: Time,
    pub(crate) log: Vec<Change<'static>>,
}

impl Desk {
    pub(crate) fn new(policy: Policy) -> Self {
        let mut desk = Self { index: Index::default(), now: Time(100), log: Vec::new() };
        desk.apply(Change::Group { group: GROUP, policy: policy.into(), counters: Box::default() });
        desk
    }

    /// A group with a limit and without backoff.
    pub(crate) fn limited(max: u32) -> Self {
        Self::new(Policy { max_reconsume_times: Some(max), ..Policy::default() })
    }

    pub(crate) fn apply(&mut self, change: Change<'static>) -> u64 {
        self.log.push(change.clone());
        self.index.apply(&change).touched
    }

    /// Pops up to `n` of the messages before `end`, and says which.
    pub(crate) fn pop(&mut self, n: u32, end: u64) -> Vec<QueueIndex> {
        let mut runs = Vec::new();
        self.index.pick(GROUP, QUEUE, n, (QueueIndex(0), QueueIndex(end)), self.now, &mut runs);
        let popped = runs.iter().flat_map(Run::indexes).collect();
        let (at, due) = (self.now, self.now.after(Duration::from_micros(10)));
        self.apply(Change::Popped { group: GROUP, generation: 1, at, due, runs: runs.leak() });
        popped
    }

    pub(crate) fn ack(&mut self, index: u64, delivery: u32) -> u64 {
        self.apply(Change::Acked { group: GROUP, at: Time(0), runs: one(index, delivery) })
    }

    /// Gives a message back; without a time it has used up its deliveries.
    pub(crate) fn nack(&mut self, index: u64, delivery: u32, visible_at: Option<Time>) -> u64 {
        let (at, runs) = (self.now, one(index, delivery));
        let verdict = visible_at.map_or(Verdict::DeadLetter, |visible_at| Verdict::Redeliver { visible_at });
        self.apply(Change::Nacked { group: GROUP, at, verdict, runs })
    }

    pub(crate) fn bury(&mut self, index: u64, delivery: u32) -> u64 {
        let (at, burial) = (self.now, Burial::DeadLettered);
        self.apply(Change::Buried { group: GROUP, at, burial, runs: one(index, delivery) })
    }

    /// Time passes, and what becomes of the leases that are over happens.
    pub(crate) fn wait(&mut self, micros: u64) -> Vec<Decision> {
        self.now.0 += micros;
        let decided = self.decide(100);
        for decision in &decided {
            self.end(decision);
        }
        decided
    }

    pub(crate) fn decide(&self, blocks_max: usize) -> Vec<Decision> {
        let mut decided = Vec::new();
        self.index.decide_over(self.now, blocks_max, &mut decided);
        decided
    }

    pub(crate) fn end(&mut self, decision: &Decision) -> u64 {
        let Decision { group, run, verdict } = *decision;
        let (at, runs) = (self.now, vec![run].leak());
        self.apply(match verdict {
            Verdict::Redeliver { visible_at } => Change::Revived { group, at, visible_at, runs },
            Verdict::DeadLetter => Change::Ended { group, at, runs },
            Verdict::Discard => Change::Buried { group, at, burial: Burial::Discarded, runs },
        })
    }

    /// What is to be buried.
    pub(crate) fn burials(&self) -> Vec<Burying> {
        self.index.to_bury().flat_map(|place| self.index.burials(place)).collect()
    }

    pub(crate) fn standing(&self, index: u64, delivery: u32) -> Standing {
        let lease = Lease { queue: QUEUE, index: QueueIndex(index), delivery, generation: 1 };
        self.index.standing(GROUP, &lease, self.now)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.index.counters(GROUP).expect("the group exists")
    }

    /// Logs the next piece of a walk.
    pub(crate) fn tell(&mut self, cursor: &mut Cursor) -> bool {
        let piece = self.index.image(cursor, 1);
        self.log.extend(piece.clone());
        piece.is_some()
    }

    /// The index that the log rebuilds from `from` on.
    pub(crate) fn replayed(&self, from: usize) -> Index {
        let mut index = Index::default();
        for change in &self.log[from..] {
            index.apply(change);
        }
        index
    }
}

fn one(index: u64, delivery: u32) -> &'static [Run] {
    vec![Run::one(QUEUE, QueueIndex(index), delivery)].leak()
}

pub(crate) fn places(range: std::ops::Range<u64>) -> Vec<QueueIndex> {
    range.map(QueueIndex).collect()
}
