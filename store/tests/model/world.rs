//! One possible state of a store, in the plainest form: what messages there are, and what each group knows of them.

use std::collections::BTreeMap;

/// A queue: topic, queue.
pub type Queue = (u8, u8);
/// Seconds on the store's clock.
pub type Secs = u64;

/// What a message holds: bodies are made from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    pub id: u32,
    pub len: u16,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub queues: BTreeMap<Queue, Vec<Body>>,
    /// The dead-letter queues.
    pub letters: BTreeMap<u8, Vec<Letter>>,
    pub groups: BTreeMap<u8, Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    pub queue: Queue,
    pub index: u64,
    pub attempt: u32,
    pub nacked: bool,
    pub redriven: bool,
    pub body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub limit: Option<u32>,
    pub discard: bool,
    pub ordered: bool,
    pub backoff: Secs,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub policy: Policy,
    /// It had other rules once: what ended under the old ones may end again under the new.
    pub changed: bool,
    pub queues: BTreeMap<Queue, Reading>,
    pub popped: u64,
    pub acked: u64,
    pub nacked: u64,
}

/// What a group knows of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub position: u64,
    pub held: BTreeMap<u64, Held>,
    pub settled: BTreeMap<u64, Fate>,
}

/// A message that was handed out and is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The number of the last delivery, and how many do not count.
    pub delivery: u32,
    pub uncounted: u32,
    pub generation: u32,
    /// The lease: when it was given and when it ends.
    pub since: Secs,
    pub due: Secs,
    pub nacked: bool,
    pub state: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Leased,
    /// Given back at the limit: it can only become a dead letter.
    Ended,
    /// Hidden; `durable` if a record that was asked for says so, and not only the reviver's own.
    Waiting {
        since: Secs,
        due: Secs,
        durable: bool,
    },
    Ready {
        durable: bool,
        since: Secs,
        due: Secs,
    },
    /// Its lease was over when the process ended: leased still, hidden, ready, or perhaps `gone` by its group's rules.
    /// Otherwise it is ready for sure from `by` on, which is not before `until`: the end of a wait of length `wait`.
    Unsure {
        by: Option<Secs>,
        until: Secs,
        wait: Secs,
        gone: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acked,
    DeadLettered {
        delivery: u32,
        attempt: u32,
    },
    /// The reviver's own record, so a crash may undo it.
    Discarded {
        held: Held,
    },
}

impl Policy {
    pub fn at_limit(&self, attempt: u32) -> bool {
        self.limit.is_some_and(|limit| attempt > limit)
    }
}

impl Group {
    pub fn new(policy: Policy) -> Self {
        Self { policy, changed: false, queues: BTreeMap::new(), popped: 0, acked: 0, nacked: 0 }
    }
}

impl World {
    /// Every lease that is over ends, and every wait. What must go to the dead letters is returned and stays held.
    pub fn end_leases(&mut self, now: Secs) -> Vec<(u8, Queue, u64)> {
        let mut dying = Vec::new();
        for (id, group) in &mut self.groups {
            for (queue, reading) in &mut group.queues {
                let Reading { held, settled, .. } = reading;
                held.retain(|index, held| match held.end(now, &group.policy, group.changed) {
                    End::Stays => true,
                    End::Dies => {
                        dying.push((*id, *queue, *index));
                        true
                    }
                    End::Discarded => {
                        settled.insert(*index, Fate::Discarded { held: *held });
                        false
                    }
                });
            }
        }
        dying
    }

    /// The process is gone, now: what only the reviver had recorded may be forgotten, and what it had not may be done.
    pub fn crash(&mut self, now: Secs) {
        for group in self.groups.values_mut() {
            let policy = group.policy;
            for reading in group.queues.values_mut() {
                let undone = reading.settled.iter().filter_map(|(index, fate)| match fate {
                    Fate::Discarded { held } => Some((*index, *held)),
                    _ => None,
                });
                let undone: Vec<_> = undone.collect();
                for (index, held) in undone {
                    reading.settled.remove(&index);
                    reading.held.insert(
                        index,
                        Held { state: Phase::Unsure { by: None, until: 0, wait: 0, gone: true }, ..held },
                    );
                }
                for held in reading.held.values_mut() {
                    let over = match held.state {
                        Phase::Leased => held.due <= now,
                        Phase::Waiting { durable, .. } | Phase::Ready { durable, .. } => !durable,
                        Phase::Ended => false,
                        Phase::Unsure { .. } => true,
                    };
                    let limit = policy.at_limit(held.attempt());
                    // That a wait is over has no record: with the clock set back, it begins again.
                    let (until, wait, was_gone) = match held.state {
                        Phase::Waiting { since, due, .. } | Phase::Ready { since, due, .. } => {
                            (due, due - since, false)
                        }
                        Phase::Unsure { until, wait, gone, .. } => (until, wait, gone),
                        _ => (0, 0, false),
                    };
                    // That a lease is over may be on record, also where it runs again when the clock is set back.
                    if over {
                        let gone = was_gone || limit && policy.discard;
                        held.state = Phase::Unsure { by: None, until, wait, gone };
                    }
                }
            }
        }
    }

    /// The store is opened at a time that may lie before what was recorded.
    pub fn reanchor(&mut self, now: Secs) {
        let readings = self.groups.values_mut().flat_map(|group| group.queues.values_mut());
        for held in readings.flat_map(|reading| reading.held.values_mut()) {
            let anchored = |since: Secs, due: Secs| {
                if due > now + (due - since) { (now, now + (due - since)) } else { (since, due) }
            };
            (held.since, held.due) = anchored(held.since, held.due);
            match held.state {
                Phase::Waiting { since, due, durable } | Phase::Ready { since, due, durable } => {
                    let (since, due) = anchored(since, due);
                    held.state = match due <= since {
                        true => Phase::Ready { durable, since, due },
                        false => Phase::Waiting { since, due, durable },
                    };
                }
                Phase::Unsure { gone, until, wait, .. } => {
                    let until = until.min(now + wait);
                    held.state = Phase::Unsure { by: None, until, wait, gone };
                }
                Phase::Leased | Phase::Ended => {}
            }
        }
    }

    /// The messages of one possible end of the commit log with the consumers of one possible end of the checkpoint log,
    /// unless the two cannot go together: a letter never outlives the lease that it ended.
    pub fn join(messages: &Self, consumers: &Self) -> Option<Self> {
        let mut world = Self {
            queues: messages.queues.clone(),
            letters: messages.letters.clone(),
            groups: consumers.groups.clone(),
        };
        for group in world.groups.values_mut() {
            for (queue, reading) in &mut group.queues {
                let end = messages.queues.get(queue).map_or(0, Vec::len) as u64;
                reading.position = reading.position.min(end);
                reading.held.retain(|index, _| *index < end);
                reading.settled.retain(|index, _| *index < end);
            }
        }
        let letters = messages.letters.iter().flat_map(|(id, letters)| letters.iter().map(|letter| (*id, letter)));
        letters.into_iter().all(|(id, letter)| world.bury(id, letter)).then_some(world)
    }

    /// A letter is there: it settles its original. Returns whether that can be.
    pub fn bury(&mut self, group: u8, letter: &Letter) -> bool {
        let reading = self.groups.get_mut(&group).and_then(|group| group.queues.get_mut(&letter.queue));
        let Some(reading) = reading else { return false };
        let held = reading.held.get(&letter.index).filter(|held| held.attempt() == letter.attempt);
        if let Some(Held { delivery, .. }) = held.copied() {
            reading.held.remove(&letter.index);
            reading.settled.insert(letter.index, Fate::DeadLettered { delivery, attempt: letter.attempt });
        }
        let fate = reading.settled.get(&letter.index);
        matches!(fate, Some(Fate::DeadLettered { attempt, .. }) if *attempt == letter.attempt)
    }
}

enum End {
    Stays,
    Dies,
    Discarded,
}

impl Held {
    /// How many deliveries count.
    pub fn attempt(&self) -> u32 {
        self.delivery - self.uncounted
    }

    fn end(&mut self, now: Secs, policy: &Policy, changed: bool) -> End {
        let limit = policy.at_limit(self.attempt());
        match self.state {
            Phase::Leased if self.due > now => End::Stays,
            Phase::Ended => End::Dies,
            Phase::Leased if limit && policy.discard => End::Discarded,
            Phase::Leased if limit => End::Dies,
            Phase::Leased => {
                let due = now + policy.backoff;
                self.state = match due <= now {
                    true => Phase::Ready { durable: false, since: now, due },
                    false => Phase::Waiting { since: now, due, durable: false },
                };
                End::Stays
            }
            Phase::Waiting { since, due, durable } if due <= now => {
                self.state = Phase::Ready { durable, since, due };
                End::Stays
            }
            Phase::Unsure { .. } if limit && !changed && self.due <= now => match policy.discard {
                true => End::Discarded,
                false => End::Dies,
            },
            // It may have gone, or may go.
            Phase::Unsure { by, until, wait, gone } if limit || self.due > now => {
                let gone = gone || (limit && policy.discard && self.due <= now);
                self.state = Phase::Unsure { by, until, wait, gone };
                End::Stays
            }
            Phase::Unsure { by, until, wait, gone } => {
                let by = by.unwrap_or(until.max(now + policy.backoff));
                self.state = Phase::Unsure { by: Some(by), until, wait, gone };
                End::Stays
            }
            Phase::Waiting { .. } | Phase::Ready { .. } => End::Stays,
        }
    }
}
