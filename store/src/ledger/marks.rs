//! Marks in the checkpoint log: how far the consume queues are durable, and where the commit log begins.

use std::sync::Arc;

use popstore_revive::TopicId;

use super::Ledger;
use crate::error::Result;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::extent::{Extent, MarkPart};
use crate::format::limits::NAME_MAX;
use crate::log::room_max;
use crate::primitives::Hold;

/// What a mark says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    /// The queues are durable for everything before this place of the commit log.
    pub(crate) commit: u64,
    /// The commit log begins here.
    pub(crate) base: u64,
    /// The topics, and how far each queue reaches.
    pub(crate) topics: MarkedTopics,
}

pub(crate) type MarkedTopics = Vec<(TopicId, Arc<str>, Vec<Extent>)>;

impl Ledger {
    /// The last mark.
    pub(crate) fn last_mark(&self) -> Mark {
        self.mark.hold().clone()
    }

    /// Where the last mark lies in the commit log.
    pub(crate) fn marked_through(&self) -> u64 {
        self.mark.hold().commit
    }

    /// Writes a mark, which takes no sync. Returns the end of the log.
    pub(crate) fn write_mark(&self, mark: Mark) -> Result<u64> {
        let _one_at_a_time = self.rewriting.hold();
        let end = self.write_mark_alone(&mark)?;
        *self.mark.hold() = mark;
        Ok(end)
    }

    /// Writes the last mark once more. Returns the end of the log.
    pub(crate) fn write_mark_again(&self) -> Result<u64> {
        let _one_at_a_time = self.rewriting.hold();
        self.write_mark_alone(&self.last_mark())
    }

    /// The caller holds `rewriting`.
    pub(super) fn write_mark_alone(&self, mark: &Mark) -> Result<u64> {
        let Mark { commit, base, topics } = mark;
        let room = room_max(self.context.options.checkpoint_segment_bytes) as usize;
        let mut consumers = self.lock();
        for (topic, name, queues) in topics {
            for part in MarkPart::all(queues, room / 2 - NAME_MAX) {
                consumers.write(&CheckpointRecord::MarkTopic { topic: *topic, name, part })?;
            }
        }
        let count = topics.len() as u32;
        consumers.write(&CheckpointRecord::Mark { commit: *commit, topics: count })?;
        // Order matters: files go by the second record, and what they held is accounted for by the first.
        Ok(consumers.write(&CheckpointRecord::CommitStart { base: *base })?.end)
    }
}
