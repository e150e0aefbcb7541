//! What the records of the checkpoint log add up to: the POP index, and the groups by name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use popstore_revive::{Burying, Change, Command, Decided, Effects, GroupId, Index, QueueId, Time, decide};

use super::AckTimes;
use super::burials::Burials;
use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointRecord;

/// The POP index and what belongs to it.
#[derive(Default)]
pub(crate) struct Consumers {
    pub(super) index: Index,
    groups: BTreeMap<GroupId, Arc<GroupEntry>>,
    by_name: HashMap<Arc<str>, GroupId>,
    next_group: GroupId,
    /// Since the store was opened.
    pub(super) ack_times: BTreeMap<GroupId, AckTimes>,
    /// Of the last command; away while its changes are written.
    pub(super) decided: Option<Box<Decided>>,
    pub(super) scratch: Vec<u8>,
    /// Who waits for what became visible by then has been woken.
    visible_through: Time,
    pub(super) burials: Burials,
}

/// A group beside what the index knows of it.
pub(crate) struct GroupEntry {
    pub(crate) id: GroupId,
    pub(crate) name: Arc<str>,
    /// The lease of a pop that asks for none.
    pub(crate) invisible_for: Duration,
}

impl Consumers {
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The groups, by number.
    pub(crate) fn groups(&self) -> &BTreeMap<GroupId, Arc<GroupEntry>> {
        &self.groups
    }

    /// The number of the group of that name.
    pub(crate) fn id_of(&self, name: &str) -> Option<GroupId> {
        self.by_name.get(name).copied()
    }

    /// The number the next group gets; never one that was used.
    pub(crate) fn next_group(&self) -> GroupId {
        self.next_group
    }

    pub(crate) fn ack_times(&self, group: GroupId) -> Option<&AckTimes> {
        self.ack_times.get(&group)
    }

    pub(crate) fn group(&self, name: &str) -> Result<Arc<GroupEntry>> {
        let id = self.by_name.get(name).ok_or_else(|| Error::unknown("group", name))?;
        self.groups.get(id).cloned().ok_or_else(|| Error::unknown("group", name))
    }

    /// Decides what a command comes to at `now`, and applies it without a record. Returns the changes, and how many messages
    /// they touched.
    pub(crate) fn carry_out(&mut self, command: &Command<'_>, now: Time) -> (Decided, u64) {
        let mut decided = Decided::default();
        decide(&self.index, command, now, &mut decided);
        let touched = decided.changes().map(|change| self.index.apply(&change).touched).sum();
        (decided, touched)
    }

    /// Takes in a record of the checkpoint log; what is not about consumers is none of its business.
    pub(crate) fn apply(&mut self, record: &CheckpointRecord<'_>) -> Effects {
        match record {
            CheckpointRecord::Group { group, name, invisible_for, policy, counters } => {
                self.name_group(*group, name, *invisible_for);
                self.index.apply(&Change::Group { group: *group, policy: policy.clone(), counters: counters.clone() })
            }
            CheckpointRecord::Change(change) => {
                if let Change::GroupRemoved { group } = change
                    && let Some(gone) = self.groups.remove(group)
                {
                    self.by_name.remove(&gone.name);
                    self.ack_times.remove(group);
                }
                if let Change::Positioned { group, .. } = change {
                    // Also where a group begins that is about to be made.
                    self.use_up(*group);
                }
                self.index.apply(change)
            }
            CheckpointRecord::SnapshotBegin { next_group, .. } => {
                self.next_group = self.next_group.max(*next_group);
                Effects::default()
            }
            _ => Effects::default(),
        }
    }

    /// When the reviver has something to do, at the latest.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let due = self.index.next_due(self.visible_through);
        due.into_iter().chain(self.burials.next_due()).min()
    }

    /// Who waits for what became visible by then has been woken.
    pub(crate) fn visible_through(&self) -> Time {
        self.visible_through
    }

    /// The queues in which something has become visible since this was asked last.
    pub(super) fn became_visible(&mut self, now: Time) -> Vec<QueueId> {
        let queues = self.index.became_visible(self.visible_through, now).map(|(_, queue)| queue).collect();
        self.visible_through = now.max(self.visible_through);
        queues
    }

    pub(super) fn take_burials(&mut self, now: Time, blocks_max: usize) -> Vec<Burying> {
        self.burials.take(&self.index, now, blocks_max)
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
