//! Code of the user that panics inside the store: no later call panics or hangs because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::disk::change;
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::clock::{Clock, ManualClock, Time};
use popstore::{Delay, Durability, Error, GroupOptions, Message, Options, Pop, Receipt, Result, Store};

/// A clock that panics from a moment on.
struct Fragile {
    clock: Arc<dyn Clock>,
    runs: bool,
    broken: AtomicBool,
}

impl Fragile {
    fn new(runs: bool) -> Arc<Self> {
        let clock = ManualClock::at(secs(1_000_000));
        Arc::new(Self { clock: Arc::new(clock), runs, broken: AtomicBool::new(false) })
    }

    /// Where it runs by itself, only the threads of the store find it broken.
    fn check(&self) {
        let asks = !self.runs || std::thread::current().name().is_some_and(|name| name.starts_with("popstore-"));
        assert!(!asks || !self.broken.load(Ordering::SeqCst), "a clock that is broken on purpose");
    }
}

impl Clock for Fragile {
    fn now(&self) -> Time {
        self.check();
        self.clock.now()
    }

    fn runs(&self) -> bool {
        self.check();
        self.runs
    }
}

/// What a verb needs to be called, on a store whose clock still works.
struct Ready {
    store: Store,
    receipt: Receipt,
    letter: popstore::DeadLetter,
}

impl Ready {
    fn new(dir: &std::path::Path, clock: &Arc<Fragile>, mode: Durability) -> Self {
        let store = Options::default().durability(mode).clock(clock.clone()).open(dir).unwrap();
        let group = store.create_group("g", GroupOptions::default().max_reconsume_times(0)).unwrap();
        store.append_batch(TOPIC, &["a", "b", "c"].map(Message::new)).unwrap();
        let deliveries = group.pop(TOPIC, Pop::up_to(2)).unwrap();
        let _ = group.nack(deliveries[0].receipt(), secs(0)).unwrap();
        store.run_pending();
        let letter = group.dead_letters().unwrap().next().unwrap().unwrap();
        Self { store, receipt: deliveries[1].receipt(), letter }
    }
}

type Verb = (&'static str, fn(&Ready) -> Result<()>);

/// The verbs that ask for the time.
const TIMED: [Verb; 12] = [
    ("append", |ready| ready.store.append(TOPIC, Message::new("d")).map(drop)),
    ("append_batch", |ready| ready.store.append_batch(TOPIC, &[Message::new("d")]).map(drop)),
    ("pop", |ready| ready.store.group("g")?.pop(TOPIC, Pop::up_to(1)).map(drop)),
    ("pop_wait", |ready| ready.store.group("g")?.pop_wait(TOPIC, Pop::up_to(1), secs(0)).map(drop)),
    ("ack", |ready| ready.store.group("g")?.ack(ready.receipt).map(drop)),
    ("ack_batch", |ready| ready.store.group("g")?.ack_batch(&[ready.receipt]).map(drop)),
    ("nack", |ready| ready.store.group("g")?.nack(ready.receipt, Delay::Backoff).map(drop)),
    ("extend", |ready| ready.store.group("g")?.extend(ready.receipt, secs(9)).map(drop)),
    ("redrive", |ready| ready.store.group("g")?.redrive(&ready.letter).map(drop)),
    ("stats", |ready| ready.store.stats().map(drop)),
    ("group stats", |ready| ready.store.group("g")?.stats().map(drop)),
    ("group stats of a topic", |ready| ready.store.group("g")?.stats_of(TOPIC).map(drop)),
];

const OTHERS: [Verb; 4] = [
    ("create_topic", |ready| ready.store.create_topic("more", 2)),
    ("create_group", |ready| ready.store.create_group("h", GroupOptions::default()).map(drop)),
    ("delete_group", |ready| ready.store.delete_group("g")),
    ("sync", |ready| ready.store.sync()),
];

fn expect_poisoned(what: &str, done: &Result<()>) {
    let Err(Error::Poisoned { source, .. }) = done else { panic!("{what}: {done:?}") };
    assert_eq!(source.to_string(), "the clock panicked", "{what}");
}

#[test]
fn a_clock_that_panics_fails_each_verb_and_all_after_it() {
    for mode in MODES {
        for (name, verb) in TIMED {
            let dir = tempfile::tempdir().unwrap();
            let clock = Fragile::new(false);
            let ready = Ready::new(dir.path(), &clock, mode);
            clock.broken.store(true, Ordering::SeqCst);
            expect_poisoned(name, &verb(&ready));
            for (after, verb) in TIMED.into_iter().chain(OTHERS) {
                expect_poisoned(&format!("{after} after {name}"), &verb(&ready));
            }
            ready.store.run_pending();
            assert_eq!(ready.store.message(TOPIC, 0, 2).unwrap().unwrap().body(), b"c", "reads go on after {name}");
            expect_poisoned(&format!("close after {name}"), &ready.store.close());
            clock.broken.store(false, Ordering::SeqCst);
            let store = Options::default().clock(clock).open(dir.path()).unwrap();
            assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), 3, "what {name} refused is there");
            store.close().unwrap();
        }
    }
}

#[test]
fn a_clock_that_panics_in_an_open_fails_it_and_frees_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Fragile::new(false);
    clock.broken.store(true, Ordering::SeqCst);
    let opened = Options::default().clock(clock.clone()).open(dir.path()).map(drop);
    expect_poisoned("open", &opened);
    clock.broken.store(false, Ordering::SeqCst);
    Options::default().clock(clock).open(dir.path()).unwrap().close().unwrap();
}

#[test]
fn a_clock_that_panics_in_a_thread_of_the_store_poisons_it() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let clock = Fragile::new(true);
        let store = Options::default().durability(mode).clock(clock.clone()).open(dir.path()).unwrap();
        let group = store.create_group("g", GroupOptions::default()).unwrap();
        store.append_batch(TOPIC, &["a", "b"].map(Message::new)).unwrap();
        clock.broken.store(true, Ordering::SeqCst);
        // The end of this lease comes before any other time that the reviver waits for, so it wakes and asks for the time.
        let popped = group.pop(TOPIC, Pop::up_to(1).invisible_for(Duration::from_millis(1))).map(drop);
        let mut waits = 0;
        while popped.is_ok() && group.pop(TOPIC, Pop::up_to(1)).is_ok() {
            assert!(waits < 60_000, "{mode:?}: no thread of the store has asked for the time");
            waits += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        expect_poisoned("pop", &group.pop(TOPIC, Pop::up_to(1)).map(drop));
        drop(group);
        expect_poisoned("close", &store.close());
    }
}

/// A subscriber of `tracing` that has a fault of its own.
struct Faulty;

impl tracing::Subscriber for Faulty {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        panic!("a subscriber that is broken on purpose, at {}", event.metadata().level());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_that_panics_fails_neither_an_open_nor_a_receipt() {
    let mut scene = Scene::new();
    scene.append("m");
    scene.close();
    let queue = scene.path.join("queues").join(TOPIC).join("0");
    std::fs::remove_dir_all(&queue).unwrap();
    std::fs::write(&queue, "a file").unwrap();
    tracing::subscriber::with_default(Faulty, || {
        scene.open();
        assert!(matches!(Receipt::from_bytes(b"half"), Err(Error::Invalid { what: "receipt", .. })));
    });
    assert_eq!(scene.pop().body(), b"m");
}

/// A pop finds a wrong entry and logs that while it holds the consumers' lock; an ack logs that it is slow.
#[test]
fn a_subscriber_that_panics_takes_no_verb_along() {
    let mut scene = Scene::new();
    scene.append_many("m", 300);
    scene.close();
    let entries = scene.path.join("queues").join(TOPIC).join("0").join(format!("{:020}", 0));
    change(&entries, |bytes| bytes[..128].rotate_left(16));
    scene.open();
    tracing::subscriber::with_default(Faulty, || {
        let receipt = scene.pop().receipt();
        scene.clock.advance(secs(29));
        assert_eq!(scene.ack(receipt), popstore::Settled::Done);
        assert_eq!(scene.pop().body(), b"m1");
        scene.close();
    });
}
