//! Canaries: every check of the oracle must catch a mistake that was made on purpose.

use popstore_revive::*;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use super::arbitrary::{config, ops, policy};
use super::checks::{check_counts, check_due, check_groups, check_held, check_index};
use super::scene::{Op, Scene, queue_of};
use super::{Flaw, replay};

const POP: Op = Op::Pop { group: 0, queue: 0, limit: 5, lease: 10, skip: 0 };

/// Places 0 to 4 are out at the second delivery and 5 to 9 at the first, 10 to 69 are new; of that nothing is settled.
fn played(policy: Policy) -> Scene {
    let mut scene = Scene::new([policy, Policy::default()], Flaw::None);
    let nack = Op::Nack { ago: 0, n: 5, delay: 0 };
    scene.run(&[Op::Append { queue: 0, n: 70 }, POP, nack, POP, POP]).expect("nothing is wrong so far");
    scene
}

fn run(mask: u64, delivery: u32) -> Run {
    Run { queue: queue_of(0), block: 0, mask, delivery }
}

#[test]
fn random_histories_find_every_flaw_of_an_oracle() {
    let flaws = [
        Flaw::StaleAckSettles,
        Flaw::ExtensionForgotten,
        Flaw::LeaseEndsLate,
        Flaw::LimitOffByOne,
        Flaw::PositionSkipsOne,
        Flaw::TruncationSparesOne,
        Flaw::RedeliveryUncounted,
        Flaw::VerdictBeforeItsTime,
        Flaw::EndedComesBack,
        Flaw::ReanchorForgotten,
        Flaw::ReleaseCounted,
        Flaw::UndeliveredSpared,
    ];
    for flaw in flaws {
        // The rarest takes some thirty histories; the search ends with the first that shows the flaw.
        let config = ProptestConfig { cases: 3000, max_shrink_iters: 0, ..config(0) };
        let found = TestRunner::new(config).run(&([policy(), policy()], ops(60)), |(policies, ops)| {
            Scene::new(policies, flaw).run(&ops).map_err(TestCaseError::fail)
        });
        assert!(matches!(found, Err(TestError::Fail(..))), "{flaw:?} was not found: {found:?}");
    }
}

#[test]
fn a_pick_of_the_wrong_messages_is_caught() {
    let check = |scene: &Scene, limit, runs: &[Run]| {
        let span = QueueIndex(0)..QueueIndex(70);
        scene.oracle.check_pick((scene.group(0), queue_of(0)), limit, span, scene.now, runs)
    };
    let mut scene = played(Policy::default());
    let five_new = run(0b11111 << 10, 1);
    assert_eq!(check(&scene, 5, &[five_new]), Ok(()));
    assert!(check(&scene, 4, &[five_new]).is_err(), "beyond the limit");
    assert!(check(&scene, 6, &[five_new]).is_err(), "fewer than there are");
    assert!(check(&scene, 5, &[run(0b11111 << 11, 1)]).is_err(), "one left behind");
    assert!(check(&scene, 5, &[run(0b11111 << 10, 2)]).is_err(), "at another delivery");
    assert!(check(&scene, 1, &[run(1 << 5, 2)]).is_err(), "leased");
    assert!(check(&scene, 2, &[run(1 << 10, 1), run(1 << 10, 1)]).is_err(), "twice");
    assert!(check(&scene, 5, &[Run { queue: queue_of(1), ..five_new }]).is_err(), "of another queue");
    assert!(check(&scene, 99, &[run(u64::MAX << 10, 1), Run { block: 1, ..run(0x7F, 1) }]).is_err(), "past the end");

    scene.run(&[Op::Nack { ago: 0, n: 5, delay: 0 }]).expect("nothing is wrong so far");
    assert_eq!(check(&scene, 5, &[run(0b11111 << 5, 2)]), Ok(()));
    assert!(check(&scene, 5, &[five_new]).is_err(), "new ones before redeliveries");
}

#[test]
fn a_pick_behind_an_unsettled_ordered_message_is_caught() {
    let mut scene = Scene::new([Policy { ordered: true, ..Policy::default() }, Policy::default()], Flaw::None);
    scene.run(&[Op::Append { queue: 0, n: 70 }, POP]).expect("nothing is wrong so far");
    let at = (scene.group(0), queue_of(0));
    let span = QueueIndex(0)..QueueIndex(70);
    assert_eq!(scene.oracle.check_pick(at, 5, span.clone(), scene.now, &[]), Ok(()));
    assert!(scene.oracle.check_pick(at, 5, span, scene.now, &[run(0b10, 1)]).is_err());
}

#[test]
fn a_delivery_too_many_or_uncounted_is_caught() {
    let mut scene = played(Policy { max_reconsume_times: Some(1), ..Policy::default() });
    let place = (scene.group(0), queue_of(0), 0);
    assert_eq!((scene.deliveries[&place], scene.check_deliveries()), (2, Ok(())));
    scene.deliveries.insert(place, 3);
    assert!(scene.check_deliveries().is_err(), "uncounted");
    scene.oracle.held.clear();
    assert!(scene.check_deliveries().is_err(), "too many");
}

#[test]
fn a_message_in_another_state_is_caught_by_what_looks_at_it() {
    let tampered = |tamper: &dyn Fn(&mut Scene)| {
        let mut scene = played(Policy::default());
        tamper(&mut scene);
        scene
    };
    let first = |scene: &mut Scene, state| scene.oracle.held.values_mut().take(1).for_each(|held| held.state = state);
    let scene = tampered(&|scene| first(scene, State::Waiting));
    assert!(check_held(&scene.index, &scene.oracle).is_err());
    assert!(check_counts(&scene.index, &scene.oracle, scene.now).is_err());

    let scene = tampered(&|scene| scene.oracle.held.values_mut().for_each(|held| held.due.0 -= 1));
    assert!(check_due(&scene.index, &scene.oracle, scene.now).is_err());
    let scene = tampered(&|scene| scene.oracle.held.clear());
    assert!(check_due(&scene.index, &scene.oracle, scene.now).is_err());

    let scene = tampered(&|scene| scene.oracle.groups.values_mut().for_each(|group| group.1.nacked += 1));
    assert!(check_groups(&scene.index, &scene.oracle).is_err());
    let scene = tampered(&|scene| scene.oracle.positions.values_mut().for_each(|position| *position += 1));
    assert!(check_groups(&scene.index, &scene.oracle).is_err());

    let scene = tampered(&|scene| scene.receipts.iter_mut().for_each(|receipt| receipt.generation = 9));
    assert!(scene.check_receipts().is_ok(), "both say that such a receipt is unknown");
    let scene = tampered(&|scene| scene.oracle.held.values_mut().for_each(|held| held.generation = 9));
    assert!(scene.check_receipts().is_err());
}

#[test]
fn a_log_that_lacks_a_change_is_caught() {
    let scene = played(Policy::default());
    assert_eq!(scene.check_replays(), Ok(()));
    // The first is of the group that does all, the second of the other one.
    for lost in 0..scene.log.len() {
        let mut scene = played(Policy::default());
        scene.log.remove(lost);
        assert!(scene.check_replays().is_err(), "{lost} is not missed");
    }
}

#[test]
fn a_change_that_is_not_idempotent_would_be_caught() {
    let scene = played(Policy::default());
    for from in 1..scene.log.len() {
        assert!(replay(&scene.log[..from]) != replay(&scene.log[..=from]), "{from} changes nothing");
    }
}

#[test]
fn a_wait_put_on_another_clock_is_caught() {
    let mut scene = played(Policy::default());
    scene.oracle.reanchor(Time(500));
    scene.index.apply(&Change::Reanchored { at: Time(500) });
    assert_eq!(check_index(&scene.index, &scene.oracle, scene.now), Ok(()));
    scene.oracle.reanchor(Time(400));
    assert!(check_index(&scene.index, &scene.oracle, scene.now).is_err());
}
