//! A thread of the store that panics takes the store with it, and nobody waits for what it should have done.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use popstore::{Durability, Error, Event, GroupOptions, Hook, Message, Options, Pop, Store};

use crate::play::scratch;
use crate::scene::MODES;

const TOPIC: &str = "orders";
/// Nothing here takes seconds, and a machine may be busy.
const LIMIT: Duration = Duration::from_secs(120);

/// Panics at some calls of the store's own threads, from some moment on.
struct Panics {
    armed: AtomicBool,
    happened: AtomicBool,
    at: fn(&Event<'_>) -> bool,
    thread: &'static str,
}

impl Hook for Panics {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let here = std::thread::current().name().is_some_and(|name| name == self.thread);
        if self.armed.load(Ordering::SeqCst) && here && (self.at)(event) {
            self.happened.store(true, Ordering::SeqCst);
            panic!("a mistake in {event:?}");
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

fn opened(
    mode: Durability,
    thread: &'static str,
    at: fn(&Event<'_>) -> bool,
) -> (tempfile::TempDir, Store, Arc<Panics>) {
    let dir = scratch();
    let panics = Arc::new(Panics { armed: AtomicBool::new(false), happened: AtomicBool::new(false), at, thread });
    let options = Options::default().durability(mode).segment_bytes(1 << 16).checkpoint_segment_bytes(1 << 14);
    let store = options.mark_every_bytes(1 << 14).hook(panics.clone()).open(dir.path()).unwrap();
    store.create_group("billing", GroupOptions::default()).unwrap();
    store.append(TOPIC, Message::new("first")).unwrap();
    panics.armed.store(true, Ordering::SeqCst);
    (dir, store, panics)
}

#[allow(clippy::disallowed_methods)]
fn expect_refused(store: &Store, what: &str) {
    let begun = Instant::now();
    let refused = loop {
        match store.append(TOPIC, Message::new(&[b'x'; 1000])) {
            Ok(_) => assert!(begun.elapsed() < LIMIT, "{what}: the store goes on"),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Poisoned { .. }), "{what}: {refused:?}");
}

fn expect_typed_end(store: Store, what: &str) {
    let group = store.group("billing").unwrap();
    let waited = group.pop_wait(TOPIC, Pop::up_to(1), LIMIT);
    assert!(matches!(waited, Err(Error::Poisoned { .. })), "{what}: {waited:?}");
    assert_eq!(store.message(TOPIC, 0, 0).unwrap().unwrap().body(), b"first", "{what}: reads go on");
    drop(group);
    let closed = store.close();
    assert!(matches!(closed, Err(Error::Poisoned { .. })), "{what}: {closed:?}");
}

#[test]
fn a_panic_of_the_thread_that_makes_room_poisons_the_store() {
    for mode in MODES {
        let (_dir, store, _) = opened(mode, "popstore-prepare", |event| matches!(event, Event::Room { .. }));
        expect_refused(&store, "prepare");
        expect_typed_end(store, "prepare");
    }
}

#[test]
fn a_panic_of_any_other_thread_poisons_the_store() {
    for mode in MODES {
        let (_dir, store, _) = opened(mode, "popstore-make", |event| matches!(event, Event::Create(_)));
        expect_refused(&store, "make");
        expect_typed_end(store, "make");
        let (_dir, store, _) = opened(mode, "popstore-maintain", |event| matches!(event, Event::SyncFile(_)));
        expect_refused(&store, "maintain");
        expect_typed_end(store, "maintain");
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn closing_reports_a_thread_that_panicked() {
    for mode in MODES {
        let (_dir, store, panics) = opened(mode, "popstore-maintain", |event| matches!(event, Event::Create(_)));
        let begun = Instant::now();
        while !panics.happened.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < LIMIT, "{mode:?}: maintenance makes no file");
            let appended = store.append(TOPIC, Message::new(&[b'x'; 1000]));
            assert!(appended.is_ok() || panics.happened.load(Ordering::SeqCst), "{mode:?}: {appended:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        // It waits for the threads to end.
        let closed = store.close();
        assert!(matches!(closed, Err(Error::Poisoned { .. })), "{mode:?}: closed as if nothing was wrong: {closed:?}");
    }
}

#[test]
fn a_panic_of_the_leader_of_a_sync_leaves_nobody_waiting() {
    let every = Durability::SyncEvery(Duration::from_millis(5));
    let (_dir, store, _) =
        opened(every, "popstore-flush", |event| matches!(event, Event::SyncFile(_) | Event::SyncRange { .. }));
    expect_refused(&store, "flush");
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
    expect_typed_end(store, "flush");
}

/// What it took from the log to write it is not there any more.
#[test]
fn a_panic_of_a_caller_that_leads_a_sync_poisons_the_store() {
    for mode in MODES {
        let is_sync = |event: &Event<'_>| matches!(event, Event::SyncFile(_) | Event::SyncRange { .. });
        let (_dir, store, _) = opened(mode, "a caller", is_sync);
        let ended = std::thread::scope(|threads| {
            let work = || while store.append(TOPIC, Message::new("lost")).is_ok() && store.sync().is_ok() {};
            std::thread::Builder::new().name("a caller".into()).spawn_scoped(threads, work).unwrap().join()
        });
        assert!(ended.is_err(), "{mode:?}: it led no sync");
        let refused = store.append(TOPIC, Message::new("next"));
        assert!(matches!(refused, Err(Error::Poisoned { .. })), "{mode:?}: the store goes on: {refused:?}");
        assert!(matches!(store.sync(), Err(Error::Poisoned { .. })), "{mode:?}");
        expect_typed_end(store, "caller");
    }
}
