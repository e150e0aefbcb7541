//! The rules of the two logs, 6, 7 and 9: what happens together, interrupted recovery, receipts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::{BURIED, REDRIVEN, Tap, frames_of};
use crate::scene::{Scene, TOPIC, bodies, copy, secs};
use popstore::{Durability, Error, GroupOptions, Options, Pop, Receipt, Redriven, Settled};

/// A dead letter whose copy is in the commit log, and whose record in the checkpoint log is lost.
fn half_buried() -> Scene {
    let options = Options::default().durability(Durability::Buffered);
    let mut scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    scene.append("a");
    let _ = scene.pop();
    scene.advance(secs(31));
    assert_eq!(scene.letters(), ["a"]);
    scene.kill_and(|dir| frames_of(dir, "checkpoint", BURIED)[0].cut());
    scene
}

#[test]
fn rule_6_a_dead_letter_whose_settling_is_lost_is_settled_at_open_exactly_once() {
    let mut scene = half_buried();
    assert_eq!(scene.store().recovery().dead_letters_completed, 1);
    for _ in 0..2 {
        scene.advance(secs(3600));
        scene.expect_nothing();
        assert_eq!(scene.letters(), ["a"]);
        assert_eq!(scene.group().stats().unwrap().dead_lettered, 1);
        scene.kill();
        assert_eq!(scene.store().recovery().dead_letters_completed, 0);
    }
}

#[test]
fn rule_6_a_completed_dead_letter_is_redriven_once() {
    let mut scene = half_buried();
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    assert_eq!(scene.group().redrive(&letter).unwrap(), Redriven::Done { queue: 0, index: 1 });
    assert_eq!(scene.group().redrive(&letter).unwrap(), Redriven::AlreadyRedriven);
    scene.kill();
    assert!(scene.letters().is_empty());
    let delivery = scene.pop();
    assert_eq!((delivery.body(), delivery.attempt(), delivery.message().index()), (&b"a"[..], 1, 1));
    scene.expect_nothing();
}

#[test]
fn rule_6_a_redrive_whose_record_is_lost_is_completed_at_open() {
    let mut scene = half_buried();
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    assert!(matches!(scene.group().redrive(&letter).unwrap(), Redriven::Done { .. }));
    scene.kill_and(|dir| frames_of(dir, "checkpoint", REDRIVEN)[0].cut());
    assert!(scene.letters().is_empty(), "back in the list though it was put back");
    assert_eq!(scene.bodies(), ["a", "a"]);
}

#[test]
fn rule_6_a_dead_letter_whose_copy_is_lost_is_still_due() {
    let mut scene = Scene::limit(0);
    scene.append("a");
    let _ = scene.pop();
    scene.clock.advance(secs(31));
    // Killed after the lease ended and before anything was done about it.
    scene.kill();
    assert!(scene.letters().is_empty());
    scene.advance(secs(0));
    assert_eq!(scene.letters(), ["a"]);
    scene.expect_nothing();
}

/// A store that needs every kind of repair: a cut tail, void records, a dead letter half-way, missing queues.
fn broken() -> Scene {
    let mut scene = half_buried();
    scene.append_many("m", 150);
    scene.store().sync().unwrap();
    scene.store().run_pending();
    scene.append_many("lost", 40);
    let _ = scene.pop_up_to(200);
    scene.die(|dir| {
        crate::disk::lose_messages(dir, 30);
        std::fs::remove_dir_all(dir.join("queues")).unwrap();
        std::fs::write(dir.join("commit").join("00000000000000999999.tmp"), b"half").unwrap();
    });
    scene
}

#[test]
fn rule_7_recovery_that_is_interrupted_at_any_step_starts_over_to_the_same_result() {
    let scene = broken();
    let expected: Vec<String> = {
        let whole = tempfile::tempdir().unwrap();
        copy(&scene.path, whole.path());
        bodies(&scene.options.clone().open(whole.path()).unwrap())
    };
    for steps in (0..).step_by(3) {
        let (dir, tap, done) = (tempfile::tempdir().unwrap(), Arc::new(Tap::default()), AtomicUsize::new(0));
        copy(&scene.path, dir.path());
        tap.fail(move |_, _| match done.fetch_add(1, Ordering::Relaxed) < steps {
            true => Ok(()),
            false => Err(std::io::Error::other("the power failed")),
        });
        let opened = scene.options.clone().hook(tap.clone()).open(dir.path());
        let over = opened.is_ok();
        tap.heal();
        drop(opened);
        let store = scene.options.clone().open(dir.path()).unwrap();
        assert_eq!(bodies(&store), expected, "interrupted after {steps} steps");
        assert_eq!(store.group(crate::scene::GROUP).unwrap().stats().unwrap().dead_lettered, 1);
        if over {
            assert!(steps > 10, "{steps}");
            break;
        }
    }
}

#[test]
fn rule_9_a_receipt_of_another_store_or_group_is_refused() {
    let (scene, other) = (Scene::new(), Scene::new());
    scene.append("a");
    other.append("a");
    let (ours, theirs) = (scene.pop().receipt(), other.pop().receipt());
    let shipping = scene.store().create_group("shipping", GroupOptions::default()).unwrap();
    let _ = shipping.pop(TOPIC, Pop::up_to(1)).unwrap();
    for (group, receipt) in [(scene.group(), theirs), (shipping.clone(), ours)] {
        assert!(matches!(group.ack(receipt), Err(Error::Invalid { what: "receipt", .. })));
        assert!(matches!(group.nack(receipt, secs(0)), Err(Error::Invalid { what: "receipt", .. })));
        assert!(matches!(group.extend(receipt, secs(9)), Err(Error::Invalid { what: "receipt", .. })));
    }
    assert_eq!(scene.ack(ours), Settled::Done);
    assert_eq!(shipping.stats().unwrap().in_flight, 1);
}

#[test]
fn rule_9_a_receipt_is_good_for_one_attempt_only() {
    let scene = Scene::new();
    scene.append_many("m", 2);
    let first = scene.pop().receipt();
    assert_eq!(scene.nack(first, secs(0)), Settled::Done);
    let second = scene.pop().receipt();
    assert_eq!((first.attempt(), second.attempt()), (1, 2));
    assert_eq!(scene.ack(first), Settled::HandedOutAgain { attempt: 2 });
    assert_eq!(
        scene.group().ack_batch(&[second, first, second]).unwrap(),
        [Settled::Done, Settled::HandedOutAgain { attempt: 2 }, Settled::AlreadySettled]
    );
}

#[test]
fn rule_9_a_receipt_is_good_for_one_generation_only() {
    let mut scene = Scene::buffered();
    scene.append("lost");
    let old = scene.pop().receipt();
    scene.kill_and(|dir| crate::disk::lose_messages(dir, 1));
    scene.append("new");
    let new = scene.pop().receipt();
    assert_eq!(old.to_bytes()[20..44], new.to_bytes()[20..44], "the same place and attempt");
    assert_eq!((scene.ack(old), scene.ack(new)), (Settled::Unknown, Settled::Done));
}

#[test]
fn rule_9_a_changed_receipt_does_not_parse() {
    let scene = Scene::new();
    scene.append("a");
    let receipt = scene.pop().receipt();
    for at in 0..receipt.to_bytes().len() {
        let mut bytes = receipt.to_bytes();
        bytes[at] ^= 1 << (at % 8);
        assert!(matches!(Receipt::from_bytes(&bytes), Err(Error::Invalid { what: "receipt", .. })), "byte {at}");
    }
    assert_eq!(Receipt::from_bytes(&receipt.to_bytes()).unwrap(), receipt);
}
