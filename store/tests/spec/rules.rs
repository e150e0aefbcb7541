//! The rules of the two logs, 1 to 5: what is true, what is proven, what is void.

use crate::disk::{MESSAGE, change, files, frames, frames_of, lose_messages, segments};
use crate::scene::{Scene, TOPIC, secs};
use popstore::{Error, Message, Pop, Settled};

fn hundred() -> Scene {
    let mut scene = Scene::buffered();
    scene.append_many("m", 100);
    scene.reopen();
    scene
}

fn expect_hundred(scene: &Scene) {
    let expected: Vec<String> = (0..100).map(|at| format!("m{at}")).collect();
    assert_eq!(scene.bodies(), expected);
    let popped: Vec<_> = scene.pop_up_to(200).iter().map(|one| crate::scene::text(one.body())).collect();
    assert_eq!(popped, expected);
}

#[test]
fn rule_1_deleted_consume_queues_are_rebuilt_from_the_log() {
    let mut scene = hundred();
    scene.close();
    std::fs::remove_dir_all(scene.path.join("queues")).unwrap();
    scene.open();
    assert_eq!(scene.store().recovery().queues_rebuilt, 1);
    expect_hundred(&scene);
}

#[test]
fn rule_1_short_consume_queues_are_rebuilt_from_the_log() {
    let mut scene = hundred();
    scene.close();
    files(&scene.path.join("queues")).keys().for_each(|path| change(path, |bytes| bytes.truncate(20)));
    scene.open();
    assert_eq!(scene.store().recovery().queues_rebuilt, 1);
    expect_hundred(&scene);
}

#[test]
fn rule_1_damaged_consume_queues_are_rebuilt_when_they_are_read() {
    for fill in [0x00, 0x01, 0xa5, 0xff] {
        let mut scene = hundred();
        scene.close();
        files(&scene.path.join("queues")).keys().for_each(|path| change(path, |bytes| bytes.fill(fill)));
        scene.open();
        expect_hundred(&scene);
    }
}

#[test]
fn rule_1_entries_that_lead_to_another_message_are_not_believed() {
    let mut scene = hundred();
    scene.close();
    let swap = |bytes: &mut Vec<u8>| bytes[..32].rotate_left(16);
    files(&scene.path.join("queues")).keys().for_each(|path| change(path, swap));
    scene.open();
    expect_hundred(&scene);
}

#[test]
fn rule_2_a_record_of_another_store_never_parses() {
    let (mut scene, other) = (Scene::buffered(), Scene::buffered());
    scene.append("a0");
    other.append_many("a", 2);
    let next = frames_of(&other.path, "commit", MESSAGE)[1].clone();
    let foreign = next.bytes();
    scene.kill_and(|dir| {
        let last = frames_of(dir, "commit", MESSAGE)[0].clone();
        let end = last.at + last.len;
        assert_eq!(end, next.at, "at its own place, in the wrong store");
        change(&last.path, |bytes| bytes[end..end + foreign.len()].copy_from_slice(&foreign));
    });
    assert_eq!((scene.bodies().len(), scene.store().recovery().tail_bytes_cut), (1, foreign.len() as u64));
}

#[test]
fn rule_2_a_record_at_another_place_and_zeroes_never_parse() {
    let mut scene = Scene::buffered();
    scene.append("a");
    scene.kill_and(|dir| {
        let last = frames_of(dir, "commit", MESSAGE)[0].clone();
        let (end, again) = (last.at + last.len, last.bytes());
        change(&last.path, |bytes| bytes[end..end + again.len()].copy_from_slice(&again));
    });
    assert_eq!(scene.bodies(), ["a"]);
    scene.kill_and(|dir| lose_messages(dir, 1));
    assert!(scene.bodies().is_empty());
}

#[test]
fn rule_3_a_bit_flip_in_durable_bytes_is_damage_and_stays() {
    let mut scene = Scene::new();
    scene.append_many("m", 3);
    scene.die(|_| {});
    let all = frames(&scene.path, "commit");
    let before = files(&scene.path);
    for frame in &all[..all.len() - 1] {
        for byte in (0..frame.len).step_by(5) {
            frame.flip(byte);
            let damaged = files(&scene.path);
            let Error::Corrupt { path, offset, .. } = scene.refusal() else { panic!("not told as damage") };
            assert_eq!((path.as_path(), offset), (frame.path.as_path(), frame.at as u64), "byte {byte}");
            assert!(
                files(&scene.path)
                    .into_iter()
                    .filter(|(path, _)| !path.ends_with("lock"))
                    .eq(damaged.into_iter().filter(|(path, _)| !path.ends_with("lock")))
            );
            frame.flip(byte);
        }
    }
    assert!(files(&scene.path).iter().all(|(path, bytes)| before.get(path).is_none_or(|before| before == bytes)));
    scene.open();
    assert_eq!(scene.bodies(), ["m0", "m1", "m2"]);
}

#[test]
fn rule_3_damage_in_the_checkpoint_log_is_corruption_too() {
    let mut scene = Scene::new();
    scene.append("a");
    assert_eq!(scene.ack(scene.pop().receipt()), Settled::Done);
    scene.die(|_| {});
    let all = frames(&scene.path, "checkpoint");
    for frame in &all[..all.len() - 1] {
        frame.flip(frame.len - 1);
        assert!(matches!(scene.refusal(), Error::Corrupt { offset, .. } if offset == frame.at as u64));
        frame.flip(frame.len - 1);
    }
}

#[test]
fn rule_3_after_a_clean_close_even_the_last_record_is_not_cut() {
    let mut scene = Scene::buffered();
    scene.append_many("m", 2);
    scene.close();
    frames_of(&scene.path, "commit", MESSAGE)[1].flip(30);
    // What lies before the last mark is not read at open, but it is told when it is.
    scene.open();
    assert_eq!(scene.pop().body(), b"m0");
    let Err(Error::Corrupt { message: Some(place), .. }) = scene.group().pop(TOPIC, Pop::up_to(1)) else {
        panic!("the damaged message is not named")
    };
    assert_eq!((place.topic.as_str(), place.queue, place.index), (TOPIC, 0, 1));
    assert_eq!(scene.append("m2"), 2);
}

#[test]
fn rule_3_a_tail_that_was_never_proven_durable_is_cut() {
    let mut scene = Scene::new();
    scene.append_many("m", 3);
    scene.kill_and(|dir| frames_of(dir, "commit", MESSAGE)[2].flip(30));
    assert_eq!(scene.bodies(), ["m0", "m1"]);
    assert!(scene.store().recovery().tail_bytes_cut > 0);
    assert_eq!(scene.append("new"), 2);
}

#[test]
fn rule_4_bytes_behind_the_end_never_come_back() {
    let (mut scene, lost) = crate::order_on_disk::with_a_tail();
    scene.open();
    assert_eq!(scene.bodies(), ["m0"]);
    // The new record and that of its topic are as long as the lost one: what followed it would follow again.
    scene.append("n1");
    assert_eq!(scene.store().stats().unwrap().commit_bytes as usize, lost[1].at);
    scene.kill();
    assert_eq!(scene.bodies(), ["m0", "n1"]);
    scene.kill_and(|dir| lose_messages(dir, 1));
    assert_eq!(scene.bodies(), ["m0"]);
}

#[test]
fn rule_4_segments_behind_the_end_are_removed() {
    let mut scene = Scene::buffered();
    scene.append("first");
    (0..8).for_each(|_| assert!(scene.store().append(TOPIC, Message::new(&[b'x'; 1500])).is_ok()));
    // No run_pending so far: nothing of it was synced or marked.
    scene.kill_and(|dir| {
        // A chain that was never durable lost its first part.
        let first = segments(dir, "commit")[0].clone();
        frames_of(dir, "commit", MESSAGE).iter().filter(|frame| frame.path == first).nth(1).unwrap().cut();
    });
    assert_eq!(scene.bodies(), ["first"]);
    scene.append("second");
    scene.kill();
    assert_eq!(scene.bodies(), ["first", "second"]);
}

#[test]
fn rule_5_acks_leases_and_positions_of_lost_messages_are_void() {
    let mut scene = Scene::buffered();
    scene.append_many("m", 2);
    scene.store().sync().unwrap();
    scene.append_many("lost", 3);
    let old: Vec<_> = scene.pop_up_to(10).iter().map(|one| one.receipt()).collect();
    assert_eq!((scene.ack(old[0]), scene.ack(old[3])), (Settled::Done, Settled::Done));
    scene.kill_and(|dir| lose_messages(dir, 3));
    assert!(scene.voided() > 0, "{:?}", scene.store().recovery());
    // The new messages take the old indexes and owe nothing to what was there.
    scene.append_many("new", 3);
    let new = scene.pop_up_to(10);
    assert_eq!(
        new.iter().map(|one| (one.message().index(), one.attempt())).collect::<Vec<_>>(),
        [(2, 1), (3, 1), (4, 1)]
    );
    assert_eq!(
        (scene.ack(old[2]), scene.ack(old[3]), scene.ack(old[1])),
        (Settled::Unknown, Settled::Unknown, Settled::Done)
    );
}

#[test]
fn rule_5_what_is_void_stays_void_after_appends_and_a_crash() {
    let mut scene = Scene::buffered();
    scene.append("kept");
    scene.store().sync().unwrap();
    scene.append_many("lost", 3);
    let old: Vec<_> = scene.pop_up_to(10).iter().map(|one| one.receipt()).collect();
    assert_eq!(scene.ack(old[1]), Settled::Done);
    scene.kill_and(|dir| lose_messages(dir, 3));
    scene.append_many("new", 3);
    scene.kill();
    assert_eq!(scene.voided(), 0);
    let new = scene.pop_up_to(10);
    assert_eq!(new.iter().map(|one| crate::scene::text(one.body())).collect::<Vec<_>>(), ["new0", "new1", "new2"]);
    scene.kill();
    assert_eq!((scene.ack(old[1]), scene.ack(old[2])), (Settled::Unknown, Settled::Unknown));
    assert_eq!(scene.ack(new[0].receipt()), Settled::Done);
    scene.advance(secs(31));
    assert_eq!(scene.pop_up_to(10).len(), 3, "kept, new1 and new2 once more");
}

#[test]
fn rule_5_a_crash_before_the_next_append_changes_nothing() {
    let mut scene = Scene::buffered();
    scene.append("lost");
    let receipt = scene.pop().receipt();
    scene.kill_and(|dir| lose_messages(dir, 1));
    scene.kill();
    assert_eq!(scene.ack(receipt), Settled::Unknown);
    scene.append("new");
    assert_eq!((scene.pop().body(), scene.ack(receipt)), (&b"new"[..], Settled::Unknown));
}
