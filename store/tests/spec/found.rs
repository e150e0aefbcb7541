//! What was found once and must not come back, each as the shortest story that shows it.

use std::thread;

use crate::disk::{Gate, MESSAGE, change, frames_of, is_segment_of, segments};
use crate::scene::{GROUP, Scene, TOPIC, copy, secs};
use popstore::inspect::Snapshot;
use popstore::{Durability, Error, Event, GroupOptions, Message, Options, Pop, Retention, Store};

fn when_done() -> Options {
    Options::default().retention(Retention::keep().when_done())
}

#[test]
fn a_damaged_frame_does_not_make_retention_delete_what_lies_behind_it() {
    let options = when_done().durability(Durability::Buffered);
    let scene = Scene::with(options, GroupOptions::default());
    scene.append_many("message", 200);
    for _ in 0..2 {
        let _ = scene.ack(scene.pop().receipt());
    }
    let damaged = frames_of(&scene.path, "commit", MESSAGE)[2].clone();
    damaged.flip(damaged.len - 1);
    let oldest = segments(&scene.path, "commit")[0].clone();
    scene.advance(secs(1));
    assert_eq!(segments(&scene.path, "commit")[0], oldest);
    assert!(matches!(scene.group().pop(TOPIC, Pop::up_to(1)), Err(Error::Corrupt { .. })));
    assert!(scene.group().skip(TOPIC, 0, 2).unwrap());
    assert_eq!(scene.pop_up_to(1000).len(), 197);
}

#[test]
fn a_group_commit_under_way_at_a_segments_end_is_not_deleted_by_retention() {
    let gate = Gate::at(|event| match event {
        Event::Write { path, .. } => is_segment_of(path, "commit"),
        _ => false,
    });
    let scene = Scene::with(when_done().hook(gate.clone()), GroupOptions::default());
    for _ in 0..3 {
        scene.append(&"x".repeat(900));
        let _ = scene.ack(scene.pop().receipt());
    }
    gate.close();
    let append = |bytes: usize| {
        let store = scene.store().clone();
        thread::spawn(move || store.append(TOPIC, Message::new(&vec![b'y'; bytes])).unwrap())
    };
    let first = append(10);
    gate.wait_until_it_holds_one();
    // The write of the first is held back; the second is staged behind it, the third rolls the log.
    let more = [append(20), append(3000)];
    while scene.store().stats().unwrap().unsynced_bytes < 3000 {
        thread::yield_now();
    }
    let (store, clock) = (scene.store().clone(), scene.clock.clone());
    let keeper = thread::spawn(move || {
        clock.advance(secs(1));
        store.run_pending();
    });
    thread::sleep(std::time::Duration::from_millis(50));
    gate.open();
    for thread in more.into_iter().chain([first]) {
        thread.join().unwrap();
    }
    keeper.join().unwrap();
    scene.advance(secs(1));
    assert_eq!(scene.pop_up_to(10).len(), 3);
}

#[test]
fn a_topic_that_was_made_is_known_after_a_kill_whenever_a_mark_was_made() {
    let mut scene = Scene::buffered();
    for number in 0..30 {
        scene.append(&"x".repeat(900));
        scene.store().create_topic(&format!("topic-{number}"), 3).unwrap();
        scene.store().run_pending();
    }
    scene.kill();
    assert_eq!(scene.store().stats().unwrap().topics.len(), 31);
}

#[cfg(target_os = "linux")]
#[test]
fn a_store_with_many_queues_and_segments_keeps_few_files_open() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut scene = Scene::buffered();
    scene.store().create_topic("wide", 300).unwrap();
    let before = open();
    for _ in 0..4 {
        let body = [b'x'; 500];
        for queue in 0..300 {
            scene.store().append("wide", Message::new(&body).queue(queue)).unwrap();
        }
        scene.store().run_pending();
    }
    // Other tests of this process come and go beside it.
    assert!(open() < before + 150, "{} files are open, {before} were", open());
    assert!(segments(&scene.path, "commit").len() > 100);
    scene.close();
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
fn garbage_in_place_of_the_newest_segment_is_damage_and_not_half_made() {
    let mut scene = Scene::buffered();
    scene.append_many("message", 200);
    scene.store().sync().unwrap();
    scene.close();
    let newest = segments(&scene.path, "commit").pop().unwrap();
    change(&newest, |bytes| bytes.fill(0x5a));
    let refused = scene.options.clone().open(&scene.path).unwrap_err();
    assert!(matches!(&refused, Error::Corrupt { path, .. } if *path == newest), "{refused}");
    let store: Result<Store, _> = Options::default().open(&scene.path);
    assert!(store.is_err(), "{GROUP}");
}

#[test]
fn a_dead_letter_does_not_stop_retention_and_is_not_lost_to_it() {
    let options = when_done().durability(Durability::Buffered);
    let mut scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    scene.append("poison");
    scene.append("put back");
    let _ = scene.pop_up_to(2);
    scene.advance(secs(31));
    let back = scene.group().dead_letters().unwrap().nth(1).unwrap().unwrap();
    let _ = scene.group().redrive(&back).unwrap();
    for _ in 0..100 {
        scene.append(&"x".repeat(500));
        let receipts: Vec<_> = scene.pop_up_to(10).iter().map(popstore::Delivery::receipt).collect();
        let _ = scene.group().ack_batch(&receipts).unwrap();
        scene.advance(secs(1));
    }
    assert!(segments(&scene.path, "commit").len() < 4);
    assert_eq!(scene.letters(), ["poison"]);
    scene.kill();
    assert_eq!(scene.letters(), ["poison"]);
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    let _ = scene.group().redrive(&letter).unwrap();
    assert_eq!(scene.letters(), [""; 0]);
    assert_eq!(scene.pop().body(), b"poison");
    scene.advance(secs(1));
    scene.reopen();
    assert_eq!(scene.letters(), [""; 0]);
}

/// A power cut can leave the file of the newest segment short, and the next one whole and blank behind it. The end frame
/// of the first needs room in its file before the log goes on in the next; beyond the end of the file its map is death.
#[test]
fn a_segment_whose_file_came_back_short_has_room_for_its_end_before_it_is_left() {
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

/// The message that is missing behind a damaged record is the one that is damaged.
#[test]
fn verify_tells_one_damage_once() {
    let mut scene = Scene::buffered();
    scene.append_many("m", 20);
    scene.close();
    frames_of(&scene.path, "commit", MESSAGE)[7].flip(30);
    let mut faults = Vec::new();
    Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| faults.push(fault.clone())).unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
}
