//! Retention: what goes, what stays because someone needs it; and how much space a store takes.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::disk::{MESSAGE, change, files, frames_of, segments};
use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::stats::StoreStats;
use popstore::{Delivery, Durability, GroupOptions, Message, Options, Pop, Retention, Settled, Store};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn keeping(retention: Retention) -> Scene {
    let options = Options::default().durability(Durability::Buffered).retention(retention);
    Scene::with(options, GroupOptions::default().max_reconsume_times(3))
}

fn stats(scene: &Scene) -> StoreStats {
    scene.store().stats().unwrap()
}

/// The first message that is kept.
fn first(scene: &Scene) -> u64 {
    scene.store().topic_stats(TOPIC).unwrap().queues[0].0
}

/// Appends messages until several segments are full, with the background work in between.
fn append_segments(scene: &Scene) {
    for _ in 0..5 {
        (0..10).for_each(|_| assert!(scene.store().append(TOPIC, Message::new(&[b'x'; 400])).is_ok()));
        scene.store().run_pending();
    }
}

/// Pops one message for a week and fills segments behind it, so that its own is deleted.
fn held_in_a_deleted_segment(lease: Duration) -> (Scene, Delivery) {
    let scene = keeping(Retention::keep().bytes(8192));
    scene.append("held");
    let held = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(lease)).unwrap().remove(0);
    let oldest = segments(&scene.path, "commit")[0].clone();
    append_segments(&scene);
    assert!(first(&scene) > 0 && !oldest.exists(), "the segment is still there");
    (scene, held)
}

#[test]
fn without_a_rule_nothing_is_deleted() {
    let scene = keeping(Retention::keep());
    append_segments(&scene);
    scene.advance(50 * WEEK);
    assert_eq!((first(&scene), segments(&scene.path, "commit").len() > 5), (0, true));
}

#[test]
fn by_bytes_the_oldest_segments_go() {
    let mut scene = keeping(Retention::keep().bytes(10_000));
    append_segments(&scene);
    assert!(stats(&scene).commit_bytes <= 10_000 + 4096, "{}", stats(&scene).commit_bytes);
    let kept = first(&scene);
    assert!(kept > 20);
    assert!(scene.store().message(TOPIC, 0, kept - 1).unwrap().is_none());
    scene.kill();
    assert_eq!((first(&scene), scene.pop().message().index()), (kept, kept));
}

#[test]
fn by_age_segments_go_when_their_last_message_is_old() {
    let scene = keeping(Retention::keep().after(secs(3600)));
    append_segments(&scene);
    scene.advance(secs(1800));
    append_segments(&scene);
    assert_eq!(first(&scene), 0);
    scene.advance(secs(1801));
    let kept = first(&scene);
    assert!((40..=50).contains(&kept), "{kept}");
    scene.advance(secs(3600));
    assert!(first(&scene) > 90);
}

#[test]
fn when_done_segments_go_once_every_reader_has_settled_them() {
    let scene = keeping(Retention::keep().when_done());
    let second = scene.store().create_group("second", GroupOptions::default()).unwrap();
    assert!(second.pop(TOPIC, Pop::up_to(1)).is_err(), "no topic yet");
    append_segments(&scene);
    assert_eq!(first(&scene), 0, "nobody has read");
    let _ = second.pop(TOPIC, Pop::up_to(1)).unwrap();
    for delivery in scene.pop_up_to(50) {
        assert_eq!(scene.ack(delivery.receipt()), Settled::Done);
    }
    scene.advance(secs(1));
    assert_eq!(first(&scene), 0, "the second group is not done");
    scene.store().delete_group("second").unwrap();
    scene.advance(secs(1));
    assert!(first(&scene) > 40);
}

#[test]
fn consume_queue_files_go_with_their_messages() {
    let mut scene = keeping(Retention::keep().bytes(8192));
    for _ in 0..6 {
        append_segments(&scene);
    }
    scene.reopen();
    let left = files(&scene.path.join("queues")).len() as u64;
    assert!(left <= (300 - first(&scene)) / 8 + 2, "{left} files of 8 entries for {} messages", 300 - first(&scene));
}

#[test]
fn a_leased_message_is_moved_on_and_can_be_read_and_acked() {
    let (mut scene, held) = held_in_a_deleted_segment(WEEK);
    assert_eq!(scene.store().message(TOPIC, 0, 0).unwrap().unwrap().body(), b"held");
    scene.reopen();
    assert_eq!(scene.store().message(TOPIC, 0, 0).unwrap().unwrap().body(), b"held");
    assert_eq!(scene.ack(held.receipt()), Settled::Done);
    append_segments(&scene);
    assert!(scene.store().message(TOPIC, 0, 0).unwrap().is_none(), "nobody needs it any more");
}

#[test]
fn a_moved_message_is_delivered_again_with_all_its_parts() {
    let (mut scene, _) = held_in_a_deleted_segment(secs(60));
    append_segments(&scene);
    scene.kill();
    scene.advance(secs(61));
    let again = scene.pop();
    assert_eq!((again.body(), again.attempt(), again.message().index()), (&b"held"[..], 2, 0));
    append_segments(&scene);
    scene.kill();
    assert_eq!(scene.ack(again.receipt()), Settled::Done);
}

#[test]
fn a_moved_message_can_still_be_dead_lettered() {
    let (mut scene, _) = held_in_a_deleted_segment(secs(60));
    for attempt in 2..=4 {
        scene.advance(secs(61));
        let again = scene.pop();
        assert_eq!((again.body(), again.attempt()), (&b"held"[..], attempt));
        append_segments(&scene);
        scene.kill();
    }
    scene.advance(secs(61));
    assert_eq!(scene.letters(), ["held"]);
}

#[test]
fn what_a_reader_holds_stays_valid_after_its_file_was_deleted() {
    let (scene, held) = held_in_a_deleted_segment(WEEK);
    let message = held.message().clone();
    assert_eq!(scene.ack(held.receipt()), Settled::Done);
    append_segments(&scene);
    drop(scene);
    assert_eq!((held.body(), message.body()), (&b"held"[..], &b"held"[..]));
}

#[test]
fn a_segment_full_of_leases_stays_until_they_are_a_small_part() {
    let scene = keeping(Retention::keep().bytes(8192));
    (0..10).for_each(|_| assert!(scene.store().append(TOPIC, Message::new(&[b'y'; 300])).is_ok()));
    let held = scene.group().pop(TOPIC, Pop::up_to(10).invisible_for(WEEK)).unwrap();
    (0..14).for_each(|_| assert!(scene.store().append(TOPIC, Message::new(&[b'x'; 400])).is_ok()));
    scene.store().run_pending();
    assert_eq!(first(&scene), 0, "a third of the log");
    append_segments(&scene);
    assert!(first(&scene) > 10);
    held.iter().for_each(|one| assert_eq!(scene.ack(one.receipt()), Settled::Done));
}

/// The bytes a directory takes on the disk.
#[cfg(unix)]
fn taken(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    files(dir).keys().map(|path| 512 * std::fs::metadata(path).unwrap().blocks()).sum()
}

#[test]
#[cfg(unix)]
fn a_fresh_store_takes_at_most_8_mib_with_default_options() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.create_group(GROUP, GroupOptions::default()).unwrap();
    store.append(TOPIC, Message::new("a")).unwrap();
    // The threads make room ahead meanwhile.
    std::thread::sleep(Duration::from_millis(300));
    assert!(taken(dir.path()) <= 8 << 20, "{}", taken(dir.path()));
    drop(store);
    let scene = Scene::sized(Options::default(), GroupOptions::default());
    scene.append("a");
    scene.store().run_pending();
    assert!(taken(&scene.path) <= 8 << 20, "{}", taken(&scene.path));
}

#[test]
#[cfg(unix)]
fn room_for_a_large_body_is_made_in_steps() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Buffered).open(dir.path()).unwrap();
    let body = vec![1; 4 << 20];
    assert!((0..3).all(|at| store.append(TOPIC, Message::new(&body)).unwrap().index == at));
    assert!(taken(dir.path()) <= 32 << 20, "{}", taken(dir.path()));
}

#[test]
fn the_checkpoint_log_stays_small_over_100_000_pops_and_acks() {
    let options = Options::default().durability(Durability::Buffered).checkpoint_segment_bytes(256 << 10);
    let mut scene = Scene::sized(options, GroupOptions::default());
    for _ in 0..200 {
        scene.store().append_batch(TOPIC, &vec![Message::new("a"); 500]).unwrap();
        let group = scene.group();
        for _ in 0..500 {
            let popped = group.pop(TOPIC, Pop::up_to(1)).unwrap();
            assert_eq!(group.ack(popped[0].receipt()).unwrap(), Settled::Done);
        }
        scene.store().run_pending();
    }
    let bytes: usize = files(&scene.path.join("checkpoint")).values().map(Vec::len).sum();
    assert!(bytes <= 6 * (256 << 10), "{bytes} bytes for nothing alive");
    scene.kill();
    assert!(scene.store().recovery().records_replayed < 20_000, "{:?}", scene.store().recovery());
    assert_eq!((scene.group().stats().unwrap().acked, scene.group().stats().unwrap().lag), (100_000, 0));
}

#[test]
fn leases_that_many_snapshots_told_are_all_there_after_a_kill() {
    let mut scene = keeping(Retention::keep());
    scene.append_many("m", 600);
    let held: Vec<_> = scene.group().pop(TOPIC, Pop::up_to(600).invisible_for(WEEK)).unwrap();
    // Sparse: every third stays leased.
    for (at, delivery) in held.iter().enumerate().filter(|(at, _)| at % 3 != 0) {
        assert_eq!(scene.ack(delivery.receipt()), Settled::Done);
        if at % 20 == 1 {
            scene.store().run_pending();
        }
    }
    assert!(!segments(&scene.path, "checkpoint")[0].ends_with(format!("{:020}", 0)), "no snapshot so far");
    scene.kill();
    assert_eq!((scene.group().stats().unwrap().in_flight, scene.group().stats().unwrap().acked), (200, 400));
    assert_eq!(scene.ack(held[3].receipt()), Settled::Done);
    scene.advance(WEEK);
    let again = scene.pop_up_to(600);
    assert_eq!(again.len(), 199);
    assert!(again.iter().all(|one| one.attempt() == 2 && one.message().index() % 3 == 0));
}

/// Nobody can read what lies behind it in its segment, but the queues' entries tell of it.
#[test]
fn damage_in_a_segment_does_not_keep_the_log_from_going() {
    let rules = [Retention::keep().bytes(8192), Retention::keep().after(secs(60)), Retention::keep().when_done()];
    for rule in rules {
        for damaged in [3, 12, 15, 23] {
            let mut scene = keeping(Retention::keep());
            scene.append_many(&"x".repeat(400), 30);
            scene.store().run_pending();
            frames_of(&scene.path, "commit", MESSAGE)[damaged as usize].flip(100);
            scene.options = scene.options.clone().retention(rule.clone());
            scene.reopen();
            loop {
                match scene.group().pop(TOPIC, Pop::up_to(1)) {
                    Ok(popped) if popped.is_empty() => break,
                    Ok(popped) => assert!(scene.ack(popped[0].receipt()).counted()),
                    Err(_) => assert!(scene.group().skip(TOPIC, 0, damaged).unwrap()),
                }
                scene.store().run_pending();
            }
            scene.advance(secs(100));
            append_segments(&scene);
            let (kept, oldest) = (first(&scene), segments(&scene.path, "commit")[0].clone());
            assert!(kept >= 30 - 9, "{rule:?}, {damaged}: {kept} is kept, in {oldest:?}");
            let next = scene.group().pop(TOPIC, Pop::up_to(100)).unwrap();
            assert_eq!(next.len() as u64, 80 - kept.max(30), "{rule:?}, {damaged}");
        }
    }
}

/// Behind damage the queues' entries are believed only where the messages bear them out.
#[test]
fn damage_and_a_wrong_entry_delete_no_message_behind_them() {
    for (entry, offset) in (0..30).flat_map(|entry| [(entry, 64_u64), (entry, 9000)]) {
        let mut scene = keeping(Retention::keep());
        scene.append_many(&"x".repeat(400), 30);
        scene.store().run_pending();
        scene.close();
        let frames = frames_of(&scene.path, "commit", MESSAGE);
        let behind = frames.iter().position(|frame| frame.path != frames[0].path).unwrap() as u64;
        frames[5].flip(100);
        change(&scene.path.join("queues").join(TOPIC).join("0").join(format!("{:020}", entry / 8 * 8)), |bytes| {
            bytes[entry % 8 * 16..][..8].copy_from_slice(&offset.to_le_bytes());
        });
        scene.options = scene.options.clone().retention(Retention::keep().bytes(frames.len() as u64 / behind * 4096));
        scene.open();
        scene.append("y");
        scene.store().run_pending();
        assert!(first(&scene) <= behind, "{} of {behind} in the first segment, by entry {entry}", first(&scene));
    }
}

/// What was moved behind it is older than it is.
#[test]
fn a_damaged_segment_is_not_as_old_as_what_was_moved_behind_it() {
    let mut scene = keeping(Retention::keep().after(secs(100)));
    scene.append(&"h".repeat(1500));
    let held = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(WEEK)).unwrap();
    scene.append_many(&"x".repeat(400), 5);
    scene.advance(secs(90));
    scene.append_many(&"y".repeat(400), 6);
    scene.close();
    let frames = frames_of(&scene.path, "commit", MESSAGE);
    assert!(frames[5].path != frames[6].path && frames[6].path == frames[11].path, "{frames:?}");
    frames[6].flip(100);
    scene.open();
    scene.advance(secs(15));
    (0..3).for_each(|_| scene.store().run_pending());
    assert_eq!(first(&scene), 6, "unread, and 15 seconds old");
    drop(held);
}

/// The rule is applied as soon as there is more than it says, and not when the next mark happens to be due.
#[test]
fn retention_by_bytes_waits_for_no_mark() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::default().durability(Durability::Buffered).segment_bytes(1 << 18);
    let store = options.retention(Retention::keep().bytes(1 << 20)).open(dir.path()).unwrap();
    store.create_topic(TOPIC, 1).unwrap();
    (0..100).for_each(|_| assert!(store.append(TOPIC, Message::new(&[b'x'; 100_000])).is_ok()));
    let mut bytes = Vec::new();
    while bytes.last().is_none_or(|bytes| *bytes > (1 << 20) + (1 << 18)) {
        assert!(bytes.len() < 500, "{bytes:?}");
        thread::sleep(Duration::from_millis(20));
        bytes.push(store.stats().unwrap().commit_bytes);
    }
}
