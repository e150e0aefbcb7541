//! After a mark, opening reads nothing before it again and knows everything that was there.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::scene::{MODES, Scene, TOPIC, copy, secs};
use popstore::{Durability, GroupOptions, Message, Options, Pop, Retention, Store, StoreEvent};

fn failures() -> (Options, Arc<Mutex<Vec<String>>>) {
    let failed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&failed);
    let options = Options::default().durability(Durability::Buffered).on_event(move |event| {
        if let StoreEvent::BackgroundFailure { task, reason } = event {
            seen.lock().unwrap().push(format!("{task}: {reason}"));
        }
    });
    (options, failed)
}

/// Nobody has to fill a segment or close the store for the next open to be quick.
#[test]
fn promise_1_after_a_pause_an_open_reads_no_message_again() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().durability(mode).open(dir.path()).unwrap();
        let body = vec![b'x'; 1 << 18];
        (0..5).for_each(|_| assert!(store.append(TOPIC, Message::new(&body)).is_ok()));
        let scanned = || {
            thread::sleep(Duration::from_millis(20));
            let killed = tempfile::tempdir().unwrap();
            copy(dir.path(), killed.path());
            Store::open(killed.path()).map(|store| store.recovery().records_scanned)
        };
        // Files that change while they are copied may be no store.
        assert!((0..500).any(|_| matches!(scanned(), Ok(0))), "{mode:?}");
    }
}

#[test]
fn a_created_topic_survives_a_kill_around_any_mark() {
    let mut scene = Scene::buffered();
    for number in 0..30 {
        scene.append(&"x".repeat(900));
        scene.store().create_topic(&format!("topic-{number}"), 3).unwrap();
        scene.store().run_pending();
    }
    scene.kill();
    assert_eq!(scene.store().stats().unwrap().topics.len(), 31);
}

/// They are listed in as many records as they need, not in one that no segment of the checkpoint log can hold.
#[test]
fn a_mark_lists_more_moved_messages_than_fit_into_a_segment() {
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
fn a_mark_lists_more_queues_than_fit_into_a_segment() {
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
