//! A record of the checkpoint log as names, times and places, for readers that do not replay it.

use std::sync::Arc;

use popstore_revive::{Burial, Change, Cohort, EndReason, QueueId, QueueImage, Run, State, Time, Verdict};

use super::entries::{CheckpointEntry, Names, Places};
use crate::clock;
use crate::format::checkpoint::CheckpointRecord;

impl Names {
    /// Fills an entry from its record, and learns the names in it.
    pub(super) fn describe(&mut self, record: &CheckpointRecord<'_>, mut entry: CheckpointEntry) -> CheckpointEntry {
        entry.happened_at = happened_at(record).map(clock::wall);
        match record {
            CheckpointRecord::End => {}
            CheckpointRecord::Group { group, name, invisible_for, policy, counters } => {
                self.groups.insert(*group, Arc::from(*name));
                entry.group = Some(self.group(*group));
                let limit = policy.max_reconsume_times.map_or("unlimited".into(), |times| times.to_string());
                entry.field("max_reconsume_times", limit);
                entry.field("invisible_ms", invisible_for.as_millis());
                entry.field("popped", counters.popped);
                entry.field("acked", counters.acked);
                entry.field("dead_lettered", counters.dead_lettered);
            }
            CheckpointRecord::Change(change) => self.describe_change(change, &mut entry),
            CheckpointRecord::SnapshotBegin { next_group, next_topic } => {
                entry.field("next_group", next_group.0);
                entry.field("next_topic", next_topic.0);
            }
            CheckpointRecord::SnapshotEnd { begin } => entry.field("begin", begin),
            CheckpointRecord::MarkTopic { topic, name, part } => {
                self.topics.insert(*topic, Arc::from(*name));
                entry.field("topic", name);
                let extents: Vec<String> =
                    part.queues.iter().map(|extent| format!("{}..{}", extent.first.0, extent.end.0)).collect();
                if part.from > 0 {
                    entry.field("from", part.from - 1);
                }
                entry.field("queues", extents.join(" "));
            }
            CheckpointRecord::Mark { commit, topics } => {
                entry.field("commit", commit);
                entry.field("topics", topics);
            }
            CheckpointRecord::Opened { generation, .. } => entry.field("generation", generation),
            CheckpointRecord::Closed { commit } => entry.field("commit", commit),
            CheckpointRecord::CommitStart { base } => entry.field("base", base),
        }
        entry
    }

    fn describe_change(&mut self, change: &Change<'_>, entry: &mut CheckpointEntry) {
        let (group, until, runs) = match change {
            Change::Group { group, .. } | Change::GroupRemoved { group } => (Some(*group), None, None),
            Change::Positioned { group, queue, position } => {
                entry.places.push(self.places(*queue, 0, Vec::new()));
                entry.field("position", position.0);
                (Some(*group), None, None)
            }
            Change::Popped { group, due, runs, .. } | Change::Extended { group, due, runs, .. } => {
                (Some(*group), Some(*due), Some(*runs))
            }
            Change::Acked { group, runs, .. } | Change::Ended { group, runs, .. } => (Some(*group), None, Some(*runs)),
            Change::Nacked { group, verdict, runs, .. } => {
                let visible_at = match verdict {
                    Verdict::Redeliver { visible_at } => Some(*visible_at),
                    Verdict::DeadLetter | Verdict::Discard => None,
                };
                if visible_at.is_none() {
                    entry.field("at_limit", true);
                }
                if *verdict == Verdict::Discard {
                    entry.field("burial", burial_name(Burial::Discarded));
                }
                (Some(*group), visible_at, Some(*runs))
            }
            Change::Revived { group, visible_at, runs, .. } | Change::Released { group, visible_at, runs, .. } => {
                (Some(*group), Some(*visible_at), Some(*runs))
            }
            Change::Buried { group, burial, runs, .. } => {
                entry.field("burial", burial_name(*burial));
                (Some(*group), None, Some(*runs))
            }
            Change::Redriven { runs } => (None, None, Some(*runs)),
            Change::Reanchored { .. } => (None, None, None),
            Change::Forgotten { queue, first, runs } => {
                entry.places.push(self.places(*queue, 0, Vec::new()));
                entry.field("first", first.0);
                (None, None, Some(*runs))
            }
            Change::Truncated { queue, end } => {
                entry.places.push(self.places(*queue, 0, Vec::new()));
                entry.field("end", end.0);
                (None, None, None)
            }
            Change::Image(image) => {
                self.describe_image(image, entry);
                (Some(image.group), None, None)
            }
        };
        entry.group = group.map(|group| self.group(group));
        entry.until = until.map(clock::wall);
        self.add_runs(runs.unwrap_or_default(), &mut entry.places);
    }

    fn describe_image(&self, image: &QueueImage, entry: &mut CheckpointEntry) {
        entry.field("position", image.position.0);
        for (block, cohort) in &image.cohorts {
            entry.places.push(self.cohort(image.queue, *block, cohort));
        }
        for buried in &image.buried {
            let places = self.places(image.queue, buried.delivery, vec![buried.index.0]);
            let state = Some((burial_name(buried.burial), None, None));
            entry.places.push(Places { state, ..places });
        }
        if entry.places.is_empty() {
            entry.places.push(self.places(image.queue, 0, Vec::new()));
        }
    }

    fn add_runs(&self, runs: &[Run], places: &mut Vec<Places>) {
        let mut before = None;
        for run in runs {
            let same = Some((run.queue, run.delivery));
            match places.last_mut().filter(|_| before == same) {
                Some(last) => last.indexes.extend(run.indexes().map(|index| index.0)),
                None => places.push(self.places(run.queue, run.delivery, run.indexes().map(|index| index.0).collect())),
            }
            before = same;
        }
    }

    fn cohort(&self, queue: QueueId, block: u64, cohort: &Cohort) -> Places {
        let indexes = cohort.indexes(block).map(|index| index.0).collect();
        let wall = |at: Time| Some(clock::wall(at));
        let state = Some((state_name(cohort.state), wall(cohort.since), wall(cohort.due)));
        Places { state, ..self.places(queue, cohort.delivery, indexes) }
    }

    fn places(&self, queue: QueueId, delivery: u32, indexes: Vec<u64>) -> Places {
        Places { topic: self.topic(queue.topic), queue: queue.queue, delivery, indexes, state: None }
    }
}

impl CheckpointEntry {
    fn field(&mut self, name: &'static str, value: impl ToString) {
        self.fields.push((name, value.to_string()));
    }
}

fn burial_name(burial: Burial) -> &'static str {
    match burial {
        Burial::DeadLettered => "dead_lettered",
        Burial::Discarded => "discarded",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::InFlight => "in_flight",
        State::Ended(EndReason::Expired) => "ended_expired",
        State::Ended(EndReason::Nacked) => "ended_nacked",
        State::Waiting => "waiting",
    }
}

/// When it happened, if the record holds that.
pub(super) fn happened_at(record: &CheckpointRecord<'_>) -> Option<Time> {
    match record {
        CheckpointRecord::Opened { at, .. } => Some(*at),
        CheckpointRecord::Change(change) => change.at(),
        _ => None,
    }
}

/// The name of a record, as FORMAT.md has it, in lower case.
pub(super) fn record_name(record: &CheckpointRecord<'_>) -> &'static str {
    match record {
        CheckpointRecord::End => "end",
        CheckpointRecord::Group { .. } => "group",
        CheckpointRecord::SnapshotBegin { .. } => "snapshot_begin",
        CheckpointRecord::SnapshotEnd { .. } => "snapshot_end",
        CheckpointRecord::MarkTopic { .. } => "mark_topic",
        CheckpointRecord::Mark { .. } => "mark",
        CheckpointRecord::Opened { .. } => "opened",
        CheckpointRecord::Closed { .. } => "closed",
        CheckpointRecord::CommitStart { .. } => "commit_start",
        CheckpointRecord::Change(change) => match change {
            Change::Group { .. } => "group",
            Change::GroupRemoved { .. } => "group_removed",
            Change::Positioned { .. } => "positioned",
            Change::Popped { .. } => "popped",
            Change::Acked { .. } => "acked",
            Change::Nacked { .. } => "nacked",
            Change::Extended { .. } => "extended",
            Change::Revived { .. } => "revived",
            Change::Buried { .. } => "buried",
            Change::Redriven { .. } => "redriven",
            Change::Truncated { .. } => "truncated",
            Change::Image(_) => "image",
            Change::Ended { .. } => "ended",
            Change::Reanchored { .. } => "reanchored",
            Change::Forgotten { .. } => "forgotten",
            Change::Released { .. } => "released",
        },
    }
}
