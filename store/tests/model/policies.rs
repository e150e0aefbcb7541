//! Groups whose policy changes between crashes go on by the new one.

use crate::op::{Mode, Op, Sectors, Setup, Size};
use crate::random::survives;

const EACH: Setup = Setup { mode: Mode::SyncEach, when_done: false, queues: 1 };

fn append(bytes: u16) -> Op {
    Op::Append { topic: 0, queue: 0, size: Size::Bytes(bytes) }
}

#[test]
fn a_wait_that_is_over_may_restart_when_the_clock_is_set_back() {
    let change =
        |backoff_secs| Op::ChangeGroup { group: 1, limit: Some(1), discard: false, ordered: false, backoff_secs };
    let pop = Op::Pop { group: 1, topic: 1, messages: 0, lease_secs: 0 };
    let history = [
        Op::AppendBatch { topic: 1, parts: vec![(0, Size::Bytes(0))] },
        pop.clone(),
        change(1),
        Op::Advance { secs: 1053 },
        Op::ClockJump { secs: -25 },
        change(0),
        Op::Advance { secs: 1 },
        Op::PowerCut { calls: 0, sectors: Sectors::Old },
        append(0),
        pop,
    ];
    survives(EACH, &history).map(drop).unwrap();
}

#[test]
fn an_ordered_group_that_began_to_discard_after_a_crash_goes_on() {
    let change = |group, limit, discard, ordered| Op::ChangeGroup { group, limit, discard, ordered, backoff_secs: 0 };
    let a = |topic| Op::Append { topic, queue: 0, size: Size::ToSector(0) };
    let pop = Op::Pop { group: 1, topic: 1, messages: 0, lease_secs: 0 };
    let history = vec![
        Op::PowerCut { calls: 1, sectors: Sectors::Old },
        a(0),
        a(0),
        Op::PowerCut { calls: 50, sectors: Sectors::New },
        Op::Sync,
        a(0),
        a(0),
        change(1, Some(0), false, true),
        Op::AppendBatch { topic: 1, parts: vec![(0, Size::ToSector(0))] },
        Op::Ack { receipt: 0 },
        Op::ClockJump { secs: -9 },
        a(1),
        pop.clone(),
        change(0, Some(0), false, false),
        Op::Extend { receipt: 0, secs: 15 },
        a(0),
        Op::Advance { secs: 16 },
        a(0),
        pop,
        change(1, Some(0), true, true),
    ];
    survives(Setup { mode: Mode::Buffered, when_done: true, queues: 1 }, &history).map(drop).unwrap();
}
