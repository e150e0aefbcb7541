//! What a change does to those outside: who can be woken, and what is to be written.

use crate::index::Index;
use crate::{Change, GroupId, Time, Verdict};

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Effects {
    /// How many messages it touched.
    pub touched: u64,
    /// From when on there may be more to pop from the queues of its runs; for a change of a group, from all queues.
    pub poppable_at: Option<Time>,
    /// Messages of its runs belong into a dead-letter queue.
    pub buries: bool,
}

impl Index {
    /// Lets one change happen. Total: what the change expects and the index does not have is left alone. When the next
    /// thing is due afterwards, [`Index::next_due`] says.
    pub fn apply(&mut self, change: &Change<'_>) -> Effects {
        let touched = self.change(change);
        let of_group = matches!(change, Change::Group { .. } | Change::GroupRemoved { .. });
        Effects {
            touched,
            poppable_at: if touched > 0 || of_group { self.poppable_at(change) } else { None },
            buries: touched > 0
                && matches!(change, Change::Ended { .. } | Change::Nacked { verdict: Verdict::DeadLetter, .. }),
        }
    }

    /// In an ordered group whatever leaves it lets others come.
    fn poppable_at(&self, change: &Change<'_>) -> Option<Time> {
        let frees = |group: &GroupId, at: &Time| self.policy(*group).filter(|policy| policy.ordered).map(|_| *at);
        match change {
            Change::Nacked { verdict: Verdict::Redeliver { visible_at }, .. } | Change::Revived { visible_at, .. } => {
                Some(*visible_at)
            }
            Change::Released { at, .. } => Some(*at),
            Change::Nacked { group, at, verdict: Verdict::Discard, .. }
            | Change::Acked { group, at, .. }
            | Change::Buried { group, at, .. } => frees(group, at),
            Change::Group { .. } | Change::GroupRemoved { .. } => Some(Time(0)),
            _ => None,
        }
    }
}
