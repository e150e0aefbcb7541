//! What was acknowledged, and whether a store that was opened again still has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use popstore::clock::ManualClock;
use popstore::{Pop, Settled, Store};

use crate::scene::{secs, text};
use crate::script::{AUDIT, GROUP, LIMIT, ORDERS, PARCELS, group_options};

/// A topic and the place in its one queue.
pub type Place = (&'static str, u64);

/// Facts. What an error was returned for may have happened or not.
#[derive(Clone, Default)]
pub struct Oracle {
    /// Appends, by their place.
    pub messages: BTreeMap<Place, String>,
    /// The bodies of appends that failed.
    pub unsure: Vec<String>,
    /// The last attempt that was handed out.
    pub attempts: BTreeMap<Place, u32>,
    pub acked: BTreeSet<Place>,
    pub maybe_acked: BTreeSet<Place>,
    /// Letters that were seen, by the place of the original.
    pub letters: BTreeSet<Place>,
    pub redriven: BTreeSet<Place>,
    pub maybe_redriven: BTreeMap<Place, String>,
    /// Messages that were popped though their append had failed. Retention may let go of them like of others.
    pub popped_after_all: BTreeSet<String>,
}

/// What is left of the messages once nobody holds one any more.
#[derive(Default)]
struct End {
    drained: BTreeSet<Place>,
    letters: BTreeSet<Place>,
    /// Copies of failed appends that are there after all.
    appeared: Vec<String>,
}

impl Oracle {
    /// Reads and then pops everything there is, and compares.
    pub fn check(&self, store: &Store, clock: &Arc<ManualClock>) {
        let mut end = End::default();
        for topic in [ORDERS, PARCELS] {
            self.check_messages(store, topic, &mut end);
        }
        for (name, topic) in [(GROUP, ORDERS), (AUDIT, PARCELS)] {
            store.create_group(name, group_options()).unwrap();
            if store.topic_stats(topic).is_ok() {
                self.drain(store, clock, name, topic, &mut end);
            }
        }
        self.check_letters(store, &mut end);
        for (place, body) in &self.messages {
            let known = [&end.drained, &end.letters, &self.acked, &self.maybe_acked, &self.redriven];
            let somewhere = known.iter().any(|places| places.contains(place));
            assert!(somewhere || self.maybe_redriven.contains_key(place), "{place:?} {body:?} is lost");
        }
        for (letter, body) in &self.maybe_redriven {
            let copied = end.appeared.contains(body) || self.popped_after_all.contains(body);
            assert_ne!(copied, end.letters.contains(letter), "the letter {letter:?} and its copy: {copied}");
        }
    }

    fn check_messages(&self, store: &Store, topic: &'static str, end: &mut End) {
        let known = self.messages.keys().filter(|(of, _)| *of == topic).map(|(_, index)| index + 1).max();
        let Ok(stats) = store.topic_stats(topic) else {
            return assert_eq!(known, None, "the topic {topic} is gone");
        };
        let (first, through) = stats.queues[0];
        assert!(through >= known.unwrap_or(0), "{topic} ends at {through}, {known:?} is known");
        for index in first..through {
            let message = store.message(topic, 0, index).unwrap().expect("a message between first and end");
            let body = text(message.body());
            match self.messages.get(&(topic, index)) {
                Some(known) => assert_eq!(*known, body, "{topic}/{index}"),
                None => {
                    let tried = self.unsure.iter().filter(|unsure| **unsure == body).count();
                    let copies = end.appeared.iter().filter(|copy| **copy == body).count();
                    assert!(tried > copies, "nobody appended {body:?} at {topic}/{index}");
                    end.appeared.push(body);
                }
            }
        }
    }

    fn drain(&self, store: &Store, clock: &Arc<ManualClock>, name: &str, topic: &'static str, end: &mut End) {
        let group = store.group(name).unwrap();
        for _ in 0..100 {
            clock.advance(secs(300));
            store.run_pending();
            for delivery in group.pop(topic, Pop::up_to(64)).unwrap() {
                let place = (topic, delivery.message().index());
                let last = self.attempts.get(&place).copied().unwrap_or(0);
                let attempt = delivery.attempt();
                assert!(attempt > last && attempt <= LIMIT + 1, "{place:?}: attempt {attempt} after {last}");
                assert!(!self.acked.contains(&place), "{place:?} was acked");
                assert!(end.drained.insert(place), "{place:?} was acked just now");
                assert_eq!(group.ack(delivery.receipt()).unwrap(), Settled::Done);
            }
            if group.stats().unwrap().lag == 0 {
                return;
            }
        }
        panic!("{name} never comes to an end: {:?}", group.stats().unwrap());
    }

    fn check_letters(&self, store: &Store, end: &mut End) {
        for letter in store.group(GROUP).unwrap().dead_letters().unwrap() {
            let letter = letter.unwrap();
            assert_eq!((letter.origin_topic(), letter.attempts()), (ORDERS, LIMIT + 1));
            let place = (ORDERS, letter.origin_index());
            assert!(end.letters.insert(place), "{place:?} has two letters");
            assert!(!self.acked.contains(&place) && !end.drained.contains(&place), "{place:?} is done and dead");
            assert!(!self.redriven.contains(&place), "the letter of {place:?} was redriven");
        }
        for place in &self.letters {
            let gone = self.redriven.contains(place) || self.maybe_redriven.contains_key(place);
            assert!(gone || end.letters.contains(place), "the letter of {place:?} is lost");
        }
    }
}
