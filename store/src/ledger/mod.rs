//! The ledger: the checkpoint log and the POP index, which is everything that is known about consumers.
//!
//! A change is a record first and takes effect then, both under one lock: the order of the checkpoint log is the order in
//! which things happened. Waiting for durability comes after the lock.

mod ack_times;
mod burials;
mod consumers;
mod letters;
mod marks;
mod receipt;
mod reserve;
mod snapshot;

use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use popstore_revive::{Burying, Change, GroupId, Index, QueueId, Run, Time};

use crate::context::Context;
use crate::error::Result;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::frame::LEAD;
use crate::log::{Log, Room, room_max};
use crate::primitives::Hold;
use reserve::Reserve;

pub(crate) use ack_times::AckTimes;
pub use ack_times::PopToAck;
pub(crate) use consumers::{Consumers, GroupEntry};
pub(crate) use letters::{complete, ended_at};
pub(crate) use marks::{Mark, MarkedTopics};
pub use receipt::Receipt;
pub(crate) use snapshot::LastSnapshot;

/// More than a run takes in a record.
const RUN_BYTES_MAX: usize = 40;

/// Everything about consumers.
///
/// Locks are taken in this order: `rewriting`, `consumers`, `mark`, the log's own.
pub(crate) struct Ledger {
    context: Arc<Context>,
    log: Log,
    consumers: Mutex<Consumers>,
    /// Held by whoever writes a snapshot or a mark: the records of one belong together.
    rewriting: Mutex<()>,
    /// The last mark.
    mark: Mutex<Mark>,
    reserve: Reserve,
    /// From this end of the log on a snapshot is due.
    snapshot_at: AtomicU64,
    /// When the reviver wakes by itself.
    alarm: AtomicU64,
}

/// What a record of the ledger did.
pub(crate) struct Changed {
    /// How many messages it touched.
    pub(crate) touched: u64,
    /// The end of the log behind it: what is to become durable.
    pub(crate) end: u64,
}

impl Ledger {
    pub(crate) fn new(context: Arc<Context>, log: Log, consumers: Consumers, mark: Mark, last: LastSnapshot) -> Self {
        // As many spares as the last snapshot asked for, whatever earlier opens have left.
        let reserve = Reserve::behind(&last);
        log.keep_spare(reserve.wanted());
        let ledger = Self {
            context,
            log,
            consumers: Mutex::new(consumers),
            rewriting: Mutex::default(),
            mark: Mutex::new(mark),
            reserve,
            snapshot_at: AtomicU64::new(0),
            alarm: AtomicU64::new(0),
        };
        ledger.schedule_snapshot(&last);
        ledger
    }

    /// The checkpoint log, for whoever prepares, syncs or measures it.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Takes the lock of everything about consumers.
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked { ledger: self, consumers: self.consumers.hold() }
    }

    /// Whether a call panicked while it had the lock.
    pub(crate) fn is_half_done(&self) -> bool {
        self.consumers.is_poisoned()
    }

    /// When the reviver wakes by itself; everything due before that was seen to.
    pub(crate) fn set_alarm(&self, at: Option<Time>) {
        self.alarm.store(at.map_or(u64::MAX, |at| at.0), Ordering::SeqCst);
    }

    /// How many runs fit into one record, whatever their numbers are.
    pub(crate) fn runs_max(&self) -> usize {
        room_max(self.context.options.checkpoint_segment_bytes) as usize / 2 / RUN_BYTES_MAX
    }
}

/// The ledger, locked.
pub(crate) struct Locked<'l> {
    ledger: &'l Ledger,
    consumers: MutexGuard<'l, Consumers>,
}

impl Deref for Locked<'_> {
    type Target = Consumers;

    #[inline]
    fn deref(&self) -> &Consumers {
        &self.consumers
    }
}

impl Locked<'_> {
    /// Writes a record. What it says is so already, or the caller applies it.
    pub(crate) fn write(&mut self, record: &CheckpointRecord<'_>) -> Result<Range<u64>> {
        let scratch = &mut self.consumers.scratch;
        scratch.clear();
        record.encode(scratch);
        let mut appender = self.ledger.log.reserve(scratch.len() - LEAD, Room::Kept)?;
        let place = appender.push(scratch, &[]);
        appender.finish();
        Ok(place)
    }

    /// Writes a record and applies it.
    pub(crate) fn record(&mut self, record: &CheckpointRecord<'_>) -> Result<Changed> {
        let end = self.write(record)?.end;
        let touched = self.consumers.apply(record);
        self.consumers.burials.note(record);
        self.wake_reviver();
        Ok(Changed { touched, end })
    }

    /// Writes a change and applies it.
    pub(crate) fn change(&mut self, change: Change<'_>) -> Result<Changed> {
        self.record(&CheckpointRecord::Change(change))
    }

    /// Writes and applies a change of many messages, in as many records as it needs. Returns the log's end.
    pub(crate) fn change_all<'r>(&mut self, runs: &'r [Run], change: impl Fn(&'r [Run]) -> Change<'r>) -> Result<u64> {
        let mut end = self.ledger.log.appended();
        for runs in runs.chunks(self.ledger.runs_max()) {
            let record = CheckpointRecord::Change(change(runs));
            end = self.write(&record)?.end;
            self.consumers.apply(&record);
            self.consumers.burials.note(&record);
        }
        self.wake_reviver();
        Ok(end)
    }

    /// The index, and the times from pop to ack of one group.
    pub(crate) fn index_and_ack_times(&mut self, group: GroupId) -> (&Index, Option<&mut AckTimes>) {
        self.consumers.index_and_ack_times(group)
    }

    /// The queues in which something has become visible since this was asked last.
    pub(crate) fn became_visible(&mut self, now: Time) -> Vec<QueueId> {
        self.consumers.became_visible(now)
    }

    /// What is to be buried now, of so many blocks: what was not tried yet, or all when that is due.
    pub(crate) fn take_burials(&mut self, now: Time, blocks_max: usize) -> Vec<Burying> {
        self.consumers.take_burials(now, blocks_max)
    }

    /// Something is left over: all burials are tried once more at that time.
    pub(crate) fn retry_burials_at(&mut self, at: Time) {
        self.consumers.burials.retry_at(at);
        self.wake_reviver();
    }

    /// Applies a record without writing it: a snapshot follows.
    pub(crate) fn apply(&mut self, record: &CheckpointRecord<'_>) {
        self.consumers.apply(record);
    }

    /// The buffer of runs that verbs fill; it comes back by [`Locked::return_runs`].
    pub(crate) fn take_runs(&mut self) -> Vec<Run> {
        let mut runs = std::mem::take(&mut self.consumers.runs);
        runs.clear();
        runs
    }

    pub(crate) fn return_runs(&mut self, runs: Vec<Run>) {
        self.consumers.runs = runs;
    }

    /// Wakes the reviver if something is due before it would wake by itself.
    fn wake_reviver(&self) {
        let alarm = self.ledger.alarm.load(Ordering::SeqCst);
        if self.consumers.next_due().is_some_and(|due| due.0 < alarm) {
            let _ = self.ledger.context.wakes.revive.try_send(());
        }
    }
}
