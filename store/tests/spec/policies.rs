//! The policy of a group: limits, backoffs, nacks, order, and what a changed limit means.

use std::time::Duration;

use crate::scene::{Scene, TOPIC, secs};
use popstore::{AtLimit, Backoff, Delay, EndReason, GroupOptions, Message, Options, Settled};

const MS: Duration = Duration::from_millis(1);

fn settled(settings: GroupOptions) -> Scene {
    Scene::with(Options::default(), settings)
}

fn ordered() -> GroupOptions {
    GroupOptions::default().ordered(true).max_reconsume_times(1)
}

/// Lets the lease end and expects the next delivery exactly so long after it.
fn expect_after(scene: &Scene, delay: Duration) {
    let _ = scene.pop();
    scene.advance(secs(30));
    if !delay.is_zero() {
        scene.expect_nothing();
        scene.advance(delay - MS);
        scene.expect_nothing();
        scene.advance(MS);
    }
}

#[test]
fn each_backoff_hides_the_message_until_the_next_delivery() {
    let second = secs(1);
    let cases = [
        (Backoff::None, [0, 0, 0, 0]),
        (Backoff::Fixed(7 * second), [7, 7, 7, 7]),
        (Backoff::Exponential { first: second, cap: 5 * second }, [1, 2, 4, 5]),
        (Backoff::Ladder(vec![3 * second, 9 * second]), [3, 9, 9, 9]),
    ];
    for (backoff, delays) in cases {
        let scene = settled(GroupOptions::default().backoff(backoff));
        scene.append("a");
        delays.into_iter().for_each(|delay| expect_after(&scene, secs(delay)));
        assert_eq!(scene.pop().attempt(), 5);
    }
}

#[test]
fn a_backoff_goes_on_where_it_was_after_a_restart() {
    let mut scene = settled(GroupOptions::default().backoff(Backoff::Fixed(secs(60))));
    scene.append("a");
    let _ = scene.pop();
    scene.advance(secs(30));
    scene.reopen();
    scene.advance(secs(60) - MS);
    scene.expect_nothing();
    scene.advance(MS);
    assert_eq!(scene.pop().attempt(), 2);
}

#[test]
fn a_nack_gives_back_at_once_after_a_delay_or_after_the_backoff() {
    let scene = settled(GroupOptions::default().backoff(Backoff::Fixed(secs(9))));
    scene.append("a");
    for (delay, wait) in [(Delay::After(secs(0)), 0), (Delay::After(secs(5)), 5), (Delay::Backoff, 9)] {
        assert_eq!(scene.nack(scene.pop().receipt(), delay), Settled::Done);
        for _ in 0..wait {
            scene.expect_nothing();
            scene.advance(secs(1));
        }
    }
    assert_eq!(scene.pop().attempt(), 4);
}

#[test]
fn a_nack_at_the_limit_dead_letters_at_once_and_says_why() {
    let scene = Scene::limit(0);
    scene.append("a");
    assert_eq!(scene.nack(scene.pop().receipt(), secs(60)), Settled::Done);
    scene.advance(secs(0));
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    assert_eq!((letter.reason(), letter.attempts()), (EndReason::Nacked, 1));
}

#[test]
fn without_a_limit_a_message_is_delivered_again_and_again() {
    let scene = settled(GroupOptions::default().without_limit());
    scene.append("a");
    for attempt in 1..=40 {
        assert_eq!(scene.pop().attempt(), attempt);
        scene.advance(secs(31));
    }
    assert!(scene.letters().is_empty());
}

#[test]
fn a_discarding_group_drops_at_its_limit_and_keeps_no_letter() {
    let mut scene = settled(GroupOptions::default().max_reconsume_times(1).at_limit(AtLimit::Discard));
    scene.append("a");
    for _ in 0..2 {
        let _ = scene.pop();
        scene.advance(secs(31));
    }
    scene.kill();
    scene.advance(secs(0));
    scene.expect_nothing();
    let stats = scene.group().stats().unwrap();
    assert_eq!((stats.discarded, stats.dead_lettered, stats.lag, scene.letters().len()), (1, 0, 0, 0));
}

#[test]
fn an_ordered_group_pops_nothing_behind_an_unsettled_message() {
    let scene = settled(ordered());
    scene.append_many("m", 3);
    let first = scene.pop_up_to(10);
    assert_eq!(first.len(), 1);
    scene.expect_nothing();
    assert_eq!(scene.nack(first[0].receipt(), secs(5)), Settled::Done);
    scene.expect_nothing();
    scene.advance(secs(5));
    let again = scene.pop();
    assert_eq!((again.body(), again.attempt()), (&b"m0"[..], 2));
    scene.expect_nothing();
    assert_eq!(scene.ack(again.receipt()), Settled::Done);
    assert_eq!(scene.pop().body(), b"m1");
}

#[test]
fn dead_lettering_lets_an_ordered_queue_go_on() {
    let mut scene = settled(ordered());
    scene.append_many("m", 2);
    for _ in 0..2 {
        assert_eq!(scene.pop().body(), b"m0");
        scene.kill();
        scene.advance(secs(31));
    }
    assert_eq!(scene.letters(), ["m0"]);
    assert_eq!(scene.pop().body(), b"m1");
}

#[test]
fn the_queues_of_an_ordered_group_do_not_wait_for_each_other() {
    let scene = settled(ordered());
    scene.store().create_topic(TOPIC, 3).unwrap();
    for at in 0..6 {
        let _ = scene.store().append(TOPIC, Message::new(&[at as u8]).queue(at % 3)).unwrap();
    }
    let mut popped: Vec<_> = scene.pop_up_to(10).iter().map(|one| one.body()[0]).collect();
    popped.sort_unstable();
    assert_eq!(popped, [0, 1, 2]);
}

#[test]
fn a_lowered_limit_counts_from_the_next_end_of_a_lease_on() {
    let scene = Scene::limit(16);
    scene.append("a");
    for _ in 0..2 {
        let _ = scene.pop();
        scene.advance(secs(31));
    }
    let third = scene.pop();
    scene.change_group(GroupOptions::default().max_reconsume_times(1));
    assert!(scene.letters().is_empty(), "not before the lease ends");
    scene.advance(secs(31));
    assert_eq!(scene.letters(), ["a"]);
    assert_eq!(scene.ack(third.receipt()), Settled::DeadLettered);
}

#[test]
fn a_raised_limit_counts_too() {
    let scene = Scene::limit(0);
    scene.append("a");
    let _ = scene.pop();
    scene.change_group(GroupOptions::default().max_reconsume_times(1));
    scene.advance(secs(31));
    assert_eq!(scene.pop().attempt(), 2);
}
