//! The ten promises, 1 to 5, as far as one machine can test them: what outlives a killed process, a power cut, torn
//! writes, damage and a failed sync.

use std::io;

use crate::disk::{Dice, MESSAGE, What, change, frames_of, segments, tapped};
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Retention, Settled};

#[test]
fn promise_1_a_killed_process_loses_nothing_acknowledged() {
    for mode in MODES {
        let mut scene = Scene::with(Options::default().durability(mode), GroupOptions::default());
        scene.append_many("m", 50);
        let receipts: Vec<_> = scene.pop_up_to(30).iter().map(|one| one.receipt()).collect();
        receipts[..10].iter().for_each(|receipt| assert_eq!(scene.ack(*receipt), Settled::Done));
        assert_eq!(scene.nack(receipts[10], secs(5)), Settled::Done);
        let before = scene.group().stats().unwrap();
        scene.kill();
        let after = scene.group().stats().unwrap();
        let told = |stats: &popstore::stats::GroupStats| (stats.in_flight, stats.waiting, stats.acked, stats.lag);
        assert_eq!((told(&after), scene.bodies().len()), (told(&before), 50), "{mode:?}");
        assert_eq!(told(&after), (19, 1, 10, 40));
    }
}

#[test]
fn promise_1_a_batch_happens_wholly_or_not_at_all() {
    let whole: Vec<String> = (0..5).map(|at| format!("batch {at}")).collect();
    let messages: Vec<Message<'_>> = whole.iter().map(|body| Message::new(body.as_str())).collect();
    for lost in 0..=5 {
        let mut scene = Scene::buffered();
        scene.append("before");
        scene.store().append_batch(TOPIC, &messages).unwrap();
        scene.kill_and(|dir| {
            if lost > 0 {
                crate::disk::lose_messages(dir, lost)
            }
        });
        assert_eq!(scene.bodies().len(), if lost == 0 { 6 } else { 1 }, "{lost} lost");
        assert_eq!(scene.append("after"), if lost == 0 { 6 } else { 1 });
    }
}

#[test]
fn promise_1_a_batch_at_a_segments_end_lies_in_one_segment() {
    let mut scene = Scene::buffered();
    let body = [b'x'; 900];
    for _ in 0..9 {
        scene.store().append_batch(TOPIC, &vec![Message::new(&body); 3]).unwrap();
    }
    scene.kill();
    assert_eq!(scene.bodies().len(), 27);
    for segment in segments(&scene.path, "commit") {
        let here = frames_of(&scene.path, "commit", MESSAGE).iter().filter(|frame| frame.path == segment).count();
        assert_eq!(here % 3, 0);
    }
}

#[test]
fn promise_2_append_pop_and_ack_return_after_their_sync() {
    let (scene, tap) = tapped(Durability::SyncEach);
    scene.append("first");
    tap.heal();
    scene.append("a");
    assert_eq!(tap.seen("commit"), [What::Write, What::Sync]);
    let receipt = scene.pop().receipt();
    assert_eq!(tap.seen("checkpoint").last(), Some(&What::Sync));
    tap.heal();
    assert_eq!(scene.ack(receipt), Settled::Done);
    assert_eq!(tap.seen("checkpoint"), [What::Write, What::Sync]);
}

#[test]
fn promise_2_a_message_is_handed_out_only_once_it_is_durable() {
    let (scene, tap) = tapped(Durability::SyncEach);
    scene.append("a");
    let durable = scene.store().synced_through();
    tap.fail(|what, _| if what == What::Sync { Err(io::Error::other("no")) } else { Ok(()) });
    assert!(scene.store().append(TOPIC, Message::new("b")).is_err());
    assert_eq!(scene.store().synced_through(), durable);
    assert_eq!(scene.bodies(), ["a"]);
    assert!(scene.store().message(TOPIC, 0, 1).unwrap().is_none());
}

#[test]
fn promise_2_synced_through_moves_with_each_append_or_with_sync() {
    let scene = Scene::new();
    let place = scene.store().append(TOPIC, Message::new("a")).unwrap();
    assert!(scene.store().synced_through() > place.offset);
    let scene = Scene::buffered();
    scene.append("first");
    let place = scene.store().append(TOPIC, Message::new("a")).unwrap();
    assert!(scene.store().synced_through() <= place.offset);
    assert!(scene.store().stats().unwrap().unsynced_bytes > 0);
    scene.store().sync().unwrap();
    assert!(scene.store().synced_through() > place.offset);
    assert_eq!(scene.store().stats().unwrap().unsynced_bytes, 0);
}

#[test]
fn promise_3_any_subset_of_unsynced_sectors_leaves_a_prefix() {
    let mut dice = Dice(99);
    for round in 0..24 {
        let mut scene = Scene::buffered();
        scene.append("m0");
        scene.store().sync().unwrap();
        let durable = scene.store().synced_through() as usize;
        (1..45).for_each(|at| assert_eq!(scene.append(&format!("m{at}")), at));
        scene.kill_and(|dir| {
            change(&segments(dir, "commit")[0], |bytes| {
                let sectors = bytes[..].chunks_mut(512).enumerate().filter(|_| dice.below(5) == 0);
                sectors.for_each(|(at, sector)| sector[durable.saturating_sub(at * 512).min(512)..].fill(0));
            });
        });
        let left = scene.bodies();
        assert!(left.iter().enumerate().all(|(at, body)| *body == format!("m{at}")), "round {round}: {left:?}");
        assert!(!left.is_empty(), "what was synced is there");
    }
}

#[test]
fn promise_4_damage_names_its_place_and_is_not_returned_as_data() {
    let scene = Scene::new();
    scene.append_many("m", 3);
    let frame = frames_of(&scene.path, "commit", MESSAGE)[1].clone();
    // The store is open: the map shows the damage at once.
    frame.flip(frame.len - 1);
    assert_eq!(scene.pop().body(), b"m0");
    let error = scene.group().pop(TOPIC, Pop::up_to(1)).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path, offset, .. } if *path == frame.path && *offset == frame.at as u64));
    assert!(error.to_string().contains("store-inspect") && error.to_string().contains(" orders/0/1"), "{error}");
    // There is a way on, and it is not silent.
    assert!(scene.group().skip(TOPIC, 0, 1).unwrap());
    assert_eq!(scene.group().stats().unwrap().discarded, 1);
    assert_eq!(scene.pop().body(), b"m2");
}

/// Also the first message that retention has left, for a group that comes to it without having read what is gone.
#[test]
fn promise_4_damage_where_a_queue_begins_can_be_given_up() {
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(8192));
    let scene = Scene::with(options, GroupOptions::default());
    (0..60).for_each(|_| assert!(scene.append(&"x".repeat(400)) < 60));
    scene.store().run_pending();
    let first = scene.store().topic_stats(TOPIC).unwrap().queues[0].0;
    let frame = frames_of(&scene.path, "commit", MESSAGE)[0].clone();
    frame.flip(frame.len - 1);
    assert!(first > 0 && matches!(scene.group().pop(TOPIC, Pop::up_to(1)), Err(Error::Corrupt { .. })));
    assert!(!scene.group().skip(TOPIC, 0, 0).unwrap(), "it is gone");
    assert!(scene.group().skip(TOPIC, 0, first).unwrap());
    assert_eq!(scene.pop().message().index(), first + 1);
}

#[test]
fn promise_5_the_first_failed_sync_poisons_and_is_not_retried() {
    for mode in MODES {
        let (scene, tap) = tapped(mode);
        scene.append("a");
        let receipt = scene.pop().receipt();
        tap.fail(|what, _| if what == What::Sync { Err(io::Error::other("the disk is gone")) } else { Ok(()) });
        let failed = scene.store().append(TOPIC, Message::new("b")).map(drop).and_then(|()| scene.store().sync());
        assert!(matches!(failed, Err(Error::Poisoned { .. })), "{mode:?}: {failed:?}");
        tap.heal();
        let error = scene.store().append(TOPIC, Message::new("c")).unwrap_err();
        assert!(error.to_string().contains("reopen"), "{error}");
        assert!(matches!(scene.group().ack(receipt), Err(Error::Poisoned { .. })));
        assert!(matches!(scene.group().pop(TOPIC, Pop::up_to(1)), Err(Error::Poisoned { .. })));
        assert!(matches!(scene.store().sync(), Err(Error::Poisoned { .. })));
        assert!(!tap.seen("commit").contains(&What::Sync), "{mode:?}: the sync was tried again");
        assert_eq!(scene.store().message(TOPIC, 0, 0).unwrap().unwrap().body(), b"a", "reads go on");
    }
}

#[test]
fn promise_5_reopening_writes_the_tail_again_before_it_syncs_it() {
    // Where no append promises to be durable it comes right after opening, or before whatever is synced first.
    type Act = fn(&Scene);
    let (pending, sync): (Act, Act) = (|scene| scene.store().run_pending(), |scene| scene.store().sync().unwrap());
    for (mode, step) in [(MODES[1], (|_| ()) as Act), (MODES[2], pending), (MODES[2], sync)] {
        let (mut scene, tap) = tapped(mode);
        scene.append("a");
        tap.fail(|what, _| if what == What::Sync { Err(io::Error::other("the disk is gone")) } else { Ok(()) });
        assert!(scene.store().sync().is_err());
        scene.die(|_| {});
        tap.heal();
        scene.open();
        step(&scene);
        for log in ["commit", "checkpoint"] {
            // Its blocks only had their space: it is written to a new file, which is synced and takes the old one's name.
            let seen = tap.seen(log);
            let steps = [What::Create, What::Write, What::Write, What::Sync, What::Rename, What::SyncDir];
            let mut seen = seen.iter();
            let renewed = steps.iter().all(|step| seen.any(|what| what == step));
            assert!(renewed, "{mode:?}, {log}: {:?}", tap.seen(log));
        }
        assert_eq!((scene.bodies(), scene.append("b")), (vec!["a".to_string()], 1));
    }
}
