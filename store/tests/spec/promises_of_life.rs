//! The ten promises, 6 to 10: a full disk, one owner, clocks, counted deliveries, strange directories.

use std::io;
use std::path::Path;

use crate::disk::{Tap, What, tapped};
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::{Durability, Error, GroupOptions, Message, Options, Settled};

fn is_in(path: &Path, log: &str) -> bool {
    path.components().any(|part| part.as_os_str() == log)
}

fn fill_disk(tap: &Tap, log: &'static str) {
    tap.fail(move |what, path| match what {
        What::Create | What::Write | What::Room if is_in(path, log) && path.extension().is_some() => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
}

#[test]
fn promise_6_on_a_full_disk_append_fails_and_pop_and_ack_go_on() {
    for mode in MODES {
        let (mut scene, tap) = tapped(mode);
        scene.append_many("m", 100);
        fill_disk(&tap, "commit");
        let body = [b'x'; 1000];
        let full = (0..20).find_map(|_| scene.store().append(TOPIC, Message::new(&body)).err()).expect("full");
        assert!(matches!(&full, Error::Full { .. }), "{mode:?}: {full}");
        assert!(full.to_string().contains("no restart"), "{full}");
        let held = scene.bodies().len();
        for _ in 0..100 {
            assert_eq!(scene.ack(scene.pop().receipt()), Settled::Done);
        }
        assert!(matches!(scene.store().append(TOPIC, Message::new(&body)), Err(Error::Full { .. })));
        // Nothing of it is there, and it goes on without a restart.
        assert_eq!(scene.bodies().len(), held);
        tap.heal();
        assert_eq!(scene.store().append(TOPIC, Message::new("after")).unwrap().index, held as u64);
        scene.kill();
        assert_eq!((scene.bodies().len(), scene.bodies().last().unwrap().as_str()), (held + 1, "after"));
    }
}

#[test]
fn promise_6_a_batch_refused_by_a_full_disk_leaves_nothing() {
    let (mut scene, tap) = tapped(Durability::SyncEach);
    scene.append("a");
    fill_disk(&tap, "commit");
    let body = [b'x'; 900];
    let refused =
        (0..9).map(|_| scene.store().append_batch(TOPIC, &vec![Message::new(&body); 3])).filter(Result::is_err);
    assert!(refused.count() > 5);
    let held = scene.bodies().len();
    assert_eq!(held % 3, 1);
    tap.heal();
    scene.kill();
    assert_eq!(scene.bodies().len(), held);
}

#[test]
fn promise_7_the_second_open_fails_at_once_in_any_process() {
    if let Ok(dir) = std::env::var("POPSTORE_SPEC_DIR") {
        // The other process: this very test, started by itself.
        let before = crate::disk::files(dir.as_ref());
        assert!(matches!(popstore::Store::open(&dir), Err(Error::Locked { .. })));
        assert_eq!(crate::disk::files(dir.as_ref()), before);
        return;
    }
    let scene = Scene::new();
    let second = scene.options.clone().open(&scene.path).unwrap_err();
    assert!(matches!(&second, Error::Locked { path } if path.ends_with("lock")), "{second}");
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "promises_of_life::promise_7_the_second_open_fails_at_once_in_any_process",
            "--test-threads=1",
        ])
        .env("POPSTORE_SPEC_DIR", &scene.path)
        .output()
        .unwrap();
    assert!(child.status.success() && text_of(&child.stdout).contains("1 passed"), "{child:?}");
    scene.append("the owner goes on");
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn promise_7_the_lock_file_outlives_the_store_unlocked() {
    let mut scene = Scene::new();
    scene.close();
    assert!(scene.path.join("lock").exists());
    scene.open();
}

#[test]
fn promise_8_after_a_restart_a_lease_has_what_was_left_of_it() {
    let mut scene = Scene::new();
    scene.append("a");
    let _ = scene.pop();
    scene.advance(secs(10));
    scene.close();
    scene.clock.advance(secs(15));
    scene.open();
    scene.advance(secs(4));
    scene.expect_nothing();
    scene.advance(secs(1));
    assert_eq!(scene.pop().attempt(), 2);
}

#[test]
fn promise_8_a_clock_set_back_makes_no_lease_longer() {
    for back in [100, 40_000, 999_999] {
        let mut scene = Scene::new();
        scene.append_many("m", 2);
        let popped = scene.pop_up_to(2);
        assert_eq!(scene.nack(popped[1].receipt(), secs(20)), Settled::Done);
        scene.close();
        scene.clock.set(secs(1_000_000 - back));
        scene.open();
        assert!(scene.store().recovery().clock_set_back);
        scene.advance(secs(30));
        assert_eq!(scene.pop_up_to(9).len(), 2, "stuck after a jump of {back} s");
    }
}

#[test]
fn promise_8_a_clock_set_forward_makes_a_duplicate_at_most() {
    let mut scene = Scene::limit(1);
    scene.append("a");
    let first = scene.pop().receipt();
    scene.close();
    scene.clock.advance(secs(10 * 365 * 86_400));
    scene.open();
    scene.advance(secs(0));
    let second = scene.pop();
    assert_eq!((second.attempt(), scene.ack(first)), (2, Settled::HandedOutAgain { attempt: 2 }));
    assert_eq!(scene.ack(second.receipt()), Settled::Done);
    assert!(scene.letters().is_empty());
}

#[test]
fn promise_9_a_message_that_kills_consumers_is_dead_lettered() {
    for mode in MODES {
        let settings = GroupOptions::default().max_reconsume_times(2);
        let mut scene = Scene::with(Options::default().durability(mode), settings);
        scene.append("poison");
        for attempt in 1..=3 {
            assert_eq!(scene.pop().attempt(), attempt);
            scene.kill();
            scene.advance(secs(31));
        }
        scene.expect_nothing();
        assert_eq!(scene.letters(), ["poison"]);
    }
}

#[test]
fn promise_10_any_other_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter.txt"), b"not a store").unwrap();
    assert!(matches!(popstore::Store::open(dir.path()), Err(Error::Format { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// With the clock set back a wait is at most the invisible time, counted once and not from each restart.
#[test]
fn promise_8_a_shortened_wait_is_not_restarted_by_reopening() {
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
