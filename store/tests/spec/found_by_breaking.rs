//! Mistakes that were found by trying to break the store from outside, each as the test that would have shown it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::disk::{files, segments};
use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::inspect::{RecoveryPlan, Snapshot};
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Retention, StoreEvent};

fn faults(dir: &Path) -> Vec<String> {
    let mut told = Vec::new();
    Snapshot::open(dir).unwrap().verify(|_, _| {}, |fault| told.push(fault.to_string())).unwrap();
    told
}

fn failures() -> (Options, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let options = Options::default().durability(Durability::Buffered).on_event(move |event| {
        if let StoreEvent::BackgroundFailure { task, reason } = event {
            tell.lock().unwrap().push(format!("{task}: {reason}"));
        }
    });
    (options, told)
}

/// They are told of in as many records as they need, not in one that no segment of the checkpoint log can hold.
#[test]
fn a_mark_can_tell_of_more_moved_messages_than_fit_into_a_segment() {
    let (options, failed) = failures();
    let options = options.segment_bytes(1 << 16).checkpoint_segment_bytes(4096).mark_every_bytes(1 << 16);
    let mut scene = Scene::sized(options.retention(Retention::keep().bytes(25 << 16)), GroupOptions::default());
    let fill = |scene: &Scene| {
        (0..20).for_each(|_| assert!(scene.store().append("other", Message::new(&[b'x'; 3000])).is_ok()));
        scene.store().run_pending();
    };
    let held = 300;
    for at in 0..held / 15 {
        (0..15).for_each(|one| assert!(scene.append(&format!("held {}", at * 15 + one)) < held));
        assert_eq!(scene.group().pop(TOPIC, Pop::up_to(15).invisible_for(secs(9000))).unwrap().len(), 15);
        fill(&scene);
    }
    (0..30).for_each(|_| fill(&scene));
    assert!(scene.store().topic_stats(TOPIC).unwrap().queues[0].0 >= held, "they were not all moved");
    assert_eq!(failed.lock().unwrap().as_slice(), [""; 0]);
    scene.kill();
    assert!(scene.store().recovery().records_scanned < held);
    scene.reopen();
    scene.advance(secs(9001));
    let mut again = 0;
    while let [one] = scene.pop_up_to(1).as_slice() {
        assert_eq!(one.body(), format!("held {again}").as_bytes());
        again += 1;
    }
    assert_eq!(again, held);
}

#[test]
fn a_mark_can_tell_of_more_queues_than_fit_into_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::default().checkpoint_segment_bytes(4096).durability(Durability::Buffered);
    let store = options.clone().open(dir.path()).unwrap();
    store.create_topic(TOPIC, 1024).unwrap();
    let many = vec![Message::new("x"); 1024];
    (0..130).for_each(|_| assert!(store.append_batch(TOPIC, &many).is_ok()));
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    assert!(store.recovery().clean && store.recovery().records_scanned == 0, "{:?}", store.recovery());
    assert!(store.topic_stats(TOPIC).unwrap().queues.iter().all(|queue| *queue == (0, 130)));
}

/// The rule is looked at when there is more than it says, and not when the next mark happens to be due.
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

/// Their owner let go of them after the snapshot was taken.
#[test]
fn entries_of_a_queue_that_has_no_file_any_more_are_gone_and_not_damaged() {
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().when_done());
    let scene = Scene::with(options, GroupOptions::default());
    let fill = |segments: usize| {
        for _ in 0..4 * segments {
            assert!(scene.store().append("other", Message::new(&[b'x'; 1000])).is_ok());
            for topic in ["other", TOPIC] {
                for delivery in scene.group().pop(topic, Pop::up_to(100)).unwrap_or_default() {
                    assert!(scene.ack(delivery.receipt()).counted());
                }
            }
            scene.store().run_pending();
        }
    };
    // The log must not begin at 0 when it is looked at.
    fill(4);
    scene.append_many("m", 8);
    (0..6).for_each(|_| assert!(scene.store().append("other", Message::new(&[b'x'; 1000])).is_ok()));
    scene.store().run_pending();
    let snapshot = Snapshot::open(&scene.path).unwrap();
    assert!(snapshot.mark() > 0 && !snapshot.queue_files(TOPIC, 0).unwrap().is_empty());
    fill(6);
    assert!(snapshot.queue_files(TOPIC, 0).unwrap().is_empty(), "the files are still there");
    let mut lookup = snapshot.lookup();
    for index in 0..8 {
        assert!(lookup.queue_entry(TOPIC, 0, index).unwrap().is_none(), "{index}");
        assert!(lookup.message(TOPIC, 0, index).unwrap().is_none(), "{index}");
    }
}

/// Opening refuses it, so nobody may call it sound.
#[test]
fn with_an_older_copy_of_the_file_store_the_plan_refuses_and_verify_names_the_file() {
    let mut scene = Scene::new();
    scene.append_many("m", 2);
    let older = std::fs::read(scene.path.join("store")).unwrap();
    scene.kill();
    scene.append_many("n", 2);
    scene.kill_and(|_| {});
    scene.append_many("o", 2);
    scene.die(|dir| std::fs::write(dir.join("store"), &older).unwrap());
    let refusal = scene.refusal().to_string();
    let planned = RecoveryPlan::read(&scene.path).unwrap().refused.map(|refused| refused.to_string());
    assert_eq!(planned, Some(refusal));
    let told = faults(&scene.path);
    assert!(told.iter().any(|fault| fault.contains("store") && fault.contains("generation 2 at least")), "{told:?}");
}

#[test]
fn a_log_without_any_segment_is_a_fault_and_not_an_empty_log() {
    for log in ["commit", "checkpoint"] {
        let mut scene = Scene::sized(Options::default(), GroupOptions::default());
        scene.append_many("m", 3);
        scene.die(|dir| segments(dir, log).iter().for_each(|path| std::fs::remove_file(path).unwrap()));
        assert!(matches!(scene.refusal(), Error::Corrupt { .. }));
        let told = faults(&scene.path);
        assert!(told.iter().any(|fault| fault.contains(log) && fault.contains("segments of a log")), "{told:?}");
    }
}

#[test]
fn a_plan_refuses_the_options_that_opening_refuses() {
    let mut scene = Scene::new();
    scene.close();
    let before = files(&scene.path);
    let bad = [Options::default().checkpoint_segment_bytes(0), Options::default().segment_bytes(7)];
    for options in bad {
        let plan = RecoveryPlan::read_for(&scene.path, &options).unwrap();
        assert!(matches!(plan.refused, Some(Error::Invalid { .. })) && plan.steps.is_empty(), "{plan:?}");
    }
    assert_eq!(files(&scene.path), before);
}

/// A look at a directory takes a while, and the owner of the store removes what was listed first.
#[test]
fn segments_that_go_between_the_list_and_the_look_are_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options::default().durability(Durability::Buffered).segment_bytes(4096).checkpoint_segment_bytes(4096);
    let store = options.retention(Retention::keep().bytes(16 * 4096)).open(dir.path()).unwrap();
    store.create_topic(TOPIC, 1).unwrap();
    store.create_group(GROUP, GroupOptions::default()).unwrap();
    let faults = thread::scope(|scope| {
        let look = || {
            let open = |_| Snapshot::open(dir.path()).unwrap().faults().iter().map(ToString::to_string).collect();
            (0..300).flat_map::<Vec<_>, _>(open).collect::<Vec<String>>()
        };
        let looking = scope.spawn(look);
        while !looking.is_finished() {
            // A slow machine must not look at more and more.
            if store.stats().unwrap().commit_bytes > 1 << 20 {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            assert!(store.append(TOPIC, Message::new(&[b'x'; 1500])).is_ok());
        }
        looking.join().unwrap()
    });
    assert!(faults.is_empty(), "{faults:?}");
}
