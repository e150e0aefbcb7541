//! What a late handler gets, line by line.

use crate::scene::{GROUP, Scene, secs};
use popstore::{AtLimit, EndReason, Error, GroupOptions, Options, Settled, StoreEvent};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn an_ack_after_the_lease_is_accepted_before_a_redelivery() {
    let scene = Scene::new();
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(31));
    assert_eq!(scene.ack(receipt), Settled::Late);
    scene.advance(secs(3600));
    scene.expect_nothing();
    assert_eq!(scene.group().stats().unwrap().lag, 0);
}

#[test]
fn an_ack_after_the_lease_is_accepted_before_the_reviver_ran() {
    let scene = Scene::limit(0);
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.clock.advance(secs(31));
    assert_eq!(scene.ack(receipt), Settled::Late);
    scene.advance(secs(1));
    assert!(scene.letters().is_empty());
}

/// They were popped together, and lie side by side in the index.
#[test]
fn neighbours_in_one_batch_are_each_told_their_own_fate() {
    let scene = Scene::new();
    scene.append_many("m", 6);
    let receipts: Vec<_> = scene.pop_up_to(6).iter().map(|delivery| delivery.receipt()).collect();
    assert_eq!(scene.ack(receipts[1]), Settled::Done);
    assert_eq!(scene.nack(receipts[2], secs(0)), Settled::Done);
    assert_eq!(scene.pop().attempt(), 2);
    assert_eq!(scene.group().extend(receipts[3], secs(600)).unwrap(), Settled::Done);
    scene.advance(secs(31));
    let batch = [0, 1, 2, 3, 4, 0, 5].map(|at| receipts[at]);
    let (late, again) = (Settled::Late, Settled::HandedOutAgain { attempt: 2 });
    let told = [late, Settled::AlreadySettled, again, Settled::Done, late, Settled::AlreadySettled, late];
    assert_eq!(scene.group().ack_batch(&batch).unwrap(), told);
    assert_eq!(scene.group().stats().unwrap().acked, 5);
}

#[test]
fn a_late_ack_cancels_a_redelivery_that_waits_for_its_backoff() {
    let settings = GroupOptions::default().backoff(popstore::Backoff::Fixed(secs(60)));
    let scene = Scene::with(Options::default(), settings);
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(31));
    assert_eq!(scene.group().stats().unwrap().waiting, 1);
    assert_eq!(scene.ack(receipt), Settled::Late);
    scene.advance(secs(3600));
    scene.expect_nothing();
}

#[test]
fn a_late_ack_survives_a_crash() {
    let mut scene = Scene::new();
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(31));
    assert_eq!(scene.ack(receipt), Settled::Late);
    scene.kill();
    scene.advance(secs(3600));
    scene.expect_nothing();
    assert_eq!(scene.ack(receipt), Settled::AlreadySettled);
}

#[test]
fn ack_after_the_message_was_handed_out_again_changes_nothing() {
    let scene = Scene::new();
    scene.append("a");
    let first = scene.pop().receipt();
    scene.advance(secs(31));
    let second = scene.pop().receipt();
    for _ in 0..2 {
        assert_eq!(scene.ack(first), Settled::HandedOutAgain { attempt: 2 });
        assert_eq!(scene.nack(first, secs(0)), Settled::HandedOutAgain { attempt: 2 });
        assert_eq!(scene.group().extend(first, secs(60)).unwrap(), Settled::HandedOutAgain { attempt: 2 });
    }
    scene.expect_nothing();
    assert_eq!(scene.ack(second), Settled::Done);
    assert_eq!(scene.ack(first), Settled::AlreadySettled);
}

#[test]
fn ack_after_dead_lettering_changes_nothing_and_says_so() {
    let mut scene = Scene::limit(0);
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(31));
    assert_eq!(scene.ack(receipt), Settled::DeadLettered);
    assert_eq!(scene.letters(), ["a"]);
    scene.kill();
    assert_eq!(scene.ack(receipt), Settled::DeadLettered);
    assert_eq!(scene.letters(), ["a"]);
}

#[test]
fn ack_after_discarding_changes_nothing_and_says_so() {
    let settings = GroupOptions::default().max_reconsume_times(0).at_limit(AtLimit::Discard);
    let mut scene = Scene::with(Options::default(), settings);
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(31));
    assert_eq!(scene.ack(receipt), Settled::Discarded);
    scene.reopen();
    assert_eq!(scene.ack(receipt), Settled::Discarded);
    assert!(scene.letters().is_empty());
}

#[test]
fn nack_and_extend_after_the_lease_change_nothing() {
    let scene = Scene::new();
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(31));
    assert_eq!(scene.nack(receipt, secs(600)), Settled::LeaseOver);
    assert_eq!(scene.group().extend(receipt, secs(600)).unwrap(), Settled::LeaseOver);
    assert_eq!(scene.ack(receipt), Settled::Late);
}

#[test]
fn a_receipt_from_before_a_crash_is_as_good_as_before_it() {
    let mut scene = Scene::new();
    scene.append_many("m", 3);
    let receipts: Vec<_> = scene.pop_up_to(3).iter().map(|one| one.receipt()).collect();
    scene.kill();
    assert_eq!(scene.ack(receipts[0]), Settled::Done);
    assert_eq!(scene.group().extend(receipts[1], secs(60)).unwrap(), Settled::Done);
    assert_eq!(scene.nack(receipts[2], secs(0)), Settled::Done);
    assert_eq!(scene.pop().attempt(), 2);
    scene.advance(secs(31));
    assert_eq!(scene.ack(receipts[1]), Settled::Done);
}

#[test]
fn a_receipt_the_recovered_store_has_never_heard_of_is_refused() {
    let mut scene = Scene::buffered();
    scene.append("a");
    let lost = scene.pop().receipt();
    scene.kill_and(|dir| crate::disk::frames(dir, "checkpoint").last().unwrap().cut());
    assert_eq!(scene.ack(lost), Settled::Unknown);
    // The same message, the same attempt, but another lease.
    let again = scene.pop();
    assert_eq!(again.attempt(), 1);
    assert_eq!(scene.ack(lost), Settled::Unknown);
    assert_eq!(scene.ack(again.receipt()), Settled::Done);
    let other = Scene::new();
    assert!(matches!(other.group().ack(lost), Err(Error::Invalid { what: "receipt", .. })));
}

#[test]
fn with_a_limit_of_zero_a_message_is_delivered_once_ever() {
    let mut scene = Scene::limit(0);
    scene.append("a");
    assert_eq!(scene.pop().attempt(), 1);
    scene.advance(secs(30) - Duration::from_millis(1));
    assert!(scene.letters().is_empty(), "not before the lease ends");
    scene.kill();
    scene.advance(Duration::from_millis(1));
    scene.expect_nothing();
    let letter = scene.group().dead_letters().unwrap().next().unwrap().unwrap();
    assert_eq!((letter.attempts(), letter.reason(), letter.origin_index()), (1, EndReason::Expired, 0));
    assert_eq!(letter.buried_at().duration_since(letter.popped_at()).unwrap(), secs(30));
}

#[test]
fn with_a_limit_of_zero_an_extended_lease_is_not_cut_short() {
    let scene = Scene::limit(0);
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.advance(secs(29));
    assert_eq!(scene.group().extend(receipt, secs(30)).unwrap(), Settled::Done);
    scene.advance(secs(29));
    assert!(scene.letters().is_empty());
    assert_eq!(scene.ack(receipt), Settled::Done);
}

#[test]
fn an_ack_time_near_the_lease_is_warned_of_per_group() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let options = Options::default().on_event(move |event| sink.lock().unwrap().push(event.clone()));
    let scene = Scene::with(options, GroupOptions::default());
    scene.append_many("m", 2);
    for took in [1, 29] {
        let receipt = scene.pop().receipt();
        scene.clock.advance(secs(took));
        assert_eq!(scene.ack(receipt), Settled::Done);
    }
    let expected = StoreEvent::SlowAck { group: GROUP.into(), took: secs(29), invisible_for: secs(30) };
    assert_eq!(*told.lock().unwrap(), [expected]);
    let times = scene.group().stats().unwrap().pop_to_ack;
    assert!((times.count, times.max >= secs(28)) == (2, true) && times.p50 < secs(2), "{times:?}");
    // An ack that changes nothing is not timed.
    scene.append("m2");
    let receipt = scene.pop().receipt();
    let settled = scene.group().ack_batch(&[receipt, receipt]).unwrap();
    assert_eq!(settled, [Settled::Done, Settled::AlreadySettled]);
    assert_eq!(scene.group().stats().unwrap().pop_to_ack.count, 3);
}

#[test]
fn an_ack_that_is_too_late_is_told_to_the_operator() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let hook = told.clone();
    let options = Options::default().on_event(move |event| hook.lock().unwrap().push(event.clone()));
    let scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    scene.append("a");
    let delivery = scene.pop();
    scene.advance(secs(45));
    assert_eq!(scene.ack(delivery.receipt()), Settled::DeadLettered);
    let expected = popstore::StoreEvent::AckTooLate { group: crate::scene::GROUP.to_string() };
    assert_eq!(*told.lock().unwrap(), [expected]);
}

#[test]
fn a_hook_that_panics_takes_neither_the_ack_nor_a_thread_along() {
    let options = Options::default().on_event(|event| panic!("told of {event:?}"));
    let scene = Scene::with(options, GroupOptions::default());
    scene.append("a");
    let receipt = scene.pop().receipt();
    scene.clock.advance(secs(29));
    assert_eq!(scene.ack(receipt), Settled::Done);
    scene.append("b");
    scene.pop();
}
