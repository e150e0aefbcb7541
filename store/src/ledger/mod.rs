//! The ledger: the checkpoint log and the POP index, which is everything that is known about consumers.
//!
//! A change is a record first and takes effect then, both under one lock: the order of the checkpoint log is the order
//! in which things happened. Waiting for durability comes after the lock.

mod ack_times;
mod burials;
mod consumers;
mod marks;
mod receipt;
mod reserve;
mod snapshot;

use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use popstore_revive::{
    Answer, Burying, Change, Cohort, Command, Effects, GroupId, Outcome, QueueId, Run, Time, decide,
};

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
    /// Held while a snapshot or a mark is written: the records of one belong together.
    rewriting: Mutex<()>,
    /// The last mark.
    mark: Mutex<Mark>,
    reserve: Reserve,
    /// From this end of the log on a snapshot is due.
    snapshot_at: AtomicU64,
    /// When the reviver wakes by itself.
    alarm: AtomicU64,
}

/// What records of the ledger did.
pub(crate) struct Written {
    /// How many messages they touched.
    pub(crate) touched: u64,
    /// The end of the log behind them: what is to become durable.
    pub(crate) end: u64,
    /// The queues from which there may be more to pop now.
    pub(crate) poppable: Vec<QueueId>,
}

impl Ledger {
    pub(crate) fn new(context: Arc<Context>, log: Log, consumers: Consumers, mark: Mark, last: LastSnapshot) -> Self {
        // As many spares as the last snapshot asked for, whatever earlier opens have left.
        let reserve = Reserve::behind(&last);
        log.reserve_spares(reserve.wanted());
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

    /// The checkpoint log, to be prepared, synced or measured.
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
    /// Writes a record of what is so already.
    pub(crate) fn write(&mut self, record: &CheckpointRecord<'_>) -> Result<Range<u64>> {
        let scratch = &mut self.consumers.scratch;
        scratch.clear();
        record.encode(scratch);
        let mut appender = self.ledger.log.reserve(scratch.len() - LEAD, Room::Reserved)?;
        let place = appender.push(scratch, &[]);
        appender.finish();
        Ok(place)
    }

    /// Decides what a command comes to at `now`, writes the changes and applies them; one of many messages in as many
    /// records as they need. What the index does not know of a group that is set is given beside the command: its name, and
    /// its default lease.
    #[inline(always)]
    pub(crate) fn decide(
        &mut self,
        command: &Command<'_>,
        now: Time,
        group: Option<(&str, Duration)>,
    ) -> Result<(Answer, Written)> {
        let mut decided = self.consumers.decided.take().unwrap_or_default();
        let answer = decide(&self.consumers.index, command, now, &mut decided);
        let mut written = Written { touched: 0, end: self.ledger.log.appended(), poppable: Vec::new() };
        let runs_max = self.ledger.runs_max();
        for (change, mut runs) in decided.parts() {
            loop {
                let (part, behind) = runs.split_at(runs.len().min(runs_max));
                let record = record_of(change.with_runs(part), group);
                written.end = self.write(&record)?.end;
                self.take_effect(&record, &mut written);
                if behind.is_empty() {
                    break;
                }
                runs = behind;
            }
        }
        self.consumers.decided = Some(decided);
        Ok((answer, written))
    }

    /// The messages that the last command has leased to a group, with the attempts of these deliveries.
    pub(crate) fn leased(&self, group: GroupId) -> Vec<(Run, u32)> {
        let parts = self.consumers.decided.iter().flat_map(|decided| decided.parts());
        let popped = parts.filter(|(change, _)| matches!(change, Change::Popped { .. })).flat_map(|(_, runs)| runs);
        // The messages of a run have one history.
        let held = |run: &Run| self.index().held(group, run.queue, run.indexes().next()?);
        let attempt = |run: &Run| if run.delivery == 1 { 1 } else { held(run).map_or(run.delivery, Cohort::attempt) };
        popped.map(|run| (*run, attempt(run))).collect()
    }

    /// What became of the leases of the last command, and the times from pop to ack of one group.
    pub(crate) fn outcomes(&mut self, group: GroupId) -> (&[Outcome], Option<&mut AckTimes>) {
        let Consumers { decided, ack_times, .. } = &mut *self.consumers;
        (decided.as_ref().map_or(&[], |decided| decided.outcomes()), ack_times.get_mut(&group))
    }

    /// Applies a record that is written.
    fn take_effect(&mut self, record: &CheckpointRecord<'_>, written: &mut Written) {
        let Effects { touched, poppable_at, buries } = self.consumers.apply(record);
        written.touched += touched;
        let CheckpointRecord::Change(change) = record else { return };
        if buries {
            self.consumers.burials.note(change);
        }
        // What becomes visible later is for the reviver to announce.
        let at = change.at().unwrap_or_default().max(self.consumers.visible_through());
        if poppable_at.is_some_and(|poppable_at| poppable_at <= at) {
            written.poppable.extend(change.runs().iter().map(|run| run.queue));
        }
        // An ack makes nothing due.
        if !matches!(change, Change::Acked { .. }) {
            self.wake_reviver();
        }
    }

    /// The queues in which something has become visible since this was asked last.
    pub(crate) fn became_visible(&mut self, now: Time) -> Vec<QueueId> {
        self.consumers.became_visible(now)
    }

    /// What is to be buried now, of a number of blocks: what was not tried yet, or all when that is due.
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

    /// Wakes the reviver if something is due before it would wake by itself.
    fn wake_reviver(&self) {
        let alarm = self.ledger.alarm.load(Ordering::SeqCst);
        if self.consumers.next_due().is_some_and(|due| due.0 < alarm) {
            let _ = self.ledger.context.wakes.revive.try_send(());
        }
    }
}

fn record_of<'r>(change: Change<'r>, group: Option<(&'r str, Duration)>) -> CheckpointRecord<'r> {
    let Some((name, invisible_for)) = group else { return CheckpointRecord::Change(change) };
    match change {
        Change::Group { group, policy, counters } => {
            CheckpointRecord::Group { group, name, invisible_for, policy, counters }
        }
        change => CheckpointRecord::Change(change),
    }
}
