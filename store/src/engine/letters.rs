//! Settlements under way: messages in the commit log that settle others, as a dead letter settles its original, until
//! that is on record in the checkpoint log.
//!
//! A mark must not pass such a message: opening reads the commit log from the mark on, and would not see what it
//! settles. No lock is held from the message's first byte to its record; instead its place is noted here, and marks stay
//! before the lowest one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use popstore_revive::{Command, GroupId, QueueId, QueueIndex, Run, Time};

use super::Engine;
use crate::error::Result;
use crate::primitives::{Hold, unpoisoned};

/// When burials that could not be done or recorded are tried again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Default)]
pub(crate) struct Letters {
    state: Mutex<Settlements>,
    ended: Condvar,
}

#[derive(Default)]
struct Settlements {
    /// Where the messages lie at least, by the number of their settlement.
    from: BTreeMap<u64, u64>,
    next: u64,
    /// The letters that are being put back.
    redriving: BTreeSet<(QueueId, QueueIndex)>,
    /// The settlements that could not be recorded when they happened.
    unrecorded: Vec<Unrecorded>,
}

impl Settlements {
    fn record_all<E>(&mut self, record: &mut impl FnMut(&Unrecorded) -> Result<(), E>) -> Result<(), E> {
        while let Some(settled) = self.unrecorded.last() {
            record(settled)?;
            self.unrecorded.pop();
        }
        Ok(())
    }
}

/// A settlement under way, from before the first byte of its messages to its record.
pub(crate) struct Settling<'l> {
    letters: &'l Letters,
    number: u64,
    places: Vec<(QueueId, QueueIndex)>,
}

/// What messages in the commit log settled without a record of it in the checkpoint log.
#[derive(Clone)]
pub(crate) struct Unrecorded {
    /// The group whose messages were dead-lettered; without one, letters were put back.
    pub(crate) group: Option<GroupId>,
    pub(crate) at: Time,
    pub(crate) runs: Vec<Run>,
}

impl Unrecorded {
    fn command(&self) -> Command<'_> {
        match self.group {
            Some(group) => Command::Bury { group, runs: &self.runs },
            None => Command::Redrive { letters: &self.runs },
        }
    }
}

impl Letters {
    /// Begins a settlement whose messages will lie at the log's end or behind it.
    pub(crate) fn begin(&self, log_end: impl FnOnce() -> u64) -> Settling<'_> {
        self.begin_in(self.state.hold(), Vec::new(), log_end)
    }

    /// The same for letters that are put back, when nobody else is about to put back one of them.
    pub(crate) fn begin_redrive(
        &self,
        places: Vec<(QueueId, QueueIndex)>,
        log_end: impl FnOnce() -> u64,
    ) -> Settling<'_> {
        let mut state = self.state.hold();
        while places.iter().any(|place| state.redriving.contains(place)) {
            state = unpoisoned(self.ended.wait(state));
        }
        state.redriving.extend(places.iter().copied());
        self.begin_in(state, places, log_end)
    }

    fn begin_in(
        &self,
        mut state: std::sync::MutexGuard<'_, Settlements>,
        places: Vec<(QueueId, QueueIndex)>,
        log_end: impl FnOnce() -> u64,
    ) -> Settling<'_> {
        let number = state.next;
        state.next += 1;
        // Order matters: the end is read under the lock, so that a mark is either before it or knows of it.
        state.from.insert(number, log_end());
        Settling { letters: self, number, places }
    }

    /// The last place up to `end` of the commit log at which a mark may lie, once what could not be recorded when it
    /// happened is recorded.
    pub(crate) fn bound<E>(
        &self,
        mut record: impl FnMut(&Unrecorded) -> Result<(), E>,
        end: impl FnOnce() -> u64,
    ) -> Result<u64, E> {
        let mut state = self.state.hold();
        state.record_all(&mut record)?;
        Ok(state.from.values().copied().fold(end(), u64::min))
    }

    /// Records what could not be recorded when it happened.
    pub(crate) fn record_all<E>(&self, mut record: impl FnMut(&Unrecorded) -> Result<(), E>) -> Result<(), E> {
        self.state.hold().record_all(&mut record)
    }

    /// Notes a settlement that could not be recorded. It is before the next letter and the next mark.
    pub(crate) fn add_unrecorded(&self, settled: Unrecorded) {
        self.state.hold().unrecorded.push(settled);
    }
}

impl Engine {
    /// Records what durable messages in the commit log have settled. When that cannot be written now, it is before the
    /// next letter and the next mark.
    pub(crate) fn settle_letters(&self, settled: Unrecorded) {
        if self.record_settlement(&settled).is_err() {
            self.consumers().retry_burials_at(self.context.now().after(RETRY_AFTER));
            self.letters.add_unrecorded(settled);
        }
    }

    /// Records the settlements that could not be recorded when they happened.
    pub(crate) fn record_settlements(&self) -> Result<()> {
        self.letters.record_all(|settled| self.record_settlement(settled))
    }

    /// The last place up to `end` of the commit log at which a mark may lie: what settles others lies before it only if
    /// that is on record.
    pub(crate) fn mark_bound(&self, end: impl FnOnce() -> u64) -> Result<u64> {
        self.letters.bound(|settled| self.record_settlement(settled), end)
    }

    fn record_settlement(&self, settled: &Unrecorded) -> Result<()> {
        let (_, written) = self.consumers().decide(&settled.command(), settled.at, None)?;
        self.messages.raise(written.poppable);
        Ok(())
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        let mut state = self.letters.state.hold();
        state.from.remove(&self.number);
        for place in &self.places {
            state.redriving.remove(place);
        }
        drop(state);
        self.letters.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(letters: &Letters, end: u64) -> u64 {
        letters.bound(|_| Ok::<_, ()>(()), || end).unwrap()
    }

    #[test]
    fn a_mark_stays_before_the_first_settlement_under_way() {
        let letters = Letters::default();
        let (first, second) = (letters.begin(|| 100), letters.begin(|| 200));
        assert_eq!(bound(&letters, 250), 100);
        drop(first);
        assert_eq!((bound(&letters, 250), bound(&letters, 150)), (200, 150));
        drop(second);
        assert_eq!(bound(&letters, 250), 250);
    }

    #[test]
    fn an_unrecorded_settlement_is_recorded_before_any_mark() {
        let letters = Letters::default();
        let settled = |at| Unrecorded { group: None, at: Time(at), runs: Vec::new() };
        letters.add_unrecorded(settled(1));
        letters.add_unrecorded(settled(2));
        assert_eq!(letters.bound(|_| Err("the disk is full"), || 250), Err("the disk is full"));
        let mut recorded = Vec::new();
        let record = |settled: &Unrecorded| {
            recorded.push(settled.at.0);
            Ok::<_, ()>(())
        };
        let bound = letters.bound(record, || 250);
        assert_eq!((bound, recorded), (Ok(250), vec![2, 1]));
        assert_eq!(letters.record_all(|_| Err("there is none left")), Ok(()));
    }
}
