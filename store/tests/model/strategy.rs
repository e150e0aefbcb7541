//! Histories by chance. Only this file and `bytes` make values by chance.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::op::{Mode, Op, Sectors, Setup, Size};

/// How many steps a history has at most.
const STEPS_MAX: usize = 60;

pub fn history() -> impl Strategy<Value = (Setup, Vec<Op>)> {
    (setup(), any::<bool>()).prop_flat_map(|(setup, aligned)| (Just(setup), vec(op(aligned), 1..STEPS_MAX)))
}

pub fn setup() -> impl Strategy<Value = Setup> {
    let mode = prop_oneof![2 => Just(Mode::SyncEach), 1 => Just(Mode::SyncEvery), 1 => Just(Mode::Buffered)];
    (mode, any::<bool>(), 1..=2u8).prop_map(|(mode, when_done, queues)| Setup { mode, when_done, queues })
}

fn size(aligned: bool) -> BoxedStrategy<Size> {
    let bytes = prop_oneof![4 => 0..64u16, 2 => 64..700u16, 1 => 700..1300u16];
    if aligned {
        prop_oneof![3 => bytes.clone().prop_map(Size::ToSector), 1 => bytes.prop_map(Size::Bytes)].boxed()
    } else {
        bytes.prop_map(Size::Bytes).boxed()
    }
}

pub fn op(aligned: bool) -> BoxedStrategy<Op> {
    let small = || prop_oneof![3 => 0..4u8, 1 => 0..32u8];
    let secs = || prop_oneof![3 => 0..40u16, 1 => 0..2000u16];
    // Bodies of a batch are so small that it fits into one segment.
    let part = (0..2u8, size(aligned)).prop_map(|(queue, size)| match size {
        Size::Bytes(bytes) => (queue, Size::Bytes(bytes % 500)),
        Size::ToSector(bytes) => (queue, Size::ToSector(bytes % 300)),
    });
    let sectors = prop_oneof![
        1 => Just(Sectors::Old),
        1 => Just(Sectors::New),
        4 => any::<u64>().prop_map(Sectors::Mixed),
    ];
    let calls = || prop_oneof![2 => 0..6u16, 2 => 0..40u16, 1 => 0..150u16];
    let limit = prop_oneof![Just(Some(0)), Just(Some(1)), Just(Some(3)), Just(None)];
    prop_oneof![
        10 => (0..2u8, 0..2u8, size(aligned)).prop_map(|(topic, queue, size)| Op::Append { topic, queue, size }),
        4 => (0..2u8, vec(part, 1..4)).prop_map(|(topic, parts)| Op::AppendBatch { topic, parts }),
        12 => (0..2u8, 0..2u8, 0..9u8, secs())
            .prop_map(|(group, topic, messages, lease_secs)| Op::Pop { group, topic, messages, lease_secs }),
        7 => small().prop_map(|receipt| Op::Ack { receipt }),
        3 => vec(small(), 1..6).prop_map(|receipts| Op::AckBatch { receipts }),
        4 => (small(), proptest::option::of(secs()))
            .prop_map(|(receipt, delay_secs)| Op::Nack { receipt, delay_secs }),
        3 => (small(), secs()).prop_map(|(receipt, delay_secs)| Op::Release { receipt, delay_secs }),
        2 => (small(), secs()).prop_map(|(receipt, secs)| Op::Extend { receipt, secs }),
        6 => secs().prop_map(|secs| Op::Advance { secs }),
        1 => (-4000..4000i32).prop_map(|secs| Op::ClockJump { secs }),
        2 => (0..2u8, limit, any::<bool>(), proptest::bool::weighted(0.3), prop_oneof![Just(0), 0..30u16]).prop_map(
            |(group, limit, discard, ordered, backoff_secs)| {
                Op::ChangeGroup { group, limit, discard, ordered, backoff_secs }
            }
        ),
        2 => (0..2u8, small()).prop_map(|(group, letter)| Op::Redrive { group, letter }),
        2 => Just(Op::Sync),
        1 => Just(Op::Reopen),
        2 => calls().prop_map(|calls| Op::Kill { calls }),
        5 => (calls(), sectors).prop_map(|(calls, sectors)| Op::PowerCut { calls, sectors }),
    ]
    .boxed()
}
