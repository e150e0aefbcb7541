//! What opening does to a store that was found whole, decided before anything is changed: [`super::open`] executes the
//! list in its order, [`super::RecoveryPlan`] describes it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use popstore_revive::{Command, Decided, QueueId, QueueIndex, Time};

use super::{FoundStore, Recovery};
use crate::error::Result;
use crate::ledger::Consumers;
use crate::messages::aside::InTheWay;
use crate::messages::{ConsumeQueue, Topics};
use crate::options::Options;
use crate::segment::Disk;

/// A store that was found whole, with all that opening does to it, in this order. The consumers are those after it.
pub(crate) struct Judged {
    /// Things in place of queues get other names, before the generation is raised.
    pub(crate) aside: Vec<InTheWay>,
    /// In its two logs each file has its fate; segments of the commit log before `replay.commit_start` are removed.
    pub(crate) found: FoundStore,
    /// The capacity of new segments of the commit log.
    pub(crate) segment_bytes: u64,
    /// Files of queues that are removed, and why.
    pub(crate) left: Vec<(PathBuf, &'static str)>,
    /// Queues of which the files are made again.
    pub(crate) rebuilt: Vec<Arc<ConsumeQueue>>,
    pub(crate) voided: Vec<Voided>,
    /// How many settlements in the commit log lack their record in the checkpoint log.
    pub(crate) completed: u64,
    /// Waits begin in the future.
    pub(crate) clock_set_back: bool,
    /// The changes of consumers by these three, which are recorded in this order.
    pub(crate) to_record: Vec<Decided>,
    pub(crate) topics: Topics,
    /// When that was decided.
    pub(crate) now: Time,
}

/// State of messages that the commit log does not have.
pub(crate) struct Voided {
    pub(crate) queue: QueueId,
    pub(crate) end: QueueIndex,
    /// How many places.
    pub(crate) count: u64,
}

impl Judged {
    /// Decides about a store in this directory that was found at this time, changing nothing.
    pub(crate) fn of(mut found: FoundStore, dir: &Path, options: &Options, now: Time) -> Result<Self> {
        let FoundStore { checkpoint, commit, replay, messages } = &mut found;
        checkpoint.judge(&replay.found, options.checkpoint_segment_bytes, options.ready_bytes)?;
        // What fitted into a segment once must fit into a new one, as a dead letter.
        let segment_bytes = options.segment_bytes.max(commit.segment_bytes_min());
        commit.judge(&messages.found, segment_bytes, options.ready_bytes)?;
        let aside = messages.in_the_way(dir)?;
        let topics = Topics::new(dir, options.entries_per_file, replay.next_topic);
        messages.fill(&topics);
        let (left, rebuilt) = queues(&topics, &aside);
        let (consumers, mut to_record) = (&mut replay.consumers, Vec::new());
        let mut carry_out = |consumers: &mut Consumers, command: Command<'_>| {
            let (changes, touched) = consumers.carry_out(&command, now);
            let changed = changes.parts().next().is_some();
            to_record.push(changes);
            (changed, touched)
        };
        let mut voided = Vec::new();
        for queue in consumers.index().beyond(|queue| messages.end_of(queue)) {
            let end = messages.end_of(queue);
            let (_, count) = carry_out(consumers, Command::Truncate { queue, end });
            voided.push(Voided { queue, end, count });
        }
        let mut completed = 0;
        for settlement in &messages.settlements {
            let (changed, _) = carry_out(consumers, settlement.command(&[settlement.run()]));
            completed += u64::from(changed);
        }
        let (clock_set_back, _) = carry_out(consumers, Command::Reanchor);
        Ok(Self {
            aside,
            found,
            segment_bytes,
            left,
            rebuilt,
            voided,
            completed,
            clock_set_back,
            to_record,
            topics,
            now,
        })
    }

    /// Judges the files of the checkpoint log once more, by a length for which the disk has room.
    pub(crate) fn fit_to_disk(&mut self, options: &mut Options, disk: &Disk) -> Result<()> {
        let FoundStore { checkpoint, replay, .. } = &mut self.found;
        options.checkpoint_segment_bytes = checkpoint.segment_bytes(options.checkpoint_segment_bytes, disk)?;
        checkpoint.judge(&replay.found, options.checkpoint_segment_bytes, options.ready_bytes)
    }

    /// What opening in this generation does, but for what is known only when it is done.
    pub(crate) fn recovery(&self, generation: u32) -> Recovery {
        let (checkpoint, commit) = (&self.found.replay.found, &self.found.messages.found);
        Recovery {
            generation,
            clean: self.was_closed() || generation == 1,
            records_replayed: checkpoint.records,
            records_scanned: commit.records,
            tail_bytes_cut: checkpoint.tail_bytes + commit.tail_bytes,
            records_voided: self.voided.iter().map(|voided| voided.count).sum(),
            queues_rebuilt: self.rebuilt.len() as u64,
            dead_letters_completed: self.completed,
            clock_set_back: self.clock_set_back,
            ..Recovery::default()
        }
    }

    /// Whether the store was closed in order.
    pub(crate) fn was_closed(&self) -> bool {
        self.found.replay.closed == Some(self.found.messages.found.end)
    }
}

/// The files of queues that are removed, and the queues of which the files are missing or too short. No link is followed:
/// of a queue below something in the way there are no files.
fn queues(topics: &Topics, aside: &[InTheWay]) -> (Vec<(PathBuf, &'static str)>, Vec<Arc<ConsumeQueue>>) {
    let aside: HashSet<&Path> = aside.iter().map(|found| &*found.path).collect();
    let (mut left, mut rebuilt) = (Vec::new(), Vec::new());
    for queue in topics.all().iter().flat_map(|topic| topic.all_used()) {
        // The queue's directory, its topic's, and that of all.
        let has_dir = !queue.dir().ancestors().take(3).any(|dir| aside.contains(dir));
        if has_dir {
            left.extend(queue.left_files().into_iter().filter(|(path, _)| !aside.contains(&**path)));
        }
        if !(has_dir && queue.files_are_long_enough() || queue.in_files().is_empty()) {
            rebuilt.push(Arc::clone(queue));
        }
    }
    (left, rebuilt)
}
