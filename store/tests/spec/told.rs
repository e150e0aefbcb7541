//! What a caller is told is as durable as what it did.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::disk::{Gate, What, frames_of, tapped};
use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::{Durability, Error, Event, GroupOptions, Options, Pop, Settled, StartAt};

/// The kind of a Positioned record.
const POSITIONED: u8 = 4;

/// Who is told that a message is settled may throw away what it keeps of it, whoever settled it.
#[test]
fn promise_1_already_settled_is_not_told_before_the_settlement_outlives_a_kill() {
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
    let told = second.is_finished();
    let after = tempfile::tempdir().unwrap();
    crate::scene::copy(&scene.path, after.path());
    gate.open();
    assert_eq!(first.join().unwrap(), Settled::Done);
    assert_eq!(second.join().unwrap(), Settled::AlreadySettled);
    scene.close();
    if told {
        scene.path = after.path().to_path_buf();
        scene.open();
        scene.advance(secs(31));
        scene.expect_nothing();
        scene.close();
    }
}

/// A group that starts at the newest message does so or is not made.
#[test]
fn promise_1_a_group_that_is_to_start_at_the_newest_message_is_made_wholly_or_not_at_all() {
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
fn promise_1_a_topic_that_is_found_at_open_is_durable_before_it_is_told_to_be_made() {
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
