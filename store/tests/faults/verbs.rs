//! The verbs of the script: each does its step and tells the oracle what is so, or may be so, from now on.

use std::time::Duration;

use popstore::{Group, Message, Pop, Receipt, Redriven};

use crate::oracle::Place;
use crate::play::Play;
use crate::scene::{secs, text};
use crate::script::{GROUP, ORDERS, group_options};

impl Play {
    fn group(&mut self, name: &str) -> Option<Group> {
        let group = self.begin()?.group(name);
        if self.poisoned { group.ok() } else { self.sort("group", group) }
    }

    fn body(&mut self) -> String {
        self.bodies += 1;
        format!("{:04} {:x<200}", self.bodies, "")
    }

    pub fn create_topic(&mut self, topic: &str) {
        let Some(store) = self.begin() else { return };
        self.sort("create topic", store.create_topic(topic, 1));
    }

    pub fn create_group(&mut self, name: &str) {
        let Some(store) = self.begin() else { return };
        self.sort("create group", store.create_group(name, group_options()).map(drop));
    }

    pub fn append(&mut self, topic: &'static str, messages: u32) {
        for _ in 0..messages {
            let Some(store) = self.begin() else { return };
            let body = self.body();
            let appended = store.append(topic, Message::new(&body));
            match self.sort("append", appended) {
                Some(place) => drop(self.oracle.messages.insert((topic, place.index), body)),
                None => self.oracle.unsure.push(body),
            }
        }
    }

    pub fn batch(&mut self, topic: &'static str, messages: u32) {
        let Some(store) = self.begin() else { return };
        let bodies: Vec<String> = (0..messages).map(|_| self.body()).collect();
        let batch: Vec<Message<'_>> = bodies.iter().map(Message::new).collect();
        match self.sort("batch", store.append_batch(topic, &batch)) {
            Some(places) => {
                let places = places.iter().map(|place| (topic, place.index));
                self.oracle.messages.extend(places.zip(bodies));
            }
            None => self.oracle.unsure.extend(bodies),
        }
    }

    pub fn pop(&mut self, group: &str, topic: &'static str, messages: u32) {
        let Some(group) = self.group(group) else { return };
        let popped = group.pop(topic, Pop::up_to(messages));
        for delivery in self.sort("pop", popped).unwrap_or_default() {
            let place = (topic, delivery.message().index());
            let last = self.oracle.attempts.insert(place, delivery.attempt()).unwrap_or(0);
            assert!(delivery.attempt() > last, "{place:?}: {} after {last}", delivery.attempt());
            assert!(!self.oracle.acked.contains(&place), "{place:?} was acked");
            if !self.oracle.messages.contains_key(&place) {
                self.oracle.popped_after_all.insert(text(delivery.body()));
            }
            self.held.push((place, delivery.receipt()));
        }
    }

    fn take(&mut self) -> Option<(Place, Receipt, Group)> {
        let (place, receipt) = self.held.first().copied()?;
        let group = self.begin()?.group_of(&receipt).unwrap();
        self.held.remove(0);
        Some((place, receipt, group))
    }

    pub fn ack(&mut self, messages: u32) {
        for _ in 0..messages {
            let Some((place, receipt, group)) = self.take() else { return };
            let settled = self.sort("ack", group.ack(receipt));
            self.acked(place, settled.map(popstore::Settled::counted));
        }
    }

    pub fn ack_batch(&mut self, messages: usize) {
        let Some(group) = self.group(GROUP) else { return };
        let taken: Vec<_> = self.held.drain(..messages.min(self.held.len())).collect();
        if taken.is_empty() {
            return;
        }
        let receipts: Vec<Receipt> = taken.iter().map(|(_, receipt)| *receipt).collect();
        let settled = self.sort("ack batch", group.ack_batch(&receipts));
        for (at, (place, _)) in taken.iter().enumerate() {
            self.acked(*place, settled.as_ref().map(|settled| settled[at].counted()));
        }
    }

    fn acked(&mut self, place: Place, counted: Option<bool>) {
        match counted {
            Some(counted) => {
                assert!(counted, "an ack within the lease");
                self.oracle.acked.insert(place);
            }
            None => drop(self.oracle.maybe_acked.insert(place)),
        }
    }

    pub fn nack(&mut self, messages: u32, delay: Duration) {
        for _ in 0..messages {
            let Some((_, receipt, group)) = self.take() else { return };
            let _ = self.sort("nack", group.nack(receipt, delay));
        }
    }

    pub fn extend(&mut self, lease: Duration) {
        let Some((_, receipt, group)) = self.take() else { return };
        let _ = self.sort("extend", group.extend(receipt, lease));
    }

    /// The handlers of all messages that are held die.
    pub fn forget(&mut self) {
        self.held.clear();
    }

    /// Time passes, and what is due happens.
    pub fn advance(&mut self, by: u64) {
        self.clock.advance(secs(by));
        self.settle_down();
    }

    pub fn settle_down(&mut self) {
        let Some(store) = self.begin() else { return };
        store.run_pending();
        if self.disk.take_poisoning() {
            self.expect_poisoned("background work");
        }
        self.see_letters();
    }

    fn see_letters(&mut self) {
        let Some(Ok(group)) = self.store.as_ref().map(|store| store.group(GROUP)) else { return };
        let Ok(letters) = group.dead_letters() else { return };
        let places = letters.filter_map(|letter| Some((ORDERS, letter.ok()?.origin_index())));
        self.oracle.letters.extend(places.collect::<Vec<_>>());
    }

    /// Puts the first dead letter back.
    pub fn redrive(&mut self) {
        let Some(group) = self.group(GROUP) else { return };
        let Some(Ok(letter)) = group.dead_letters().ok().and_then(|mut letters| letters.next()) else { return };
        let (origin, body) = ((ORDERS, letter.origin_index()), text(letter.message().body()));
        match self.sort("redrive", group.redrive(&letter)) {
            Some(Redriven::Done { index, .. }) => {
                self.oracle.messages.insert((ORDERS, index), body);
                self.oracle.redriven.insert(origin);
            }
            Some(other) => panic!("{origin:?} is {other:?}, by nobody"),
            None => {
                self.oracle.unsure.push(body.clone());
                self.oracle.maybe_redriven.insert(origin, body);
            }
        }
    }

    pub fn sync(&mut self) {
        let Some(store) = self.begin() else { return };
        self.sort("sync", store.sync());
    }
}
