//! Retention by age where the clock was wrong when messages were appended, or is now.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::scene::{Scene, TOPIC, secs};
use popstore::{Durability, GroupOptions, Message, Options, Retention, StoreEvent};

const HOUR: Duration = Duration::from_secs(3600);
const YEARS: Duration = Duration::from_secs(56 * 365 * 86_400);

type Events = Arc<Mutex<Vec<StoreEvent>>>;

/// A store that deletes what is older than an hour, and what it reports.
fn of_an_hour() -> (Scene, Events) {
    let events = Events::default();
    let sink = Arc::clone(&events);
    let options = Options::default().on_event(move |event| sink.lock().unwrap().push(event.clone()));
    let options = options.durability(Durability::Buffered).retention(Retention::keep().after(HOUR));
    (Scene::with(options, GroupOptions::default()), events)
}

/// Segments of messages, a second apart.
fn append_segments(scene: &Scene) {
    for _ in 0..40 {
        scene.store().append(TOPIC, Message::new(&[b'x'; 400])).unwrap();
        scene.advance(secs(1));
    }
}

fn first(scene: &Scene) -> u64 {
    scene.store().topic_stats(TOPIC).unwrap().queues[0].0
}

fn expect_event(events: &Events) {
    let doubted = |event: &StoreEvent| matches!(event, StoreEvent::ImplausibleTime { .. });
    assert!(events.lock().unwrap().iter().any(doubted), "{:?}", events.lock().unwrap());
}

#[test]
fn messages_from_the_future_go_with_those_behind_them() {
    let (scene, events) = of_an_hour();
    append_segments(&scene);
    let now = secs(1_000_040);
    scene.clock.set(now + YEARS);
    (0..5).for_each(|_| assert!(scene.append("2082") > 0));
    scene.clock.set(now);
    append_segments(&scene);
    assert_eq!(first(&scene), 0);
    scene.advance(HOUR);
    assert!(first(&scene) > 60, "{} is the first, an hour later", first(&scene));
    expect_event(&events);
}

#[test]
fn one_message_from_the_future_does_not_outlive_the_next_open() {
    let (mut scene, events) = of_an_hour();
    append_segments(&scene);
    let now = secs(1_000_040);
    scene.clock.set(now + YEARS);
    scene.append("2082");
    scene.close();
    scene.clock.set(now);
    scene.open();
    append_segments(&scene);
    scene.advance(HOUR);
    assert!(first(&scene) > 60, "{} is the first, an hour later", first(&scene));
    expect_event(&events);
}

#[test]
fn a_clock_set_between_two_runs_deletes_no_unread_message() {
    let (mut scene, events) = of_an_hour();
    append_segments(&scene);
    scene.close();
    scene.clock.set(YEARS);
    scene.open();
    scene.store().run_pending();
    assert_eq!(first(&scene), 0, "unread, and some seconds old");
    append_segments(&scene);
    for _ in 0..3 {
        scene.reopen();
        scene.advance(HOUR / 6);
        assert_eq!(first(&scene), 0, "half an hour old at most");
    }
    scene.advance(HOUR / 2);
    assert!(first(&scene) > 40, "{} is the first, an hour later", first(&scene));
    expect_event(&events);
}
