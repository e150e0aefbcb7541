//! What was told, and whether it can be true: the checks that need the journal alone. `judge.rs` has those that look.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::{Done, Intent, Line, Outcome, Place, Said};
use crate::look::Looked;
use crate::world::GROUPS;

/// One group's dealings with one message.
#[derive(Clone, Default)]
pub struct Ledger {
    /// The attempts that were told.
    pub attempts: BTreeSet<u32>,
    /// The highest attempt told in lives that are over.
    pub before: u32,
    /// The attempt whose ack counted.
    pub acked: Option<u32>,
    /// An ack that a kill did not let answer.
    pub maybe_acked: bool,
    /// A handler was told that the message had left the group.
    pub told_settled: bool,
}

#[derive(Clone)]
pub struct Letter {
    pub index: u64,
    pub put_back: PutBack,
    /// It was known before this life.
    pub old: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutBack {
    No,
    /// A kill did not let it be answered.
    Maybe,
    Yes,
}

/// Facts, from the birth of a store on; of messages, since everything ran out last.
#[derive(Clone, Default)]
pub struct Oracle {
    pub messages: BTreeMap<Place, u64>,
    /// The tokens of appends that were not answered.
    pub unsure: Vec<Vec<u64>>,
    /// Delivered before anyone told that it was appended.
    pub unplaced: BTreeMap<Place, u64>,
    pub ledgers: BTreeMap<(usize, Place), Ledger>,
    pub letters: BTreeMap<(usize, Place), Letter>,
    /// Pops of a group and topic that were not answered: each may have used up one attempt of a message.
    pub lost_pops: BTreeMap<(usize, usize), u32>,
    /// All groups are done with what lies before this index.
    pub done_below: BTreeMap<(usize, u32), u64>,
    pub looked: Looked,
    pending: BTreeMap<usize, Intent>,
    pub counts: Counts,
}

#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub appended: u64,
    pub deliveries: u64,
    pub acked: u64,
    pub late: u64,
    pub letters: u64,
    pub put_back: u64,
}

impl Oracle {
    pub fn hear(&mut self, Line(thread, said): Line) {
        match said {
            Said::Opened { .. } | Said::Kept(_) => {}
            Said::Will(intent) => {
                let before = self.pending.insert(thread, intent);
                assert!(before.is_none(), "{before:?} was not answered");
            }
            Said::Did(done) => match (self.pending.remove(&thread).expect("an intent"), done) {
                (Intent::Append { tokens, .. }, Done::Appended(places)) => self.appended(&tokens, &places),
                (Intent::Pop { group, .. }, Done::Popped(popped)) => {
                    popped.iter().for_each(|(place, attempt, token)| self.delivered(group, *place, *attempt, *token));
                }
                (Intent::Ack { group, deliveries }, Done::Settled(outcomes)) => {
                    assert_eq!(deliveries.len(), outcomes.len(), "an outcome for each receipt");
                    let of = deliveries.iter().zip(&outcomes);
                    of.for_each(|((place, attempt), outcome)| self.settled(group, *place, *attempt, *outcome));
                }
                (Intent::Postpone { group, delivery: (place, attempt) }, Done::Settled(outcomes)) => {
                    outcomes.iter().filter(|outcome| **outcome != Outcome::Counted).for_each(|outcome| {
                        self.too_late(group, place, attempt, *outcome);
                    });
                }
                (Intent::Redrive { group, letter, origin, token }, Done::Redriven(copy)) => {
                    self.redriven(group, letter, origin, token, copy);
                }
                (intent, done) => panic!("{done:?} is no answer to {intent:?}"),
            },
        }
    }

    /// The worker is dead: what it had under way may have happened or not.
    pub fn life_is_over(&mut self) {
        for intent in std::mem::take(&mut self.pending).into_values() {
            match intent {
                Intent::Append { tokens, .. } => self.unsure.push(tokens),
                Intent::Pop { group, topic } => *self.lost_pops.entry((group, topic)).or_default() += 1,
                Intent::Ack { group, deliveries } => {
                    let open = deliveries.into_iter().filter(|(place, _)| !self.is_done(*place)).collect::<Vec<_>>();
                    open.iter().for_each(|(place, _)| self.ledger(group, *place).maybe_acked = true);
                }
                Intent::Postpone { .. } => {}
                Intent::Redrive { group, letter, origin, .. } => {
                    let known = self.letters.entry((group, origin));
                    let known = known.or_insert(Letter { index: letter, put_back: PutBack::Maybe, old: true });
                    if known.put_back == PutBack::No {
                        known.put_back = PutBack::Maybe;
                    }
                }
            }
        }
        for ledger in self.ledgers.values_mut() {
            ledger.before = ledger.attempts.last().copied().unwrap_or(0);
        }
        self.letters.values_mut().for_each(|letter| letter.old = true);
    }

    pub fn is_done(&self, Place(topic, queue, index): Place) -> bool {
        self.done_below.get(&(topic, queue)).is_some_and(|below| index < *below)
    }

    fn ledger(&mut self, group: usize, place: Place) -> &mut Ledger {
        self.ledgers.entry((group, place)).or_default()
    }

    fn appended(&mut self, tokens: &[u64], places: &[Place]) {
        assert_eq!(tokens.len(), places.len(), "a place for each message");
        for (token, place) in tokens.iter().zip(places) {
            self.place(*place, *token);
            self.counts.appended += 1;
        }
    }

    pub fn place(&mut self, place: Place, token: u64) {
        let before = self.messages.insert(place, token);
        assert!(before.is_none() && !self.is_done(place), "{place:?} was given to two messages");
        if let Some(delivered) = self.unplaced.remove(&place) {
            assert_eq!(delivered, token, "{place:?} was delivered with another body");
        }
    }

    fn delivered(&mut self, group: usize, place: Place, attempt: u32, token: u64) {
        self.counts.deliveries += 1;
        let name = GROUPS[group].name;
        assert!(!self.is_done(place), "{name}: {place:?} was delivered after all groups were done with it");
        match self.messages.get(&place) {
            Some(known) => assert_eq!(token, *known, "{name}: {place:?} was delivered with another body"),
            None => drop(self.unplaced.insert(place, token)),
        }
        assert!(attempt <= GROUPS[group].deliveries_max(), "{name}: {place:?} was delivered {attempt} times");
        let letter = self.letters.get(&(group, place)).is_some_and(|letter| letter.old);
        let ledger = self.ledger(group, place);
        // Who was handed it at a lower attempt may tell later: threads race to the pipe, lives do not.
        let late = ledger.acked.is_none_or(|acked| attempt <= acked);
        assert!(late, "{name}: {place:?} was delivered again after its ack");
        let before = ledger.before;
        assert!(attempt > before, "{name}: {place:?} had attempt {attempt} after {before} in a life before");
        assert!(ledger.attempts.insert(attempt), "{name}: {place:?} had attempt {attempt} twice");
        assert!(!letter, "{name}: {place:?} was delivered after it was dead-lettered");
    }

    fn settled(&mut self, group: usize, place: Place, attempt: u32, outcome: Outcome) {
        if outcome != Outcome::Counted {
            self.too_late(group, place, attempt, outcome);
            return;
        }
        let name = GROUPS[group].name;
        self.counts.acked += 1;
        assert!(!self.is_done(place), "{name}: an ack of {place:?} counted after all groups were done with it");
        let ledger = self.ledger(group, place);
        assert_eq!(ledger.acked, None, "{name}: two acks of {place:?} counted");
        let last = ledger.attempts.last().copied().unwrap_or(0);
        assert!(last <= attempt, "{name}: an ack of attempt {attempt} of {place:?} counted after {last}");
        ledger.acked = Some(attempt);
    }

    fn too_late(&mut self, group: usize, place: Place, attempt: u32, outcome: Outcome) {
        self.counts.late += 1;
        if self.is_done(place) {
            return;
        }
        let name = GROUPS[group].name;
        match outcome {
            Outcome::Counted | Outcome::LeaseOver => {}
            Outcome::HandedOutAgain(other) => {
                assert!(other > attempt, "{name}: {place:?} at {attempt} is said to be out again at {other}");
            }
            Outcome::AlreadySettled => self.ledger(group, place).told_settled = true,
            // The letter is about to be written: who is killed before it is writes it after the next open.
            Outcome::DeadLettered => {
                assert_eq!(attempt, GROUPS[group].deliveries_max(), "{name}: {place:?} was dead-lettered early");
            }
            Outcome::Unknown | Outcome::Discarded => {
                panic!("{name}: the lease of {place:?} at {attempt} is {outcome:?}")
            }
        }
    }

    fn redriven(&mut self, group: usize, index: u64, origin: Place, token: u64, copy: Option<Place>) {
        let name = GROUPS[group].name;
        let known = self.letters.entry((group, origin)).or_insert(Letter { index, put_back: PutBack::No, old: false });
        assert_eq!(known.index, index, "{name}: {origin:?} has a second letter");
        let Some(copy) = copy else { return };
        assert_ne!(known.put_back, PutBack::Yes, "{name}: the letter {index} was put back twice");
        known.put_back = PutBack::Yes;
        self.counts.put_back += 1;
        self.place(copy, token);
    }
}
