//! What the index promises, one claim per test, told with as few verbs as it takes.

mod desk;

use desk::{Desk, GROUP, NOTHING, QUEUE, places};
use popstore_revive::*;

#[test]
fn an_ack_after_the_lease_was_taken_over_changes_nothing() {
    let mut desk = Desk::limited(3);
    desk.pop(1, 1);
    desk.wait(10);
    desk.pop(1, 1);
    assert_eq!(desk.standing(0, 1), Standing::HandedOutAgain { attempt: 2 });
    assert_eq!(desk.ack(0, 1), 0);
    assert_eq!(desk.standing(0, 2), Standing::Leased { due: Time(120) });
}

#[test]
fn an_ack_after_the_lease_cancels_the_next_delivery() {
    let mut desk = Desk::limited(3);
    desk.pop(1, 1);
    desk.wait(10);
    assert_eq!(desk.standing(0, 1), Standing::Over);
    assert_eq!(desk.ack(0, 1), 1);
    assert_eq!(desk.pop(9, 1), NOTHING);
    assert_eq!(desk.standing(0, 1), Standing::Settled);
}

#[test]
fn a_limit_of_zero_is_one_delivery_for_a_whole_lease() {
    let mut desk = Desk::limited(0);
    assert_eq!(desk.pop(9, 1), places(0..1));
    assert_eq!(desk.wait(9), []);
    assert_eq!(desk.burials(), []);
    assert_eq!(desk.wait(1)[0].verdict, Verdict::DeadLetter);
    assert_eq!(desk.burials()[0].reason, EndReason::Expired);
    assert_eq!(desk.standing(0, 1), Standing::Buried(Burial::DeadLettered));
    assert_eq!(desk.pop(9, 1), NOTHING);
    assert_eq!(desk.bury(0, 1), 1);
    assert_eq!(desk.standing(0, 1), Standing::Buried(Burial::DeadLettered));
    assert_eq!(desk.index.counts(GROUP, QUEUE, desk.now), Counts::default());
}

#[test]
fn a_nack_at_the_limit_is_not_delivered_before_its_burial() {
    let mut desk = Desk::limited(0);
    desk.pop(1, 1);
    assert_eq!(desk.nack(0, 1, None), 1);
    assert_eq!(desk.pop(9, 1), NOTHING);
    assert_eq!(desk.standing(0, 1), Standing::Buried(Burial::DeadLettered));
    assert_eq!(desk.burials()[0].reason, EndReason::Nacked);
    assert_eq!(desk.index.next_due(desk.now), None, "a burial waits for no time");
}

#[test]
fn what_has_used_up_its_deliveries_can_only_be_buried() {
    let mut desk = Desk::limited(0);
    desk.pop(1, 1);
    desk.wait(10);
    let (policy, counters) = (Policy::default(), desk.counters());
    desk.apply(Change::Group { group: GROUP, policy: policy.into(), counters: counters.into() });
    assert_eq!(desk.wait(0), [], "a raised limit is for the next lease that ends");
    let (group, at, due) = (GROUP, desk.now, Time(500));
    let runs = || vec![Run::one(QUEUE, QueueIndex(0), 1)].leak();
    let later: &[Run] = &[Run::one(QUEUE, QueueIndex(0), 2)];
    let overtaken = [
        Change::Acked { group, at, runs: runs() },
        Change::Nacked { group, at, verdict: Verdict::Redeliver { visible_at: at }, runs: runs() },
        Change::Extended { group, at, due, runs: runs() },
        Change::Revived { group, at, visible_at: at, runs: runs() },
        Change::Popped { group, generation: 1, at, due, runs: later.to_vec().leak() },
    ];
    for change in overtaken {
        assert_eq!(desk.apply(change.clone()), 0, "{change:?}");
    }
    assert_eq!(desk.burials().len(), 1);
    assert_eq!(desk.bury(0, 1), 1);
}

#[test]
fn a_verdict_on_a_lease_that_runs_changes_nothing() {
    let mut desk = Desk::limited(0);
    desk.pop(1, 1);
    let (group, at) = (GROUP, Time(desk.now.0 + 9));
    let runs = || vec![Run::one(QUEUE, QueueIndex(0), 1)].leak();
    let early = [
        Change::Revived { group, at, visible_at: at, runs: runs() },
        Change::Ended { group, at, runs: runs() },
        Change::Buried { group, at, burial: Burial::Discarded, runs: runs() },
        Change::Buried { group, at: Time::MAX, burial: Burial::DeadLettered, runs: runs() },
    ];
    for change in early {
        assert_eq!(desk.apply(change.clone()), 0, "{change:?}");
    }
    assert_eq!(desk.standing(0, 1), Standing::Leased { due: Time(110) });
}

#[test]
fn a_lowered_limit_is_looked_at_when_the_running_lease_ends() {
    let mut desk = Desk::limited(9);
    desk.pop(1, 1);
    desk.wait(10);
    desk.pop(1, 1);
    let policy = Policy { max_reconsume_times: Some(0), ..Policy::default() };
    desk.apply(Change::Group { group: GROUP, policy: policy.into(), counters: desk.counters().into() });
    desk.wait(10);
    assert_eq!(desk.burials()[0].run.delivery, 2);
}

#[test]
fn a_discarding_group_drops_at_the_limit_and_reports_it() {
    let mut desk = Desk::new(Policy { max_reconsume_times: Some(0), at_limit: AtLimit::Discard, ..Policy::default() });
    desk.pop(2, 2);
    let runs = vec![Run::one(QUEUE, QueueIndex(1), 1)].leak();
    let (at, verdict) = (desk.now, Verdict::Discard);
    assert_eq!(desk.apply(Change::Nacked { group: GROUP, at, verdict, runs }), 1);
    assert_eq!(desk.standing(1, 1), Standing::Buried(Burial::Discarded));
    assert_eq!(desk.wait(10).len(), 1);
    assert_eq!(desk.standing(0, 1), Standing::Buried(Burial::Discarded));
    assert_eq!(desk.counters(), Counters { popped: 2, nacked: 1, discarded: 2, ..Counters::default() });
}

#[test]
fn redeliveries_come_in_the_order_in_which_they_became_visible() {
    let mut desk = Desk::limited(3);
    desk.pop(192, 192);
    for (index, visible_at) in [(0, 104), (70, 102), (3, 102), (130, 103), (140, 200)] {
        desk.nack(index, 1, Some(Time(visible_at)));
    }
    let mut replayed = Desk { now: Time(105), log: Vec::new(), index: desk.replayed(0) };
    desk.now = Time(105);
    let order = [3, 70, 130, 0].map(QueueIndex);
    assert_eq!(desk.index.became_visible(Time(102), Time(104)).count(), 2);
    assert_eq!(desk.index.next_due(Time(102)), Some(Time(103)));
    assert_eq!(desk.pop(3, 192), order[..3]);
    assert_eq!(replayed.pop(9, 192), order);
}

#[test]
fn of_many_burials_only_the_last_are_remembered() {
    let mut desk = Desk::limited(0);
    desk.pop(300, 300);
    desk.wait(10);
    let runs: Vec<Run> = desk.burials().into_iter().map(|burying| burying.run).collect();
    let burial = Burial::DeadLettered;
    assert_eq!(desk.apply(Change::Buried { group: GROUP, at: Time(0), burial, runs: runs.leak() }), 300);
    assert_eq!(desk.standing(43, 1), Standing::Settled);
    assert_eq!([44, 299].map(|index| desk.standing(index, 1)), [Standing::Buried(burial); 2]);
}

#[test]
fn an_ordered_group_gets_nothing_behind_an_unsettled_message() {
    let mut desk = Desk::new(Policy { ordered: true, ..Policy::default() });
    assert_eq!(desk.pop(9, 100), places(0..1));
    assert_eq!(desk.pop(9, 100), NOTHING);
    desk.nack(0, 1, Some(Time(105)));
    assert_eq!(desk.pop(9, 100), NOTHING);
    desk.wait(5);
    assert_eq!(desk.pop(9, 100), places(0..1));
    desk.ack(0, 2);
    assert_eq!(desk.pop(9, 100), places(1..2));
}

#[test]
fn a_pop_across_a_border_of_blocks_is_a_run_for_each() {
    let mut desk = Desk::limited(1);
    assert_eq!(desk.pop(60, 300), places(0..60));
    assert_eq!(desk.pop(140, 300), places(60..200));
    assert_eq!(desk.index.counts(GROUP, QUEUE, desk.now).in_flight, 200);
    assert_eq!(desk.index.done_through(GROUP, QUEUE), Some(QueueIndex(0)));
}

#[test]
fn one_look_at_the_time_decides_every_lease_once() {
    let mut desk = Desk::limited(3);
    desk.pop(200, 200);
    let decided = desk.wait(10);
    assert_eq!(decided.iter().map(|decision| decision.run.len()).sum::<u32>(), 200);
    assert_eq!(desk.index.next_due(desk.now), None);
}

#[test]
fn a_look_at_few_blocks_leaves_the_others_due_for_the_next() {
    let mut desk = Desk::limited(3);
    desk.pop(192, 192);
    desk.now = Time(110);
    let mut blocks = Vec::new();
    for next_due in [Some(Time(110)), None] {
        let decided = desk.decide(2);
        blocks.extend(decided.iter().map(|decision| decision.run.block));
        for decision in &decided {
            desk.end(decision);
        }
        assert_eq!(desk.index.next_due(desk.now), next_due);
    }
    assert_eq!(blocks, [0, 1, 2]);
}

#[test]
fn a_verdict_that_was_not_recorded_is_given_again() {
    let mut desk = Desk::limited(3);
    desk.pop(1, 1);
    desk.now = Time(110);
    assert_eq!([desk.decide(9).len(), desk.decide(9).len()], [1, 1]);
}

#[test]
fn acks_and_burials_during_a_walk_are_in_its_images() {
    let mut desk = Desk::limited(0);
    desk.pop(192, 192);
    let (from, mut cursor) = (desk.log.len(), Cursor::default());
    desk.tell(&mut cursor);
    desk.tell(&mut cursor);
    desk.ack(64, 1);
    desk.nack(128, 1, None);
    desk.bury(128, 1);
    while desk.tell(&mut cursor) {}
    let replayed = desk.replayed(from);
    assert_eq!(
        replayed.counters(GROUP),
        Some(Counters { popped: 192, acked: 1, nacked: 1, dead_lettered: 1, ..desk.counters() })
    );
    let lease = Lease { queue: QUEUE, index: QueueIndex(128), delivery: 1, generation: 1 };
    let standing = replayed.standing(GROUP, &lease, desk.now);
    assert_eq!(standing, Standing::Buried(Burial::DeadLettered));
}

#[test]
fn a_walk_goes_on_when_the_group_it_stands_on_is_removed() {
    let mut desk = Desk::limited(0);
    desk.pop(192, 192);
    let other = GroupId(2);
    desk.apply(Change::Group { group: other, policy: Box::default(), counters: Box::default() });
    let (from, mut cursor) = (desk.log.len(), Cursor::default());
    desk.tell(&mut cursor);
    desk.tell(&mut cursor);
    desk.apply(Change::GroupRemoved { group: GROUP });
    while desk.tell(&mut cursor) {}
    assert!(desk.replayed(from).groups().eq([other]));
}

#[test]
fn a_walk_goes_on_when_the_queue_it_stands_on_is_gone() {
    let mut desk = Desk::limited(0);
    let empty = |group| Change::Group { group, policy: Box::default(), counters: Box::default() };
    desk.apply(empty(GroupId(2)));
    desk.pop(192, 192);
    let (from, mut cursor) = (desk.log.len(), Cursor::default());
    desk.tell(&mut cursor);
    desk.tell(&mut cursor);
    desk.apply(Change::GroupRemoved { group: GROUP });
    desk.apply(empty(GROUP));
    while desk.tell(&mut cursor) {}
    assert!(desk.replayed(from).groups().eq([GROUP, GroupId(2)]));
}

#[test]
fn a_receipt_from_before_a_truncation_fits_no_later_message() {
    let mut desk = Desk::limited(3);
    desk.pop(3, 3);
    desk.apply(Change::Truncated { queue: QUEUE, end: QueueIndex(1) });
    assert_eq!(desk.standing(2, 1), Standing::Unknown);
    assert!(matches!(desk.standing(0, 1), Standing::Leased { .. }));
    let mut runs = Vec::new();
    desk.index.pick(GROUP, QUEUE, 9, (QueueIndex(0), QueueIndex(3)), desk.now, &mut runs);
    let (at, due, runs) = (desk.now, Time(200), runs.leak());
    assert_eq!(desk.apply(Change::Popped { group: GROUP, generation: 2, at, due, runs }), 2);
    assert_eq!(desk.standing(2, 1), Standing::Unknown);
}

#[test]
fn a_truncation_says_how_many_messages_it_voids() {
    let mut desk = Desk::limited(3);
    desk.pop(130, 130);
    assert_eq!(desk.ack(129, 1), 1);
    let truncated = Change::Truncated { queue: QUEUE, end: QueueIndex(60) };
    assert_eq!(desk.apply(truncated.clone()), 69);
    assert_eq!(desk.apply(truncated), 0);
}

#[test]
fn a_position_never_moves_back() {
    let mut desk = Desk::limited(3);
    for (told, position) in [(70, 70), (7, 70), (71, 71)] {
        desk.apply(Change::Positioned { group: GROUP, queue: QUEUE, position: QueueIndex(told) });
        assert_eq!(desk.index.position(GROUP, QUEUE), Some(QueueIndex(position)));
    }
}

#[test]
fn redriven_letters_are_remembered_until_they_do_not_exist() {
    let mut desk = Desk::limited(0);
    let runs = vec![Run { queue: QUEUE, block: 0, mask: 1 << 63, delivery: 0 }, Run::one(QUEUE, QueueIndex(64), 0)];
    desk.apply(Change::Redriven { runs: runs.leak() });
    let known = |desk: &Desk| [63, 64].map(|at| desk.index.is_redriven(QUEUE, QueueIndex(at)));
    assert_eq!(known(&desk), [true, true]);
    desk.apply(Change::Forgotten { queue: QUEUE, first: QueueIndex(64), runs: &[] });
    assert_eq!(known(&desk), [false, true]);
    desk.apply(Change::Truncated { queue: QUEUE, end: QueueIndex(64) });
    assert_eq!(known(&desk), [false, false]);
}

#[test]
fn places_beyond_the_last_number_are_never_held() {
    let mut desk = Desk::limited(0);
    for block in [u64::MAX / 64, u64::MAX / 64 + 1, u64::MAX] {
        let runs = vec![Run { queue: QUEUE, block, mask: u64::MAX, delivery: 1 }].leak();
        let popped = Change::Popped { group: GROUP, generation: 1, at: Time(0), due: Time(9), runs };
        let existing = if block == u64::MAX / 64 { 63 } else { 0 };
        assert_eq!(desk.apply(popped.clone()), existing);
        assert_eq!(desk.apply(popped), 0);
        desk.apply(Change::Redriven { runs });
    }
    assert!(desk.index.beyond(|_| QueueIndex(u64::MAX)).is_empty());
    assert_eq!(desk.pop(9, u64::MAX), NOTHING);
}

#[test]
fn a_queue_can_be_popped_up_to_the_last_number() {
    let mut desk = Desk::limited(0);
    let position = QueueIndex(u64::MAX - 2);
    desk.apply(Change::Positioned { group: GROUP, queue: QUEUE, position });
    assert_eq!(desk.pop(9, u64::MAX), places(u64::MAX - 2..u64::MAX));
    assert_eq!(desk.pop(9, u64::MAX), NOTHING);
}

#[test]
fn a_redriven_run_of_no_letters_leaves_nothing_behind() {
    let mut desk = Desk::limited(0);
    let runs = vec![Run { queue: QUEUE, block: 0, mask: 0, delivery: 0 }].leak();
    desk.apply(Change::Redriven { runs });
    assert!(desk.index.beyond(|_| QueueIndex(0)).is_empty());
    assert_eq!(desk.index.redriven().count(), 0);
}

#[test]
fn counters_that_a_false_record_set_to_the_end_stay_there() {
    let mut desk = Desk::limited(0);
    let counters = Counters { popped: u64::MAX, acked: u64::MAX, ..Counters::default() };
    desk.apply(Change::Group { group: GROUP, policy: Box::default(), counters: counters.into() });
    desk.pop(2, 2);
    desk.ack(0, 1);
    assert_eq!(desk.counters(), counters);
}

#[test]
fn a_false_image_of_an_undelivered_message_is_not_popped() {
    let mut desk = Desk::limited(0);
    desk.pop(2, 2);
    let image = QueueImage {
        group: GROUP,
        queue: QUEUE,
        position: QueueIndex(0),
        from: 0,
        end: None,
        cohorts: desk.index.unsettled(GROUP, QUEUE).collect(),
        buried: vec![],
        begun: QueueIndex(0),
    };
    desk.apply(Change::Image(image.into()));
    desk.pop(3, 3);
    assert_eq!(desk.index.counts(GROUP, QUEUE, desk.now).in_flight, 3);
    assert_eq!(desk.index.position(GROUP, QUEUE), Some(QueueIndex(3)));
}

/// Two messages that one extension brings to the same history, before a third.
#[test]
fn an_extension_seen_twice_does_not_change_the_order() {
    let mut desk = Desk::limited(3);
    desk.pop(2, 2);
    desk.wait(5);
    let (at, due) = (desk.now, Time(desk.now.0 + 20));
    let extend = |desk: &mut Desk, mask| {
        let run = Run { queue: QUEUE, block: 0, mask, delivery: 1 };
        desk.index.apply(&Change::Extended { group: GROUP, at, due, runs: &[run] });
        desk.index.clone()
    };
    extend(&mut desk, 0b10);
    desk.pop(1, 3);
    let once = extend(&mut desk, 0b11);
    assert!(extend(&mut desk, 0b11) == once);
}
