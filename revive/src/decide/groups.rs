//! Groups come, change, go, and begin to read.

use super::{Answer, Decided};
use crate::{Change, GroupId, Index, Policy, QueueId, QueueIndex};

/// Order matters: the record of the group comes last, for a group is made by it, wherever it begins.
pub(super) fn set(
    index: &Index,
    group: GroupId,
    policy: &Policy,
    from: &[(QueueId, QueueIndex)],
    out: &mut Decided,
) -> Answer {
    let counters = index.counters(group);
    if counters.is_none() {
        for (queue, position) in from {
            out.push(Change::Positioned { group, queue: *queue, position: *position });
        }
    }
    let (policy, counters) = (Box::new(policy.clone()), Box::new(counters.unwrap_or_default()));
    out.push(Change::Group { group, policy, counters });
    Answer::Done
}

pub(super) fn remove(index: &Index, group: GroupId, out: &mut Decided) -> Answer {
    if index.policy(group).is_none() {
        return Answer::UnknownGroup;
    }
    out.push(Change::GroupRemoved { group });
    Answer::Done
}

pub(super) fn begin_reading(
    index: &Index,
    group: GroupId,
    from: &[(QueueId, QueueIndex)],
    out: &mut Decided,
) -> Answer {
    if index.policy(group).is_none() {
        return Answer::UnknownGroup;
    }
    for (queue, position) in from {
        if index.position(group, *queue).is_none() {
            out.push(Change::Positioned { group, queue: *queue, position: *position });
        }
    }
    if out.changes.is_empty() { Answer::Nothing } else { Answer::Done }
}
