//! What is released was not delivered, as far as the limit goes; and every delivery has a receipt of its own.

use std::time::Duration;

use crate::scene::{Scene, secs};
use popstore::{Delay, Error, Receipt, Settled};

const NOW: Duration = Duration::ZERO;

fn receipts(scene: &Scene, messages: u32) -> Vec<Receipt> {
    scene.pop_up_to(messages).iter().map(|delivery| delivery.receipt()).collect()
}

#[test]
fn a_released_message_is_no_nearer_to_its_limit() {
    let mut scene = Scene::limit(0);
    scene.append("a");
    for number in 1..6 {
        let delivery = scene.pop();
        assert_eq!((delivery.attempt(), delivery.receipt().delivery()), (1, number));
        assert_eq!(scene.group().release(delivery.receipt(), NOW).unwrap(), Settled::Done);
        scene.kill();
    }
    let stats = scene.group().stats().unwrap();
    assert_eq!((stats.popped, stats.in_flight, stats.ready), (0, 0, 1), "it was never delivered");
    let last = scene.pop();
    scene.advance(secs(31));
    assert_eq!(scene.letters(), ["a"], "a lease that ends counts");
    assert_eq!(scene.group().dead_letters().unwrap().next().unwrap().unwrap().attempts(), 1);
    assert_eq!(scene.ack(last.receipt()), Settled::DeadLettered);
}

#[test]
fn a_released_message_is_hidden_for_as_long_as_it_should() {
    let mut scene = Scene::new();
    scene.append("a");
    assert_eq!(scene.group().release(scene.pop().receipt(), secs(3600)).unwrap(), Settled::Done);
    scene.advance(secs(3599));
    scene.expect_nothing();
    scene.kill();
    scene.expect_nothing();
    scene.advance(secs(1));
    assert_eq!(scene.pop().attempt(), 1);
    scene.append("b");
    let too_long = scene.group().release(scene.pop().receipt(), secs(367 * 24 * 3600));
    assert!(matches!(too_long, Err(Error::Invalid { .. })), "{too_long:?}");
}

#[test]
fn a_receipt_is_stale_after_its_release_and_the_next_pop() {
    let scene = Scene::new();
    scene.append("a");
    let first = scene.pop().receipt();
    assert_eq!(scene.group().release(first, NOW).unwrap(), Settled::Done);
    assert_eq!(scene.group().release(first, NOW).unwrap(), Settled::LeaseOver, "once");
    assert_eq!(scene.group().extend(first, secs(60)).unwrap(), Settled::LeaseOver);
    let second = scene.pop();
    let again = Settled::HandedOutAgain { attempt: 1 };
    assert_eq!(scene.ack(first), again);
    assert_eq!(scene.group().release(first, NOW).unwrap(), again);
    assert_eq!(scene.nack(first, NOW), again);
    assert_eq!(scene.ack(second.receipt()), Settled::Done);
}

#[test]
fn a_batch_gives_each_lease_its_own_outcome() {
    let mut scene = Scene::limit(1);
    scene.append_many("m", 5);
    let first = receipts(&scene, 2);
    assert_eq!(scene.group().nack_batch(&first, NOW).unwrap(), [Settled::Done; 2]);
    let all = receipts(&scene, 5);
    assert_eq!(scene.ack(all[3]), Settled::Done);
    // 0 and 1 at their second delivery, which is the last, 2 to 4 at their first.
    let batch = [all[0], all[3], all[2], all[0], first[1]];
    let told = scene.group().nack_batch(&batch, Delay::Backoff).unwrap();
    let expected = [
        Settled::Done,
        Settled::AlreadySettled,
        Settled::Done,
        Settled::AlreadySettled,
        Settled::HandedOutAgain { attempt: 2 },
    ];
    assert_eq!(told, expected);
    scene.kill();
    scene.store().run_pending();
    assert_eq!(scene.letters(), ["m0"]);
    assert_eq!(scene.group().extend_batch(&[all[1], all[4]], secs(600)).unwrap(), [Settled::Done; 2]);
    scene.advance(secs(599));
    let told = scene.group().release_batch(&[all[1], all[4], all[1]], NOW).unwrap();
    assert_eq!(told, [Settled::Done, Settled::Done, Settled::AlreadySettled]);
    let attempts: Vec<_> =
        scene.pop_up_to(5).iter().map(|delivery| (delivery.message().index(), delivery.attempt())).collect();
    assert_eq!(attempts, [(2, 2), (1, 2), (4, 1)]);
    for empty in [scene.group().nack_batch(&[], NOW), scene.group().release_batch(&[], NOW)] {
        assert!(matches!(empty, Err(Error::Invalid { .. })), "{empty:?}");
    }
}
