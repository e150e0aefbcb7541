//! The consumers' side: the POP index, the groups' names, and the way every change of them takes.
//!
//! A change is a record first and happens then, both under one lock: the order of the checkpoint log is the order in
//! which things happened. Waiting for durability comes after the lock.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use popstore_revive::{Change, GroupId, Index, QueueId, QueueIndex, Run, Time};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::frame::LEAD;
use crate::log::{Room, room_max};
use crate::verbs::stats::AckTimes;

/// More than a run takes in a record.
const RUN_BYTES_MAX: usize = 40;

/// The POP index and what belongs to it.
#[derive(Default)]
pub(crate) struct Consumers {
    pub(crate) index: Index,
    pub(crate) groups: BTreeMap<GroupId, Arc<GroupEntry>>,
    pub(crate) by_name: HashMap<Arc<str>, GroupId>,
    /// The number the next group gets; never one that was used.
    pub(crate) next_group: GroupId,
    /// Since the store was opened.
    pub(crate) ack_times: BTreeMap<GroupId, AckTimes>,
    pub(crate) runs: Vec<Run>,
    scratch: Vec<u8>,
    /// Where groups begin that are about to be made: a group is made by one record, and it comes last.
    beginnings: BTreeMap<GroupId, Vec<(QueueId, QueueIndex)>>,
}

/// A group beside what the index knows of it.
pub(crate) struct GroupEntry {
    pub(crate) id: GroupId,
    pub(crate) name: Arc<str>,
    /// The lease of a pop that asks for none.
    pub(crate) invisible_for: Duration,
}

impl Consumers {
    pub(crate) fn group(&self, name: &str) -> Result<Arc<GroupEntry>> {
        let id = self.by_name.get(name).ok_or_else(|| Error::unknown("group", name))?;
        self.groups.get(id).cloned().ok_or_else(|| Error::unknown("group", name))
    }

    /// Takes in a record of the checkpoint log; what is not about consumers is none of its business. Returns how many
    /// messages it touched.
    pub(crate) fn apply(&mut self, record: &CheckpointRecord<'_>) -> u64 {
        match record {
            CheckpointRecord::Group { name, invisible_for, change } => {
                self.index.apply(change);
                if let Change::Group { group, .. } = change {
                    self.name_group(*group, name, *invisible_for);
                    for (queue, position) in self.beginnings.remove(group).unwrap_or_default() {
                        self.index.apply(&Change::Positioned { group: *group, queue, position });
                    }
                }
                0
            }
            CheckpointRecord::Change(Change::Positioned { group, queue, position })
                if self.index.policy(*group).is_none() =>
            {
                self.beginnings.entry(*group).or_default().push((*queue, *position));
                self.use_up(*group);
                0
            }
            CheckpointRecord::Change(change) => {
                if let Change::GroupRemoved { group } = change
                    && let Some(gone) = self.groups.remove(group)
                {
                    self.by_name.remove(&gone.name);
                    self.ack_times.remove(group);
                }
                self.index.apply(change)
            }
            CheckpointRecord::SnapshotBegin { next_group, .. } => {
                self.next_group = self.next_group.max(*next_group);
                0
            }
            _ => 0,
        }
    }

    fn name_group(&mut self, id: GroupId, name: &str, invisible_for: Duration) {
        let entry = GroupEntry { id, name: Arc::from(name), invisible_for };
        self.by_name.insert(Arc::clone(&entry.name), id);
        self.ack_times.entry(id).or_default();
        self.groups.insert(id, Arc::new(entry));
        self.use_up(id);
    }

    /// No other group gets this number.
    fn use_up(&mut self, id: GroupId) {
        self.next_group = self.next_group.max(GroupId(id.0.saturating_add(1)));
    }
}

impl Engine {
    /// Writes a record and makes it happen. Returns how many messages it touched and the log's end, for
    /// [`Engine::settle_checkpoint`].
    pub(crate) fn record(&self, consumers: &mut Consumers, record: &CheckpointRecord<'_>) -> Result<(u64, u64)> {
        let end = self.write_record(consumers, record)?.end;
        let touched = consumers.apply(record);
        self.set_alarm(consumers.index.next_due());
        Ok((touched, end))
    }

    pub(crate) fn change(&self, consumers: &mut Consumers, change: Change<'_>) -> Result<(u64, u64)> {
        self.record(consumers, &CheckpointRecord::Change(change))
    }

    /// Records a change of many messages, in as many records as it needs. Returns the log's end.
    pub(crate) fn change_all<'r>(
        &self,
        consumers: &mut Consumers,
        runs: &'r [Run],
        change: impl Fn(&'r [Run]) -> Change<'r>,
    ) -> Result<u64> {
        let mut end = self.checkpoint.appended();
        for runs in runs.chunks(self.runs_max()) {
            end = self.change(consumers, change(runs))?.1;
        }
        Ok(end)
    }

    /// How many runs fit into one record, whatever their numbers are.
    pub(crate) fn runs_max(&self) -> usize {
        room_max(self.options.checkpoint_segment_bytes) as usize / 2 / RUN_BYTES_MAX
    }

    /// Writes a record that tells what is so already. Returns its place.
    pub(crate) fn write_record(&self, consumers: &mut Consumers, record: &CheckpointRecord<'_>) -> Result<Range<u64>> {
        let scratch = &mut consumers.scratch;
        scratch.clear();
        record.encode(scratch);
        let mut appender = self.checkpoint.reserve(scratch.len() - LEAD, Room::Kept)?;
        let place = appender.push_front(scratch, &[]);
        appender.finish();
        Ok(place)
    }

    /// Wakes the reviver if something is due before it would wake by itself.
    pub(crate) fn set_alarm(&self, next_due: Option<Time>) {
        if next_due.is_some_and(|due| due.0 < self.alarm.load(Ordering::SeqCst)) {
            let _ = self.wakes.revive.try_send(());
        }
    }
}
