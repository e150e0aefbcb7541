//! What the store shows, held against one possible state of it. Each claim either takes the state on or says why not.

use std::collections::BTreeMap;

use popstore::Settled;

use crate::world::{Body, Fate, Held, Letter, Phase, Queue, Reading, Secs, World};

/// A lease that was handed out, as its consumer remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    pub receipt: popstore::Receipt,
    pub group: u8,
    pub queue: Queue,
    pub index: u64,
    pub delivery: u32,
    pub attempt: u32,
    pub generation: u32,
}

/// What was popped.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    pub token: Token,
    pub body: Option<Body>,
}

/// A pop, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub group: u8,
    pub topic: u8,
    pub messages: usize,
    pub lease: Secs,
    pub now: Secs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    Ack,
    /// With the delay, or the group's backoff.
    Nack(Option<Secs>),
    /// With the delay.
    Release(Secs),
    Extend(Secs),
}

/// Everything that can be seen from outside without changing it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// Per queue the first index and the messages from there.
    pub queues: BTreeMap<Queue, (u64, Vec<Option<Body>>)>,
    /// Per group its letters; `None` for one that was put back.
    pub letters: BTreeMap<u8, Vec<Option<Letter>>>,
    /// Popped, acked, nacked.
    pub groups: BTreeMap<u8, [u64; 3]>,
}

type Claim = Result<(), String>;

fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Claim {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl World {
    pub fn popped(&mut self, asked: &Asked, got: &[Got], firsts: &BTreeMap<Queue, u64>) -> Claim {
        claim(got.len() <= asked.messages, || format!("{} messages for {asked:?}", got.len()))?;
        for got in got {
            self.handed_out(asked, got, firsts)?;
        }
        if got.len() < asked.messages { self.nothing_left(asked, firsts) } else { Ok(()) }
    }

    fn handed_out(&mut self, asked: &Asked, got: &Got, firsts: &BTreeMap<Queue, u64>) -> Claim {
        let Token { queue, index, delivery, attempt, generation, .. } = got.token;
        let at = || format!("group {} was given {queue:?}/{index} at attempt {attempt}", asked.group);
        let body = self.queues.get(&queue).and_then(|bodies| bodies.get(index as usize)).copied();
        claim(body.is_some() && body == got.body, || format!("{}: body {:?}, not {body:?}", at(), got.body))?;
        let group = self.groups.get_mut(&asked.group).ok_or_else(|| format!("{}: no such group", at()))?;
        let policy = group.policy;
        let reading = group.queues.entry(queue).or_default();
        let before = reading.held.iter().find(|(_, held)| !matches!(held.state, Phase::Unsure { gone: true, .. }));
        if let Some((before, _)) = before.filter(|(before, _)| policy.ordered && **before < index) {
            return Err(format!("{}: {before} comes before it", at()));
        }
        let mut uncounted = 0;
        match reading.held.get(&index) {
            Some(held) => {
                uncounted = held.uncounted;
                claim(held.delivery + 1 == delivery, || format!("{}: was {held:?}", at()))?;
                claim(held.attempt() + 1 == attempt, || format!("{}: was {held:?}", at()))?;
                let may = match held.state {
                    Phase::Ready { .. } => true,
                    Phase::Unsure { .. } => !policy.at_limit(held.attempt()) || group.changed,
                    _ => false,
                };
                claim(may, || format!("{}: it is {held:?}", at()))?;
            }
            None => {
                let fate = reading.settled.get(&index);
                claim(fate.is_none(), || format!("{}: it was settled as {fate:?}", at()))?;
                let next = reading.position.max(firsts.get(&queue).copied().unwrap_or(0));
                claim(index == next && (delivery, attempt) == (1, 1), || {
                    format!("{}: the next new one is {next}", at())
                })?;
                reading.position = index + 1;
            }
        }
        let (since, due) = (asked.now, asked.now + asked.lease);
        let held = Held { delivery, uncounted, generation, since, due, nacked: false, state: Phase::Leased };
        reading.held.insert(index, held);
        group.popped += 1;
        Ok(())
    }

    fn nothing_left(&self, asked: &Asked, firsts: &BTreeMap<Queue, u64>) -> Claim {
        let Some(group) = self.groups.get(&asked.group) else { return Err("no such group".into()) };
        for (queue, bodies) in self.queues.iter().filter(|(queue, _)| queue.0 == asked.topic) {
            let none = Reading::default();
            let reading = group.queues.get(queue).unwrap_or(&none);
            let next = reading.position.max(firsts.get(queue).copied().unwrap_or(0));
            let new = next < bodies.len() as u64;
            let ready = |held: &Held| match held.state {
                Phase::Ready { .. } => true,
                Phase::Unsure { by, gone, .. } => !gone && by.is_some_and(|by| by <= asked.now),
                _ => false,
            };
            let left = match group.policy.ordered {
                false => new || reading.held.values().any(ready),
                true if reading.held.is_empty() => new,
                true => reading.held.values().next().is_some_and(ready),
            };
            claim(!left, || format!("{asked:?}: more could be had from {queue:?}: {reading:?}"))?;
        }
        Ok(())
    }

    /// What a receipt may be told.
    fn verdicts(&self, token: &Token, settling: Settling, now: Secs) -> Vec<Settled> {
        let Some(group) = self.groups.get(&token.group) else { return vec![Settled::Unknown] };
        let Some(reading) = group.queues.get(&token.queue) else { return vec![Settled::Unknown] };
        let over = if settling == Settling::Ack { Settled::Late } else { Settled::LeaseOver };
        let buried = |delivery: u32, attempt: u32, burial: Settled| match delivery.cmp(&token.delivery) {
            std::cmp::Ordering::Equal => burial,
            std::cmp::Ordering::Greater => Settled::HandedOutAgain { attempt },
            std::cmp::Ordering::Less => Settled::AlreadySettled,
        };
        if let Some(held) = reading.held.get(&token.index) {
            let gone = matches!(held.state, Phase::Unsure { gone: true, .. });
            let burial = |burial| buried(held.delivery, held.attempt(), burial);
            let mut verdicts = if gone { vec![burial(Settled::Discarded)] } else { Vec::new() };
            let dead = burial(Settled::DeadLettered);
            let may_die = group.changed || group.policy.at_limit(held.attempt()) && !group.policy.discard;
            let over_or_dead = if may_die { vec![over, dead] } else { vec![over] };
            let releases = matches!(settling, Settling::Release(_));
            verdicts.extend(match held.state {
                _ if held.delivery > token.delivery => vec![Settled::HandedOutAgain { attempt: held.attempt() }],
                _ if held.delivery < token.delivery || held.generation != token.generation => vec![Settled::Unknown],
                // Over, and perhaps nobody has ended it.
                Phase::Leased | Phase::Unsure { .. } if releases => [vec![Settled::Done], over_or_dead].concat(),
                Phase::Leased if held.due > now => vec![Settled::Done],
                Phase::Ended => vec![dead],
                Phase::Unsure { .. } if held.due > now => [vec![Settled::Done], over_or_dead].concat(),
                Phase::Leased | Phase::Unsure { .. } => over_or_dead,
                Phase::Waiting { .. } | Phase::Ready { .. } => vec![over],
            });
            return verdicts;
        }
        vec![match reading.settled.get(&token.index) {
            Some(Fate::DeadLettered { delivery, attempt }) => buried(*delivery, *attempt, Settled::DeadLettered),
            Some(Fate::Discarded { held }) => buried(held.delivery, held.attempt(), Settled::Discarded),
            None if token.index >= reading.position => Settled::Unknown,
            Some(Fate::Acked) | None => Settled::AlreadySettled,
        }]
    }

    /// Receipts that were used together: all are judged by what was before, but none counts twice.
    pub fn settled(&mut self, told: &[(Token, Settled)], settling: Settling, now: Secs) -> Claim {
        let before = self.clone();
        for (at, (token, verdict)) in told.iter().enumerate() {
            let twice = told[..at].iter().any(|(other, verdict)| other.receipt == token.receipt && verdict.counted());
            match twice {
                true => claim(*verdict == Settled::AlreadySettled, || format!("{token:?} counted twice: {told:?}"))?,
                false => self.settled_one(&before, token, settling, *verdict, now)?,
            }
        }
        Ok(())
    }

    fn settled_one(&mut self, before: &Self, token: &Token, settling: Settling, told: Settled, now: Secs) -> Claim {
        let verdicts = before.verdicts(token, settling, now);
        claim(verdicts.contains(&told), || format!("{settling:?} of {token:?} was told {told:?}, not {verdicts:?}"))?;
        let Some(group) = self.groups.get_mut(&token.group) else { return Ok(()) };
        let policy = group.policy;
        let Some(reading) = group.queues.get_mut(&token.queue) else { return Ok(()) };
        let Some(held) = reading.held.get_mut(&token.index) else { return Ok(()) };
        match (settling, told) {
            (_, Settled::Discarded) => {
                let held = *held;
                reading.held.remove(&token.index);
                reading.settled.insert(token.index, Fate::Discarded { held });
            }
            (Settling::Ack, Settled::Done | Settled::Late) => {
                reading.held.remove(&token.index);
                reading.settled.insert(token.index, Fate::Acked);
                group.acked += 1;
            }
            (Settling::Nack(delay), Settled::Done) => {
                group.nacked += 1;
                let due = now + delay.unwrap_or(policy.backoff);
                held.state = match policy.at_limit(held.attempt()) {
                    true if policy.discard => {
                        let held = Held { since: now, due: now, nacked: true, ..*held };
                        reading.held.remove(&token.index);
                        reading.settled.insert(token.index, Fate::Discarded { held });
                        return Ok(());
                    }
                    true => Phase::Ended,
                    false if due <= now => Phase::Ready { durable: true, since: now, due },
                    false => Phase::Waiting { since: now, due, durable: true },
                };
                if held.state == Phase::Ended {
                    (held.since, held.due, held.nacked) = (now, now, true);
                }
            }
            (Settling::Release(delay), Settled::Done) => {
                (group.popped, held.uncounted) = (group.popped - 1, held.uncounted + 1);
                let (since, due) = (now, now + delay);
                held.state = match delay {
                    0 => Phase::Ready { durable: true, since, due },
                    _ => Phase::Waiting { since, due, durable: true },
                };
            }
            (Settling::Extend(lease), Settled::Done) => {
                (held.since, held.due, held.state) = (now, now + lease, Phase::Leased);
            }
            _ => {}
        }
        Ok(())
    }

    /// What can be seen is what is here; letters may be there that were due at `now`, and those `dying` must be.
    pub fn seen(&mut self, sight: &Sight, dying: &[(u8, Queue, u64)], now: Secs) -> Claim {
        let here: Vec<_> = self.queues.keys().collect();
        let there: Vec<_> = sight.queues.keys().collect();
        claim(here == there, || format!("the queues are {there:?}, not {here:?}"))?;
        for (queue, bodies) in &self.queues {
            let (first, found) = &sight.queues[queue];
            let end = *first as usize + found.len();
            claim(bodies.len() == end, || format!("{queue:?} ends at {end}, not {}", bodies.len()))?;
            let wanted = bodies[*first as usize..].iter().map(|body| Some(*body));
            claim(wanted.eq(found.iter().copied()), || format!("{queue:?} holds {found:?}, not {bodies:?}"))?;
        }
        let here: Vec<_> =
            self.groups.iter().map(|(id, group)| (*id, [group.popped, group.acked, group.nacked])).collect();
        let there: Vec<_> = sight.groups.iter().map(|(id, counters)| (*id, *counters)).collect();
        claim(here == there, || format!("the groups popped, acked, nacked {there:?}, not {here:?}"))?;
        for group in here.iter().map(|(id, _)| *id) {
            self.letters_seen(group, sight.letters.get(&group).map_or(&[][..], Vec::as_slice), now)?;
        }
        for (group, queue, index) in dying {
            let held = self.groups[group].queues[queue].held.get(index);
            claim(held.is_none(), || format!("group {group}: {queue:?}/{index} is no dead letter: {held:?}"))?;
        }
        Ok(())
    }

    fn letters_seen(&mut self, id: u8, letters: &[Option<Letter>], now: Secs) -> Claim {
        let known = self.letters.get(&id).cloned().unwrap_or_default();
        let listed = known.iter().map(|letter| Some(*letter).filter(|letter| !letter.redriven));
        let same = letters.len() >= known.len() && listed.eq(letters[..known.len()].iter().copied());
        claim(same, || format!("group {id} has the letters {letters:?}, not {known:?}"))?;
        for letter in &letters[known.len()..] {
            let Some(letter) = letter else { return Err(format!("group {id} has put a letter back by itself")) };
            let at = || format!("group {id} has a letter {letter:?}");
            let group = &self.groups[&id];
            let held = group.queues.get(&letter.queue).and_then(|reading| reading.held.get(&letter.index));
            let Some(held) = held else { return Err(format!("{} of what is not held", at())) };
            let over = held.state != Phase::Leased || held.due <= now;
            let limit = group.policy.at_limit(held.attempt()) || group.changed;
            let waits = matches!(held.state, Phase::Waiting { .. } | Phase::Ready { .. });
            claim(over && limit && !waits, || format!("{}, but it is {held:?}", at()))?;
            claim(letter.nacked == held.nacked, || format!("{}, but it is {held:?}", at()))?;
            let body = self.queues[&letter.queue][letter.index as usize];
            claim(letter.body == body, || format!("{}, but its body is {body:?}", at()))?;
            claim(self.bury(id, letter), || format!("{} of another attempt", at()))?;
            self.letters.entry(id).or_default().push(*letter);
        }
        Ok(())
    }
}
