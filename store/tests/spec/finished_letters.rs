//! A dead letter that was popped from its dead-letter queue and settled is done: it is not listed, and not put back.

use crate::scene::{GROUP, Scene, TOPIC, secs, text};
use popstore::inspect::Snapshot;
use popstore::{
    DeadLetter, Durability, Group, GroupOptions, Message, Options, Pop, Redriven, Retention, Settled, StartAt,
};

const LETTERS: &str = "%DLQ%billing";

/// A scene with so many letters.
fn letters(of: u32) -> Scene {
    let scene = Scene::limit(0);
    scene.append_many("m", of);
    for delivery in scene.pop_up_to(of) {
        assert_eq!(scene.nack(delivery.receipt(), secs(0)), Settled::Done);
    }
    scene.store().run_pending();
    assert_eq!(scene.letters().len(), of as usize);
    scene
}

fn reader(scene: &Scene, name: &str, start_at: StartAt) -> Group {
    scene.store().create_group(name, GroupOptions::default().start_at(start_at)).unwrap()
}

fn handle(group: &Group, letters: u32) {
    for delivery in group.pop(LETTERS, Pop::up_to(letters)).unwrap() {
        assert_eq!(group.ack(delivery.receipt()).unwrap(), Settled::Done);
    }
}

/// A snapshot of the consumers takes the place of all records before.
fn snapshot_of_all(scene: &Scene) {
    for _ in 0..400 {
        let other = reader(scene, "other", StartAt::Oldest);
        scene.store().delete_group(other.name()).unwrap();
        scene.store().run_pending();
    }
    assert!(Snapshot::open(&scene.path).unwrap().checkpoint_extent().0 > 0);
}

fn all(scene: &Scene) -> Vec<DeadLetter> {
    scene.group().dead_letters().unwrap().map(Result::unwrap).collect()
}

/// What is listed, by the store and by the view of its files.
fn listed(scene: &Scene) -> Vec<String> {
    scene.store().sync().unwrap();
    let beside = Snapshot::open(&scene.path).unwrap();
    let on_the_list = |index: &u64| !beside.is_finished(LETTERS, *index) && !beside.is_redriven(LETTERS, *index);
    let places: Vec<u64> = beside.places(LETTERS, 0).filter(on_the_list).collect();
    let letters = all(scene);
    assert_eq!(places, letters.iter().map(|letter| letter.message().index()).collect::<Vec<_>>());
    letters.iter().map(|letter| text(letter.message().body())).collect()
}

#[test]
fn a_letter_that_a_reader_has_acked_is_done() {
    let mut scene = letters(3);
    let before = all(&scene);
    let fixer = reader(&scene, "fixer", StartAt::Oldest);
    let deliveries = fixer.pop(LETTERS, Pop::up_to(2)).unwrap();
    assert_eq!(listed(&scene), ["m0", "m1", "m2"], "nobody has settled one");
    assert_eq!(fixer.ack(deliveries[1].receipt()).unwrap(), Settled::Done);
    drop((fixer, deliveries));
    for step in 0..4 {
        assert_eq!(listed(&scene), ["m0", "m2"], "step {step}");
        assert_eq!(scene.group().redrive(&before[1]).unwrap(), Redriven::Finished);
        assert_eq!(scene.bodies(), ["m0", "m1", "m2"], "nothing was put back");
        match step {
            0 | 2 => scene.kill(),
            1 => snapshot_of_all(&scene),
            _ => scene.reopen(),
        }
    }
    assert!(matches!(scene.group().redrive(&before[0]).unwrap(), Redriven::Done { .. }));
    assert_eq!(listed(&scene), ["m2"]);
}

#[test]
fn of_several_readers_of_the_letters_all_must_be_done() {
    let scene = letters(3);
    let [fixer, audit] = ["fixer", "audit"].map(|name| reader(&scene, name, StartAt::Oldest));
    // It waits for letters of this queue, but was given none.
    reader(&scene, "newest", StartAt::Newest);
    handle(&fixer, 2);
    assert_eq!(listed(&scene), ["m2"]);
    handle(&audit, 1);
    assert_eq!(listed(&scene), ["m1", "m2"]);
    handle(&audit, 1);
    assert_eq!(listed(&scene), ["m2"]);
    drop(audit);
    scene.store().delete_group("fixer").unwrap();
    scene.store().delete_group("audit").unwrap();
    assert_eq!(listed(&scene), ["m0", "m1", "m2"], "who said that they are done is gone");
}

/// The group skips what was there, and that is not to finish with it.
#[test]
fn letters_from_before_a_reader_began_stay_listed() {
    let mut scene = letters(2);
    reader(&scene, "late", StartAt::Newest);
    scene.append("m2");
    assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
    scene.store().run_pending();
    handle(&scene.store().group("late").unwrap(), 9);
    for step in 0..4 {
        assert_eq!(listed(&scene), ["m0", "m1"], "step {step}");
        match step {
            0 | 2 => scene.kill(),
            1 => snapshot_of_all(&scene),
            _ => scene.reopen(),
        }
    }
}

#[test]
fn retention_does_not_move_letters_on_that_are_done() {
    let retention = Retention::keep().when_done();
    let options = Options::default().durability(Durability::Buffered).retention(retention);
    let scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    let fixer = reader(&scene, "fixer", StartAt::Oldest);
    for round in 0..60 {
        scene.store().append(TOPIC, Message::new(&[b'x'; 500])).unwrap();
        let delivery = scene.pop();
        // The first letters are those of nobody but the list.
        assert_eq!(scene.nack(delivery.receipt(), secs(0)), Settled::Done);
        scene.store().run_pending();
        handle(&fixer, 9);
        assert!(all(&scene).is_empty(), "round {round}");
    }
    scene.store().run_pending();
    let bytes = scene.store().stats().unwrap().commit_bytes;
    assert!(bytes <= 3 * 4096, "{bytes} bytes are there of letters that are done, of {GROUP}");
}

#[test]
fn letters_that_are_gone_are_no_longer_known_as_put_back() {
    let options = Options::default().retention(Retention::keep().after(secs(3600)));
    let mut scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    scene.append("m0");
    assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
    scene.store().run_pending();
    assert!(matches!(scene.group().redrive(&all(&scene)[0]).unwrap(), Redriven::Done { .. }));
    let known = |scene: &Scene| Snapshot::open(&scene.path).unwrap().is_redriven(LETTERS, 0);
    assert!(known(&scene));
    scene.append_many("x", 200);
    scene.advance(secs(7200));
    scene.store().run_pending();
    scene.kill();
    assert_eq!(scene.store().topic_stats(LETTERS).unwrap().messages(), 0, "the letter is there");
    assert!(!known(&scene), "it is still known");
}
