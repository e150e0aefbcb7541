//! What retention does not delete: messages that are unread or being written, and files that a mark refers to.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::disk::{Gate, MESSAGE, frames_of, is_segment_of, segments};
use crate::scene::{Scene, TOPIC, copy, secs};
use popstore::inspect::Snapshot;
use popstore::{Durability, Error, Event, GroupOptions, Hook, Message, Options, Pop, Retention};

fn when_done() -> Options {
    Options::default().retention(Retention::keep().when_done())
}

#[test]
fn retention_deletes_no_message_behind_a_damaged_frame() {
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
fn retention_waits_for_a_group_commit_at_a_segments_end() {
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

/// Takes a copy of the store whenever a file of a queue was removed: a process that is killed there leaves this.
#[derive(Default)]
struct Copies {
    store: Mutex<PathBuf>,
    taken: Mutex<Vec<tempfile::TempDir>>,
}

impl Hook for Copies {
    fn before(&self, _event: &Event<'_>) -> io::Result<()> {
        Ok(())
    }

    fn after(&self, event: &Event<'_>) {
        let store = self.store.lock().unwrap().clone();
        if let Event::Remove(path) = event
            && path.starts_with(store.join("queues"))
        {
            let taken = tempfile::tempdir().unwrap();
            copy(&store, taken.path());
            self.taken.lock().unwrap().push(taken);
        }
    }
}

#[test]
fn retention_removes_no_queue_file_that_the_last_mark_speaks_of() {
    let copies = Arc::new(Copies::default());
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().when_done());
    let scene = Scene::with(options.hook(copies.clone()), GroupOptions::default());
    copies.store.lock().unwrap().clone_from(&scene.path);
    scene.append_many(&"x".repeat(100), 200);
    scene.pop_up_to(190).iter().for_each(|delivery| assert!(scene.ack(delivery.receipt()).counted()));
    scene.advance(secs(1));
    let taken = std::mem::take(&mut *copies.taken.lock().unwrap());
    assert!(taken.len() > 3, "retention removed {} files of the queue", taken.len());
    for dir in taken {
        let mut faults = Vec::new();
        let verified = Snapshot::open(dir.path()).unwrap().verify(|_, _| {}, |fault| faults.push(fault.to_string()));
        assert_eq!((verified.unwrap().faults, &faults[..]), (0, &[][..]));
        let store = scene.options.clone().open(dir.path()).unwrap();
        assert_eq!(store.recovery().queues_rebuilt, 0);
        // What retention had not removed yet does not stay.
        let first = store.topic_stats(TOPIC).unwrap().queues[0].0;
        let files = std::fs::read_dir(dir.path().join("queues").join(TOPIC).join("0")).unwrap();
        let firsts = files.map(|file| file.unwrap().file_name().to_str().unwrap().parse::<u64>().unwrap());
        assert_eq!(firsts.min(), Some(first - first % 8));
    }
}

/// Holds back the first read of a queue's file.
struct FirstRead {
    gate: Arc<Gate>,
    armed: std::sync::atomic::AtomicBool,
}

impl Hook for FirstRead {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let is_read = matches!(event, Event::Open(path) if path.to_string_lossy().contains("queues/orders"));
        let is_first = is_read && self.armed.swap(false, std::sync::atomic::Ordering::SeqCst);
        if is_first { self.gate.before(event) } else { Ok(()) }
    }

    fn after(&self, _event: &Event<'_>) {}
}

#[test]
fn a_pop_that_is_slower_than_its_lease_calls_nothing_damaged() {
    let hook = Arc::new(FirstRead { gate: Gate::at(|_| true), armed: false.into() });
    let options = when_done().durability(Durability::Buffered).hook(hook.clone());
    let mut scene = Scene::with(options, GroupOptions::default());
    scene.append_many(&"m".repeat(300), 60);
    scene.reopen();
    hook.gate.close();
    hook.armed.store(true, std::sync::atomic::Ordering::SeqCst);
    let group = scene.group();
    let slow = thread::spawn(move || group.pop(TOPIC, Pop::up_to(1)).map(|popped| popped.len()));
    hook.gate.wait_until_it_holds_one();
    scene.advance(secs(31));
    let popped: Vec<_> = scene.pop_up_to(100).iter().map(|one| (one.message().index(), one.receipt())).collect();
    assert_eq!((popped.len(), popped[0].0), (60, 0), "the lease of the slow pop is over");
    popped.iter().for_each(|(_, receipt)| assert!(scene.ack(*receipt).counted()));
    scene.append_many(&"n".repeat(300), 30);
    (0..5).for_each(|_| scene.advance(secs(2)));
    assert!(scene.store().message(TOPIC, 0, 0).unwrap().is_none(), "it is not deleted");
    hook.gate.open();
    assert_eq!(slow.join().unwrap().unwrap(), 0, "others have settled it");
}
