//! What the parts of the index promise beside their main work: how little they keep, what they count, whom they name.

#[allow(dead_code)]
mod desk;

use desk::{Desk, GROUP, NOTHING, QUEUE, places};
use popstore_revive::*;

/// How many deliveries there are until the lease of one ends in this way.
fn deliveries(policy: &Policy, ending: Ending) -> Option<u32> {
    (1..10).find(|delivery| policy.end_lease(*delivery) == ending)
}

#[test]
fn a_limit_of_n_is_n_plus_one_deliveries_whatever_follows() {
    for max in 0..4 {
        for (at_limit, ending) in [(AtLimit::DeadLetter, Ending::DeadLetter), (AtLimit::Discard, Ending::Discard)] {
            let policy = Policy { max_reconsume_times: Some(max), at_limit, ..Policy::default() };
            assert_eq!(deliveries(&policy, ending), Some(max + 1), "{at_limit:?}");
        }
    }
}

#[test]
fn messages_with_one_history_are_one_cohort_until_they_differ() {
    let mut desk = Desk::limited(3);
    let kept = |desk: &Desk| desk.index.unsettled(GROUP, QUEUE).count();
    (0..8).for_each(|_| assert_eq!(desk.pop(8, 64).len(), 8));
    assert_eq!(kept(&desk), 1);
    desk.nack(5, 1, Some(Time(200)));
    assert_eq!(kept(&desk), 2);
    desk.nack(6, 1, Some(Time(200)));
    assert_eq!(kept(&desk), 2);
    desk.wait(1);
    desk.nack(7, 1, Some(Time(200)));
    assert_eq!(kept(&desk), 3, "given back at another time");
}

#[test]
fn a_lease_ends_at_its_own_time_and_not_at_its_neighbours() {
    let mut desk = Desk::limited(3);
    desk.pop(1, 2);
    desk.wait(5);
    desk.pop(1, 2);
    let ended = desk.wait(5);
    assert_eq!(ended.iter().map(|ending| ending.run.mask).collect::<Vec<_>>(), [0b01], "these leases ended");
    assert_eq!(desk.standing(1, 1), Standing::Leased { due: Time(115) });
}

#[test]
fn a_burial_is_remembered_only_of_what_it_buried() {
    let mut desk = Desk::limited(0);
    desk.pop(2, 2);
    assert_eq!(desk.ack(0, 1), 1);
    desk.wait(10);
    let runs = vec![Run { queue: QUEUE, block: 0, mask: 0b11, delivery: 1 }].leak();
    let buried = Change::Buried { group: GROUP, at: Time(0), burial: Burial::DeadLettered, runs };
    assert_eq!(desk.apply(buried), 1);
    assert_eq!([0, 1].map(|at| desk.standing(at, 1)), [Standing::Settled, Standing::Buried(Burial::DeadLettered)]);
}

#[test]
fn a_cohort_names_its_messages() {
    let mut desk = Desk::limited(3);
    desk.pop(70, 70);
    let named = desk.index.unsettled(GROUP, QUEUE).flat_map(|(block, cohort)| cohort.indexes(block));
    assert_eq!(named.collect::<Vec<_>>(), places(0..70));
}

#[test]
fn a_run_is_empty_when_it_names_no_message() {
    let run = Run::one(QUEUE, QueueIndex(7), 1);
    assert_eq!([run.is_empty(), Run { mask: 0, ..run }.is_empty()], [false, true]);
}

#[test]
fn the_total_is_of_all_states() {
    let counts = Counts { in_flight: 1, waiting: 20, ready: 300, ending: 4000 };
    assert_eq!(counts.total(), 4321);
}

#[test]
fn a_group_is_a_reader_of_the_topics_it_has_a_position_in() {
    let mut desk = Desk::limited(3);
    let other = GroupId(2);
    desk.apply(Change::Group { group: other, policy: Box::default(), counters: Box::default() });
    let readers = |desk: &Desk, topic| desk.index.readers(topic).collect::<Vec<_>>();
    assert_eq!(readers(&desk, QUEUE.topic), []);
    desk.pop(1, 1);
    assert_eq!(readers(&desk, QUEUE.topic), [GROUP]);
    let queue = QueueId { queue: u32::MAX, ..QUEUE };
    desk.apply(Change::Positioned { group: other, queue, position: QueueIndex(0) });
    assert_eq!(readers(&desk, QUEUE.topic), [GROUP, other]);
    assert_eq!(readers(&desk, TopicId(QUEUE.topic.0 + 1)), []);
}

#[test]
fn of_forgotten_letters_those_that_were_moved_on_are_remembered() {
    let mut desk = Desk::limited(0);
    let runs = vec![Run { queue: QUEUE, block: 0, mask: 0b101_000, delivery: 0 }].leak();
    desk.apply(Change::Redriven { runs });
    let runs = vec![Run { queue: QUEUE, block: 0, mask: 0b011_000, delivery: 0 }].leak();
    desk.apply(Change::Forgotten { queue: QUEUE, first: QueueIndex(64), runs });
    let known = [3, 4, 5].map(|at| desk.index.is_redriven(QUEUE, QueueIndex(at)));
    assert_eq!(known, [true, false, false]);
}

#[test]
fn an_ordered_group_that_asks_for_nothing_gets_nothing() {
    let mut desk = Desk::new(Policy { ordered: true, ..Policy::default() });
    assert_eq!(desk.pop(0, 1), NOTHING);
    desk.pop(1, 1);
    desk.wait(10);
    assert_eq!(desk.pop(0, 1), NOTHING);
    assert_eq!(desk.pop(1, 1), places(0..1));
}
