//! The records of the checkpoint log.

use std::ops::RangeInclusive;
use std::time::Duration;

use popstore_revive::{Change, Counters, GroupId, Policy, QueueIndex, Run, Time, TopicId, Verdict};

use super::delivery::{DELIVERIES, DELIVERIES_BUT_LAST, burial, burial_code, put_queue, put_span, span};
use super::extent::MarkPart;
use super::frame::{Frame, KIND_END};
use super::limits::{self, LEASE_MICROS, queue};
use super::varint::{Fields, put, put_bytes};
use super::{Rule, image, policy};

const KIND_GROUP: u8 = 2;
const KIND_GROUP_REMOVED: u8 = 3;
const KIND_POSITIONED: u8 = 4;
const KIND_POPPED: u8 = 5;
const KIND_ACKED: u8 = 6;
const KIND_NACKED: u8 = 7;
const KIND_EXTENDED: u8 = 8;
const KIND_REVIVED: u8 = 9;
const KIND_BURIED: u8 = 10;
const KIND_REDRIVEN: u8 = 11;
const KIND_TRUNCATED: u8 = 12;
const KIND_IMAGE: u8 = 13;
const KIND_ENDED: u8 = 14;
const KIND_REANCHORED: u8 = 15;
const KIND_FORGOTTEN: u8 = 16;
const KIND_RELEASED: u8 = 17;
const KIND_SNAPSHOT_BEGIN: u8 = 20;
const KIND_SNAPSHOT_END: u8 = 21;
const KIND_MARK_TOPIC: u8 = 22;
const KIND_MARK: u8 = 23;
const KIND_OPENED: u8 = 24;
const KIND_CLOSED: u8 = 25;
const KIND_COMMIT_START: u8 = 26;

/// A record of the checkpoint log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointRecord<'a> {
    /// The segment ends here.
    End,
    /// A group exists: [`Change::Group`] with its name and default lease.
    Group { group: GroupId, name: &'a str, invisible_for: Duration, policy: Box<Policy>, counters: Box<Counters> },
    /// Any other change of the index.
    Change(Change<'a>),
    /// A snapshot starts; group ids below `next_group` have been used, and topic ids below `next_topic`.
    SnapshotBegin { next_group: GroupId, next_topic: TopicId },
    /// The snapshot that started at this position is complete.
    SnapshotEnd { begin: u64 },
    /// One topic of the mark that follows: its queues' extents at that offset, or a part of them.
    MarkTopic { topic: TopicId, name: &'a str, part: MarkPart },
    /// The consume queues of the `topics` topics just before are durable for all messages before `commit`.
    Mark { commit: u64, topics: u32 },
    /// The store was opened, and `sync_each` is whether each append is durable before its message is given to a consumer.
    Opened { generation: u32, at: Time, sync_each: bool },
    /// The store was closed in order: both logs are durable up to here.
    Closed { commit: u64 },
    /// The commit log starts here; segments before it may be deleted.
    CommitStart { base: u64 },
}

impl CheckpointRecord<'_> {
    /// Puts the frame into an empty buffer, un-sealed.
    ///
    /// # Panics
    /// For a [`Change::Group`], which has no name to be written: it must be a [`CheckpointRecord::Group`].
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        super::frame::open(out, self.kind());
        match self {
            Self::End => {}
            Self::Group { group, name, invisible_for, policy, counters } => {
                put(out, u64::from(group.0));
                put_bytes(out, name.as_bytes());
                policy::put_duration(out, *invisible_for);
                policy::encode(policy, out);
                put_counters(counters, out);
            }
            Self::Change(change) => put_change(change, out),
            Self::SnapshotBegin { next_group, next_topic } => {
                put(out, u64::from(next_group.0));
                put(out, u64::from(next_topic.0));
            }
            Self::SnapshotEnd { begin } => put(out, *begin),
            Self::MarkTopic { topic, name, part } => {
                put(out, u64::from(topic.0));
                put_bytes(out, name.as_bytes());
                part.put(out);
            }
            Self::Mark { commit, topics } => {
                put(out, *commit);
                put(out, u64::from(*topics));
            }
            Self::Opened { generation, at, sync_each } => {
                put(out, u64::from(*generation));
                put(out, at.0);
                put(out, u64::from(*sync_each));
            }
            Self::Closed { commit } => put(out, *commit),
            Self::CommitStart { base } => put(out, *base),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::End => KIND_END,
            Self::Group { .. } => KIND_GROUP,
            Self::SnapshotBegin { .. } => KIND_SNAPSHOT_BEGIN,
            Self::SnapshotEnd { .. } => KIND_SNAPSHOT_END,
            Self::MarkTopic { .. } => KIND_MARK_TOPIC,
            Self::Mark { .. } => KIND_MARK,
            Self::Opened { .. } => KIND_OPENED,
            Self::Closed { .. } => KIND_CLOSED,
            Self::CommitStart { .. } => KIND_COMMIT_START,
            Self::Change(change) => match change {
                Change::Group { .. } => panic!("a group is recorded with its name"),
                Change::GroupRemoved { .. } => KIND_GROUP_REMOVED,
                Change::Positioned { .. } => KIND_POSITIONED,
                Change::Popped { .. } => KIND_POPPED,
                Change::Acked { .. } => KIND_ACKED,
                Change::Nacked { .. } => KIND_NACKED,
                Change::Extended { .. } => KIND_EXTENDED,
                Change::Revived { .. } => KIND_REVIVED,
                Change::Buried { .. } => KIND_BURIED,
                Change::Redriven { .. } => KIND_REDRIVEN,
                Change::Truncated { .. } => KIND_TRUNCATED,
                Change::Image(_) => KIND_IMAGE,
                Change::Ended { .. } => KIND_ENDED,
                Change::Reanchored { .. } => KIND_REANCHORED,
                Change::Forgotten { .. } => KIND_FORGOTTEN,
                Change::Released { .. } => KIND_RELEASED,
            },
        }
    }
}

impl<'a> CheckpointRecord<'a> {
    /// Decodes what a frame of the checkpoint log holds; `runs` is room for the places it names.
    pub(crate) fn decode(frame: &Frame<'a>, runs: &'a mut Vec<Run>) -> Result<Self, Rule> {
        let mut fields = Fields(frame.payload);
        let record = match frame.kind {
            KIND_END => Self::End,
            KIND_GROUP => {
                let group = GroupId(limits::number(&mut fields, "group")?);
                let name = limits::group_name(&mut fields)?;
                let invisible_for = policy::duration(&mut fields)?;
                if !LEASE_MICROS.contains(&(invisible_for.as_micros() as u64)) {
                    return Err(Rule::Field("invisible time"));
                }
                let policy = Box::new(policy::decode(&mut fields)?);
                let counters = Box::new(counters(&mut fields)?);
                Self::Group { group, name, invisible_for, policy, counters }
            }
            KIND_SNAPSHOT_BEGIN => {
                Self::SnapshotBegin { next_group: GroupId(fields.u32()?), next_topic: TopicId(fields.u32()?) }
            }
            KIND_SNAPSHOT_END => Self::SnapshotEnd { begin: fields.u64()? },
            KIND_MARK_TOPIC => {
                let topic = TopicId(limits::number(&mut fields, "topic")?);
                let name = limits::topic_name(&mut fields)?;
                Self::MarkTopic { topic, name, part: MarkPart::take(&mut fields)? }
            }
            KIND_MARK => Self::Mark { commit: fields.u64()?, topics: fields.u32()? },
            KIND_OPENED => {
                let (generation, at) = (fields.u32()?, Time(fields.u64()?));
                let sync_each = match fields.u64()? {
                    0 => false,
                    1 => true,
                    _ => return Err(Rule::Field("durability")),
                };
                Self::Opened { generation, at, sync_each }
            }
            KIND_CLOSED => Self::Closed { commit: fields.u64()? },
            KIND_COMMIT_START => Self::CommitStart { base: fields.u64()? },
            kind => return change(kind, fields, runs).map(Self::Change),
        };
        fields.end().map(|()| record)
    }
}

fn put_change(change: &Change<'_>, out: &mut Vec<u8>) {
    match change {
        // It has no kind.
        Change::Group { .. } => {}
        Change::GroupRemoved { group } => put(out, u64::from(group.0)),
        Change::Positioned { group, queue, position } => {
            put(out, u64::from(group.0));
            put_queue(*queue, out);
            put(out, position.0);
        }
        Change::Popped { group, generation, at, due, runs } => {
            put(out, u64::from(group.0));
            put(out, u64::from(*generation));
            put_span(*at, *due, out);
            put_runs(runs, out);
        }
        Change::Acked { group, at, runs } | Change::Ended { group, at, runs } => {
            put(out, u64::from(group.0));
            put(out, at.0);
            put_runs(runs, out);
        }
        Change::Nacked { group, at, verdict, runs } => {
            let (code, end) = match verdict {
                Verdict::DeadLetter => (0, at),
                Verdict::Redeliver { visible_at } => (1, visible_at),
                Verdict::Discard => (2, at),
            };
            put(out, u64::from(group.0));
            put(out, code);
            put_span(*at, *end, out);
            put_runs(runs, out);
        }
        Change::Extended { group, at, due: end, runs }
        | Change::Revived { group, at, visible_at: end, runs }
        | Change::Released { group, at, visible_at: end, runs } => {
            put(out, u64::from(group.0));
            put_span(*at, *end, out);
            put_runs(runs, out);
        }
        Change::Buried { group, at, burial, runs } => {
            put(out, u64::from(group.0));
            put(out, at.0);
            put(out, burial_code(*burial));
            put_runs(runs, out);
        }
        Change::Redriven { runs } => put_runs(runs, out),
        Change::Reanchored { at } => put(out, at.0),
        Change::Forgotten { queue, first, runs } => {
            put_queue(*queue, out);
            put(out, first.0);
            put_runs(runs, out);
        }
        Change::Truncated { queue, end } => {
            put_queue(*queue, out);
            put(out, end.0);
        }
        Change::Image(queue) => image::encode(queue, out),
    }
}

fn change<'a>(kind: u8, mut fields: Fields<'_>, into: &'a mut Vec<Run>) -> Result<Change<'a>, Rule> {
    into.clear();
    let change = match kind {
        KIND_IMAGE => return image::decode(fields).map(|image| Change::Image(Box::new(image))),
        KIND_TRUNCATED => {
            let (queue, end) = (queue(&mut fields)?, QueueIndex(fields.u64()?));
            Change::Truncated { queue, end }
        }
        KIND_REDRIVEN => Change::Redriven { runs: runs(&mut fields, into, 0..=0)? },
        KIND_FORGOTTEN => {
            let (queue, first) = (queue(&mut fields)?, QueueIndex(fields.u64()?));
            Change::Forgotten { queue, first, runs: runs(&mut fields, into, 0..=0)? }
        }
        KIND_REANCHORED => Change::Reanchored { at: Time(fields.u64()?) },
        kind => change_of_group(kind, &mut fields, into)?,
    };
    fields.end().map(|()| change)
}

fn change_of_group<'a>(kind: u8, fields: &mut Fields<'_>, into: &'a mut Vec<Run>) -> Result<Change<'a>, Rule> {
    let group = |fields: &mut Fields<'_>| fields.u32().map(GroupId);
    Ok(match kind {
        KIND_GROUP_REMOVED => Change::GroupRemoved { group: group(fields)? },
        KIND_POSITIONED => {
            let group = GroupId(limits::number(fields, "group")?);
            Change::Positioned { group, queue: queue(fields)?, position: QueueIndex(fields.u64()?) }
        }
        KIND_POPPED => {
            let (group, generation) = (group(fields)?, fields.u32()?);
            let (at, due) = span(fields)?;
            Change::Popped { group, generation, at, due, runs: runs(fields, into, DELIVERIES)? }
        }
        KIND_ACKED => {
            let (group, at) = (group(fields)?, Time(fields.u64()?));
            Change::Acked { group, at, runs: runs(fields, into, DELIVERIES)? }
        }
        KIND_NACKED => {
            let group = group(fields)?;
            let code = fields.u64()?;
            let (at, visible_at) = span(fields)?;
            let (verdict, deliveries) = match code {
                0 => (Verdict::DeadLetter, DELIVERIES),
                1 => (Verdict::Redeliver { visible_at }, DELIVERIES_BUT_LAST),
                2 => (Verdict::Discard, DELIVERIES),
                _ => return Err(Rule::Field("nack")),
            };
            Change::Nacked { group, at, verdict, runs: runs(fields, into, deliveries)? }
        }
        KIND_EXTENDED => {
            let group = group(fields)?;
            let (at, due) = span(fields)?;
            Change::Extended { group, at, due, runs: runs(fields, into, DELIVERIES)? }
        }
        KIND_REVIVED => {
            let group = group(fields)?;
            let (at, visible_at) = span(fields)?;
            Change::Revived { group, at, visible_at, runs: runs(fields, into, DELIVERIES_BUT_LAST)? }
        }
        KIND_BURIED => {
            let (group, at) = (group(fields)?, Time(fields.u64()?));
            let burial = burial(fields)?;
            Change::Buried { group, at, burial, runs: runs(fields, into, DELIVERIES)? }
        }
        KIND_ENDED => {
            let (group, at) = (group(fields)?, Time(fields.u64()?));
            Change::Ended { group, at, runs: runs(fields, into, DELIVERIES)? }
        }
        KIND_RELEASED => {
            let group = group(fields)?;
            let (at, visible_at) = span(fields)?;
            Change::Released { group, at, visible_at, runs: runs(fields, into, DELIVERIES_BUT_LAST)? }
        }
        kind => return Err(Rule::Kind(kind)),
    })
}

/// A run is its delivery, then its queue when that is another than the run's before, then block and mask. One
/// message, the most frequent case, is its index alone.
fn put_runs(runs: &[Run], out: &mut Vec<u8>) {
    put(out, runs.len() as u64);
    let mut before = None;
    for run in runs {
        let single = run.len() == 1;
        let same = before == Some(run.queue);
        put(out, u64::from(run.delivery) << 2 | u64::from(same) << 1 | u64::from(single));
        if !same {
            put_queue(run.queue, out);
        }
        if single {
            put(out, QueueIndex::of_block(run.block).0.saturating_add(u64::from(run.mask.trailing_zeros())));
        } else {
            put(out, run.block);
            out.extend_from_slice(&run.mask.to_le_bytes());
        }
        before = Some(run.queue);
    }
}

fn runs<'a>(
    fields: &mut Fields<'_>,
    into: &'a mut Vec<Run>,
    deliveries: RangeInclusive<u32>,
) -> Result<&'a [Run], Rule> {
    let count = fields.count(2)?;
    into.reserve(count);
    for _ in 0..count {
        let head = fields.u64()?;
        let delivery = u32::try_from(head >> 2).ok().filter(|delivery| deliveries.contains(delivery));
        let delivery = delivery.ok_or(Rule::Field("delivery"))?;
        let queue = match into.last().filter(|_| head & 2 != 0) {
            Some(before) => before.queue,
            None if head & 2 != 0 => return Err(Rule::Field("run")),
            None => queue(fields)?,
        };
        into.push(if head & 1 == 1 {
            Run::one(queue, limits::index(fields)?, delivery)
        } else {
            let block = fields.u64()?;
            let mask: [u8; 8] = fields.take(8)?.try_into().map_err(|_| Rule::Short)?;
            let mask = u64::from_le_bytes(mask);
            if block > u64::MAX / QueueIndex::PER_BLOCK {
                return Err(Rule::Field("block"));
            }
            if mask == 0 {
                return Err(Rule::Field("mask"));
            }
            Run { queue, block, mask, delivery }
        });
    }
    Ok(into)
}

fn put_counters(counters: &Counters, out: &mut Vec<u8>) {
    let Counters { popped, redelivered, acked, nacked, dead_lettered, discarded, released } = *counters;
    [popped, redelivered, acked, nacked, dead_lettered, discarded, released].into_iter().for_each(|n| put(out, n));
}

fn counters(fields: &mut Fields<'_>) -> Result<Counters, Rule> {
    Ok(Counters {
        popped: fields.u64()?,
        redelivered: fields.u64()?,
        acked: fields.u64()?,
        nacked: fields.u64()?,
        dead_lettered: fields.u64()?,
        discarded: fields.u64()?,
        released: fields.u64()?,
    })
}
