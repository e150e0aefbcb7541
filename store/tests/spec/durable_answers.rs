//! An answer is as durable as what it reports: syncs come before it and reach everything that it stands for.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::disk::{Gate, MESSAGE, Tap, What, frames_of, is_segment_of, segments, tapped};
use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::{Durability, Error, Event, GroupOptions, Message, Options, Pop, Retention, Settled, StartAt, Store};

/// The kind of a Positioned record.
const POSITIONED: u8 = 4;

/// After the answer that a message is settled, its consumer may throw away its own copy, whoever settled it.
#[test]
fn promise_1_an_already_settled_message_stays_so_after_a_kill() {
    let gate = Gate::at(|event| match event {
        Event::Write { path, .. } => path.to_string_lossy().contains("checkpoint"),
        _ => false,
    });
    let mut scene = Scene::with(Options::default().hook(gate.clone()), GroupOptions::default());
    scene.append("m0");
    let receipt = scene.pop().receipt();
    gate.close();
    let ack = || {
        let group = scene.group();
        thread::spawn(move || group.ack(receipt).unwrap())
    };
    let first = ack();
    gate.wait_until_it_holds_one();
    // The ack of the first is under way and nowhere on the disk.
    let second = ack();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(10));
        if second.is_finished() {
            break;
        }
    }
    let answered = second.is_finished();
    let after = tempfile::tempdir().unwrap();
    crate::scene::copy(&scene.path, after.path());
    gate.open();
    assert_eq!(first.join().unwrap(), Settled::Done);
    assert_eq!(second.join().unwrap(), Settled::AlreadySettled);
    scene.close();
    if answered {
        scene.path = after.path().to_path_buf();
        scene.open();
        scene.advance(secs(31));
        scene.expect_nothing();
        scene.close();
    }
}

/// A group that starts at the newest message does so or is not made.
#[test]
fn promise_1_a_group_at_the_newest_message_is_made_wholly() {
    let mut scene = Scene::buffered();
    scene.append("old");
    let newest = || GroupOptions::default().start_at(StartAt::Newest);
    let _ = scene.store().create_group("late", newest()).unwrap();
    // The process died between the two records.
    scene.kill_and(|dir| frames_of(dir, "checkpoint", POSITIONED).last().unwrap().cut());
    let group = scene.store().create_group("late", newest()).unwrap();
    scene.append("new");
    let bodies: Vec<_> = group.pop(TOPIC, Pop::up_to(9)).unwrap().iter().map(|one| one.body().to_vec()).collect();
    assert_eq!(bodies, [b"new".to_vec()]);
}

/// The process died while a topic was made; the next one is asked for the same.
#[test]
fn promise_1_a_topic_found_at_open_is_made_durable_first() {
    let (mut scene, tap) = tapped(Durability::Buffered);
    scene.append("m0");
    tap.fail(|what, path: &Path| {
        let refused = what == What::Sync && path.components().any(|part| part.as_os_str() == "commit");
        if refused { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    });
    assert!(matches!(scene.store().create_topic("made", 2), Err(Error::Poisoned { .. })));
    scene.die(|_| {});
    scene.open();
    assert!(matches!(scene.store().create_topic("made", 2), Err(Error::Poisoned { .. })), "it is not durable: {GROUP}");
}

/// A segment that was synced when it was half full is synced once more when it is full.
#[test]
fn promise_2_a_sync_reaches_the_rest_of_a_synced_segment() {
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
fn promise_2_an_extension_is_durable_before_it_returns() {
    let (scene, tap) = tapped(Durability::SyncEach);
    scene.append("m0");
    let receipt = scene.pop().receipt();
    tap.heal();
    assert_eq!(scene.group().extend(receipt, secs(600)).unwrap(), Settled::Done);
    assert_eq!(tap.seen("checkpoint").last(), Some(&What::Sync));
}

/// The files of a message that somebody holds go only when its copy is durable.
#[test]
fn promise_2_a_moved_message_is_durable_before_its_segment_goes() {
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
fn promise_2_what_is_appended_during_a_sync_is_synced_after_it() {
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
