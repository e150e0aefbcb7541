//! The verbs of the store, each told to the journal before and after.

use popstore::{DeadLetter, Delivery, Error, Group, Message, Pop, Receipt, Redriven, Store};

use crate::journal::{Done, Intent, Kept, Outcome, Place, Said};
use crate::world::{self, GROUPS, TOPICS};

/// One thread's hands on a store.
pub struct Actor<'s> {
    pub store: &'s Store,
    groups: Vec<Group>,
    say: Box<dyn FnMut(Said) + Send + 's>,
}

impl<'s> Actor<'s> {
    /// Makes the groups, and looks once into each topic, so that retention keeps for a group what it will read.
    pub fn new(store: &'s Store, say: impl FnMut(Said) + Send + 's) -> Self {
        for (topic, queues) in TOPICS {
            store.create_topic(topic, queues).unwrap();
        }
        let groups = GROUPS.iter().map(|group| store.create_group(group.name, group.options()).unwrap());
        let groups = groups.collect();
        Self { store, groups, say: Box::new(say) }
    }

    pub fn append(&mut self, topic: usize, tokens: &[u64]) {
        let bodies: Vec<_> = tokens.iter().map(|token| world::body(*token)).collect();
        let messages: Vec<_> = bodies.iter().map(Message::new).collect();
        (self.say)(Said::Will(Intent::Append { topic, tokens: tokens.to_vec() }));
        let appended = match &messages[..] {
            [one] => vec![self.store.append(TOPICS[topic].0, one.clone()).unwrap()],
            batch => self.store.append_batch(TOPICS[topic].0, batch).unwrap(),
        };
        let places = appended.iter().map(|place| Place(topic, place.queue, place.index)).collect();
        (self.say)(Said::Did(Done::Appended(places)));
    }

    pub fn pop(&mut self, group: usize, topic: usize, pop: Pop) -> Vec<Delivery> {
        (self.say)(Said::Will(Intent::Pop { group, topic }));
        let deliveries = self.groups[group].pop(TOPICS[topic].0, pop).unwrap();
        let popped = deliveries.iter().map(|delivery| {
            let (place, attempt) = delivery_of(delivery);
            (place, attempt, world::token(delivery.body()).unwrap_or(0))
        });
        (self.say)(Said::Did(Done::Popped(popped.collect())));
        deliveries
    }

    pub fn ack(&mut self, group: usize, deliveries: &[Delivery]) {
        let of: Vec<_> = deliveries.iter().map(delivery_of).collect();
        let receipts: Vec<_> = deliveries.iter().map(Delivery::receipt).collect();
        self.ack_receipts(group, of, &receipts);
    }

    /// Acks what another life was given.
    pub fn ack_kept(&mut self, kept: &Kept) {
        let receipt = kept.receipt.parse().unwrap();
        self.ack_receipts(kept.group, vec![(kept.place, kept.attempt)], &[receipt]);
    }

    fn ack_receipts(&mut self, group: usize, deliveries: Vec<(Place, u32)>, receipts: &[Receipt]) {
        (self.say)(Said::Will(Intent::Ack { group, deliveries }));
        let settled = match receipts {
            [one] => vec![self.groups[group].ack(*one).unwrap()],
            batch => self.groups[group].ack_batch(batch).unwrap(),
        };
        (self.say)(Said::Did(Done::Settled(settled.into_iter().map(Outcome::from).collect())));
    }

    pub fn nack(&mut self, group: usize, delivery: &Delivery, delay: impl Into<popstore::Delay>) {
        (self.say)(Said::Will(Intent::Postpone { group, delivery: delivery_of(delivery) }));
        let settled = self.groups[group].nack(delivery.receipt(), delay).unwrap();
        (self.say)(Said::Did(Done::Settled(vec![settled.into()])));
    }

    pub fn extend(&mut self, group: usize, delivery: &Delivery, lease: std::time::Duration) {
        (self.say)(Said::Will(Intent::Postpone { group, delivery: delivery_of(delivery) }));
        let settled = self.groups[group].extend(delivery.receipt(), lease).unwrap();
        (self.say)(Said::Did(Done::Settled(vec![settled.into()])));
    }

    pub fn keep(&mut self, group: usize, delivery: &Delivery) {
        let (place, attempt) = delivery_of(delivery);
        let receipt = delivery.receipt().to_string();
        (self.say)(Said::Kept(Kept { group, place, attempt, receipt }));
    }

    pub fn letters(&self, group: usize) -> Vec<DeadLetter> {
        self.groups[group].dead_letters().unwrap().map(|letter| letter.unwrap()).collect()
    }

    pub fn redrive(&mut self, group: usize, letter: &DeadLetter) {
        let topic = world::topic_of(letter.origin_topic()).expect("the topic of a letter");
        let origin = Place(topic, letter.origin_queue(), letter.origin_index());
        let token = world::token(letter.message().body()).unwrap_or(0);
        let intent = Intent::Redrive { group, letter: letter.message().index(), origin, token };
        (self.say)(Said::Will(intent));
        let copy = match self.groups[group].redrive(letter) {
            Ok(Redriven::Done { queue, index }) => Some(Place(topic, queue, index)),
            // Another thread was faster, and retention removed the letter behind it.
            Ok(Redriven::AlreadyRedriven) | Err(Error::Unknown { what: "dead letter", .. }) => None,
            Ok(other) => panic!("nobody reads the letters, and one is {other:?}"),
            Err(error) => panic!("a letter was not put back: {error}"),
        };
        (self.say)(Said::Did(Done::Redriven(copy)));
    }

    /// How many messages all groups have yet to settle.
    pub fn lag(&self) -> u64 {
        self.groups.iter().map(|group| group.stats().unwrap().lag).sum()
    }
}

fn delivery_of(delivery: &Delivery) -> (Place, u32) {
    let message = delivery.message();
    let topic = world::topic_of(message.topic()).expect("the topic of a delivery");
    (Place(topic, message.queue(), message.index()), delivery.attempt())
}
