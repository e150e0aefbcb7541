//! What opening does to a store that was found whole, decided before anything is changed: [`super::open`] executes the
//! list in its order, [`super::RecoveryPlan`] describes it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use popstore_revive::{Change, QueueId, QueueIndex, Time};

use super::{FoundMessages, FoundStore};
use crate::error::Result;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{Cause, Settlement};
use crate::ledger::{Consumers, ended_at};
use crate::messages::aside::InTheWay;
use crate::messages::{ConsumeQueue, Topics};
use crate::options::Options;

/// A store that was found whole, with all that opening does to it, in this order. The consumers are those after it.
pub(crate) struct Judged {
    /// Things in place of queues get other names, before the generation is raised.
    pub(crate) aside: Vec<InTheWay>,
    /// In its two logs each file has its fate; segments of the commit log before `replay.commit_start` are removed.
    pub(crate) found: FoundStore,
    /// The capacity of new segments of the commit log.
    pub(crate) segment_bytes: u64,
    /// Files of queues that are removed, and why.
    pub(crate) left: Vec<(PathBuf, &'static str)>,
    /// Queues of which the files are made again.
    pub(crate) rebuilt: Vec<Arc<ConsumeQueue>>,
    pub(crate) voided: Vec<Voided>,
    pub(crate) completed: Vec<Completed>,
    /// Waits begin in the future.
    pub(crate) clock_set_back: bool,
    pub(crate) topics: Topics,
    /// The time of the decisions about consumers.
    pub(crate) now: Time,
}

/// State of messages that the commit log does not have.
pub(crate) struct Voided {
    pub(crate) queue: QueueId,
    pub(crate) end: QueueIndex,
    /// How many places.
    pub(crate) count: u64,
}

/// A settlement of which the checkpoint log lacks the record.
pub(crate) struct Completed {
    pub(crate) settlement: Settlement,
    /// When the lease ended, if that is not on record either.
    pub(crate) ended: Option<Time>,
    pub(crate) at: Time,
    /// How many messages.
    pub(crate) count: u64,
}

impl Judged {
    /// Decides about a store in this directory that was found at this time, changing nothing.
    pub(crate) fn of(mut found: FoundStore, dir: &Path, options: &Options, now: Time) -> Result<Self> {
        let FoundStore { checkpoint, commit, replay, messages } = &mut found;
        checkpoint.judge(&replay.found, options.checkpoint_segment_bytes, options.ready_bytes)?;
        // What fitted into a segment once must fit into a new one, as a dead letter.
        let segment_bytes = options.segment_bytes.max(commit.segment_bytes_min());
        commit.judge(&messages.found, segment_bytes, options.ready_bytes)?;
        let aside = messages.in_the_way(dir)?;
        let topics = Topics::new(dir, options.entries_per_file, replay.next_topic);
        messages.fill(&topics);
        let (left, rebuilt) = queues(&topics, &aside);
        let consumers = &mut replay.consumers;
        let voided = void(consumers, messages);
        let settlements = messages.settlements.iter();
        let completed = settlements.filter_map(|settlement| complete(consumers, settlement, now)).collect();
        let clock_set_back = consumers.index().outlasts(now);
        if clock_set_back {
            apply(consumers, Change::Reanchored { at: now });
        }
        Ok(Self { aside, found, segment_bytes, left, rebuilt, voided, completed, clock_set_back, topics, now })
    }

    /// Whether the store was closed in order.
    pub(crate) fn was_closed(&self) -> bool {
        self.found.replay.closed == Some(self.found.messages.found.end)
    }
}

/// The files of queues that are removed, and the queues of which the files are missing or too short. No link is followed:
/// of a queue below something in the way there are no files.
fn queues(topics: &Topics, aside: &[InTheWay]) -> (Vec<(PathBuf, &'static str)>, Vec<Arc<ConsumeQueue>>) {
    let aside: HashSet<&Path> = aside.iter().map(|found| &*found.path).collect();
    let (mut left, mut rebuilt) = (Vec::new(), Vec::new());
    for queue in topics.all().iter().flat_map(|topic| topic.all_used()) {
        // The queue's directory, its topic's, and that of all.
        let has_dir = !queue.dir().ancestors().take(3).any(|dir| aside.contains(dir));
        if has_dir {
            left.extend(queue.left_files().into_iter().filter(|(path, _)| !aside.contains(&**path)));
        }
        if !(has_dir && queue.files_are_long_enough() || queue.in_files().is_empty()) {
            rebuilt.push(Arc::clone(queue));
        }
    }
    (left, rebuilt)
}

fn apply(consumers: &mut Consumers, change: Change<'_>) -> u64 {
    consumers.apply(&CheckpointRecord::Change(change)).touched
}

/// Voids what the index holds about messages that the commit log does not have.
fn void(consumers: &mut Consumers, messages: &FoundMessages) -> Vec<Voided> {
    let beyond = consumers.index().beyond(|queue| messages.end_of(queue)).into_iter();
    let voided = beyond.map(|queue| {
        let end = messages.end_of(queue);
        Voided { queue, end, count: apply(consumers, Change::Truncated { queue, end }) }
    });
    voided.collect()
}

/// Settles what a message in the commit log settles, unless that is on record already.
fn complete(consumers: &mut Consumers, settlement: &Settlement, now: Time) -> Option<Completed> {
    let (index, runs) = (consumers.index(), [settlement.run()]);
    let mut ended = None;
    match settlement.cause {
        Cause::DeadLetter(_) => {
            let held = index.held(settlement.group, settlement.queue, settlement.index)?;
            if held.attempt != settlement.attempt {
                return None;
            }
            ended = ended_at(index, settlement, now);
            if let Some(at) = ended {
                apply(consumers, Change::Ended { group: settlement.group, at, runs: &runs });
            }
        }
        Cause::Redrive if index.is_redriven(settlement.queue, settlement.index) => return None,
        Cause::Redrive => {}
    }
    let touched = apply(consumers, settlement.change(now, &runs));
    let count = if settlement.cause == Cause::Redrive { 1 } else { touched };
    Some(Completed { settlement: *settlement, ended, at: now, count })
}
