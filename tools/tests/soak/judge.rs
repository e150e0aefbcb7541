//! Whether what a store holds agrees with what was told: the checks that look.

use std::collections::BTreeSet;

use crate::journal::Place;
use crate::look::{SeenLetter, View};
use crate::oracle::{Letter, Oracle, PutBack};
use crate::world::{GROUPS, readings};

impl Oracle {
    /// Compares with a look at the store after a life.
    pub fn judge(&mut self, view: &View) {
        self.judge_messages(view);
        for letter in &view.letters {
            self.judge_letter(letter);
        }
        self.judge_held(view);
        self.judge_fates(view);
        self.looked.messages.extend(view.queues.iter().map(|(queue, (_, end))| (*queue, *end)));
        for SeenLetter { group, index, .. } in &view.letters {
            let looked = self.looked.letters.entry(*group).or_default();
            *looked = (*looked).max(index + 1);
        }
    }

    fn judge_messages(&mut self, view: &View) {
        for (Place(topic, queue, index), token) in &self.messages {
            let (first, end) = view.queues.get(&(*topic, *queue)).copied().unwrap_or_default();
            assert!(*index < end, "{topic}/{queue} ends at {end}: message {index} is gone");
            let looked = self.looked.messages.get(&(*topic, *queue)).copied().unwrap_or(0);
            // What retention took must be settled, which is for the fates.
            if *index >= first.max(looked) {
                let found = view.messages.get(&Place(*topic, *queue, *index));
                let found = found.unwrap_or_else(|| panic!("message {topic}/{queue}/{index} cannot be read"));
                assert_eq!(found.token, Some(*token), "message {topic}/{queue}/{index} has another body");
            }
        }
        let mut appeared = BTreeSet::new();
        let mut copies = BTreeSet::new();
        for (place, found) in &view.messages {
            if self.messages.contains_key(place) || self.is_done(*place) {
                continue;
            }
            let token = found.token.unwrap_or_else(|| panic!("{place:?} has a body that is not whole"));
            match found.copy_of {
                Some(letter) => assert!(copies.insert(letter), "the letter {letter:?} has two copies"),
                None => assert!(appeared.insert(token), "{place:?} is a message that is there twice"),
            }
            self.messages.insert(*place, token);
            if let Some(delivered) = self.unplaced.remove(place) {
                assert_eq!(delivered, token, "{place:?} was delivered with another body");
            }
        }
        for batch in std::mem::take(&mut self.unsure) {
            let there = batch.iter().filter(|token| appeared.remove(token)).count();
            assert!(there == 0 || there == batch.len(), "{there} of a batch of {} are there", batch.len());
        }
        assert!(appeared.is_empty(), "nobody appended {appeared:x?}");
        self.judge_copies(copies);
        let unplaced = self.unplaced.keys().find(|Place(topic, queue, index)| {
            view.queues.get(&(*topic, *queue)).is_none_or(|(first, _)| index >= first)
        });
        assert_eq!(unplaced, None, "a message was delivered that is not there");
        self.unplaced.clear();
    }

    /// Letters that a kill kept from being told as put back are so if their copy is there.
    fn judge_copies(&mut self, mut copies: BTreeSet<(usize, u64)>) {
        for ((group, _), letter) in &mut self.letters {
            if letter.put_back == PutBack::Maybe {
                let there = copies.remove(&(*group, letter.index));
                letter.put_back = if there { PutBack::Yes } else { PutBack::No };
            }
        }
        assert!(copies.is_empty(), "nobody put back the letters {copies:?}");
    }

    fn judge_letter(&mut self, found: &SeenLetter) {
        let SeenLetter { group, index, origin, attempts, token } = found;
        let name = GROUPS[*group].name;
        self.counts.letters += 1;
        let fresh = Letter { index: *index, put_back: PutBack::No, old: true };
        let known = self.letters.entry((*group, *origin)).or_insert(fresh);
        assert_eq!(known.index, *index, "{name}: {origin:?} has a second letter");
        let limit = GROUPS[*group].deliveries_max();
        assert_eq!(*attempts, limit, "{name}: {origin:?} was dead-lettered before its limit");
        assert!(!self.is_done(*origin), "{name}: {origin:?} was dead-lettered after all groups were done with it");
        let body = self.messages.get(origin).copied();
        assert!(token.is_some() && body.is_none_or(|body| *token == Some(body)), "{name}: the letter of {origin:?}");
        self.judge_attempts(*group, *origin, *attempts);
    }

    fn judge_held(&mut self, view: &View) {
        for ((group, place), attempt) in &view.held {
            let name = GROUPS[*group].name;
            assert!(!self.is_done(*place), "{name}: {place:?} is held after all groups were done with it");
            assert!(self.messages.contains_key(place), "{name} holds {place:?}, which nobody appended");
            assert!(*attempt <= GROUPS[*group].deliveries_max(), "{name}: {place:?} is held at attempt {attempt}");
            self.judge_attempts(*group, *place, *attempt);
            let Some(ledger) = self.ledgers.get_mut(&(*group, *place)) else { continue };
            let before = ledger.before;
            assert!(*attempt >= before, "{name}: {place:?} is held at attempt {attempt}, and had {before}");
            assert_eq!(ledger.acked, None, "{name}: {place:?} is held although it was acked");
            // The ack that was under way did not happen.
            ledger.maybe_acked = false;
        }
    }

    /// Attempts rise by deliveries: each that nobody told was handed out by a pop that was killed.
    fn judge_attempts(&self, group: usize, place: Place, attempt: u32) {
        let told = self.ledgers.get(&(group, place)).map_or(0, |ledger| ledger.attempts.range(..=attempt).count());
        let lost = self.lost_pops.get(&(group, place.0)).copied().unwrap_or(0);
        let untold = attempt - told as u32;
        let name = GROUPS[group].name;
        assert!(untold <= lost, "{name}: {place:?} is at attempt {attempt}, {told} were told, {lost} pops were killed");
    }

    /// Each message is, for each group that reads it: acked, dead-lettered, held, or yet to be delivered.
    fn judge_fates(&self, view: &View) {
        for (group, topic) in readings() {
            let name = GROUPS[group].name;
            for (place, _) in self.messages.range(Place(topic, 0, 0)..Place(topic + 1, 0, 0)) {
                let ledger = self.ledgers.get(&(group, *place));
                let acked = ledger.is_some_and(|ledger| ledger.acked.is_some());
                let maybe_acked = ledger.is_some_and(|ledger| ledger.maybe_acked);
                let letter = self.letters.contains_key(&(group, *place));
                assert!(!(acked && letter), "{name}: {place:?} was acked and dead-lettered");
                let settled = acked || maybe_acked || letter;
                let told = ledger.is_some_and(|ledger| ledger.told_settled);
                assert!(settled || !told, "{name}: {place:?} was said to be settled");
                let held = view.held.contains_key(&(group, *place));
                assert!(!(held && letter), "{name}: {place:?} is held and dead-lettered");
                let position = view.positions.get(&(group, topic, place.1)).copied().unwrap_or(0);
                let first = view.queues.get(&(topic, place.1)).map_or(0, |(first, _)| *first);
                let to_come = place.2 >= position.max(first);
                assert!(settled || held || to_come, "{name}: {place:?} is lost");
                let fresh = ledger.is_none_or(|ledger| ledger.attempts.is_empty() && ledger.acked.is_none());
                assert!(fresh || place.2 < position, "{name}: {place:?} is to come as if it were new");
            }
        }
    }

    /// Everything has run out: each message is settled in one way, and each letter that was not put back is listed.
    pub fn judge_the_end(&mut self, view: &View, listed: &BTreeSet<(usize, u64)>) {
        self.judge(view);
        assert_eq!(view.held.len(), 0, "messages are held after everything ran out");
        for ((group, topic, queue), position) in &view.positions {
            let end = view.queues[&(*topic, *queue)].1;
            assert_eq!(*position, end, "{} has not read all of {topic}/{queue}", GROUPS[*group].name);
        }
        let waiting = self.letters.iter().filter(|(_, letter)| letter.put_back != PutBack::Yes);
        let waiting: BTreeSet<_> = waiting.map(|((group, _), letter)| (*group, letter.index)).collect();
        assert_eq!(waiting, *listed, "the letters that are there, and those that are listed");
        for (Place(topic, queue, index), _) in std::mem::take(&mut self.messages) {
            let below = self.done_below.entry((topic, queue)).or_default();
            *below = (*below).max(index + 1);
        }
        self.ledgers.clear();
        self.lost_pops.clear();
    }
}
