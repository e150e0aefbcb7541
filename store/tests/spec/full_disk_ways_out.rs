//! A disk that the store itself has filled, and what leads out of it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crate::full_disk::Space;
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::{Delivery, Durability, GroupOptions, Message, Options, Pop, Retention, StoreEvent};

/// A store that lets go of what is done, on a disk of which the last block is taken.
fn filled(mode: Durability, settings: GroupOptions, before: impl FnOnce(&Scene)) -> (Scene, Arc<Space>) {
    filled_with(small(mode), settings, before)
}

fn small(mode: Durability) -> Options {
    let options = Options::default().durability(mode).segment_bytes(1 << 16).checkpoint_segment_bytes(1 << 13);
    options.mark_every_bytes(1 << 16).retention(Retention::keep().when_done())
}

fn filled_with(options: Options, settings: GroupOptions, before: impl FnOnce(&Scene)) -> (Scene, Arc<Space>) {
    let space = Arc::new(Space(AtomicI64::new(i64::MAX / 2)));
    let options = options.hook(space.clone());
    let scene = Scene::sized(options, settings);
    before(&scene);
    (0..500).for_each(|_| assert!(append(&scene)));
    scene.store().run_pending();
    space.0.store(0, Ordering::SeqCst);
    while append(&scene) {}
    (scene, space)
}

fn append(scene: &Scene) -> bool {
    scene.store().append(TOPIC, Message::new(&[0; 500])).is_ok()
}

/// Settles all there is.
fn work_off(scene: &Scene) {
    while let Some(delivery) = scene.pop_up_to(1).pop() {
        assert!(scene.ack(delivery.receipt()).counted());
        scene.store().run_pending();
    }
}

fn expect_room(scene: &Scene, mode: Durability) {
    let appended = (0..5).any(|_| {
        scene.store().run_pending();
        append(scene)
    });
    assert!(appended, "{mode:?}: what is done takes up the disk");
}

#[test]
fn an_open_with_longer_segments_gives_up_no_space_it_has() {
    for mode in MODES {
        let (mut scene, space) = filled(mode, GroupOptions::default().without_limit(), |_| {});
        scene.options = scene.options.clone().checkpoint_segment_bytes(1 << 16);
        scene.reopen();
        work_off(&scene);
        expect_room(&scene, mode);
        space.0.store(1 << 30, Ordering::SeqCst);
        scene.reopen();
        scene.append_many("n", 2000);
        work_off(&scene);
        let longest = crate::disk::segments(&scene.path, "checkpoint");
        let longest = longest.iter().map(|path| std::fs::metadata(path).unwrap().len()).max();
        assert_eq!(longest, Some(1 << 16), "{mode:?}: they come when there is space");
    }
}

/// The file by which the space is tried has a name of files under construction, which are removed, too.
#[test]
fn an_open_killed_while_it_tries_for_space_leaves_no_damage() {
    let mut scene = Scene::new();
    scene.append("a");
    scene.die(|path| std::fs::write(path.join("checkpoint/spare-00000000000000065536.tmp"), [0; 100]).unwrap());
    scene.options = scene.options.clone().checkpoint_segment_bytes(1 << 16);
    scene.open();
    assert_eq!(scene.pop().body(), b"a");
}

/// Letters that are to stay must be moved before their segment can go.
#[test]
fn letters_in_the_oldest_segment_do_not_keep_a_full_disk_full() {
    let letters = ["a", "b", "c"].map(|letter| letter.repeat(2000));
    for mode in MODES {
        let settings = GroupOptions::default().max_reconsume_times(0);
        let (mut scene, _) = filled(mode, settings, |scene| {
            for letter in &letters {
                scene.append(letter);
                assert!(scene.nack(scene.pop().receipt(), secs(0)).counted());
                scene.store().run_pending();
            }
        });
        scene.reopen();
        work_off(&scene);
        expect_room(&scene, mode);
        assert!(scene.store().stats().unwrap().commit_bytes < 3 << 16, "{mode:?}");
        scene.kill();
        assert_eq!(scene.letters(), letters, "{mode:?}");
    }
}

/// A message that has used up its deliveries is not done before its letter is written.
#[test]
fn letters_are_written_on_a_full_disk() {
    for mode in MODES {
        let (mut scene, _) = filled(mode, GroupOptions::default().max_reconsume_times(0), |_| {});
        let dying = scene.pop_up_to(5);
        dying.iter().for_each(|one| assert!(scene.nack(one.receipt(), secs(0)).counted()));
        drop(dying);
        scene.advance(secs(2));
        assert_eq!(scene.letters().len(), 5, "{mode:?}");
        work_off(&scene);
        expect_room(&scene, mode);
        scene.kill();
        assert_eq!(scene.letters().len(), 5, "{mode:?}");
    }
}

/// Only the oldest segment can go, so the room that is kept is for its letters: neither those that come due before them may
/// use it up, nor are they to wait until there is room for all that come due with them.
#[test]
fn letters_of_newer_messages_leave_room_for_the_oldest() {
    for mode in MODES {
        for newer_first in [true, false] {
            let (mut scene, _) = filled(mode, GroupOptions::default().max_reconsume_times(0), |_| {});
            let popped = scene.pop_up_to(4096);
            let (oldest, newest) = (&popped[..5], &popped[popped.len() - 122..]);
            let nack = |one: &Delivery| assert!(scene.nack(one.receipt(), secs(0)).counted());
            newest.iter().for_each(nack);
            if newer_first {
                scene.advance(secs(2));
            }
            oldest.iter().for_each(nack);
            popped[5..popped.len() - 122].iter().for_each(|one| assert!(scene.ack(one.receipt()).counted()));
            drop(popped);
            scene.advance(secs(2));
            expect_room(&scene, mode);
            scene.advance(secs(2));
            assert_eq!(scene.letters().len(), 127, "{mode:?}");
            scene.kill();
            assert_eq!(scene.letters().len(), 127, "{mode:?}");
        }
    }
}

/// They are tried once more together, and that is told once, however many they are.
#[test]
fn letters_for_which_there_is_no_room_are_told_together() {
    let delayed = Arc::new(Mutex::new(Vec::new()));
    let (options, told) = (small(Durability::Buffered), Arc::clone(&delayed));
    let options = options.on_event(move |event| {
        if let StoreEvent::DeadLetterDelayed { messages, .. } = event {
            told.lock().unwrap().push(*messages);
        }
    });
    let (scene, _) = filled_with(options, GroupOptions::default().max_reconsume_times(0), |_| {});
    let popped = scene.pop_up_to(4096);
    for one in &popped[popped.len() - 100..] {
        assert!(scene.nack(one.receipt(), secs(0)).counted());
        scene.store().run_pending();
    }
    delayed.lock().unwrap().clear();
    for _ in 0..3 {
        scene.advance(secs(2));
    }
    assert_eq!(*delayed.lock().unwrap(), [100; 3]);
}

#[test]
fn as_many_letters_are_written_as_there_is_room_for() {
    let (scene, space) = filled(Durability::Buffered, GroupOptions::default().max_reconsume_times(0), |_| {});
    let popped = scene.pop_up_to(4096);
    popped[popped.len() - 100..].iter().for_each(|one| assert!(scene.nack(one.receipt(), secs(0)).counted()));
    scene.advance(secs(2));
    assert_eq!(scene.letters().len(), 0);
    // One more segment, of which half is left to the letters.
    space.0.store(18 * 4096, Ordering::SeqCst);
    (0..60).for_each(|_| assert!(append(&scene)));
    scene.advance(secs(2));
    let written = scene.letters().len();
    assert!((20..100).contains(&written), "{written} letters in half a segment");
}

/// What a group's looks into many queues add to the live state has its spares before the disk is full.
#[test]
fn pops_go_on_on_a_full_disk_for_a_group_of_many_queues() {
    for mode in MODES {
        let options = small(mode).checkpoint_segment_bytes(1 << 17);
        let (scene, _) = filled_with(options, GroupOptions::default().without_limit(), |scene| {
            scene.store().create_topic("wide", 1024).unwrap();
            assert!(scene.group().pop("wide", Pop::up_to(1)).unwrap().is_empty());
        });
        work_off(&scene);
        expect_room(&scene, mode);
    }
}
