//! The rules of the two logs, 8 and 10: files that are missing, half made or hold whatever bytes.

use std::path::Path;

use crate::disk::{Dice, MESSAGE, base, change, files, frames_of, segments};
use crate::scene::{Scene, TOPIC, copy, text};
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Store};

/// A closed store with several segments in both logs.
fn long() -> Scene {
    let mut scene = Scene::buffered();
    scene.append_many("a message that fills the segments faster, number ", 200);
    scene.close();
    assert!(segments(&scene.path, "commit").len() > 3);
    scene
}

#[test]
fn rule_8_a_missing_segment_is_damage_and_is_named() {
    for log in ["commit", "checkpoint"] {
        let mut scene = long();
        scene.open();
        for _ in 0..120 {
            let _ = scene.pop();
        }
        scene.close();
        let all = segments(&scene.path, log);
        assert!(all.len() > 1, "{log}");
        for path in &all {
            let bytes = std::fs::read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            let refusal = scene.refusal();
            assert!(matches!(refusal, Error::Corrupt { .. }), "{path:?}: {refusal}");
            assert!(refusal.to_string().contains("missing") || base(path) == 0, "{refusal}");
            std::fs::write(path, bytes).unwrap();
        }
        scene.open();
    }
}

#[test]
fn rule_8_a_missing_log_is_damage() {
    for log in ["commit", "checkpoint"] {
        let scene = long();
        std::fs::remove_dir_all(scene.path.join(log)).unwrap();
        assert!(scene.try_open(&scene.options).is_err(), "{log}");
        std::fs::create_dir(scene.path.join(log)).unwrap();
        assert!(matches!(scene.refusal(), Error::Corrupt { .. }), "{log}");
    }
}

#[test]
fn rule_8_a_store_opens_with_a_half_made_newest_segment() {
    for (log, content) in ["commit", "checkpoint"].into_iter().flat_map(|log| [0, 30, 64, 4096].map(|len| (log, len))) {
        let mut scene = long();
        let newest = base(segments(&scene.path, log).last().unwrap());
        std::fs::write(scene.path.join(log).join(format!("{:020}", newest + 4096)), vec![0; content]).unwrap();
        scene.open();
        assert_eq!(scene.bodies().len(), 200);
        scene.append_many("more of them that cross into the new segment ", 100);
        scene.kill();
        assert_eq!(scene.bodies().len(), 300);
    }
}

#[test]
fn rule_8_a_damaged_older_segment_is_not_taken_for_half_made() {
    let scene = long();
    let all = segments(&scene.path, "commit");
    for path in &all {
        let bytes = std::fs::read(path).unwrap();
        change(path, |bytes| bytes[..64].fill(0));
        let refusal = scene.refusal();
        assert!(matches!(&refusal, Error::Corrupt { path: found, .. } if found == path), "{path:?}: {refusal}");
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn rule_8_files_under_construction_are_removed() {
    let mut scene = long();
    for name in ["store.tmp", "commit/00000000000000099999.tmp", "checkpoint/spare-00000000000000099999.tmp"] {
        std::fs::write(scene.path.join(name), b"half of something").unwrap();
    }
    scene.open();
    assert_eq!(scene.bodies().len(), 200);
    let left = files(&scene.path).into_keys().filter(|path| path.extension().is_some());
    assert_eq!(left.count(), 0);
}

/// Whatever it is, it is told or it works; nobody panics and no message is made up.
fn try_out(store: popstore::Result<Store>) {
    let Ok(store) = store else { return };
    let Ok(group) = store.group(crate::scene::GROUP) else { return };
    for delivery in group.pop(TOPIC, Pop::up_to(300)).unwrap_or_default() {
        assert!(text(delivery.body()).starts_with("a message"), "{delivery:?}");
    }
    let _ = (group.dead_letters().map(Iterator::count), store.append(TOPIC, Message::new("x")), store.close());
}

#[test]
fn rule_10_random_bytes_in_any_file_end_in_ok_or_err() {
    let scene = long();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let names: Vec<_> = files(&scene.path).into_keys().filter(|path| !path.ends_with("lock")).collect();
    for round in 0..150 {
        let dir = tempfile::tempdir().unwrap();
        copy(&scene.path, dir.path());
        let name = names[round % names.len()].strip_prefix(&scene.path).unwrap();
        change(&dir.path().join(name), |bytes| match dice.below(4) {
            0 => bytes.truncate(dice.below(bytes.len())),
            1 => bytes.extend((0..dice.below(9000)).map(|_| 0xa5)),
            _ => {
                let (at, len) = (dice.below(bytes.len()), dice.below(200));
                bytes.iter_mut().skip(at).take(len).for_each(|byte| *byte = dice.below(256) as u8);
            }
        });
        try_out(scene.options.clone().open(dir.path()));
    }
}

#[test]
fn rule_10_a_directory_of_garbage_is_refused() {
    let scene = long();
    let mut dice = Dice(7);
    for path in files(&scene.path).into_keys() {
        change(&path, |bytes| bytes.iter_mut().for_each(|byte| *byte = dice.below(256) as u8));
    }
    assert!(matches!(scene.refusal(), Error::Format { .. }));
}

#[test]
fn the_file_that_names_the_store_is_that_file_and_nothing_more() {
    type Damage = fn(&Path);
    let damage: [(&str, Damage); 2] = [
        ("store", |file| change(file, |bytes| bytes.push(0))),
        ("it is not a regular file", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }),
    ];
    for (told, damage) in damage {
        let mut scene = Scene::new();
        scene.append("m");
        scene.die(|dir| damage(&dir.join("store")));
        let refused = scene.refusal().to_string();
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn no_store_is_made_over_records_however_deep_they_lie() {
    let options = Options::default().segment_bytes(1 << 19).checkpoint_segment_bytes(1 << 19);
    let nothing_but = |record: Option<usize>| {
        let mut scene = Scene::sized(options.clone(), GroupOptions::default());
        scene.append("m");
        scene.die(|dir| {
            std::fs::remove_file(dir.join("store")).unwrap();
            for log in ["checkpoint", "commit"] {
                change(&segments(dir, log)[0], |bytes| bytes[64..].fill(0));
            }
            if let Some(at) = record {
                change(&segments(dir, "commit")[0], |bytes| bytes[at] = 1);
            }
        });
        scene
    };
    for at in [64, 1000, (1 << 16) + 64, 200_000, (1 << 19) - 1] {
        let refused = nothing_but(Some(at)).refusal().to_string();
        assert!(refused.contains("is missing, but"), "{at}: {refused}");
    }
    // Made, but nothing was ever written to it.
    let mut scene = nothing_but(None);
    scene.open();
    assert_eq!(scene.store().recovery().generation, 1);
}

#[test]
fn a_topic_of_as_many_queues_as_can_be_opens_again() {
    let mut scene = Scene::buffered();
    scene.store().create_topic(TOPIC, 1024).unwrap();
    scene.kill();
    assert_eq!(scene.store().topic_stats(TOPIC).unwrap().queues.len(), 1024);
}

/// A backup may bring back one file and not the other.
#[test]
fn a_file_store_that_is_older_than_a_log_is_refused() {
    for message in [false, true] {
        let mut scene = Scene::new();
        scene.append("a");
        scene.close();
        let old = std::fs::read(scene.path.join("store")).unwrap();
        scene.open();
        if message {
            scene.append("b");
        }
        scene.die(|dir| std::fs::write(dir.join("store"), &old).unwrap());
        let plan = popstore::inspect::RecoveryPlan::read_for(&scene.path, &scene.options).unwrap();
        assert!(plan.refused.is_some_and(|why| why.to_string().contains("older than the log")));
        assert!(scene.refusal().to_string().contains("older than the log"));
    }
}

/// What was handed out was durable, so that its absence is no torn tail.
#[test]
fn a_commit_log_that_is_older_than_the_consumers_is_refused() {
    for (mode, refused) in [(popstore::Durability::SyncEach, true), (popstore::Durability::Buffered, false)] {
        let mut scene = Scene::with(Options::default().durability(mode), GroupOptions::default());
        scene.append_many("m", 20);
        let before = files(&scene.path.join("commit"));
        scene.append_many("n", 3);
        assert_eq!(scene.pop_up_to(22).len(), 22);
        scene.die(|dir| {
            for (path, bytes) in &before {
                std::fs::write(dir.join("commit").join(path.file_name().unwrap()), bytes).unwrap();
            }
        });
        let plan = popstore::inspect::RecoveryPlan::read_for(&scene.path, &scene.options).unwrap();
        let mut faults = Vec::new();
        popstore::inspect::Snapshot::open(&scene.path)
            .unwrap()
            .verify(|_, _| {}, |fault| faults.push(fault.clone()))
            .unwrap();
        assert_eq!((plan.refused.is_some(), !faults.is_empty()), (refused, refused), "{mode:?}: {faults:?}");
        match refused {
            true => assert!(scene.refusal().to_string().contains("older than the checkpoint log")),
            false => scene.open(),
        }
    }
}

#[test]
fn an_older_checkpoint_log_beside_a_newer_commit_log_is_refused() {
    let mut scene = Scene::new();
    scene.append("a");
    let older = tempfile::tempdir().unwrap();
    scene.close();
    copy(&scene.path, older.path());
    scene.open();
    scene.append("b");
    let receipts: Vec<_> = scene.pop_up_to(10).iter().map(popstore::Delivery::receipt).collect();
    assert_eq!(scene.group().ack_batch(&receipts).unwrap().len(), 2);
    scene.close();
    std::fs::remove_dir_all(scene.path.join("checkpoint")).unwrap();
    std::fs::create_dir(scene.path.join("checkpoint")).unwrap();
    copy(&older.path().join("checkpoint"), &scene.path.join("checkpoint"));
    let refused = scene.options.clone().open(&scene.path).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { path, .. } if path.ends_with("checkpoint")), "{refused}");
}

#[test]
fn garbage_as_the_newest_segment_is_damage_and_not_half_made() {
    let mut scene = Scene::buffered();
    scene.append_many("message", 200);
    scene.store().sync().unwrap();
    scene.close();
    let newest = segments(&scene.path, "commit").pop().unwrap();
    change(&newest, |bytes| bytes.fill(0x5a));
    let refused = scene.options.clone().open(&scene.path).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { path, .. } if *path == newest), "{refused}");
    let store: Result<Store, _> = Options::default().open(&scene.path);
    assert!(store.is_err());
}

/// A power cut can leave the file of the newest segment short, and the next one whole and blank behind it. The end frame
/// of the first needs room in its file before the log goes on in the next; beyond the end of the file its map is death.
#[test]
fn rule_8_a_short_segment_gets_room_for_its_end_frame() {
    const PAGE: usize = 4096;
    let options = Options::default().durability(Durability::Buffered).segment_bytes(16 * PAGE as u64);
    let mut scene = Scene::sized(options, GroupOptions::default());
    scene.append("first");
    let first = frames_of(&scene.path, "commit", MESSAGE)[0].clone();
    // The next message ends a little before a page does.
    let body = PAGE - 10 - (first.at + first.len) - (first.len - "first".len());
    scene.append(&"x".repeat(body));
    scene.store().run_pending();
    assert_eq!(segments(&scene.path, "commit").len(), 2, "one lies ahead");
    scene.die(|dir| {
        let last = frames_of(dir, "commit", MESSAGE)[1].clone();
        assert_eq!(last.at + last.len, PAGE - 10);
        change(&last.path, |bytes| bytes.truncate(PAGE));
    });
    scene.open();
    assert_eq!(segments(&scene.path, "commit").len(), 2, "it is kept");
    assert_eq!(scene.append(&"y".repeat(15 * PAGE)), 2);
    assert_eq!(scene.bodies().len(), 3);
}
