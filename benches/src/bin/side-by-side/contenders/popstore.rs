//! popstore, through its public API. Every way it is opened here stands in [`VARIANTS`].

use std::time::Duration;

use popstore::{Delivery, Durability, Group, GroupOptions, Message, Options, Pop, Receipt, Retention, Store};

use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;

/// The topic of all runs with one topic.
pub(crate) const TOPIC: &str = "bench";
/// The group of all runs with one group.
pub(crate) const GROUP: &str = "consumers";

/// As it is when nothing is said: room is made while the appends go on, by a thread that competes for the processor.
pub(crate) const DEFAULTS: Popstore = Popstore { name: "popstore", tune: |options, _| options, only: &[] };
/// With room for all that will be appended before the first append, as the limit has it.
const READY: Popstore =
    Popstore { name: "popstore (room ready)", tune: |options, setup| options.ready_bytes(bytes(setup)), only: &["W1"] };
/// Deletes what every group has settled, as the other lease stores do with each ack.
const WHEN_DONE: Popstore = Popstore {
    name: "popstore (deletes)",
    tune: |options, _| options.retention(Retention::keep().when_done()),
    only: &["W3"],
};
/// The ways popstore is opened. The others are compared with the first.
pub(crate) const VARIANTS: [Popstore; 3] = [DEFAULTS, READY, WHEN_DONE];
/// How quickly room is made, with much to spare.
const READY_BYTES_A_SECOND: u64 = 400_000_000;

/// As many as there can be ready.
const READY_BYTES_MAX: u64 = 2 << 30;

fn bytes(setup: &Setup) -> u64 {
    (setup.messages_max * (setup.body_bytes + 80)).min(READY_BYTES_MAX)
}

/// One way to open popstore.
#[derive(Clone, Copy)]
pub(crate) struct Popstore {
    name: &'static str,
    /// What is set beyond the durability, given what will be appended.
    tune: fn(Options, &Setup) -> Options,
    /// The workloads in which that makes a difference; none means all.
    only: &'static [&'static str],
}

/// What popstore calls it.
pub(crate) fn durability(sync: Sync) -> Durability {
    match sync {
        Sync::Buffered => Durability::Buffered,
        Sync::Every10Ms => Durability::SyncEvery(Duration::from_millis(10)),
        Sync::Each => Durability::SyncEach,
    }
}

impl Popstore {
    /// Opens a store with a topic and a group.
    pub(crate) fn store(&self, setup: &Setup) -> (Store, Group) {
        let options = (self.tune)(Store::options().durability(durability(setup.sync)), setup);
        let store = options.open(&setup.dir).expect("popstore opens");
        if self.name == READY.name {
            std::thread::sleep(Duration::from_secs_f64(bytes(setup) as f64 / READY_BYTES_A_SECOND as f64));
        }
        if store.topic_stats(TOPIC).is_err() {
            store.create_topic(TOPIC, 1).expect("a topic can be made");
        }
        let group = store.group(GROUP).or_else(|_| store.create_group(GROUP, GroupOptions::default().without_limit()));
        (store, group.expect("a group can be made"))
    }

    /// The same behind the traits.
    pub(crate) fn opened(&self, store: Store, group: Group) -> Box<dyn Opened> {
        Box::new(Open { store, group })
    }
}

impl Contender for Popstore {
    fn name(&self) -> &'static str {
        self.name
    }

    fn class(&self) -> Class {
        Class::Popstore
    }

    fn takes_part(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let (store, group) = self.store(setup);
        self.opened(store, group)
    }
}

struct Open {
    store: Store,
    group: Group,
}

impl Opened for Open {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        let messages = |batch: &Batch<'a>| batch.iter().map(|body| Message::new(*body)).collect();
        Box::new(Appender { store: &self.store, batches: batches.iter().map(messages).collect() })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Popper { group: &self.group, receipts: Vec::new() })
    }

    fn records_read(&self) -> Option<u64> {
        let recovery = self.store.recovery();
        Some(recovery.records_scanned + recovery.records_replayed)
    }
}

struct Appender<'a> {
    store: &'a Store,
    batches: Vec<Vec<Message<'a>>>,
}

impl Producer for Appender<'_> {
    fn append(&mut self, batch: usize) {
        let batch = &self.batches[batch % self.batches.len()];
        match batch.as_slice() {
            [one] => drop(self.store.append(TOPIC, one.clone()).expect("appended")),
            batch => drop(self.store.append_batch(TOPIC, batch).expect("appended")),
        }
    }
}

struct Popper<'a> {
    group: &'a Group,
    receipts: Vec<Receipt>,
}

impl Consumer for Popper<'_> {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let messages_max = u32::try_from(messages_max).expect("pops are small");
        let deliveries = self.group.pop(TOPIC, Pop::up_to(messages_max).invisible_for(lease)).expect("popped");
        let mut popped = Popped::default();
        deliveries.iter().for_each(|delivery| popped.add(delivery.body()));
        self.receipts.clear();
        self.receipts.extend(deliveries.iter().map(Delivery::receipt));
        popped
    }

    fn ack_each(&mut self) {
        for receipt in &self.receipts {
            assert!(self.group.ack(*receipt).expect("acked").counted());
        }
    }

    fn ack_as_one(&mut self) {
        if !self.receipts.is_empty() {
            let settled = self.group.ack_batch(&self.receipts).expect("acked");
            assert!(settled.iter().all(|settled| settled.counted()));
        }
    }
}
