//! What retention has moved on stays what it was: held, settled or redriven, also when the process dies.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::scene::{GROUP, Scene, TOPIC, copy, secs};
use popstore::{Delivery, Durability, Error, Event, GroupOptions, Hook, Message, Options, Pop, Redriven, Retention};

/// One dead letter, and a group that reads the letters as messages and holds it.
fn letter_that_is_held() -> (Scene, Vec<Delivery>) {
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(8192));
    let scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    scene.append("dies");
    drop(scene.pop());
    scene.advance(secs(31));
    let reader = scene.store().create_group("reader", GroupOptions::default()).unwrap();
    let lease = Pop::up_to(1).invisible_for(secs(7 * 86_400));
    let held = reader.pop(&format!("%DLQ%{GROUP}"), lease).unwrap();
    assert_eq!(held.len(), 1);
    (scene, held)
}

/// Everything is done with, until the segments before are gone.
fn let_retention_work(scene: &Scene) {
    let first = |topic| scene.store().topic_stats(topic).unwrap().queues[0].0;
    for _ in 0..600 {
        scene.store().append(TOPIC, Message::new(&[b'x'; 400])).unwrap();
        assert!(scene.ack(scene.pop().receipt()).counted());
        scene.store().run_pending();
    }
    assert!(first(TOPIC) > 100 && first(&format!("%DLQ%{GROUP}")) > 0, "retention deleted nothing");
}

/// So many letters that the first lies in a block of 64 of its own.
fn more_letters(scene: &Scene) {
    scene.append_many("dies, too", 100);
    drop(scene.pop_up_to(100));
    scene.advance(secs(31));
    for letter in scene.group().dead_letters().unwrap() {
        assert!(matches!(scene.group().redrive(&letter.unwrap()).unwrap(), Redriven::Done { .. }));
    }
    scene.pop_up_to(101).iter().for_each(|delivery| assert!(scene.ack(delivery.receipt()).counted()));
}

#[test]
fn a_redriven_letter_that_is_moved_on_is_not_listed_again() {
    let (mut scene, _held) = letter_that_is_held();
    more_letters(&scene);
    let_retention_work(&scene);
    assert_eq!(scene.group().dead_letters().unwrap().count(), 0);
    scene.kill();
    assert_eq!(scene.group().dead_letters().unwrap().count(), 0);
}

#[test]
fn a_redriven_letter_that_is_deleted_is_not_redriven_again() {
    let (scene, held) = letter_that_is_held();
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    let reader = scene.store().group("reader").unwrap();
    assert!(reader.ack(held[0].receipt()).unwrap().counted());
    more_letters(&scene);
    scene.store().delete_group("reader").unwrap();
    let_retention_work(&scene);
    let again = scene.group().redrive(&letter);
    assert!(matches!(again, Err(Error::Unknown { what: "dead letter", .. })), "{again:?}");
}

/// Takes a copy of the store whenever its messages are synced.
#[derive(Default)]
struct Moves {
    store: Mutex<PathBuf>,
    taken: Mutex<Vec<tempfile::TempDir>>,
}

impl Hook for Moves {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let store = self.store.lock().unwrap().clone();
        if let Event::SyncFile(path) | Event::SyncRange { path, .. } = event
            && path.starts_with(store.join("commit"))
        {
            let taken = tempfile::tempdir().unwrap();
            copy(&store, taken.path());
            self.taken.lock().unwrap().push(taken);
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

#[test]
fn a_moved_message_is_there_whenever_the_process_dies() {
    let moves = Arc::new(Moves::default());
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(4096));
    let scene = Scene::with(options.hook(moves.clone()), GroupOptions::default());
    let mut held = Vec::new();
    for at in 0..30 {
        scene.append(&"x".repeat(if at % 10 == 3 { 1 } else { 900 }));
        let delivery = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(secs(7 * 86_400))).unwrap().remove(0);
        match at % 10 {
            3 => held.push(at),
            _ => assert!(scene.ack(delivery.receipt()).counted()),
        }
        moves.store.lock().unwrap().clone_from(&scene.path);
        scene.advance(secs(1));
        moves.store.lock().unwrap().clear();
        for dir in std::mem::take(&mut *moves.taken.lock().unwrap()) {
            let store = scene.options.clone().hook(Arc::new(Moves::default())).open(dir.path()).unwrap();
            for index in &held {
                let message = store.message(TOPIC, 0, *index).unwrap();
                assert!(message.is_some(), "message {index} is gone behind {at}");
            }
        }
    }
    let first = scene.store().topic_stats(TOPIC).unwrap().queues[0].0;
    assert!(first > 13, "retention only went to {first}");
}
