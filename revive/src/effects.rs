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
        let mut effects = Effects { touched, poppable_at: None, buries: false };
        // In an ordered group whatever leaves it lets others come.
        let frees = |group: &GroupId, at: &Time| self.policy(*group).filter(|policy| policy.ordered).map(|_| *at);
        match change {
            Change::Group { .. } | Change::GroupRemoved { .. } => effects.poppable_at = Some(Time(0)),
            _ if touched == 0 => {}
            Change::Acked { group, at, .. }
            | Change::Nacked { group, at, verdict: Verdict::Discard, .. }
            | Change::Buried { group, at, .. } => effects.poppable_at = frees(group, at),
            Change::Nacked { verdict: Verdict::Redeliver { visible_at }, .. }
            | Change::Revived { visible_at, .. }
            | Change::Released { visible_at, .. } => {
                effects.poppable_at = Some(*visible_at);
            }
            Change::Nacked { verdict: Verdict::DeadLetter, .. } | Change::Ended { .. } => effects.buries = true,
            _ => {}
        }
        effects
    }
}
