//! The keeper: consume queues to their files, marks, snapshots of the POP index, and retention, each when it is due.
//!
//! A **snapshot** tells the whole POP index again, so that what came before it in the
//! checkpoint log can go. Its records stand among the others; nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};

use popstore_revive::{Change, Cursor, Run};

use crate::background::marks::Mark;
use crate::engine::options::Options;
use crate::engine::{Engine, Wakes};
use crate::error::Result;
use crate::event::StoreEvent;
use crate::format::checkpoint::CheckpointRecord;
use crate::log::room_max;
use crate::primitives::Hold;

/// How many blocks of the index are told in one record.
const BLOCKS_MAX: usize = 16;
const REDRIVEN_MAX: usize = 64;
const COHORT_BYTES_MAX: usize = 64;
/// A mark syncs a file of every queue: with more than so many of them marks come less often, but not more than so many
/// times less, since what lies behind the last one is read again at open.
const QUEUES_MAX: u64 = 128;
const TIMES_MAX: u64 = 16;
/// When nothing is appended, this part of what is between two marks is enough for one, and not less than so many bytes.
const QUIET_PART: u64 = 32;
const QUIET_BYTES_MIN: u64 = 1 << 20;

/// What the keeper did last.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The files of the consume queues hold nothing from here on.
    pub(crate) flushed: u64,
    /// The last mark.
    pub(crate) mark: Mark,
    /// Where the last snapshot began in the checkpoint log, and its length.
    pub(crate) snapshot_begin: u64,
    pub(crate) snapshot_bytes: u64,
}

impl Kept {
    /// The end of the commit log from which on a mark is due, with so many queues in the store.
    pub(crate) fn next_mark(&self, options: &Options, queues: u64) -> u64 {
        let times = queues.div_ceil(QUEUES_MAX).clamp(1, TIMES_MAX);
        self.mark.commit.saturating_add(options.mark_every_bytes.saturating_mul(times))
    }

    /// The same while nothing is appended.
    fn next_quiet_mark(&self, options: &Options, queues: u64) -> u64 {
        let bytes = self.next_mark(options, queues) - self.mark.commit;
        self.mark.commit + (bytes / QUIET_PART).max(QUIET_BYTES_MIN).min(bytes)
    }
}

/// The ends of the logs from which on the keeper has something to do. Every append and every ack looks here.
#[derive(Debug, Default)]
pub(crate) struct Due {
    mark: AtomicU64,
    snapshot: AtomicU64,
}

impl Due {
    pub(crate) fn after(kept: &Kept, options: &Options, queues: u64) -> Self {
        let due = Self::default();
        due.move_on(kept, options, queues);
        due
    }

    fn move_on(&self, kept: &Kept, options: &Options, queues: u64) {
        self.mark.store(kept.next_quiet_mark(options, queues), Ordering::Relaxed);
        // From one segment on: the next one, which lies ready, then takes the snapshot even if the disk is full.
        let grown = options.checkpoint_segment_bytes.max(2 * kept.snapshot_bytes);
        self.snapshot.store(kept.snapshot_begin.saturating_add(grown), Ordering::Relaxed);
    }
}

impl Engine {
    pub(crate) fn keep(&self, change: impl FnOnce(&mut Kept)) {
        let mut kept = self.kept.hold();
        change(&mut kept);
        self.due.move_on(&kept, &self.options, self.topics.queues());
    }

    /// Wakes the keeper when it may be time for a mark; not again before there is some more.
    pub(crate) fn wake_to_mark(&self, commit_end: u64) {
        if commit_end >= self.due.mark.load(Ordering::Relaxed) {
            self.due.mark.store(commit_end + self.options.mark_every_bytes / 8, Ordering::Relaxed);
            let _ = self.wakes.keep.try_send(());
        }
    }

    /// The end of the commit log, if a mark there is worth its syncs as soon as nothing is appended. What is appended
    /// meanwhile wakes the keeper when a mark is due, or when retention has something to let go of.
    pub(crate) fn worth_a_mark(&self) -> Option<u64> {
        let kept = self.kept.hold();
        let end = self.commit.appended();
        let queues = self.topics.queues();
        let quiet = kept.next_quiet_mark(&self.options, queues);
        let mark = if end < quiet { quiet } else { kept.next_mark(&self.options, queues) };
        // What is too much already could not go.
        let too_much = |bytes| self.commit.start().saturating_add(bytes).max(end + self.options.mark_every_bytes / 8);
        let retain = self.options.retention.bytes.map_or(u64::MAX, too_much);
        self.due.mark.store(mark.min(retain), Ordering::Relaxed);
        Some(end).filter(|end| *end >= quiet)
    }

    /// Marks all there is, so that the next open has little to read.
    pub(crate) fn mark_in_the_quiet(&self) {
        let _one_at_a_time = self.keeping.hold();
        let marked = self.mark_all().and_then(|end| self.checkpoint.sync_through(end));
        self.tell_failure("mark", marked);
    }

    /// Whether the checkpoint log has grown enough beyond the live state to be told anew.
    pub(crate) fn checkpoint_is_due(&self, end: u64) -> bool {
        end > self.due.snapshot.load(Ordering::Relaxed)
    }

    /// Does what is due; a failure is told and tried again later.
    pub(crate) fn keep_house(&self) {
        let _one_at_a_time = self.keeping.hold();
        type Task = (&'static str, fn(&Engine) -> Result<()>);
        let tasks: [Task; 5] = [
            ("hold the lock", Self::hold_lock),
            ("sync what recovery found", |engine| engine.commit.sync_recovered()),
            ("mark", Self::mark_if_due),
            ("snapshot", Self::snapshot_if_due),
            ("retention", Self::retain),
        ];
        for (task, run) in tasks {
            self.tell_failure(task, run(self));
        }
    }

    /// Makes sure that no other owner can come in.
    fn hold_lock(&self) -> Result<()> {
        match self.disk.hold_lock() {
            Ok(()) => {
                if self.lock.take_replaced() {
                    self.tell(&StoreEvent::LockReplaced);
                }
                Ok(())
            }
            Err(source) => {
                self.tell(&StoreEvent::BackgroundFailure { task: "hold the lock", reason: source.to_string() });
                Err(self.poison.set(self.lock.path().to_path_buf(), source))
            }
        }
    }

    pub(crate) fn tell_failure(&self, task: &'static str, done: Result<()>) {
        if let Err(error) = done
            && self.check().is_ok()
        {
            self.tell(&StoreEvent::BackgroundFailure { task, reason: error.to_string() });
        }
    }

    fn snapshot_if_due(&self) -> Result<()> {
        if self.checkpoint_is_due(self.checkpoint.appended()) { self.snapshot() } else { Ok(()) }
    }

    /// Tells the index anew and lets go of what the checkpoint log held before.
    pub(crate) fn snapshot(&self) -> Result<()> {
        let begin = {
            let mut consumers = self.consumers();
            let (next_group, next_topic) = (consumers.next_group, self.topics.next_id());
            let record = CheckpointRecord::SnapshotBegin { next_group, next_topic };
            self.write_record(&mut consumers, &record)?.start
        };
        let mut cursor = Cursor::default();
        while self.tell_piece(&mut cursor)? {}
        self.tell_redriven()?;
        self.tell_mark_again()?;
        let (end, told) = {
            let mut consumers = self.consumers();
            let end = self.write_record(&mut consumers, &CheckpointRecord::SnapshotEnd { begin })?.end;
            (end, consumers.index.told())
        };
        self.checkpoint.sync_through(end)?;
        let bytes = end.saturating_sub(begin);
        self.keep(|kept| (kept.snapshot_begin, kept.snapshot_bytes) = (begin, bytes));
        self.checkpoint.retire_before(begin)?;
        self.note_snapshot(bytes, told);
        Ok(())
    }

    fn tell_piece(&self, cursor: &mut Cursor) -> Result<bool> {
        let mut consumers = self.consumers();
        let (before, mut blocks_max) = (*cursor, BLOCKS_MAX);
        let Some(mut change) = consumers.index.image(cursor, blocks_max) else { return Ok(false) };
        while blocks_max > 1 && matches!(&change, Change::Image(image) if image.cohorts.len() > self.cohorts_max()) {
            blocks_max /= 2;
            *cursor = before;
            let Some(smaller) = consumers.index.image(cursor, blocks_max) else { return Ok(false) };
            change = smaller;
        }
        let entry = match &change {
            Change::Group { group, .. } => consumers.groups.get(group).cloned(),
            _ => None,
        };
        let record = match &entry {
            Some(entry) => CheckpointRecord::Group { name: &entry.name, invisible_for: entry.invisible_for, change },
            None => CheckpointRecord::Change(change),
        };
        self.write_record(&mut consumers, &record)?;
        Ok(true)
    }

    /// How many cohorts a record can tell at least, whatever their numbers are.
    fn cohorts_max(&self) -> usize {
        (room_max(self.options.checkpoint_segment_bytes) as usize / 2) / COHORT_BYTES_MAX
    }

    fn tell_redriven(&self) -> Result<()> {
        let mut consumers = self.consumers();
        let redriven: Vec<Run> = consumers.index.redriven().collect();
        for runs in redriven.chunks(REDRIVEN_MAX) {
            self.write_record(&mut consumers, &CheckpointRecord::Change(Change::Redriven { runs }))?;
        }
        Ok(())
    }

    /// The last things before the store is closed: everything durable, and said so.
    pub(crate) fn close_logs(&self) -> Result<()> {
        // Whoever still makes a mark of its own finishes it first: a mark and the files it tells of belong together.
        let _one_at_a_time = self.keeping.hold();
        self.commit.shut();
        self.poison.check()?;
        self.commit.sync_all()?;
        self.mark_all_or_tell_again()?;
        let commit = self.commit.durable();
        let mut consumers = self.consumers();
        let end = self.write_record(&mut consumers, &CheckpointRecord::Closed { commit })?.end;
        drop(consumers);
        self.checkpoint.sync_through(end)
    }

    pub(crate) fn wake_all(&self) {
        let Wakes { prepare, make, revive, keep, flush } = &self.wakes;
        for wake in [prepare, make, revive, keep, flush] {
            let _ = wake.try_send(());
        }
        self.raise_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_less_often_the_more_queues_each_must_sync_up_to_a_limit() {
        let kept = Kept { mark: Mark { commit: 1000, ..Mark::default() }, ..Kept::default() };
        let options = Options::default().mark_every_bytes(100);
        let next = [0, 1, 128, 129, 1000, 10_000, 1 << 40].map(|queues| kept.next_mark(&options, queues));
        assert_eq!(next, [1100, 1100, 1100, 1200, 1800, 2600, 2600]);
    }
}
