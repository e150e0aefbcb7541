//! What a sync must reach, and what must last, where a mistake was once made or nothing else tells.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::disk::{Gate, MESSAGE, Tap, What, frames_of, is_segment_of, segments, tapped};
use crate::scene::{MODES, Scene, TOPIC, copy, secs};
use popstore::{Durability, Event, GroupOptions, Message, Options, Pop, Retention, Settled, Store};

/// A segment that was synced when it was half full is synced once more when it is full.
#[test]
fn promise_2_a_sync_reaches_the_rest_of_a_segment_of_which_a_part_was_synced_before() {
    let (scene, tap) = tapped(Durability::Buffered);
    scene.append("first");
    scene.store().sync().unwrap();
    tap.heal();
    (0..8).for_each(|_| assert!(scene.append(&"x".repeat(900)) > 0));
    let oldest = segments(&scene.path, "commit")[0].clone();
    scene.store().sync().unwrap();
    let oldest = oldest.file_name().unwrap().to_str().unwrap();
    assert!(tap.seen(oldest).contains(&What::Sync), "the end of the first segment is not durable");
}

#[test]
fn promise_2_an_extension_is_durable_before_it_is_told() {
    let (scene, tap) = tapped(Durability::SyncEach);
    scene.append("m0");
    let receipt = scene.pop().receipt();
    tap.heal();
    assert_eq!(scene.group().extend(receipt, secs(600)).unwrap(), Settled::Done);
    assert_eq!(tap.seen("checkpoint").last(), Some(&What::Sync));
}

/// Nobody has to fill a segment or close the store for the next open to be quick.
#[test]
fn promise_1_when_nothing_is_appended_any_more_all_is_marked_and_the_next_open_reads_no_message_again() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().durability(mode).open(dir.path()).unwrap();
        let body = vec![b'x'; 1 << 18];
        (0..5).for_each(|_| assert!(store.append(TOPIC, Message::new(&body)).is_ok()));
        let scanned = || {
            thread::sleep(Duration::from_millis(20));
            let killed = tempfile::tempdir().unwrap();
            copy(dir.path(), killed.path());
            Store::open(killed.path()).map(|store| store.recovery().records_scanned)
        };
        // Files that change while they are copied may be no store.
        assert!((0..500).any(|_| matches!(scanned(), Ok(0))), "{mode:?}");
    }
}

/// With the clock set back a wait is at most the invisible time, counted once and not from each restart.
#[test]
fn promise_8_a_wait_that_was_shortened_does_not_begin_anew_with_the_next_restart() {
    let mut scene = Scene::new();
    scene.append("m0");
    let _ = scene.pop();
    scene.clock.set(secs(500_000));
    scene.kill();
    assert!(scene.store().recovery().clock_set_back);
    scene.advance(secs(20));
    scene.kill();
    assert!(!scene.store().recovery().clock_set_back);
    scene.advance(secs(11));
    assert_eq!(scene.pop().body(), b"m0");
}

/// The files of a message that somebody holds go only when its copy is durable.
#[test]
fn promise_2_a_message_that_is_moved_on_is_durable_before_its_first_place_goes() {
    let tap = Arc::new(Tap::default());
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(4096));
    let scene = Scene::with(options.hook(tap.clone()), GroupOptions::default());
    scene.append("held");
    let held = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(secs(9000))).unwrap();
    assert_eq!(held.len(), 1);
    for _ in 0..8 {
        scene.append(&"x".repeat(900));
        let _ = scene.ack(scene.pop().receipt());
    }
    let oldest = segments(&scene.path, "commit")[0].clone();
    let head = frames_of(&scene.path, "commit", MESSAGE).pop().unwrap().path;
    let synced = Arc::new(Mutex::new(None));
    let (seen, head, first) = (Arc::clone(&synced), head, oldest.clone());
    let mut head_synced = false;
    tap.fail(move |what, path| {
        head_synced |= what == What::Sync && path == head;
        if what == What::Remove && path == first {
            *seen.lock().unwrap() = Some(head_synced);
        }
        Ok(())
    });
    scene.advance(secs(1));
    assert!(!oldest.exists(), "retention did nothing");
    assert_eq!(*synced.lock().unwrap(), Some(true), "the copy is not durable");
    assert_eq!(scene.store().message(TOPIC, 0, 0).unwrap().unwrap().body(), b"held");
}

#[test]
fn promise_2_what_is_appended_while_a_sync_runs_is_synced_after_it() {
    let gate = Gate::at(|event| matches!(event, Event::SyncRange { path, .. } if is_segment_of(path, "commit")));
    let dir = tempfile::tempdir().unwrap();
    let every = Durability::SyncEvery(Duration::from_millis(10));
    let store = Store::options().durability(every).hook(gate.clone()).open(dir.path()).unwrap();
    let append = |body: &str| store.append(TOPIC, Message::new(body)).unwrap().offset;
    let synced = |offset: u64| {
        let mut tries = (0..1000).map(|_| thread::sleep(Duration::from_millis(5)));
        tries.any(|()| store.synced_through() > offset)
    };
    assert!(synced(append("first")));
    gate.close();
    append("under way");
    gate.wait_until_it_holds_one();
    let meanwhile = append("meanwhile");
    gate.open();
    assert!(synced(meanwhile), "nobody syncs it");
}
