//! What becomes of messages that cannot be read: they are reported, and neither delivered nor counted.

use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Retention, Settled};

use crate::disk::{MESSAGE, frames_of};
use crate::scene::{Scene, TOPIC, secs};

/// Damages a message, or undoes that.
fn damage(scene: &Scene, index: usize) {
    let frame = &frames_of(&scene.path, "commit", MESSAGE)[index];
    frame.flip(frame.len - 1);
}

fn expect_damage(scene: &Scene, messages: u32) {
    let popped = scene.group().pop(TOPIC, Pop::up_to(messages));
    assert!(matches!(popped, Err(Error::Corrupt { .. })), "{popped:?}");
}

#[test]
fn a_message_that_cannot_be_read_has_had_no_delivery() {
    let mut scene = Scene::limit(0);
    scene.append_many("m", 3);
    damage(&scene, 1);
    assert_eq!(scene.pop().body(), b"m0");
    for _ in 0..3 {
        expect_damage(&scene, 1);
        scene.advance(secs(31));
        // An open refuses damage behind the last mark.
        damage(&scene, 1);
        scene.kill();
        damage(&scene, 1);
    }
    let stats = scene.group().stats().unwrap();
    assert_eq!((stats.popped, stats.in_flight, stats.dead_lettered), (1, 0, 1), "only the first was delivered");
    damage(&scene, 1);
    let popped = scene.pop_up_to(10);
    let popped: Vec<_> = popped.iter().map(|one| (one.message().index(), one.attempt())).collect();
    assert_eq!(popped, [(1, 1), (2, 1)]);
}

#[test]
fn what_lies_before_damage_is_handed_out_the_rest_given_back() {
    let scene = Scene::limit(0);
    scene.append_many("m", 5);
    damage(&scene, 2);
    assert_eq!(scene.pop_up_to(5).len(), 2);
    assert_eq!(scene.group().stats().unwrap().popped, 2);
    expect_damage(&scene, 5);
    assert!(scene.group().skip(TOPIC, 0, 2).unwrap());
    let popped: Vec<_> = scene.pop_up_to(5).iter().map(|one| (one.message().index(), one.attempt())).collect();
    assert_eq!(popped, [(3, 1), (4, 1)]);
}

#[test]
fn a_redelivery_that_cannot_be_read_is_no_nearer_to_the_limit() {
    let scene = Scene::limit(1);
    scene.append("m");
    assert_eq!(scene.group().nack(scene.pop().receipt(), secs(0)).unwrap(), Settled::Done);
    damage(&scene, 0);
    for _ in 0..3 {
        expect_damage(&scene, 1);
        scene.advance(secs(31));
    }
    damage(&scene, 0);
    assert_eq!(scene.pop().attempt(), 2);
}

/// Nobody was delivered it: retention deletes it like any other message that nobody popped.
#[test]
fn damage_that_a_group_came_to_does_not_hold_up_retention() {
    for ordered in [false, true] {
        let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(8192));
        let mut scene = Scene::with(options, GroupOptions::default().ordered(ordered));
        scene.append_many("m", 10);
        damage(&scene, 1);
        let first = scene.pop();
        assert_eq!(scene.ack(first.receipt()), Settled::Done);
        expect_damage(&scene, 10);
        for _ in 0..60 {
            scene.store().append(TOPIC, Message::new(&[b'x'; 400])).unwrap();
            scene.store().run_pending();
        }
        scene.kill();
        let (first, end) = scene.store().topic_stats(TOPIC).unwrap().queues[0];
        assert!(first > 10, "{first} is the first");
        assert_eq!(scene.pop().message().index(), first);
        let stats = scene.group().stats().unwrap();
        let held = (stats.in_flight, stats.ready, stats.waiting);
        assert_eq!(held, (1, end - first - 1, 0), "what is gone is not held");
    }
}

#[test]
fn damage_in_one_queue_does_not_keep_those_of_others() {
    let scene = Scene::limit(16);
    scene.store().create_topic("sharded", 4).unwrap();
    for (queue, body) in (0..20).map(|at| (at % 4, format!("m{at}"))) {
        scene.store().append("sharded", Message::new(&body).queue(queue)).unwrap();
    }
    damage(&scene, 2);
    let mut popped = 0;
    for _ in 0..200 {
        for delivery in scene.group().pop("sharded", Pop::up_to(1)).unwrap_or_default() {
            assert_eq!(scene.ack(delivery.receipt()), Settled::Done);
            popped += 1;
        }
    }
    assert_eq!(popped, 15, "of the queues that are whole");
}
