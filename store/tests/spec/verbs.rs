//! The verbs as a user meets them, on a clock that stands still.

use crate::scene::{GROUP, Scene, TOPIC, secs};
use popstore::inspect::Snapshot;
use popstore::{Durability, GroupOptions, Message, Options, Pop, Settled, Store};

#[test]
fn what_is_appended_is_popped_in_order_with_all_its_parts() {
    let scene = Scene::new();
    let message = Message::new("12.50").key("order-42").tag("paid").property("till", "3").property("shift", "b");
    scene.store().append(TOPIC, message).unwrap();
    scene.append("second");
    let deliveries = scene.pop_up_to(10);
    assert_eq!(deliveries.len(), 2);
    let first = deliveries[0].message();
    assert_eq!((first.body(), first.key(), first.tag()), (&b"12.50"[..], &b"order-42"[..], "paid"));
    assert_eq!(first.properties().collect::<Vec<_>>(), [("till", "3"), ("shift", "b")]);
    assert_eq!((first.queue(), first.index(), deliveries[0].attempt()), (0, 0, 1));
    assert_eq!(deliveries[1].body(), b"second");
}

#[test]
fn an_acked_message_never_comes_back() {
    let mut scene = Scene::new();
    scene.append("a");
    let receipt = scene.pop().receipt();
    assert_eq!(scene.ack(receipt), Settled::Done);
    scene.advance(secs(3600));
    scene.expect_nothing();
    scene.kill();
    scene.advance(secs(3600));
    scene.expect_nothing();
    assert_eq!(scene.ack(receipt), Settled::AlreadySettled);
}

#[test]
fn a_message_whose_lease_ends_is_delivered_again() {
    let scene = Scene::new();
    scene.append("a");
    let first = scene.pop();
    scene.expect_nothing();
    scene.advance(secs(31));
    let second = scene.pop();
    assert_eq!((second.body(), second.attempt()), (&b"a"[..], 2));
    assert_eq!(scene.ack(first.receipt()), Settled::HandedOutAgain { attempt: 2 });
    assert_eq!(scene.ack(second.receipt()), Settled::Done);
}

#[test]
fn hundreds_of_messages_survive_a_kill_and_a_clean_close() {
    let mut scene = Scene::new();
    for at in 0..300 {
        scene.append(&format!("message {at}"));
    }
    scene.kill();
    assert!(!scene.store().recovery().clean);
    for at in 0..150 {
        let delivery = scene.pop();
        assert_eq!(delivery.body(), format!("message {at}").as_bytes());
        assert_eq!(scene.ack(delivery.receipt()), Settled::Done);
    }
    scene.reopen();
    assert!(scene.store().recovery().clean);
    let rest = scene.group().pop(TOPIC, Pop::up_to(1000)).unwrap();
    assert_eq!(rest.len(), 150);
    assert_eq!(rest[0].body(), b"message 150");
}

/// Entries go to their files in pieces: none is skipped or told twice, wherever a piece or a file ends.
#[test]
fn the_files_of_a_long_queue_have_an_entry_for_each_message() {
    for entries_per_file in [31, 33, 100, 5000] {
        let options = Options::default().entries_per_file(entries_per_file).durability(Durability::Buffered);
        let mut scene = Scene::sized(options, GroupOptions::default());
        let bodies: Vec<String> = (0..700).map(|at| format!("message {at}")).collect();
        // Marks fall between messages of all numbers.
        for (at, some) in bodies.chunks(67).enumerate() {
            for body in some {
                scene.append(body);
            }
            if at % 3 == 0 {
                scene.reopen();
            }
        }
        scene.reopen();
        // Before anybody reads, since who finds a wrong entry mends it.
        Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| panic!("{fault}")).unwrap();
        assert_eq!(scene.bodies(), bodies, "{entries_per_file} a file");
    }
}

#[test]
fn recovery_tells_how_much_it_read() {
    let mut scene = Scene::new();
    assert_eq!((scene.store().recovery().generation, scene.store().recovery().clean), (1, true));
    scene.append_many("m", 3);
    scene.pop();
    scene.die(|_| {});
    let found = Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| panic!("{fault}")).unwrap();
    scene.open();
    let recovery = scene.store().recovery();
    assert_eq!((recovery.generation, recovery.clean, recovery.tail_bytes_cut), (2, false, 0));
    assert_eq!((recovery.records_scanned, recovery.records_replayed), (found.commit_records, found.checkpoint_records));
    assert!(found.commit_records > 3 && found.checkpoint_records > 1);
}

#[test]
fn a_salvage_beside_an_owner_copies_what_there_was_at_its_start() {
    let scene = Scene::limit(0);
    scene.append("m0");
    let snapshot = Snapshot::open(&scene.path).unwrap();
    scene.pop();
    scene.advance(secs(31));
    assert_eq!(scene.letters(), ["m0"]);
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("fresh");
    assert_eq!(snapshot.salvage(&fresh, |_, _| {}).unwrap().messages, 1);
    let store = Store::open(&fresh).unwrap();
    let group = store.group(GROUP).unwrap();
    assert_eq!(group.dead_letters().unwrap().count(), 0, "its origin is not settled there");
    assert_eq!(group.pop(TOPIC, Pop::up_to(1)).unwrap()[0].body(), b"m0");
}

#[test]
fn at_its_limit_a_message_becomes_a_letter_with_its_history() {
    let mut scene = Scene::limit(1);
    scene.append("a");
    for attempt in 1..=2 {
        assert_eq!(scene.pop().attempt(), attempt);
        scene.advance(secs(31));
    }
    scene.expect_nothing();
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    assert_eq!((letter.message().body(), letter.origin_topic(), letter.attempts()), (&b"a"[..], TOPIC, 2));
    scene.kill();
    assert_eq!(scene.letters(), ["a"]);
    scene.expect_nothing();
}
