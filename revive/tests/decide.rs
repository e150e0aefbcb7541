//! What each command comes to, one claim per test.

use std::collections::BTreeSet;
use std::time::Duration;

use popstore_revive::*;

const GROUP: GroupId = GroupId(1);
const QUEUE: QueueId = QueueId { topic: TopicId(1), queue: 0 };
const LEASE: Duration = Duration::from_micros(10);

/// One group, a queue of ten messages, and a clock that stands still until it is moved.
struct Desk {
    index: Index,
    decided: Decided,
    now: Time,
}

impl Desk {
    fn new(policy: &Policy) -> Self {
        let mut desk = Self { index: Index::default(), decided: Decided::default(), now: Time(100) };
        desk.run(Command::SetGroup { group: GROUP, policy, from: &[] });
        desk
    }

    fn limited(max: u32) -> Self {
        Self::new(&Policy { max_reconsume_times: Some(max), ..Policy::default() })
    }

    fn ask(&mut self, command: Command<'_>) -> Answer {
        decide(&self.index, &command, self.now, &mut self.decided)
    }

    fn run(&mut self, command: Command<'_>) -> Answer {
        let answer = self.ask(command);
        for change in self.decided.changes() {
            self.index.apply(&change);
        }
        answer
    }

    fn pop_from(&mut self, from: &[Span], limit: u32) -> Vec<Lease> {
        self.run(pop(GROUP, limit, 100, &|at| from.get(at as usize).copied()));
        let changes = self.decided.changes();
        let runs: Vec<Run> = changes.flat_map(|change| change.runs().to_vec()).collect();
        let lease = |run: &Run, index| Lease { queue: run.queue, index, delivery: run.delivery, generation: 1 };
        runs.iter().flat_map(|run| run.indexes().map(move |index| lease(run, index))).collect()
    }

    fn pop(&mut self, limit: u32) -> Vec<Lease> {
        self.pop_from(&[Span { queue: QUEUE, first: QueueIndex(0), end: QueueIndex(10) }], limit)
    }

    fn wait(&mut self, micros: u64) {
        self.now.0 += micros;
        while self.run(Command::Tick { blocks_max: 1 }) == Answer::Done {}
    }

    fn ack(&mut self, leases: &[Lease]) -> Vec<(bool, Standing)> {
        assert_eq!(self.run(Command::Ack { group: GROUP, leases }), Answer::Settled);
        self.decided.outcomes().iter().map(|outcome| (outcome.accepted, outcome.standing)).collect()
    }

    fn nack(&mut self, lease: Lease, delay: Option<Duration>) -> bool {
        self.run(Command::Nack { group: GROUP, leases: &[lease], delay });
        self.decided.outcomes()[0].accepted
    }

    fn skip(&mut self, index: u64) -> Answer {
        let queue = (QUEUE, QueueIndex(0));
        self.run(Command::Skip { group: GROUP, generation: 1, queue, index: QueueIndex(index) })
    }

    fn counters(&self) -> Counters {
        self.index.counters(GROUP).expect("the group exists")
    }
}

/// From a topic of five queues.
fn pop(group: GroupId, limit: u32, runs_max: usize, span: &dyn Fn(u32) -> Option<Span>) -> Command<'_> {
    Command::Pop(Pop { group, generation: 1, lease: LEASE, limit, runs_max, queues: 5, span })
}

#[test]
fn of_a_lease_that_is_presented_twice_at_once_one_is_accepted() {
    let mut desk = Desk::limited(3);
    let [a, b] = desk.pop(2)[..] else { panic!("two messages") };
    let leased = Standing::Leased { due: Time(110) };
    assert_eq!(desk.ack(&[a, b, a]), [(true, leased), (true, leased), (false, leased)]);
    assert_eq!(desk.ack(&[a]), [(false, Standing::Settled)]);
    assert_eq!(desk.counters().acked, 2);
}

#[test]
fn an_outcome_says_what_the_message_was_doing() {
    let mut desk = Desk::limited(3);
    let [lease] = desk.pop(1)[..] else { panic!("one message") };
    desk.now = Time(107);
    desk.ack(&[lease]);
    assert_eq!(desk.decided.outcomes()[0].lease, Some(Leased { popped_at: Time(100), due: Time(110) }));
}

#[test]
fn neighbours_in_one_batch_have_their_own_outcomes() {
    let mut desk = Desk::limited(3);
    let leases = desk.pop(3);
    desk.now = Time(105);
    desk.run(Command::Extend { group: GROUP, leases: &leases[1..2], by: LEASE });
    desk.now = Time(112);
    assert!(desk.nack(leases[1], None));
    desk.wait(0);
    let again = desk.pop(1);
    assert_eq!(again[0].index, leases[0].index);
    let handed_out = Standing::HandedOutAgain { attempt: 2 };
    let strange = Lease { delivery: 7, ..leases[2] };
    let outcomes = desk.ack(&[leases[0], leases[1], leases[2], strange]);
    let over = (true, Standing::Over);
    assert_eq!(outcomes, [(false, handed_out), over, over, (false, Standing::Unknown)]);
}

#[test]
fn a_nack_at_the_limit_leaves_the_group_whatever_the_delay() {
    for (at_limit, gone) in [(AtLimit::DeadLetter, Burial::DeadLettered), (AtLimit::Discard, Burial::Discarded)] {
        let mut desk = Desk::new(&Policy { max_reconsume_times: Some(0), at_limit, ..Policy::default() });
        let lease = desk.pop(1)[0];
        assert!(desk.nack(lease, Some(Duration::ZERO)));
        assert_eq!(desk.ack(&[lease]), [(false, Standing::Buried(gone))]);
        assert_eq!(desk.index.to_bury().count(), usize::from(gone == Burial::DeadLettered));
    }
}

#[test]
fn a_nack_waits_as_it_is_asked_to_or_as_the_rules_say() {
    let backoff = Backoff::Fixed(Duration::from_micros(7));
    let mut desk = Desk::new(&Policy { backoff, ..Policy::default() });
    let [a, b] = desk.pop(2)[..] else { panic!("two messages") };
    assert!(desk.nack(a, Some(Duration::from_micros(3))) && desk.nack(b, None));
    let due = |desk: &Desk, lease: Lease| desk.index.held(GROUP, QUEUE, lease.index).map(|held| held.due);
    assert_eq!([due(&desk, a), due(&desk, b)], [Some(Time(103)), Some(Time(107))]);
}

#[test]
fn a_lease_that_is_over_is_neither_given_back_nor_extended() {
    let mut desk = Desk::limited(3);
    let lease = desk.pop(1)[0];
    desk.now = Time(110);
    assert!(!desk.nack(lease, None));
    desk.run(Command::Extend { group: GROUP, leases: &[lease], by: LEASE });
    assert_eq!((desk.decided.outcomes()[0].standing, desk.decided.changes().count()), (Standing::Over, 0));
}

#[test]
fn the_queues_take_turns_by_what_was_delivered() {
    let from: Vec<Span> = (0..5)
        .map(|queue| Span { queue: QueueId { queue, ..QUEUE }, first: QueueIndex(0), end: QueueIndex(1000) })
        .collect();
    let turns = || {
        let mut desk = Desk::limited(3);
        (0..60).map(|_| desk.pop_from(&from, 1)[0].queue).collect::<Vec<_>>()
    };
    let queues = turns();
    assert_eq!(queues, turns(), "the same commands give the same turns");
    let pops = |span: &Span| queues.iter().filter(|queue| **queue == span.queue).count();
    assert!(from.iter().all(|span| (4..=24).contains(&pops(span))), "{queues:?}");
}

#[test]
fn a_pop_takes_from_all_queues_until_it_has_enough() {
    let from: Vec<Span> = (0..3)
        .map(|queue| Span { queue: QueueId { queue, ..QUEUE }, first: QueueIndex(2), end: QueueIndex(4) })
        .collect();
    let mut desk = Desk::limited(3);
    let popped: BTreeSet<_> = desk.pop_from(&from, 9).iter().map(|lease| (lease.queue, lease.index.0)).collect();
    let all = from.iter().flat_map(|span| [2, 3].map(|index| (span.queue, index)));
    assert_eq!(popped, all.collect());
    assert_eq!(desk.pop_from(&from, 9), []);
    assert_eq!(desk.ask(pop(GROUP, 1, 1, &|at| from.get(at as usize).copied())), Answer::Nothing);
}

#[test]
fn a_pop_names_no_more_runs_than_it_may() {
    let mut desk = Desk::limited(3);
    let span = Span { queue: QUEUE, first: QueueIndex(0), end: QueueIndex(1000) };
    desk.run(pop(GROUP, 1000, 2, &|at| (at == 0).then_some(span)));
    assert_eq!(desk.index.position(GROUP, QUEUE), Some(QueueIndex(128)));
}

#[test]
fn the_first_message_that_retention_left_can_be_given_up_unseen() {
    let mut desk = Desk::limited(3);
    let queue = (QUEUE, QueueIndex(3));
    let skip = |index| Command::Skip { group: GROUP, generation: 1, queue, index: QueueIndex(index) };
    assert_eq!(desk.run(skip(0)), Answer::Nothing, "it is gone");
    assert_eq!(desk.run(skip(3)), Answer::Done);
}

#[test]
fn a_released_delivery_does_not_count_and_has_its_own_number() {
    let mut desk = Desk::limited(1);
    let [first, second] = desk.pop(2)[..] else { panic!("two messages") };
    desk.nack(first, Some(Duration::ZERO));
    let again = desk.pop(1)[0];
    assert_eq!((again.index, again.delivery), (first.index, 2));
    let delay = Duration::ZERO;
    desk.run(Command::Release { group: GROUP, leases: &[again, second, second], delay });
    let accepted: Vec<bool> = desk.decided.outcomes().iter().map(|outcome| outcome.accepted).collect();
    assert_eq!(accepted, [true, true, false]);
    let counters = Counters { popped: 3, redelivered: 1, nacked: 1, released: 2, ..Counters::default() };
    assert_eq!(desk.counters(), counters, "they are counted as deliveries all the same");
    let popped: Vec<_> = desk.pop(2);
    let attempt = |lease: &Lease| desk.index.held(GROUP, QUEUE, lease.index).unwrap().attempt();
    let numbers: Vec<_> = popped.iter().map(|lease| (lease.index.0, lease.delivery, attempt(lease))).collect();
    assert_eq!(numbers, [(0, 3, 2), (1, 2, 1)], "visible at once, and not nearer to the limit");
    assert_eq!(desk.ack(&[second]), [(false, Standing::HandedOutAgain { attempt: 1 })], "its delivery is over");
    assert_eq!(desk.ack(&popped), [(true, Standing::Leased { due: Time(110) }); 2]);
}

#[test]
fn a_deleted_message_that_was_released_is_settled_by_a_pop() {
    for ordered in [false, true] {
        let mut desk = Desk::new(&Policy { ordered, ..Policy::default() });
        let lease = desk.pop(1)[0];
        desk.run(Command::Release { group: GROUP, leases: &[lease], delay: Duration::ZERO });
        let rest = [Span { queue: QUEUE, first: QueueIndex(1), end: QueueIndex(3) }];
        let popped = desk.pop_from(&rest, 9);
        assert_eq!(popped[0].index, QueueIndex(1));
        assert!(desk.index.held(GROUP, QUEUE, QueueIndex(0)).is_none());
        // One that was delivered stays: its copy is elsewhere.
        desk.nack(popped[0], Some(Duration::ZERO));
        let popped = desk.pop_from(&[Span { first: QueueIndex(2), ..rest[0] }], 1);
        assert_eq!((popped[0].index, popped[0].delivery), (QueueIndex(1), 2));
    }
}

#[test]
fn a_message_can_be_given_up_whatever_it_is_doing() {
    let mut desk = Desk::limited(1);
    let [in_flight, hidden, ended] = desk.pop(3)[..] else { panic!("three messages") };
    assert!(desk.nack(hidden, Some(LEASE)));
    let policy = Policy { max_reconsume_times: Some(0), ..Policy::default() };
    desk.run(Command::SetGroup { group: GROUP, policy: &policy, from: &[] });
    assert!(desk.nack(ended, None));
    for index in [in_flight.index.0, hidden.index.0, ended.index.0, 3] {
        assert_eq!(desk.skip(index), Answer::Done, "{index}");
        assert!(desk.index.held(GROUP, QUEUE, QueueIndex(index)).is_none(), "{index} is held");
    }
    assert_eq!((desk.counters().discarded, desk.index.to_bury().count()), (4, 0));
    assert_eq!(desk.ack(&[in_flight, ended]), [(false, Standing::Buried(Burial::Discarded)); 2]);
    assert_eq!([desk.skip(2), desk.skip(9)], [Answer::Nothing; 2], "it is settled, or not to be had next");
}

#[test]
fn a_group_is_made_by_one_change_that_comes_last() {
    let mut desk = Desk::limited(1);
    let (other, policy) = (GroupId(2), Policy::default());
    let from = [(QUEUE, QueueIndex(7)), (QueueId { queue: 1, ..QUEUE }, QueueIndex(8))];
    desk.ask(Command::SetGroup { group: other, policy: &policy, from: &from });
    for change in desk.decided.changes() {
        assert_eq!(desk.index.policy(other), None, "it is there before {change:?}");
        desk.index.apply(&change);
    }
    assert!(desk.index.positions(other).eq(from));
    desk.pop_from(&[Span { queue: QUEUE, first: QueueIndex(0), end: QueueIndex(9) }], 1);
    let counters = desk.counters();
    desk.run(Command::SetGroup { group: GROUP, policy: &policy, from: &from });
    assert_eq!((desk.counters(), desk.index.position(GROUP, QUEUE)), (counters, Some(QueueIndex(1))));
}

#[test]
fn a_group_begins_to_read_a_queue_once() {
    let mut desk = Desk::limited(1);
    let begin = |desk: &mut Desk, position| {
        desk.run(Command::BeginReading { group: GROUP, from: &[(QUEUE, QueueIndex(position))] })
    };
    assert_eq!([begin(&mut desk, 3), begin(&mut desk, 5)], [Answer::Done, Answer::Nothing]);
    assert_eq!(desk.index.position(GROUP, QUEUE), Some(QueueIndex(3)));
}

#[test]
fn a_letter_settles_its_message_though_its_lease_runs_on_record() {
    let mut desk = Desk::limited(0);
    let lease = desk.pop(1)[0];
    let runs = [Run::one(QUEUE, lease.index, 1)];
    assert_eq!(desk.run(Command::Bury { group: GROUP, runs: &runs }), Answer::Done);
    assert_eq!(desk.ack(&[lease]), [(false, Standing::Buried(Burial::DeadLettered))]);
    assert_eq!(desk.run(Command::Bury { group: GROUP, runs: &runs }), Answer::Nothing);
    assert_eq!(desk.counters().dead_lettered, 1);
}

#[test]
fn a_letter_leaves_the_list_when_it_is_put_back_or_acked() {
    let mut desk = Desk::limited(0);
    let lease = desk.pop(2)[1];
    desk.ack(&[lease]);
    let letters = |desk: &Desk| [0, 1, 2].map(|at| desk.index.letter(QUEUE, QueueIndex(at)));
    assert_eq!(letters(&desk), [Letter::Listed, Letter::Finished, Letter::Listed]);
    let redrive = Command::Redrive { letters: &[Run::one(QUEUE, QueueIndex(0), 0)] };
    assert_eq!([desk.run(redrive), desk.run(redrive)], [Answer::Done, Answer::Nothing]);
    assert_eq!(letters(&desk), [Letter::Redriven, Letter::Finished, Letter::Listed]);
    let forget = Command::Forget { queue: QUEUE, first: QueueIndex(9), moved: &[] };
    assert_eq!([desk.run(forget), desk.run(forget)], [Answer::Done, Answer::Nothing]);
    assert!(!desk.index.is_redriven(QUEUE, QueueIndex(0)));
}

#[test]
fn who_does_not_exist_gets_nothing() {
    let mut desk = Desk::limited(0);
    let (group, span) = (GroupId(9), Span { queue: QUEUE, first: QueueIndex(0), end: QueueIndex(9) });
    let span = |at| (at == 0).then_some(span);
    let pop = pop(group, 1, 1, &span);
    let skip = Command::Skip { group, generation: 1, queue: (QUEUE, QueueIndex(0)), index: QueueIndex(0) };
    for command in [pop, skip, Command::RemoveGroup { group }, Command::BeginReading { group, from: &[] }] {
        assert_eq!(desk.run(command), Answer::UnknownGroup, "{command:?}");
    }
    let lease = Lease { queue: QUEUE, index: QueueIndex(0), delivery: 1, generation: 1 };
    desk.run(Command::Ack { group, leases: &[lease] });
    assert_eq!(desk.decided.outcomes()[0].standing, Standing::Unknown);
}

#[test]
fn a_change_says_who_can_be_woken_and_what_is_to_be_buried() {
    let mut desk = Desk::new(&Policy { max_reconsume_times: Some(1), ordered: true, ..Policy::default() });
    let effects = |desk: &mut Desk, command: Command<'_>| {
        desk.ask(command);
        let changes = desk.decided.changes();
        changes.map(|change| desk.index.apply(&change)).collect::<Vec<_>>()
    };
    let poppable = |touched, at| Effects { touched, poppable_at: Some(Time(at)), buries: false };
    let lease = desk.pop(1)[0];
    let nack = Command::Nack { group: GROUP, leases: &[lease], delay: Some(Duration::from_micros(5)) };
    assert_eq!(effects(&mut desk, nack), [poppable(1, 105)]);
    desk.now = Time(105);
    let lease = desk.pop(1)[0];
    desk.now = Time(115);
    let buries = Effects { touched: 1, poppable_at: None, buries: true };
    assert_eq!(effects(&mut desk, Command::Tick { blocks_max: 9 }), [buries]);
    let runs = [Run::one(QUEUE, lease.index, lease.delivery)];
    assert_eq!(effects(&mut desk, Command::Bury { group: GROUP, runs: &runs }), [poppable(1, 115)]);
    let lease = desk.pop(1)[0];
    assert_eq!(effects(&mut desk, Command::Ack { group: GROUP, leases: &[lease] }), [poppable(1, 115)]);
    assert_eq!(effects(&mut desk, Command::RemoveGroup { group: GROUP }), [poppable(0, 0)]);
}
