//! What may happen: ops a store could do, and changes that no store would ever write.

use std::time::Duration;

use popstore_revive::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::Logged;
use super::scene::{Op, queue_of};

/// So many cases, unless `PROPTEST_CASES` asks for another number. A case once found stays as a named test.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let told = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig { cases: if asked_for { told.cases } else { cases }, ..told }
}

/// All the limits, delays and endings there are, in microseconds.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let limit = prop_oneof![Just(Some(0)), Just(Some(1)), Just(Some(3)), Just(None)];
    let at_limit = prop_oneof![2 => Just(AtLimit::DeadLetter), 1 => Just(AtLimit::Discard)];
    (limit, backoff(), at_limit, prop::bool::weighted(0.25)).prop_map(
        |(max_reconsume_times, backoff, at_limit, ordered)| Policy { max_reconsume_times, backoff, at_limit, ordered },
    )
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let micros = Duration::from_micros;
    prop_oneof![
        3 => Just(Backoff::None),
        1 => (0_u64..5).prop_map(move |delay| Backoff::Fixed(micros(delay))),
        1 => Just(Backoff::Exponential { first: micros(2), cap: micros(5) }),
        1 => Just(Backoff::Ladder(vec![micros(1), micros(6)])),
    ]
}

/// What a store and its users do, popping and acking most of the time.
pub(crate) fn ops(n: usize) -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 1..=n)
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let slot = || 0_u8..2;
    let ago = || prop_oneof![3 => 0_u16..8, 1 => any::<u16>()];
    let few = || prop_oneof![3 => 1_u8..6, 1 => 6_u8..80];
    let soon = || prop_oneof![1 => Just(0_u8), 8 => 1_u8..20];
    let skip = || prop_oneof![6 => Just(0_u8), 1 => 1_u8..80];
    prop_oneof![
        6 => (slot(), 1_u8..90).prop_map(|(queue, n)| Op::Append { queue, n }),
        16 => (slot(), slot(), few(), soon(), skip())
            .prop_map(|(group, queue, limit, lease, skip)| Op::Pop { group, queue, limit, lease, skip }),
        8 => (ago(), few()).prop_map(|(ago, n)| Op::Ack { ago, n }),
        8 => (ago(), few(), soon()).prop_map(|(ago, n, delay)| Op::Nack { ago, n, delay }),
        4 => (ago(), few(), soon()).prop_map(|(ago, n, delay)| Op::Release { ago, n, delay }),
        4 => (ago(), few(), soon()).prop_map(|(ago, n, lease)| Op::Extend { ago, n, lease }),
        14 => (soon(), 1_u8..5).prop_map(|(by, blocks_max)| Op::Advance { by, blocks_max }),
        5 => (1_u8..4).prop_map(|n| Op::Bury { n }),
        2 => (ago(), few(), verdict()).prop_map(|(ago, n, verdict)| Op::Overtaken { ago, n, verdict }),
        3 => (slot(), policy()).prop_map(|(group, policy)| Op::ChangePolicy { group, policy }),
        1 => (slot(), policy()).prop_map(|(group, policy)| Op::ReplaceGroup { group, policy }),
        2 => (slot(), slot(), 1_u8..100).prop_map(|(group, queue, by)| Op::Jump { group, queue, by }),
        2 => (slot(), 0_u8..80).prop_map(|(queue, by)| Op::Truncate { queue, by }),
        1 => (slot(), 0_u8..3, any::<u64>()).prop_map(|(queue, block, mask)| Op::Redrive { queue, block, mask }),
        1 => (slot(), 0_u8..200, any::<u64>()).prop_map(|(queue, first, mask)| Op::Forget { queue, first, mask }),
        1 => soon().prop_map(|by| Op::Reanchor { by }),
        8 => (1_u8..3, 1_u8..4).prop_map(|(blocks_max, pieces)| Op::Walk { blocks_max, pieces }),
        1 => (1_u8..4).prop_map(|blocks_max| Op::Reopen { blocks_max }),
        2 => Just(Op::Crash),
    ]
}

/// A change that names what is not there, or what cannot be.
pub(crate) fn junk() -> impl Strategy<Value = Logged> {
    (change(), vec(run(), 0..4)).prop_map(|(change, runs)| Logged::new(change, runs))
}

/// A group that exists, most of the time.
pub(crate) fn group() -> impl Strategy<Value = GroupId> {
    prop_oneof![8 => (1_u32..3).prop_map(GroupId), 1 => any::<u32>().prop_map(GroupId)]
}

/// A queue that exists, most of the time.
pub(crate) fn queue() -> impl Strategy<Value = QueueId> {
    let any_queue = (any::<u32>(), any::<u32>()).prop_map(|(topic, queue)| QueueId { topic: TopicId(topic), queue });
    prop_oneof![8 => (0_u8..2).prop_map(queue_of), 1 => any_queue]
}

/// Some number, most often one near a border.
pub(crate) fn number() -> impl Strategy<Value = u64> {
    let border = prop_oneof![Just(64), Just(u64::MAX / 64), Just(u64::MAX / 64 * 64), Just(u64::MAX)];
    let near = (border, 0_u64..3, any::<bool>()).prop_map(|(border, by, above)| match above {
        true => border.saturating_add(by),
        false => border - by,
    });
    prop_oneof![4 => 0_u64..5, 2 => 0_u64..150, 3 => near, 1 => any::<u64>()]
}

/// Some time, most often a small one.
pub(crate) fn time() -> impl Strategy<Value = Time> {
    prop_oneof![8 => 0_u64..40, 1 => number()].prop_map(Time)
}

fn delivery() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1_u32..4, 1 => Just(0), 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn mask() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..16, 1 => Just(u64::MAX), 1 => Just(1 << 63), 2 => any::<u64>()]
}

fn run() -> impl Strategy<Value = Run> {
    (queue(), number(), mask(), delivery()).prop_map(|(queue, block, mask, delivery)| Run {
        queue,
        block,
        mask,
        delivery,
    })
}

fn counters() -> impl Strategy<Value = Counters> {
    [number(), number(), number(), number(), number(), number(), number()].prop_map(
        |[popped, redelivered, acked, nacked, dead_lettered, discarded, released]| Counters {
            popped,
            redelivered,
            acked,
            nacked,
            dead_lettered,
            discarded,
            released,
        },
    )
}

fn change() -> impl Strategy<Value = Change<'static>> {
    let runs: &[Run] = &[];
    let burial = || prop_oneof![Just(Burial::DeadLettered), Just(Burial::Discarded)];
    let place = || number().prop_map(QueueIndex);
    prop_oneof![
        3 => (group(), policy(), counters())
            .prop_map(|(group, policy, counters)| Change::Group {
                group,
                policy: policy.into(),
                counters: counters.into(),
            }),
        1 => group().prop_map(|group| Change::GroupRemoved { group }),
        2 => (group(), queue(), place())
            .prop_map(|(group, queue, position)| Change::Positioned { group, queue, position }),
        12 => (group(), 0_u32..3, time(), time())
            .prop_map(move |(group, generation, at, due)| Change::Popped { group, generation, at, due, runs }),
        3 => (group(), time()).prop_map(move |(group, at)| Change::Acked { group, at, runs }),
        4 => (group(), time(), verdict())
            .prop_map(move |(group, at, verdict)| Change::Nacked { group, at, verdict, runs }),
        2 => (group(), time(), time())
            .prop_map(move |(group, at, visible_at)| Change::Released { group, at, visible_at, runs }),
        2 => (group(), time(), time()).prop_map(move |(group, at, due)| Change::Extended { group, at, due, runs }),
        4 => (group(), time(), time())
            .prop_map(move |(group, at, visible_at)| Change::Revived { group, at, visible_at, runs }),
        3 => (group(), time()).prop_map(move |(group, at)| Change::Ended { group, at, runs }),
        1 => time().prop_map(|at| Change::Reanchored { at }),
        1 => (queue(), place()).prop_map(move |(queue, first)| Change::Forgotten { queue, first, runs }),
        3 => (group(), time(), burial()).prop_map(move |(group, at, burial)| Change::Buried { group, at, burial, runs }),
        2 => Just(Change::Redriven { runs }),
        2 => (queue(), place()).prop_map(|(queue, end)| Change::Truncated { queue, end }),
        6 => image().prop_map(|image| Change::Image(image.into())),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        2 => time().prop_map(|visible_at| Verdict::Redeliver { visible_at }),
        1 => Just(Verdict::DeadLetter),
        1 => Just(Verdict::Discard),
    ]
}

fn image() -> impl Strategy<Value = QueueImage> {
    let reason = || prop_oneof![Just(EndReason::Expired), Just(EndReason::Nacked)];
    let state = prop_oneof![Just(State::InFlight), reason().prop_map(State::Ended), Just(State::Waiting)];
    let cohort = (mask(), time(), time(), time(), delivery(), 0_u32..3, 0_u32..3, state).prop_map(
        |(mask, popped_at, since, due, delivery, uncounted, generation, state)| Cohort {
            mask,
            popped_at,
            since,
            due,
            delivery,
            uncounted,
            generation,
            state,
        },
    );
    let burial = prop_oneof![Just(Burial::DeadLettered), Just(Burial::Discarded)];
    let buried = (number(), delivery(), 0_u32..3, burial).prop_map(|(index, delivery, uncounted, burial)| {
        let index = QueueIndex(index);
        Buried { index, delivery, uncounted, burial }
    });
    let span = (prop_oneof![2 => Just(0), 1 => number()], option::weighted(0.4, number()));
    (group(), queue(), [number(), number()], span, vec((number(), cohort), 0..5), vec(buried, 0..3)).prop_map(
        |(group, queue, [position, begun], (from, end), cohorts, buried)| QueueImage {
            group,
            queue,
            position: QueueIndex(position),
            from,
            end,
            cohorts,
            buried,
            begun: QueueIndex(begun),
        },
    )
}
