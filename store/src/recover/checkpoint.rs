//! Replaying the checkpoint log into the POP index.

use std::collections::BTreeMap;
use std::path::Path;

use popstore_revive::{Change, QueueId, QueueImage, QueueIndex, Time, Told, TopicId};

use crate::error::Result;
use crate::fault::{Fault, Faults};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::entry::Entry;
use crate::format::extent::Extent;
use crate::format::frame::FRAME_HEADER;
use crate::ledger::Consumers;
use crate::log::{FoundLog, FrameAt, Unrecovered, WalkStep};

/// The state that the checkpoint log describes.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) found: FoundLog,
    pub(crate) consumers: Consumers,
    /// The last complete mark.
    pub(crate) mark: FoundMark,
    /// The commit log was durable that far at least.
    pub(crate) commit_proven: u64,
    /// Where the commit log begins.
    pub(crate) commit_start: u64,
    /// The last record says that the store was closed, with the commit log's end.
    pub(crate) closed: Option<u64>,
    /// When the store was opened last, if the log still has that record.
    pub(crate) opened_at: Option<Time>,
    pub(crate) next_topic: TopicId,
    pub(crate) snapshot_begin: u64,
    pub(crate) snapshot_bytes: u64,
    /// What that snapshot has written.
    pub(crate) snapshot_live: Told,
    /// What the snapshot that is being read has written.
    snapshot_read: Told,
    /// The topics read so far of a mark that is not complete.
    pending: BTreeMap<TopicId, MarkedTopic>,
    snapshots: u32,
    /// In the present session a message is durable before it is given to anyone.
    sync_each: bool,
    /// Per queue, behind the last message that was given to anyone in such a session.
    durable: BTreeMap<QueueId, QueueIndex>,
    /// Where the last snapshot begins, whole or not.
    begun: Option<u64>,
    /// The position of the first record.
    first: u64,
    /// What belongs to the next Mark is there from its first record on.
    mark_is_whole: bool,
    /// The clock may be found set back, since the store was opened.
    may_reanchor: bool,
}

/// The consume queues are durable for messages before `commit`.
#[derive(Default)]
pub(crate) struct FoundMark {
    pub(crate) commit: u64,
    pub(crate) topics: BTreeMap<TopicId, MarkedTopic>,
}

pub(crate) struct MarkedTopic {
    pub(crate) name: String,
    pub(crate) queues: Vec<Extent>,
}

impl FoundMark {
    /// The mark as it is written.
    pub(crate) fn written(&self, base: u64) -> crate::ledger::Mark {
        let topics = self.topics.iter();
        let topics = topics.map(|(topic, marked)| (*topic, marked.name.as_str().into(), marked.queues.clone()));
        crate::ledger::Mark { commit: self.commit, base, topics: topics.collect() }
    }
}

impl Replay {
    /// Reads the whole log, changing nothing.
    pub(crate) fn read(log: Unrecovered, generation_max: u32, faults: &mut Faults) -> Result<(Unrecovered, Self)> {
        let start = log.start().unwrap_or(0);
        let mut replay = Self { first: start, mark_is_whole: start == 0, may_reanchor: start > 0, ..Self::default() };
        let mut runs = Vec::new();
        let (log, found) = log.walk(start, 0, generation_max).through(faults, |step, faults| {
            let WalkStep::Frame(at, frame) = step else { return Ok(()) };
            match CheckpointRecord::decode(frame, &mut runs).map(|record| replay.take(&record, at, frame.generation)) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(fault)) => faults.found(fault),
                Err(rule) => faults.found(at.payload_fault(rule)),
            }
        })?;
        replay.found = found;
        if start > 0 && replay.snapshots == 0 {
            replay.found.disturb(true);
            let expected = "a whole snapshot, since the log begins in its middle";
            faults.found(Fault::new(log.dir(), 0, "11.2", expected, "it holds no whole snapshot"))?;
        }
        Ok((log, replay))
    }

    /// Takes in the next record, of a frame of that generation.
    ///
    /// # Errors
    /// It cannot stand there; then it has no effect.
    fn take(&mut self, record: &CheckpointRecord<'_>, at: &FrameAt<'_>, generation: u32) -> Result<(), Fault> {
        self.check(record, at, generation)?;
        match record {
            CheckpointRecord::MarkTopic { topic, name, part } => {
                let new = || MarkedTopic { name: name.to_string(), queues: Vec::new() };
                let marked = self.pending.entry(*topic).or_insert_with(new);
                if !part.clone().add_to(&mut marked.queues) {
                    // The mark is short of it then.
                    self.pending.remove(topic);
                }
            }
            CheckpointRecord::Mark { commit, topics } => {
                let marked = std::mem::take(&mut self.pending);
                if marked.len() == *topics as usize {
                    check_mark(*commit, &marked, at)?;
                    self.mark = FoundMark { commit: *commit, topics: marked };
                } else if self.mark_is_whole {
                    return Err(at.fault("10.10", format!("{topics} topics before their mark"), marked.len()));
                }
                self.mark_is_whole = true;
                self.commit_proven = self.commit_proven.max(*commit);
            }
            CheckpointRecord::CommitStart { base } => self.commit_start = self.commit_start.max(*base),
            CheckpointRecord::Closed { commit } => self.commit_proven = self.commit_proven.max(*commit),
            CheckpointRecord::SnapshotBegin { next_topic, .. } => {
                self.next_topic = self.next_topic.max(*next_topic);
                self.begun = Some(at.position);
                self.snapshot_read = Told::default();
                self.begin_mark();
            }
            CheckpointRecord::Opened { at, sync_each, .. } => {
                (self.opened_at, self.sync_each, self.may_reanchor) = (Some(*at), *sync_each, true);
                self.begin_mark();
            }
            CheckpointRecord::Change(Change::Popped { runs, .. }) if self.sync_each => {
                for run in *runs {
                    let end = run.indexes().last().unwrap_or_default().next();
                    let durable = self.durable.entry(run.queue).or_default();
                    *durable = end.max(*durable);
                }
            }
            CheckpointRecord::Change(Change::Truncated { queue, end }) => {
                self.durable.entry(*queue).and_modify(|durable| *durable = (*end).min(*durable));
            }
            CheckpointRecord::Change(Change::Image(image)) => count_image(&mut self.snapshot_read, image),
            CheckpointRecord::Change(Change::Reanchored { .. }) => self.may_reanchor = false,
            CheckpointRecord::SnapshotEnd { begin } if *begin >= self.first => {
                self.snapshots += 1;
                self.snapshot_begin = *begin;
                self.snapshot_bytes = at.position - begin;
                self.snapshot_live = self.snapshot_read;
            }
            _ => {}
        }
        self.consumers.apply(record);
        self.closed = if let CheckpointRecord::Closed { commit } = record { Some(*commit) } else { None };
        Ok(())
    }

    /// What was read of a mark before belongs to none: its owner was killed, or began again.
    fn begin_mark(&mut self) {
        self.pending.clear();
        self.mark_is_whole = true;
    }

    /// Whether each message is there that must be, with these ends of queues.
    pub(crate) fn check_ends(&self, dir: &Path, end: impl Fn(QueueId) -> QueueIndex) -> Result<(), Fault> {
        match self.durable.iter().find(|(queue, durable)| end(**queue) < **durable) {
            None => Ok(()),
            Some((queue, durable)) => {
                let place =
                    |index: u64| format!("message {index} of queue {} of topic number {}", queue.queue, queue.topic.0);
                let expected = format!("{}, which was durable before it was given to a consumer", place(durable.0 - 1));
                let found = format!("it is older than the checkpoint log: the queue ends at {}", end(*queue).0);
                Err(Fault::new(dir, 0, "11.5", expected, found))
            }
        }
    }

    /// Checks what this log states about the commit log against the one that is there: its segments' bases, the bytes it takes
    /// of the disk, and its end.
    pub(crate) fn check_against(&self, dir: &Path, bases: &[u64], bytes: u64, end: u64) -> Result<(), Fault> {
        if self.commit_start > self.mark.commit {
            let expected = format!("a mark behind {}, where the commit log begins", self.commit_start);
            return Err(Fault::new(dir, 0, "12.3", expected, format!("the last is at {}", self.mark.commit)));
        }
        let start = bases.first().copied().unwrap_or(0);
        if start > self.commit_start {
            // Another check reports that, or the owner has deleted segments since.
            return Ok(());
        }
        if self.commit_start > 0 && !bases.contains(&self.commit_start) {
            let found = format!("none that begins at {}, where the log should", self.commit_start);
            return Err(Fault::new(dir, 0, "12.3", "a segment", found));
        }
        let queues = || self.mark.topics.values().flat_map(|topic| &topic.queues);
        let messages = queues().map(|queue| queue.end.0 - queue.first.0).fold(0, u64::saturating_add);
        if messages > bytes.min(self.mark.commit.saturating_sub(start)) / FRAME_HEADER as u64 {
            let expected = format!("no more messages than there can be from {start} to {}", self.mark.commit);
            return Err(Fault::new(dir, 0, "12.3", expected, format!("a mark of {messages}")));
        }
        let outside = |entry: &Entry| entry.offset < start || entry.end() > end;
        let relocated = || queues().flat_map(|queue| &queue.relocated);
        if let Some((index, entry)) = relocated().find(|(_, entry)| outside(entry)) {
            let expected = format!("the place of a copy between {start} and {end}");
            let found = format!("{} for message {} in the mark", entry.offset, index.0);
            return Err(Fault::new(dir, 0, "12.4", expected, found));
        }
        Ok(())
    }

    /// Whether the record can stand behind those before it. Its decoder has checked the record itself.
    fn check(&self, record: &CheckpointRecord<'_>, at: &FrameAt<'_>, generation: u32) -> Result<(), Fault> {
        match record {
            CheckpointRecord::Group { group, name, .. } => {
                if let Some(known) = self.consumers.groups().get(group).filter(|known| *known.name != **name) {
                    let found = format!("a group has two names: {name:?}");
                    return Err(at.fault("7", format!("group {:?}", known.name), found));
                }
                if self.consumers.id_of(name).is_some_and(|known| known != *group) {
                    return Err(at.fault("7", "another name", format!("two groups have the name {name:?}")));
                }
            }
            CheckpointRecord::Change(Change::Popped { generation: popped, .. }) if *popped != generation => {
                return Err(at.fault("7", format!("generation {generation}"), format!("a pop of generation {popped}")));
            }
            CheckpointRecord::Change(Change::Image(image)) => {
                let latest = image.cohorts.iter().map(|(_, cohort)| cohort.generation).max();
                if let Some(latest) = latest.filter(|latest| *latest > generation) {
                    let expected = format!("generation {generation} at most");
                    return Err(at.fault("7", expected, format!("a pop of generation {latest}")));
                }
            }
            // Each visits everything that is held.
            CheckpointRecord::Change(Change::Reanchored { .. }) if !self.may_reanchor => {
                return Err(at.fault("7", "an Opened before each Reanchored", "another Reanchored"));
            }
            CheckpointRecord::Opened { generation: opened, .. } if *opened != generation => {
                let found = format!("an open of generation {opened}");
                return Err(at.fault("7", format!("generation {generation}"), found));
            }
            CheckpointRecord::SnapshotEnd { begin } if *begin >= self.first && self.begun != Some(*begin) => {
                let found = format!("the end of a snapshot that began at {begin}");
                return Err(at.fault("7", "the place where the last snapshot begins", found));
            }
            // In a log that begins in its middle, the mark may lie before it.
            CheckpointRecord::CommitStart { base }
                if *base > self.commit_proven && (self.first == 0 || self.commit_proven > 0) =>
            {
                let expected = format!("{} at most, which was marked", self.commit_proven);
                return Err(at.fault("12.3", expected, format!("a commit log that begins at {base}")));
            }
            _ => {}
        }
        Ok(())
    }
}

fn count_image(read: &mut Told, image: &QueueImage) {
    read.queues += u64::from(image.end.is_none());
    read.cohorts += image.cohorts.len() as u64;
    read.buried += image.buried.len() as u64;
}

/// Whether a mark can be true of a commit log of any kind.
fn check_mark(commit: u64, topics: &BTreeMap<TopicId, MarkedTopic>, at: &FrameAt<'_>) -> Result<(), Fault> {
    let mut names: Vec<_> = topics.values().map(|topic| topic.name.as_str()).collect();
    names.sort_unstable();
    if let Some(name) = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) {
        return Err(at.fault("7", "another name", format!("two topics have the name {name:?}")));
    }
    if let Some(topic) = topics.values().find(|topic| topic.queues.is_empty()) {
        return Err(at.fault("7", "1 to 1024 queues", format!("topic {:?} without a queue", topic.name)));
    }
    let ends = topics.values().flat_map(|topic| &topic.queues).map(|queue| queue.end.0);
    let messages = ends.fold(0, u64::saturating_add);
    if messages > commit / FRAME_HEADER as u64 {
        let expected = format!("no more messages than {commit} bytes can hold");
        return Err(at.fault("7", expected, format!("queues of {messages} messages")));
    }
    Ok(())
}
