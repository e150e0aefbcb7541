//! The rules of the two logs, 6, 7 and 9: what happens together, interrupted recovery, receipts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::disk::{
    BURIED, ENDED, FrameIn, HEADER, MESSAGE, REDRIVEN, SNAPSHOT_END, Tap, change, frames, frames_of, lose_messages,
    segments,
};
use crate::scene::{GROUP, MODES, Scene, TOPIC, bodies, copy, secs};
use popstore::inspect::Snapshot;
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Receipt, Redriven, Settled};

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
fn rule_6_an_unrecorded_burial_is_settled_once_at_open() {
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
fn rule_6_a_letter_settles_though_the_end_of_its_lease_is_lost() {
    let mut scene = half_buried();
    scene.append("b");
    let _ = scene.pop();
    scene.advance(secs(31));
    // The clock is set back as well: by the checkpoint log the lease runs on.
    scene.clock.set(secs(1_000_040));
    scene.die(|dir| frames_of(dir, "checkpoint", ENDED).last().unwrap().cut());
    let beside = Snapshot::open(&scene.path).unwrap();
    assert_eq!((beside.leases().count(), beside.places("%DLQ%billing", 0).count()), (0, 2));
    drop(beside);
    scene.open();
    assert_eq!(scene.store().recovery().dead_letters_completed, 1, "it was not settled");
    scene.advance(secs(3600));
    assert_eq!(scene.letters(), ["a", "b"]);
    scene.expect_nothing();
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
fn rule_7_recovery_interrupted_anywhere_has_the_same_result() {
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
    assert_eq!((first.delivery(), second.delivery()), (1, 2));
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

/// What refuses to open a store that died, and was changed then.
fn refusal_of(mut scene: Scene, change: impl FnOnce(&Path)) -> String {
    scene.die(change);
    scene.refusal().to_string()
}

#[test]
fn a_log_that_is_gone_is_damage_also_when_it_told_of_no_message() {
    for log in ["checkpoint", "commit"] {
        let gone = |dir: &Path| segments(dir, log).iter().for_each(|segment| std::fs::remove_file(segment).unwrap());
        let refused = refusal_of(Scene::new(), gone);
        assert!(refused.contains(log) && refused.contains("the log is missing"), "{refused}");
    }
}

#[test]
fn a_snapshot_that_lost_its_beginning_is_none() {
    let scene = Scene::new();
    scene.append("m");
    // Names for more than one segment.
    let group = |n: u32| format!("{}{n}", "g".repeat(120));
    (0..60).for_each(|n| drop(scene.store().create_group(&group(n), GroupOptions::default()).unwrap()));
    while frames_of(&scene.path, "checkpoint", SNAPSHOT_END).is_empty() {
        assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
        scene.store().run_pending();
    }
    let refused = refusal_of(scene, |dir| {
        let end = frames_of(dir, "checkpoint", SNAPSHOT_END).pop().unwrap().path;
        let before = segments(dir, "checkpoint").into_iter().take_while(|segment| *segment != end);
        let removed: Vec<_> = before.inspect(|segment| std::fs::remove_file(segment).unwrap()).collect();
        assert!(!removed.is_empty(), "the snapshot fits into one segment");
    });
    assert!(refused.contains("no whole snapshot"), "{refused}");
}

#[test]
fn a_name_that_nobody_could_give_is_damage() {
    for (log, name) in [("checkpoint", GROUP), ("commit", TOPIC)] {
        let scene = Scene::new();
        scene.append("m");
        let refused = refusal_of(scene, |dir| {
            change(&segments(dir, log)[0], |bytes| {
                let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
                bytes[at] = b'/';
                let record = popstore::fuzzing::checked_at(bytes, at).unwrap();
                popstore::fuzzing::repair(bytes, record);
            });
        });
        assert!(refused.contains(log) && refused.contains("name has an impossible value"), "{refused}");
    }
}

#[test]
fn a_batch_torn_right_behind_the_durable_end_never_happened() {
    for mode in MODES {
        let mut scene = Scene::with(Options::default().durability(mode), GroupOptions::default());
        scene.append("a");
        scene.store().append_batch(TOPIC, &["b", "c", "d"].map(Message::new)).unwrap();
        let (mut before, mut whole) = (0, 0);
        scene.kill_and(|dir| {
            lose_messages(dir, 1);
            whole = frames_of(dir, "commit", MESSAGE)[1..].iter().map(|frame| frame.len as u64).sum();
            before = frames(dir, "commit").len() as u64 - 2;
        });
        assert_eq!(scene.bodies(), ["a"], "{mode:?}");
        let recovery = scene.store().recovery();
        assert_eq!((recovery.records_scanned, recovery.tail_bytes_cut), (before, whole), "{mode:?}");
        assert_eq!(scene.append("e"), 1);
    }
}

/// Writes records one behind the other as the whole commit log, with right checksums.
fn write_log(dir: &Path, records: &[&[u8]]) {
    change(&segments(dir, "commit")[0], |bytes| {
        bytes[HEADER..].fill(0);
        let mut at = HEADER;
        for record in records {
            bytes[at..at + record.len()].copy_from_slice(record);
            popstore::fuzzing::repair(bytes, at);
            at += record.len();
        }
    });
}

#[test]
fn records_that_are_whole_but_tell_what_cannot_be_are_damage() {
    let store = || {
        let scene = Scene::buffered();
        scene.append("a");
        scene.store().append_batch(TOPIC, &["b", "c", "d"].map(Message::new)).unwrap();
        scene
    };
    let records: Vec<Vec<u8>> = frames(&store().path, "commit").iter().map(FrameIn::bytes).collect();
    let name_at = |record: &Vec<u8>| record.windows(TOPIC.len()).position(|part| part == TOPIC.as_bytes());
    let (topic, at) = records.iter().find_map(|record| Some((record, name_at(record)?))).unwrap();
    let no_queues = [&topic[..at - 2], &[0], &topic[at - 1..]].concat();
    let other_name = [&topic[..at], b"0", &topic[at + 1..]].concat();
    let [a, b, c, d] = records.last_chunk().unwrap();
    // Each behind the topic told twice, since records say how far the log was durable.
    let stories: [(&str, &[&[u8]]); 7] = [
        ("does not count down", &[a, b, d]),
        ("does not count down", &[a, b, b, c, d]),
        ("a batch is interrupted", &[a, b, topic, c, d]),
        ("not at the end of its queue", &[a, a]),
        ("not at the end of its queue", &[b, c, d]),
        ("a topic has two names", &[a, &other_name]),
        ("number of queues has an impossible value", &[a, &no_queues]),
    ];
    for (told, story) in stories {
        let refused = refusal_of(store(), |dir| write_log(dir, &[&[&topic[..], topic], story].concat()));
        assert!(refused.contains(told), "{refused}");
    }
    // Told again as it was, the topic is the same.
    let mut scene = store();
    scene.kill_and(|dir| write_log(dir, &[topic, topic, a, topic, b, c, d]));
    assert_eq!(scene.bodies(), ["a", "b", "c", "d"]);
}
