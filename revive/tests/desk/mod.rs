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
        desk.apply(Change::Group { group: GROUP, policy, counters: Counters::default() });
        desk
    }

    /// A group with a limit and without backoff.
    pub(crate) fn limited(max: u32) -> Self {
        Self::new(Policy { max_reconsume_times: Some(max), ..Policy::default() })
    }

    pub(crate) fn apply(&mut self, change: Change<'static>) -> u64 {
        self.log.push(change.clone());
        self.index.apply(&change)
    }

    /// Pops up to `n` of the messages before `end`, and says which.
    pub(crate) fn pop(&mut self, n: u32, end: u64) -> Vec<QueueIndex> {
        let mut runs = Vec::new();
        self.index.pick(GROUP, QUEUE, n, QueueIndex(0), QueueIndex(end), &mut runs);
        let popped = runs.iter().flat_map(Run::indexes).collect();
        let (at, due) = (self.now, self.now.after(Duration::from_micros(10)));
        self.apply(Change::Popped { group: GROUP, generation: 1, at, due, runs: runs.leak() });
        popped
    }

    pub(crate) fn ack(&mut self, index: u64, attempt: u32) -> u64 {
        self.apply(Change::Acked { group: GROUP, at: Time(0), runs: one(index, attempt) })
    }

    pub(crate) fn nack(&mut self, index: u64, attempt: u32, visible_at: Option<Time>) -> u64 {
        let (at, runs) = (self.now, one(index, attempt));
        self.apply(Change::Nacked { group: GROUP, at, visible_at, runs })
    }

    pub(crate) fn bury(&mut self, index: u64, attempt: u32) -> u64 {
        self.apply(Change::Buried {
            group: GROUP,
            at: Time(0),
            burial: Burial::DeadLettered,
            runs: one(index, attempt),
        })
    }

    /// Time passes, and what is redelivered is recorded.
    pub(crate) fn wait(&mut self, micros: u64) -> Decisions {
        self.now.0 += micros;
        let mut decided = Decisions::default();
        self.index.advance(self.now, 100, &mut decided);
        self.revive(&decided);
        decided
    }

    pub(crate) fn revive(&mut self, decided: &Decisions) {
        for Decision { group, run, verdict } in decided.endings.iter().copied() {
            if let Verdict::Redeliver { visible_at } = verdict {
                self.apply(Change::Revived { group, at: self.now, visible_at, runs: vec![run].leak() });
            }
        }
    }

    pub(crate) fn standing(&self, index: u64, attempt: u32) -> Standing {
        self.index.standing(GROUP, QUEUE, QueueIndex(index), attempt, 1, self.now)
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

fn one(index: u64, attempt: u32) -> &'static [Run] {
    vec![Run::one(QUEUE, QueueIndex(index), attempt)].leak()
}

pub(crate) fn places(range: std::ops::Range<u64>) -> Vec<QueueIndex> {
    range.map(QueueIndex).collect()
}
