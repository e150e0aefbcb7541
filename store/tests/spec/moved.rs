//! What retention moves on: copies that are as old as their originals, letters that somebody reads, and however many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::disk::is_segment_of;
use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::inspect::Snapshot;
use popstore::{Durability, Event, GroupOptions, Hook, Message, Options, Pop, Retention, Settled, Store};

fn keeping(retention: Retention, settings: GroupOptions) -> Scene {
    Scene::with(Options::default().durability(Durability::Buffered).retention(retention), settings)
}

/// Every message becomes a letter.
fn burying() -> Scene {
    keeping(Retention::keep().when_done(), GroupOptions::default().max_reconsume_times(0))
}

fn bury(scene: &Scene, body: &str) {
    scene.append(body);
    assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
    scene.store().run_pending();
}

/// Fills segments with messages of another topic that are done at once.
fn pass(scene: &Scene, messages: u32) {
    for _ in 0..messages {
        assert!(scene.store().append("other", Message::new(&[b'o'; 400])).is_ok());
    }
    let done: Vec<_> =
        scene.group().pop("other", Pop::up_to(messages)).unwrap().iter().map(|one| one.receipt()).collect();
    assert!(scene.group().ack_batch(&done).unwrap().iter().all(|settled| *settled == Settled::Done));
    scene.store().run_pending();
}

#[test]
fn by_age_a_moved_old_message_takes_no_young_one_along() {
    // Wherever the copy lies in its segment.
    for fill in 0..10 {
        let scene = keeping(Retention::keep().after(secs(3600)), GroupOptions::default());
        scene.append(&"h".repeat(2000));
        let _held = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(secs(600_000))).unwrap();
        pass(&scene, 20);
        scene.clock.advance(secs(3601));
        (0..fill).for_each(|_| assert!(scene.append(&"y".repeat(400)) > 0));
        scene.store().run_pending();
        (0..30).for_each(|_| assert!(scene.append(&"z".repeat(400)) > 0));
        scene.advance(secs(12));
        scene.advance(secs(12));
        assert!(scene.store().topic_stats("other").unwrap().queues[0].0 > 10, "the old ones have gone");
        assert_eq!(scene.pop_up_to(100).len(), 30 + fill, "unread, and 24 seconds old");
    }
}

#[test]
fn letters_that_a_group_reads_stay_until_it_is_done_with_them() {
    let scene = burying();
    let reader = scene.store().create_group("reader", GroupOptions::default()).unwrap();
    let letters = format!("%DLQ%{GROUP}");
    bury(&scene, "first");
    let first = reader.pop(&letters, Pop::up_to(1)).unwrap();
    assert_eq!(reader.ack(first[0].receipt()).unwrap(), Settled::Done);
    bury(&scene, "second");
    (0..5).for_each(|_| pass(&scene, 20));
    let second = reader.pop(&letters, Pop::up_to(2)).unwrap();
    assert_eq!(second.iter().map(|letter| letter.body()).collect::<Vec<_>>(), [b"second"]);
    assert_eq!(reader.ack(second[0].receipt()).unwrap(), Settled::Done);
    (0..5).for_each(|_| pass(&scene, 20));
    assert!(scene.store().stats().unwrap().commit_bytes < 20_000, "all are done");
    assert_eq!(scene.letters(), [""; 0], "their reader is done with them");
}

#[test]
fn the_log_stays_bounded_however_many_letters_it_holds() {
    let mut scene = burying();
    for at in 0..300 {
        bury(&scene, &format!("letter {at}"));
        pass(&scene, 5);
    }
    // The letters take 25 KB, which is more than a part of any segment.
    let bytes = scene.store().stats().unwrap().commit_bytes;
    assert!(bytes < 150_000, "{bytes} bytes are kept for 300 letters");
    scene.kill();
    assert_eq!(scene.letters(), (0..300).map(|at| format!("letter {at}")).collect::<Vec<_>>());
}

#[test]
fn a_segment_of_moved_messages_alone_names_their_topics() {
    let mut scene = burying();
    bury(&scene, "letter");
    (0..5).for_each(|_| pass(&scene, 20));
    scene.die(|path| {
        let _ = ["checkpoint", "queues"].map(|folder| std::fs::remove_dir_all(path.join(folder)).unwrap());
    });
    let saved = tempfile::tempdir().unwrap();
    let fresh = saved.path().join("fresh");
    let _ = Snapshot::open(&scene.path).unwrap().salvage(&fresh, |_, _| {}).unwrap();
    let topics = popstore::Store::open(&fresh).unwrap().stats().unwrap().topics;
    assert!(topics.iter().any(|topic| topic.name == format!("%DLQ%{GROUP}")), "{topics:?}");
}

/// A group that begins to read while messages are synced, at the sync with this number.
#[derive(Default)]
struct Begins {
    at: Mutex<Option<(u32, Store)>>,
    first: AtomicU64,
}

impl Hook for Begins {
    fn before(&self, event: &Event<'_>) -> std::io::Result<()> {
        let syncs = match event {
            Event::SyncFile(path) | Event::SyncRange { path, .. } => is_segment_of(path, "commit"),
            _ => false,
        };
        let mut waits = self.at.lock().unwrap();
        if let Some((syncs_left, _)) = waits.as_mut().filter(|_| syncs) {
            *syncs_left -= 1;
        }
        if let Some((_, store)) = waits.take_if(|(syncs_left, _)| *syncs_left == 0) {
            drop(waits);
            let first = store.group("late").unwrap().pop("other", Pop::up_to(1)).unwrap().remove(0);
            self.first.store(first.message().index(), Ordering::SeqCst);
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

#[test]
fn a_reader_that_begins_during_a_move_sees_no_settled_letter() {
    let mut tried = 0;
    loop {
        let begins = Arc::new(Begins::default());
        let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().when_done());
        let scene = Scene::with(options.hook(begins.clone()), GroupOptions::default().max_reconsume_times(0));
        let late = scene.store().create_group("late", GroupOptions::default()).unwrap();
        bury(&scene, "letter");
        (0..20).for_each(|_| assert!(scene.store().append("other", Message::new(&[b'o'; 400])).is_ok()));
        let popped = scene.group().pop("other", Pop::up_to(20)).unwrap();
        popped.iter().for_each(|one| assert!(scene.ack(one.receipt()).counted()));
        *begins.at.lock().unwrap() = Some((tried + 1, scene.store().clone()));
        (0..5).for_each(|_| scene.store().run_pending());
        if begins.at.lock().unwrap().take().is_some() {
            break;
        }
        let left = late.pop("other", Pop::up_to(100)).unwrap();
        let left: Vec<_> = left.iter().map(|one| one.message().index()).collect();
        let first = begins.first.load(Ordering::SeqCst);
        assert_eq!(left, (first + 1..20).collect::<Vec<_>>(), "behind {first}, begun at sync {tried}");
        tried += 1;
    }
    assert!(tried > 2, "{tried} syncs");
}
