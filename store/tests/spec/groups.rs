//! Groups: settings, what deleting one means, where a group starts, and which queue a message goes to.

use std::time::Duration;

use crate::scene::{GROUP, Scene, TOPIC, secs, text};
use popstore::{Error, GroupOptions, Message, Options, Pop, Settled, StartAt};

const MS: Duration = Duration::from_millis(1);

fn settled(settings: GroupOptions) -> Scene {
    Scene::with(Options::default(), settings)
}

#[test]
fn a_receipt_names_its_group_and_one_setting_changes_alone() {
    let scene = Scene::limit(3);
    scene.append("a");
    let receipt = scene.pop().receipt();
    let group = scene.store().group_of(&receipt).unwrap();
    assert_eq!(group.name(), scene.group().name());
    let changed = group.options().unwrap().invisible_for(secs(7));
    scene.store().create_group(group.name(), changed.clone()).unwrap();
    assert_eq!(scene.group().options().unwrap(), changed);
    assert_eq!(changed, GroupOptions::default().max_reconsume_times(3).invisible_for(secs(7)));
}

#[test]
fn settings_are_durable_and_survive_snapshots() {
    let settings = GroupOptions::default().invisible_for(secs(5)).max_reconsume_times(0).ordered(true);
    let mut scene = settled(settings);
    scene.append_many("m", 2);
    scene.kill();
    assert_eq!(scene.pop_up_to(2).len(), 1);
    scene.advance(secs(6));
    assert_eq!(scene.letters(), ["m0"]);
}

#[test]
fn groups_see_every_message_independently() {
    let scene = Scene::new();
    let shipping = scene.store().create_group("shipping", GroupOptions::default()).unwrap();
    scene.append("a");
    assert_eq!(scene.ack(scene.pop().receipt()), Settled::Done);
    assert_eq!(shipping.pop(TOPIC, Pop::up_to(9)).unwrap().len(), 1);
}

#[test]
fn a_deleted_group_loses_its_position_and_its_letters_stay() {
    let mut scene = Scene::limit(0);
    scene.append_many("m", 2);
    let old = scene.pop().receipt();
    scene.advance(secs(31));
    let group = scene.group();
    scene.store().delete_group(GROUP).unwrap();
    assert!(matches!(group.pop(TOPIC, Pop::up_to(1)), Err(Error::Unknown { what: "group", .. })));
    assert!(matches!(scene.store().group(GROUP), Err(Error::Unknown { .. })));
    drop(group);
    scene.kill();
    scene.change_group(GroupOptions::default());
    assert!(matches!(scene.group().ack(old), Err(Error::Invalid { .. })), "a receipt of the group before");
    assert_eq!((scene.pop_up_to(9).len(), scene.letters().len()), (2, 1));
}

#[test]
fn a_group_that_starts_at_the_newest_sees_only_what_comes() {
    let mut scene = Scene::new();
    scene.append_many("old", 3);
    let late = GroupOptions::default().start_at(StartAt::Newest);
    scene.store().create_group("late", late).unwrap();
    scene.append("new");
    scene.kill();
    let popped = scene.store().group("late").unwrap().pop(TOPIC, Pop::up_to(9)).unwrap();
    assert_eq!(popped.iter().map(|one| text(one.body())).collect::<Vec<_>>(), ["new"]);
}

#[test]
fn a_pop_names_its_own_invisible_time_from_1_ms_to_7_days() {
    let week = secs(7 * 86_400);
    let scene = Scene::new();
    scene.append("a");
    for lease in [MS, week] {
        let popped = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(lease)).unwrap();
        assert_eq!(popped.len(), 1);
        scene.advance(lease - MS);
        if lease > MS {
            scene.expect_nothing();
        }
        scene.advance(MS);
    }
    for lease in [Duration::ZERO, MS - Duration::from_nanos(1), week + MS] {
        let refused = scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(lease));
        assert!(matches!(refused, Err(Error::Invalid { what: "invisible time", .. })));
    }
    assert_eq!(scene.pop().attempt(), 3);
}

#[test]
fn a_pop_takes_from_all_queues_or_from_one() {
    let scene = Scene::new();
    scene.store().create_topic(TOPIC, 4).unwrap();
    scene.append_many("m", 20);
    let one = scene.group().pop(TOPIC, Pop::up_to(20).queue(2)).unwrap();
    assert_eq!((one.len(), one.iter().all(|one| one.message().queue() == 2)), (5, true));
    assert_eq!(scene.pop_up_to(20).len(), 15);
}

#[test]
fn a_message_goes_to_the_queue_of_its_key_or_the_one_it_names() {
    let scene = Scene::new();
    scene.store().create_topic(TOPIC, 8).unwrap();
    let queue_of = |message: Message<'_>| scene.store().append(TOPIC, message).unwrap().queue;
    let mut used = std::collections::BTreeSet::new();
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        let first = queue_of(Message::new("x").key(key));
        assert!((0..5).all(|_| queue_of(Message::new("x").key(key)) == first));
        used.insert(first);
    }
    assert!(used.len() > 2, "all keys in the queues {used:?}");
    assert!((0..8).all(|queue| queue_of(Message::new("x").key("a").queue(queue)) == queue));
    let turns: std::collections::BTreeSet<_> = (0..8).map(|_| queue_of(Message::new("x"))).collect();
    assert_eq!(turns.len(), 8, "without a key the queues take turns");
}

#[test]
fn stats_add_up() {
    let scene = settled(GroupOptions::default().max_reconsume_times(0));
    scene.append_many("m", 6);
    let popped = scene.pop_up_to(3);
    assert_eq!(scene.ack(popped[0].receipt()), Settled::Done);
    assert_eq!(scene.nack(popped[1].receipt(), secs(0)), Settled::Done);
    scene.advance(secs(10));
    let stats = scene.group().stats().unwrap();
    assert_eq!((stats.ready, stats.in_flight, stats.waiting, stats.ending, stats.lag), (3, 1, 0, 0, 4));
    assert_eq!((stats.popped, stats.acked, stats.nacked, stats.dead_lettered), (3, 1, 1, 1));
    assert_eq!(stats.oldest_lease_for, Some(secs(10)));
}

#[test]
fn a_changed_lease_counts_for_handles_made_before() {
    let scene = Scene::new();
    scene.append("a");
    let old = scene.group();
    scene.store().create_group(GROUP, GroupOptions::default().invisible_for(secs(99))).unwrap();
    let delivery = old.pop(TOPIC, Pop::up_to(1)).unwrap().remove(0);
    scene.advance(secs(98));
    assert_eq!(scene.ack(delivery.receipt()), Settled::Done);
}

#[test]
fn a_letter_of_another_store_or_group_is_not_redriven() {
    let (here, there) = (Scene::limit(0), Scene::limit(0));
    for scene in [&here, &there] {
        scene.append("a");
        let _ = scene.pop();
        scene.advance(secs(31));
    }
    let letter = there.group().dead_letters().unwrap().next().unwrap().unwrap();
    assert!(matches!(here.group().redrive(&letter), Err(Error::Invalid { what: "dead letter", .. })));
    let other = there.store().create_group("other", GroupOptions::default()).unwrap();
    assert!(matches!(other.redrive(&letter), Err(Error::Invalid { what: "dead letter", .. })));
    assert_eq!((here.letters().len(), there.letters().len()), (1, 1));
}

/// What a monitor sees, of the store and of the files beside it.
fn waits(scene: &Scene, group: &str) -> (bool, u64, u64) {
    let stats = scene.store().group(group).unwrap().stats().unwrap();
    scene.store().sync().unwrap();
    let beside = popstore::inspect::Snapshot::open(&scene.path).unwrap().groups();
    let beside = beside.into_iter().find(|stats| stats.name == group).unwrap();
    assert_eq!((beside.has_read, beside.ready, beside.lag), (stats.has_read, stats.ready, stats.lag));
    (stats.has_read, stats.ready, stats.lag)
}

/// Whoever starts consumers by the lag would never start the first.
#[test]
fn before_its_first_pop_all_that_waits_for_a_group_is_its_lag() {
    let scene = Scene::limit(0);
    scene.append_many("m", 5);
    scene.store().create_topic("refunds", 3).unwrap();
    scene.store().append_batch("refunds", &["a", "b"].map(Message::new)).unwrap();
    let other = scene.store().create_group("other", GroupOptions::default().max_reconsume_times(0)).unwrap();
    assert_eq!(other.nack(other.pop("refunds", Pop::up_to(1)).unwrap()[0].receipt(), secs(0)).unwrap(), Settled::Done);
    scene.store().run_pending();
    // The letter waits for nobody who does not ask for it.
    assert_eq!(waits(&scene, GROUP), (false, 7, 7));
    let of = |topic| scene.group().stats_of(topic).unwrap();
    assert_eq!(
        [of(TOPIC), of("refunds"), of("%DLQ%other")].map(|it| (it.has_read, it.lag)),
        [5, 2, 1].map(|n| (false, n))
    );
    // From then on it is the lag of the topics that it reads; of others that of who asks for them.
    scene.pop();
    assert_eq!(waits(&scene, GROUP), (true, 4, 5));
    assert_eq!([of(TOPIC), of("refunds")].map(|it| (it.has_read, it.lag, it.in_flight)), [(true, 5, 1), (false, 2, 0)]);
}

#[test]
fn a_group_that_begins_at_the_newest_message_lags_behind_that() {
    let scene = Scene::new();
    scene.append_many("m", 5);
    scene.store().create_group("late", GroupOptions::default().start_at(popstore::StartAt::Newest)).unwrap();
    assert_eq!(waits(&scene, "late"), (true, 0, 0));
    scene.append("m5");
    assert_eq!(waits(&scene, "late"), (true, 1, 1));
}
