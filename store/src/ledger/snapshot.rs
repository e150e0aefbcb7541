//! A **snapshot** writes the whole POP index again, so that what came before it in the checkpoint log can be deleted. Its
//! records stand among the others; nobody waits for them.

use std::sync::atomic::Ordering;

use popstore_revive::{Change, Cursor, Run, Told, TopicId};

use super::{Consumers, Ledger};
use crate::error::Result;
use crate::format::checkpoint::CheckpointRecord;
use crate::log::room_max;
use crate::primitives::Hold;

/// How many blocks of the index are written in one record.
const BLOCKS_MAX: usize = 16;
const REDRIVEN_MAX: usize = 64;
const COHORT_BYTES_MAX: usize = 64;

/// The last complete snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSnapshot {
    /// Where it begins in the checkpoint log, and its length.
    pub(crate) begin: u64,
    pub(crate) bytes: u64,
    /// What it holds.
    pub(crate) live: Told,
}

impl Ledger {
    /// Whether the checkpoint log has grown enough beyond the live state for a snapshot.
    pub(crate) fn is_snapshot_due(&self, end: u64) -> bool {
        end > self.snapshot_at.load(Ordering::Relaxed)
    }

    pub(super) fn schedule_snapshot(&self, last: &LastSnapshot) {
        // From one segment on: the next one, which lies ready, then takes the snapshot even if the disk is full.
        let grown = self.context.options.checkpoint_segment_bytes.max(2 * last.bytes);
        self.snapshot_at.store(last.begin.saturating_add(grown), Ordering::Relaxed);
    }

    /// Makes a snapshot if it is due.
    pub(crate) fn snapshot_if_due(&self, next_topic: TopicId) -> Result<()> {
        if self.is_snapshot_due(self.log.appended()) { self.snapshot(next_topic) } else { Ok(()) }
    }

    /// Writes the index again and deletes the segments before. `next_topic` is the number the next topic gets.
    pub(crate) fn snapshot(&self, next_topic: TopicId) -> Result<()> {
        let _one_at_a_time = self.rewriting.hold();
        self.snapshot_alone(next_topic)
    }

    /// The same; the caller holds `rewriting`.
    pub(super) fn snapshot_alone(&self, next_topic: TopicId) -> Result<()> {
        let begin = {
            let mut consumers = self.lock();
            let next_group = consumers.next_group();
            consumers.write(&CheckpointRecord::SnapshotBegin { next_group, next_topic })?.start
        };
        let mut cursor = Cursor::default();
        while self.write_piece(&mut cursor)? {}
        self.write_redriven()?;
        self.write_mark_alone(&self.last_mark())?;
        let (end, live) = {
            let mut consumers = self.lock();
            let end = consumers.write(&CheckpointRecord::SnapshotEnd { begin })?.end;
            (end, consumers.index().told())
        };
        self.log.sync_through(end)?;
        let last = LastSnapshot { begin, bytes: end.saturating_sub(begin), live };
        self.schedule_snapshot(&last);
        self.log.retire_before(begin)?;
        self.reserve.note_snapshot(&last);
        self.log.reserve_spares(self.reserve.wanted());
        Ok(())
    }

    /// Writes the next piece of the index. Returns whether there may be another.
    fn write_piece(&self, cursor: &mut Cursor) -> Result<bool> {
        let mut consumers = self.lock();
        let Some(change) = self.piece(&consumers, cursor) else { return Ok(false) };
        match change {
            Change::Group { group, policy, counters } => {
                let entry = consumers.groups().get(&group).cloned().expect("a group of the index has a name");
                let (name, invisible_for) = (&*entry.name, entry.invisible_for);
                consumers.write(&CheckpointRecord::Group { group, name, invisible_for, policy, counters })?
            }
            change => consumers.write(&CheckpointRecord::Change(change))?,
        };
        Ok(true)
    }

    /// The next piece, no larger than a record may be.
    fn piece(&self, consumers: &Consumers, cursor: &mut Cursor) -> Option<Change<'static>> {
        let before = *cursor;
        let mut blocks_max = BLOCKS_MAX;
        loop {
            let change = consumers.index().image(cursor, blocks_max)?;
            match &change {
                Change::Image(image) if blocks_max > 1 && image.cohorts.len() > self.cohorts_max() => {
                    blocks_max /= 2;
                    *cursor = before;
                }
                _ => return Some(change),
            }
        }
    }

    /// How many cohorts fit into a record at least, whatever their numbers are.
    fn cohorts_max(&self) -> usize {
        (room_max(self.context.options.checkpoint_segment_bytes) as usize / 2) / COHORT_BYTES_MAX
    }

    fn write_redriven(&self) -> Result<()> {
        let mut consumers = self.lock();
        let redriven: Vec<Run> = consumers.index().redriven().collect();
        for runs in redriven.chunks(REDRIVEN_MAX) {
            consumers.write(&CheckpointRecord::Change(Change::Redriven { runs }))?;
        }
        Ok(())
    }
}
