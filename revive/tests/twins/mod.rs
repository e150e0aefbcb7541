//! Two indexes: one is fed every change, the other is restored from images at random points. Every command must come to
//! the same on both, and leave them equal.

use std::time::Duration;

use popstore_revive::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::oracle::arbitrary::{config, policy};
use crate::oracle::scene::queue_of;
use crate::oracle::{Logged, replay, snapshot};

const QUEUES: u8 = 2;

/// Something is asked of both.
#[derive(Clone, Debug)]
enum Ask {
    Append {
        queue: u8,
        n: u8,
    },
    /// The first messages of a queue are deleted.
    Delete {
        queue: u8,
        n: u8,
    },
    Pop {
        group: u8,
        limit: u8,
        lease: u8,
        runs_max: u8,
    },
    Ack {
        ago: u16,
        n: u8,
    },
    Nack {
        ago: u16,
        n: u8,
        delay: Option<u8>,
    },
    Release {
        ago: u16,
        n: u8,
        delay: u8,
    },
    Extend {
        ago: u16,
        n: u8,
        by: u8,
    },
    Skip {
        group: u8,
        queue: u8,
        index: u8,
    },
    SetGroup {
        group: u8,
        policy: Policy,
        from: u8,
    },
    RemoveGroup {
        group: u8,
    },
    BeginReading {
        group: u8,
    },
    Bury {
        blocks: u8,
    },
    Redrive {
        queue: u8,
        index: u8,
    },
    Forget {
        queue: u8,
        first: u8,
        moved: u64,
    },
    Reanchor {
        back: u8,
    },
    Tick {
        by: u8,
        blocks_max: u8,
    },
    /// Some pieces of a walk; when it is complete, the second is what it and the changes since rebuild.
    Walk {
        blocks_max: u8,
        pieces: u8,
    },
    /// The second is what a snapshot of the first rebuilds.
    Restore {
        blocks_max: u8,
    },
}

fn ask() -> impl Strategy<Value = Ask> {
    let slot = || 0_u8..2;
    let ago = || prop_oneof![3 => 0_u16..8, 1 => any::<u16>()];
    let soon = || prop_oneof![1 => Just(0_u8), 8 => 1_u8..20];
    prop_oneof![
        6 => (slot(), 1_u8..90).prop_map(|(queue, n)| Ask::Append { queue, n }),
        2 => (slot(), 1_u8..90).prop_map(|(queue, n)| Ask::Delete { queue, n }),
        16 => (slot(), 1_u8..80, soon(), 1_u8..9)
            .prop_map(|(group, limit, lease, runs_max)| Ask::Pop { group, limit, lease, runs_max }),
        8 => (ago(), 1_u8..40).prop_map(|(ago, n)| Ask::Ack { ago, n }),
        8 => (ago(), 1_u8..40, option::of(soon())).prop_map(|(ago, n, delay)| Ask::Nack { ago, n, delay }),
        3 => (ago(), 1_u8..40, soon()).prop_map(|(ago, n, delay)| Ask::Release { ago, n, delay }),
        4 => (ago(), 1_u8..40, soon()).prop_map(|(ago, n, by)| Ask::Extend { ago, n, by }),
        2 => (slot(), slot(), any::<u8>()).prop_map(|(group, queue, index)| Ask::Skip { group, queue, index }),
        2 => (slot(), policy(), 0_u8..90).prop_map(|(group, policy, from)| Ask::SetGroup { group, policy, from }),
        1 => slot().prop_map(|group| Ask::RemoveGroup { group }),
        2 => slot().prop_map(|group| Ask::BeginReading { group }),
        4 => (1_u8..4).prop_map(|blocks| Ask::Bury { blocks }),
        2 => (slot(), any::<u8>()).prop_map(|(queue, index)| Ask::Redrive { queue, index }),
        1 => (slot(), any::<u8>(), any::<u64>()).prop_map(|(queue, first, moved)| Ask::Forget { queue, first, moved }),
        1 => soon().prop_map(|back| Ask::Reanchor { back }),
        12 => (soon(), 1_u8..4).prop_map(|(by, blocks_max)| Ask::Tick { by, blocks_max }),
        8 => (1_u8..3, 1_u8..4).prop_map(|(blocks_max, pieces)| Ask::Walk { blocks_max, pieces }),
        2 => (1_u8..4).prop_map(|blocks_max| Ask::Restore { blocks_max }),
    ]
}

struct Twins {
    one: Index,
    other: Index,
    decided: [Decided; 2],
    now: Time,
    firsts: [u64; QUEUES as usize],
    ends: [u64; QUEUES as usize],
    leases: Vec<(GroupId, Lease)>,
    log: Vec<Logged>,
    walk: Option<(usize, Cursor)>,
}

fn micros(n: u8) -> Duration {
    Duration::from_micros(u64::from(n))
}

fn group_of(slot: u8) -> GroupId {
    GroupId(u32::from(slot) + 1)
}

impl Twins {
    fn new() -> Self {
        let (one, other, log) = (Index::default(), Index::default(), Vec::new());
        Self {
            one,
            other,
            decided: Default::default(),
            now: Time(1000),
            firsts: [0; 2],
            ends: [0; 2],
            leases: Vec::new(),
            log,
            walk: None,
        }
    }

    /// Asks both, and lets happen what they decide.
    fn run(&mut self, command: Command<'_>) -> Result<Answer, TestCaseError> {
        let [of_one, of_other] = &mut self.decided;
        let before = self.one.clone();
        let answer = decide(&self.one, &command, self.now, of_one);
        prop_assert_eq!(&self.one, &before);
        prop_assert_eq!(answer, decide(&self.other, &command, self.now, of_other));
        prop_assert_eq!(of_one.outcomes(), of_other.outcomes());
        let changes: Vec<_> = of_one.changes().collect();
        prop_assert_eq!(&changes, &of_other.changes().collect::<Vec<_>>());
        let silent = matches!(answer, Answer::Nothing | Answer::UnknownGroup);
        prop_assert!(!silent || changes.is_empty(), "{:?} comes to {:?} with {:?}", command, answer, changes);
        for change in &changes {
            let named: u64 = change.runs().iter().map(|run| u64::from(run.len())).sum();
            let effects = self.one.apply(change);
            prop_assert_eq!(effects, self.other.apply(change));
            let exact =
                !matches!(change, Change::Redriven { .. } | Change::Forgotten { .. } | Change::Reanchored { .. })
                    && !matches!(change, Change::Positioned { .. });
            prop_assert!(!exact || effects.touched == named, "{:?} touched {} of {}", change, effects.touched, named);
            if let Change::Popped { group, generation, runs, .. } = *change {
                let lease = |run: &Run, index| Lease { queue: run.queue, index, delivery: run.delivery, generation };
                let leases = runs.iter().flat_map(|run| run.indexes().map(move |index| (group, lease(run, index))));
                self.leases.extend(leases);
            }
            self.log.push(Logged::new(owned(change), change.runs().to_vec()));
        }
        prop_assert_eq!(&self.one, &self.other);
        Ok(answer)
    }

    /// The `n` leases of one group that were given until `ago`.
    fn presented(&self, ago: u16, n: u8) -> Option<(GroupId, Vec<Lease>)> {
        let until = self.leases.len() - usize::from(ago) % self.leases.len().max(1);
        let newest_first = self.leases[..until].iter().rev().take(usize::from(n));
        let group = newest_first.clone().next()?.0;
        Some((group, newest_first.filter(|(whose, _)| *whose == group).map(|(_, lease)| *lease).collect()))
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), TestCaseError> {
        let spans: Vec<Span> = (0..QUEUES)
            .map(|at| Span {
                queue: queue_of(at),
                first: QueueIndex(self.firsts[usize::from(at)]),
                end: QueueIndex(self.ends[usize::from(at)]),
            })
            .collect();
        let all_from = |from: u64| spans.iter().map(|span| (span.queue, QueueIndex(from))).collect::<Vec<_>>();
        match *ask {
            Ask::Append { queue, n } => self.ends[usize::from(queue)] += u64::from(n),
            Ask::Delete { queue, n } => {
                let at = usize::from(queue);
                self.firsts[at] = self.ends[at].min(self.firsts[at] + u64::from(n));
            }
            Ask::Pop { group, limit, lease, runs_max } => {
                let (limit, lease, runs_max) = (u32::from(limit), micros(lease), usize::from(runs_max));
                let group = group_of(group);
                let span = |at: u32| spans.get(at as usize).copied();
                let queues = u32::from(QUEUES);
                self.run(Command::Pop(Pop { group, generation: 1, lease, limit, runs_max, queues, span: &span }))?;
            }
            Ask::Ack { ago, n } => {
                let Some((group, mut leases)) = self.presented(ago, n) else { return Ok(()) };
                leases.extend(leases.first().copied());
                self.run(Command::Ack { group, leases: &leases })?;
                prop_assert_eq!(self.decided[0].outcomes().len(), leases.len());
                prop_assert!(!self.decided[0].outcomes().last().is_some_and(|last| last.accepted), "counted twice");
            }
            Ask::Nack { ago, n, delay } => {
                let Some((group, mut leases)) = self.presented(ago, n) else { return Ok(()) };
                leases.extend(leases.first().copied());
                self.run(Command::Nack { group, leases: &leases, delay: delay.map(micros) })?;
                prop_assert_eq!(self.decided[0].outcomes().len(), leases.len());
                prop_assert!(!self.decided[0].outcomes().last().is_some_and(|last| last.accepted), "counted twice");
            }
            Ask::Release { ago, n, delay } => {
                let Some((group, leases)) = self.presented(ago, n) else { return Ok(()) };
                self.run(Command::Release { group, leases: &leases, delay: micros(delay) })?;
            }
            Ask::Extend { ago, n, by } => {
                let Some((group, leases)) = self.presented(ago, n) else { return Ok(()) };
                self.run(Command::Extend { group, leases: &leases, by: micros(by) })?;
            }
            Ask::Skip { group, queue, index } => {
                let (queue, index) = ((queue_of(queue), QueueIndex(0)), QueueIndex(u64::from(index)));
                let group = group_of(group);
                let answer = self.run(Command::Skip { group, generation: 1, queue, index })?;
                let held = self.one.held(group, queue.0, index);
                prop_assert!(answer != Answer::Done || held.is_none(), "{:?} is held still", held);
            }
            Ask::SetGroup { group, ref policy, from } => {
                let from = all_from(u64::from(from));
                self.run(Command::SetGroup { group: group_of(group), policy, from: &from })?;
            }
            Ask::RemoveGroup { group } => drop(self.run(Command::RemoveGroup { group: group_of(group) })?),
            Ask::BeginReading { group } => {
                self.run(Command::BeginReading { group: group_of(group), from: &all_from(0) })?;
            }
            Ask::Bury { blocks } => {
                let places: Vec<_> = self.one.to_bury().take(usize::from(blocks)).collect();
                for place in places {
                    let runs: Vec<_> = self.one.burials(place).map(|burying| burying.run).collect();
                    self.run(Command::Bury { group: place.0, runs: &runs })?;
                    prop_assert_eq!(self.one.burials(place).count(), 0);
                }
            }
            Ask::Redrive { queue, index } => {
                self.run(Command::Redrive { letters: &[Run::one(queue_of(queue), QueueIndex(u64::from(index)), 0)] })?;
            }
            Ask::Forget { queue, first, moved } => {
                let (queue, first) = (queue_of(queue), QueueIndex(u64::from(first)));
                let moved = [Run { queue, block: 0, mask: moved, delivery: 0 }];
                self.run(Command::Forget { queue, first, moved: &moved })?;
            }
            Ask::Reanchor { back } => {
                self.now = Time(self.now.0 - u64::from(back));
                self.run(Command::Reanchor)?;
            }
            Ask::Tick { by, blocks_max } => {
                self.now = self.now.after(micros(by));
                let blocks_max = usize::from(blocks_max);
                while self.run(Command::Tick { blocks_max })? == Answer::Done {}
                prop_assert!(self.one.next_due(self.now).is_none_or(|due| due > self.now), "a lease is over");
            }
            Ask::Walk { blocks_max, pieces } => self.walk(usize::from(blocks_max), pieces),
            Ask::Restore { blocks_max } => self.other = replay(&snapshot(&self.one, usize::from(blocks_max))),
        }
        prop_assert_eq!(&self.one, &self.other);
        Ok(())
    }

    fn walk(&mut self, blocks_max: usize, pieces: u8) {
        let (from, mut cursor) = self.walk.take().unwrap_or((self.log.len(), Cursor::default()));
        for _ in 0..pieces {
            let Some(piece) = self.one.image(&mut cursor, blocks_max) else {
                self.log.push(Logged::new(Change::Redriven { runs: &[] }, self.one.redriven().collect()));
                self.other = replay(&self.log[from..]);
                return;
            };
            self.log.push(Logged::new(piece, vec![]));
        }
        self.walk = Some((from, cursor));
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn an_index_restored_from_images_answers_as_the_original(asks in vec(ask(), 1..80)) {
        let mut twins = Twins::new();
        for ask in &asks {
            twins.ask(ask)?;
        }
    }
}

/// The change without its runs.
fn owned(change: &Change<'_>) -> Change<'static> {
    change.with_runs(&[])
}
