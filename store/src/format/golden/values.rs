//! The fixed values that the examples of the page are made of.

use std::time::Duration;

use popstore_revive::{
    AtLimit, Backoff, Burial, Buried, Change, Cohort, Counters, EndReason, GroupId, Policy, QueueId, QueueImage,
    QueueIndex, Run, State, Time, TopicId, Verdict,
};

use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{Cause, CommitRecord, MessageRecord, Settlement, TopicRecord};
use crate::format::entry::Entry;
use crate::format::extent::{Extent, MarkPart};

pub(super) const STORE: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
pub(super) const AT: Time = Time(1_700_000_000_000_000);
const DUE: Time = Time(AT.0 + 30_000_000);
pub(super) const GROUP: GroupId = GroupId(7);
pub(super) const QUEUE: QueueId = QueueId { topic: TopicId(1), queue: 2 };
const LETTERS: QueueId = QueueId { topic: TopicId(3), queue: 0 };
const RUNS: [Run; 3] = [
    Run { queue: QUEUE, block: 1, mask: 0b111, delivery: 1 },
    Run { queue: QUEUE, block: 2, mask: 0b10, delivery: 2 },
    Run { queue: QueueId { queue: 0, ..QUEUE }, block: 0, mask: 1, delivery: 1 },
];
const LETTER_RUNS: [Run; 1] = [Run { queue: LETTERS, block: 0, mask: 0b11, delivery: 0 }];
pub(super) const ENTRY: Entry = Entry { offset: 8256, size: 256, tag: 0x0102_0304 };
pub(super) const VARINTS: [u64; 3] = [127, 300, u64::MAX];

fn message() -> MessageRecord<'static> {
    MessageRecord {
        rest: 1,
        appended_at: AT,
        queue: QUEUE,
        index: QueueIndex(300),
        relocated: false,
        settlement: None,
        key: b"42",
        tag: "paid",
        properties: b"\x01k\x02vv",
        body: b"hello",
    }
}

fn settling(cause: Cause) -> MessageRecord<'static> {
    let (queue, appended_at) = if cause == Cause::Redrive { (LETTERS, DUE) } else { (QUEUE, AT) };
    let delivery = if cause == Cause::Redrive { 0 } else { 17 };
    let settlement = Settlement {
        cause,
        group: GROUP,
        queue,
        index: QueueIndex(5),
        delivery,
        uncounted: delivery / 8,
        popped_at: AT,
        appended_at,
    };
    let queue = if cause == Cause::Redrive { QUEUE } else { LETTERS };
    MessageRecord { rest: 0, queue, index: QueueIndex(6), settlement: Some(settlement), properties: b"", ..message() }
}

pub(super) fn commit_records() -> Vec<(&'static str, CommitRecord<'static>)> {
    let topic = TopicRecord { topic: TopicId(1), queues: 4, name: "orders" };
    let relocated = MessageRecord { rest: 0, relocated: true, tag: "", properties: b"", ..message() };
    vec![
        ("End", CommitRecord::End),
        ("Topic", CommitRecord::Topic(topic)),
        ("Message", CommitRecord::Message(message())),
        ("Message, relocated", CommitRecord::Message(relocated)),
        ("Message, expired letter", CommitRecord::Message(settling(Cause::DeadLetter(EndReason::Expired)))),
        ("Message, nacked letter", CommitRecord::Message(settling(Cause::DeadLetter(EndReason::Nacked)))),
        ("Message, redriven", CommitRecord::Message(settling(Cause::Redrive))),
    ]
}

fn cohort(mask: u64, state: State) -> Cohort {
    Cohort { mask, popped_at: AT, since: AT, due: DUE, delivery: 1, uncounted: 0, generation: 3, state }
}

fn image() -> QueueImage {
    let cohorts = vec![
        (4, cohort(0xff, State::InFlight)),
        (4, cohort(0x100, State::Waiting)),
        (6, cohort(1, State::Ended(EndReason::Expired))),
        (6, cohort(2, State::Ended(EndReason::Nacked))),
        (6, Cohort { delivery: 2, uncounted: 2, ..cohort(4, State::Waiting) }),
    ];
    QueueImage {
        group: GROUP,
        queue: QUEUE,
        position: QueueIndex(500),
        from: 0,
        end: Some(7),
        cohorts,
        buried: vec![],
        begun: QueueIndex(0),
    }
}

fn changes() -> Vec<(&'static str, Change<'static>)> {
    let (group, at, due, runs) = (GROUP, AT, DUE, &RUNS[..1]);
    let buried = vec![
        Buried { index: QueueIndex(9), delivery: 17, uncounted: 2, burial: Burial::DeadLettered },
        Buried { index: QueueIndex(10), delivery: 17, uncounted: 0, burial: Burial::Discarded },
    ];
    let rest = QueueImage { from: 7, end: None, cohorts: vec![], buried, begun: QueueIndex(5), ..image() };
    vec![
        ("GroupRemoved", Change::GroupRemoved { group }),
        ("Positioned", Change::Positioned { group, queue: QUEUE, position: QueueIndex(300) }),
        ("Popped", Change::Popped { group, generation: 3, at, due, runs: &RUNS }),
        ("Acked", Change::Acked { group, at: AT, runs }),
        ("Nacked", Change::Nacked { group, at, verdict: Verdict::Redeliver { visible_at: due }, runs }),
        ("Nacked, at the limit", Change::Nacked { group, at, verdict: Verdict::DeadLetter, runs }),
        ("Nacked, discarded", Change::Nacked { group, at, verdict: Verdict::Discard, runs }),
        ("Extended", Change::Extended { group, at, due, runs }),
        ("Revived", Change::Revived { group, at, visible_at: due, runs }),
        ("Buried, dead-lettered", Change::Buried { group, at: AT, burial: Burial::DeadLettered, runs }),
        ("Buried, discarded", Change::Buried { group, at: AT, burial: Burial::Discarded, runs }),
        ("Redriven", Change::Redriven { runs: &LETTER_RUNS }),
        ("Ended", Change::Ended { group, at, runs }),
        ("Reanchored", Change::Reanchored { at }),
        ("Forgotten", Change::Forgotten { queue: LETTERS, first: QueueIndex(300), runs: &LETTER_RUNS }),
        ("Released", Change::Released { group, at, visible_at: due, runs }),
        ("Truncated", Change::Truncated { queue: QUEUE, end: QueueIndex(300) }),
        ("Image", Change::Image(image().into())),
        ("Image, last", Change::Image(rest.into())),
    ]
}

pub(super) fn checkpoint_records() -> Vec<(&'static str, CheckpointRecord<'static>)> {
    let policy = Policy { max_reconsume_times: Some(16), ..Policy::default() };
    let counters =
        Counters { popped: 300, redelivered: 2, acked: 3, nacked: 4, dead_lettered: 5, discarded: 6, released: 7 };
    let (name, invisible_for) = ("billing", Duration::from_secs(30));
    let queues = vec![
        Extent { first: QueueIndex(64), end: QueueIndex(300), relocated: vec![(QueueIndex(9), ENTRY)] },
        Extent::default(),
    ];
    let more = vec![Extent { relocated: vec![(QueueIndex(10), ENTRY)], ..Extent::default() }];
    let mark = |from, queues| MarkPart { from, queues };
    let mut records = vec![
        ("End", CheckpointRecord::End),
        (
            "Group",
            CheckpointRecord::Group {
                group: GROUP,
                name,
                invisible_for,
                policy: policy.into(),
                counters: counters.into(),
            },
        ),
        ("SnapshotBegin", CheckpointRecord::SnapshotBegin { next_group: GroupId(8), next_topic: TopicId(4) }),
        ("SnapshotEnd", CheckpointRecord::SnapshotEnd { begin: 4160 }),
        ("MarkTopic", CheckpointRecord::MarkTopic { topic: TopicId(1), name: "orders", part: mark(0, queues) }),
        ("MarkTopic, more", CheckpointRecord::MarkTopic { topic: TopicId(1), name: "orders", part: mark(2, more) }),
        ("Mark", CheckpointRecord::Mark { commit: 8256, topics: 1 }),
        ("Opened", CheckpointRecord::Opened { generation: 3, at: AT, sync_each: true }),
        ("Closed", CheckpointRecord::Closed { commit: 8256 }),
        ("CommitStart", CheckpointRecord::CommitStart { base: 4096 }),
    ];
    records.extend(changes().into_iter().map(|(name, change)| (name, CheckpointRecord::Change(change))));
    records
}

pub(super) fn policies() -> Vec<(&'static str, Policy)> {
    let [second, minute] = [1, 60].map(Duration::from_secs);
    let backoffs = [
        ("policy, no backoff", Backoff::None),
        ("policy, fixed", Backoff::Fixed(second)),
        ("policy, exponential", Backoff::Exponential { first: second, cap: minute }),
        ("policy, ladder", Backoff::Ladder(vec![second, minute])),
    ];
    let mut policies: Vec<_> = backoffs
        .map(|(name, backoff)| (name, Policy { backoff, max_reconsume_times: Some(3), ..Policy::default() }))
        .into();
    policies[0].1.max_reconsume_times = None;
    policies[1].1.max_reconsume_times = Some(0);
    policies[1].1.at_limit = AtLimit::Discard;
    policies[2].1.ordered = true;
    policies
}
