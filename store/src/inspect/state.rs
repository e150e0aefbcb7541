//! What a store holds, as far as it can be read: groups, leases, topics, and where the messages behind the mark lie.
//!
//! This is recovery without its judgement: where recovery stops, this says what is wrong and goes on.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::path::Path;
use std::sync::Arc;

use popstore_revive::{GroupId, QueueId, QueueIndex, Time, TopicId};

use crate::error::Result;
use crate::fault::Fault;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, MessageRecord, Settlement, TopicRecord};
use crate::format::entry::{Entry, tag_hash};
use crate::format::extent::Extent;
use crate::format::frame::{FRAME_HEADER, LogKind};
use crate::format::identity::Identity;
use crate::ledger::Consumers;
use crate::log::{FrameAt, Step, Unrecovered, segment_name};
use crate::messages::is_for_letters;
use crate::messages::sparse::Sparse;
use crate::recover::{Batches, Replay, Sequence};
use crate::verbs::stats::{GroupStats, counted_topics};

/// The most entries behind the mark that are kept in memory; what is more is looked for when it is needed.
const TAIL_MAX: usize = 1 << 20;

/// What is known of a store.
#[derive(Default)]
pub(super) struct State {
    pub(super) consumers: Consumers,
    pub(super) topics: BTreeMap<TopicId, TopicState>,
    /// The topics by name: of two with one name, the first.
    by_name: HashMap<Arc<str>, TopicId>,
    /// Start, end and proven end of the logs.
    pub(super) commit: (u64, u64, u64),
    pub(super) checkpoint: (u64, u64, u64),
    pub(super) mark: u64,
    /// Where the commit log begins, or will when what lies before is deleted.
    pub(super) commit_start: u64,
    /// The largest generation among the records.
    pub(super) generation: u32,
    pub(super) opened_at: Option<Time>,
    pub(super) closed: bool,
    /// The files changed while they were read.
    pub(super) disturbed: bool,
    /// The latest generation of a record, if the file `store` knows none so late.
    pub(super) too_late: Option<u32>,
    tails: usize,
}

/// A topic as the logs tell it.
#[derive(Default)]
pub(crate) struct TopicState {
    pub(crate) name: Arc<str>,
    pub(crate) queues: Sparse<QueueState>,
}

/// A queue as the logs tell it.
#[derive(Default)]
pub(crate) struct QueueState {
    pub(crate) first: u64,
    /// The entries before are in the queue's files.
    pub(crate) marked: u64,
    pub(crate) end: u64,
    pub(crate) relocated: BTreeMap<u64, Entry>,
    pub(crate) tail: BTreeMap<u64, Entry>,
}

/// A message of a batch that may not be whole.
type Pending = (QueueId, QueueIndex, bool, Entry, Option<Settlement>);

impl State {
    pub(super) fn read(
        &mut self,
        dir: &Path,
        identity: Identity,
        faults: &mut Vec<Fault>,
        tails: &mut Vec<Fault>,
    ) -> Result<()> {
        let mut replay = self.read_checkpoint(dir, identity, faults, tails)?;
        self.consumers = std::mem::take(&mut replay.consumers);
        self.read_commit(dir, identity, &replay, faults, tails)?;
        self.by_name = self.topics.iter().rev().map(|(id, topic)| (Arc::clone(&topic.name), *id)).collect();
        Ok(())
    }

    pub(super) fn topic(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    pub(super) fn topic_name(&self, topic: TopicId) -> Arc<str> {
        self.topics.get(&topic).map_or_else(|| format!("#{}", topic.0).into(), |topic| Arc::clone(&topic.name))
    }

    pub(super) fn group_name(&self, group: GroupId) -> Arc<str> {
        let known = self.consumers.groups().get(&group);
        known.map_or_else(|| format!("#{}", group.0).into(), |entry| Arc::clone(&entry.name))
    }

    pub(super) fn queue(&self, queue: QueueId) -> Option<&QueueState> {
        let queues = &self.topics.get(&queue.topic)?.queues;
        (queue.queue < queues.count()).then(|| queues.get(queue.queue).unwrap_or(&EMPTY))
    }

    pub(super) fn group(&self, id: GroupId, name: &str, now: Time) -> GroupStats {
        let index = self.consumers.index();
        let mut stats = GroupStats::of(name, &index.counters(id).unwrap_or_default());
        let topics = || self.topics.iter().filter(|(_, it)| !is_for_letters(&it.name)).map(|(id, _)| *id).collect();
        let (has_read, counted) = counted_topics(index, id, None, topics);
        for (topic, known) in counted.into_iter().filter_map(|topic| Some((topic, self.topics.get(&topic)?))) {
            for (queue, held) in known.queues.used() {
                let span = (QueueIndex(held.first), QueueIndex(held.end));
                stats.count(index, id, QueueId { topic, queue }, span, now);
            }
        }
        GroupStats { has_read, ..stats }
    }

    fn read_checkpoint(
        &mut self,
        dir: &Path,
        identity: Identity,
        faults: &mut Vec<Fault>,
        tails: &mut Vec<Fault>,
    ) -> Result<Replay> {
        let log_dir = dir.join(LogKind::Checkpoint.name());
        let log = look(&log_dir, LogKind::Checkpoint, identity, faults)?;
        let start = log.start().unwrap_or(0);
        let mut replay = Replay::beginning_at(start);
        let mut runs = Vec::new();
        let mut walk = log.walk(start, 0, identity.generation);
        let mut end = start;
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(at, frame) => {
                    end = at.position + at.len as u64;
                    self.generation = self.generation.max(frame.generation);
                    match CheckpointRecord::decode(&frame, &mut runs) {
                        Ok(record) => match (replay.take(&record, &at, frame.generation), record) {
                            (Err(wrong), _) => faults.push(wrong.fault(&at)),
                            (Ok(()), CheckpointRecord::Opened { at, .. }) => self.opened_at = Some(at),
                            (Ok(()), _) => {}
                        },
                        Err(rule) => faults.push(Fault::of_payload(at.path, at.offset, rule).of_len(at.len as u64)),
                    }
                }
                Step::Gap(fault) => faults.push(fault),
                Step::Removed => self.disturbed = true,
                Step::Tail(tail) => tails.push(tail),
            }
        }
        self.checkpoint = (start, end, walk.proven().min(end));
        self.too_late = walk.too_late();
        if start > 0 && !replay.has_snapshot() {
            self.disturbed = true;
            let expected = "a whole snapshot, since the log begins in its middle";
            faults.push(Fault::new(&log_dir, 0, "11.2", expected, "none"));
        }
        Ok(replay)
    }

    fn read_commit(
        &mut self,
        dir: &Path,
        identity: Identity,
        replay: &Replay,
        faults: &mut Vec<Fault>,
        tails: &mut Vec<Fault>,
    ) -> Result<()> {
        let log_dir = dir.join(LogKind::Commit.name());
        let log = look(&log_dir, LogKind::Commit, identity, faults)?;
        let start = log.start().unwrap_or(0);
        // With a part of the checkpoint log lost, nobody knows where the log should begin.
        let told = faults.iter().all(|fault| !fault.path.starts_with(dir.join(LogKind::Checkpoint.name())));
        if start > replay.commit_start && told {
            let missing = log_dir.join(segment_name(replay.commit_start));
            let fault = Fault::new(&missing, 0, "11.3", "the log's first segment", format!("the first is {start}"));
            faults.push(fault.of_len(start - replay.commit_start));
        }
        for (topic, marked) in &replay.mark.topics {
            let mut queues = Sparse::default();
            queues.grow(marked.queues.len() as u32);
            for (queue, extent) in (0..).zip(&marked.queues).filter(|(_, extent)| **extent != Extent::default()) {
                if let Some(state) = queues.get_mut(queue) {
                    *state = QueueState::marked(extent);
                }
            }
            let topic_state = TopicState { name: marked.name.as_str().into(), queues };
            self.topics.insert(*topic, topic_state);
        }
        self.mark = replay.mark.commit;
        self.commit_start = replay.commit_start;
        let bases = log.bases();
        let (limit, bytes) = (log.files_end(), log.data_bytes());
        let mut sequence = Sequence::beginning_at(if start > self.mark { start } else { 0 });
        for (topic, marked) in &replay.mark.topics {
            let ends = marked.queues.iter().zip(0..).map(|(extent, queue)| (queue, extent.end.0));
            // Where messages may be missing behind the mark, its names are right all the same.
            sequence.know(*topic, &marked.name, marked.queues.len() as u32, ends.filter(|_| start <= self.mark));
        }
        let faults_before = faults.len();
        let mut walk = log.walk(self.mark.max(start), replay.commit_proven, identity.generation);
        let mut end = self.mark.clamp(start, limit.max(start));
        let mut batches: Batches<Pending> = Batches::default();
        while let Some(step) = walk.step()? {
            match step {
                Step::Frame(at, frame) => {
                    end = at.position + at.len as u64;
                    self.generation = self.generation.max(frame.generation);
                    match CommitRecord::decode(&frame).map(|record| (sequence.take(&record, &at), record)) {
                        Err(rule) => faults.push(Fault::of_payload(at.path, at.offset, rule).of_len(at.len as u64)),
                        Ok((Err(wrong), _)) => faults.push(wrong.fault(&at)),
                        Ok((Ok(()), CommitRecord::Topic(topic))) => self.add_topic(&topic),
                        Ok((Ok(()), CommitRecord::Message(message))) => {
                            let whole = batches.add(at.position, message.rest, pending(&message, &at));
                            whole.into_iter().flatten().for_each(|message| self.place(message));
                        }
                        Ok((Ok(()), CommitRecord::End)) => {}
                    }
                }
                Step::Gap(fault) => {
                    sequence.gap(fault.len);
                    batches.interrupt().for_each(|message| self.place(message));
                    faults.push(fault);
                }
                Step::Removed => {
                    sequence.removed();
                    self.disturbed = true;
                }
                Step::Tail(tail) => tails.push(tail),
            }
        }
        if let Some((begin, _)) = batches.unfinished() {
            end = begin;
        }
        self.disturbed |= start > replay.commit_start;
        self.too_late = self.too_late.max(walk.too_late());
        let proven = walk.proven().max(replay.commit_proven);
        self.commit = (start, end, proven.min(end));
        self.closed = replay.closed == Some(end);
        if proven > end && faults.len() == faults_before && !self.disturbed {
            let fault = Fault::new(&log_dir, 0, "11.4", format!("records to {proven}, as was durable"), end);
            faults.push(fault.of_len(proven - end));
        }
        let ends = |queue| self.queue(queue).map_or(QueueIndex(0), |queue| QueueIndex(queue.end));
        if told
            && !self.disturbed
            && let Err(wrong) = replay.check_ends(ends)
        {
            faults.push(wrong.fault_of(&log_dir));
        }
        if told && let Err(wrong) = replay.check_against(&bases, bytes, end) {
            faults.push(wrong.fault_of(&log_dir));
        }
        // There are not more messages than bytes on the disk, whatever an extent says.
        let messages_max = bytes / FRAME_HEADER as u64;
        for (_, queue) in self.topics.values_mut().flat_map(|topic| topic.queues.used_mut()) {
            queue.end = queue.end.clamp(queue.first, queue.first.saturating_add(messages_max));
        }
        Ok(())
    }

    fn add_topic(&mut self, topic: &TopicRecord<'_>) {
        let known = self.topics.entry(topic.topic).or_default();
        known.name = topic.name.into();
        known.queues.grow(topic.queues);
    }

    fn place(&mut self, (queue, index, relocated, entry, settlement): Pending) {
        let Some(topic) = self.topics.get_mut(&queue.topic) else { return };
        let Some(known) = topic.queues.get_mut(queue.queue) else { return };
        if relocated {
            known.relocated.insert(index.0, entry);
            return;
        }
        if known.end == 0 {
            known.first = index.0;
        }
        known.end = known.end.max(index.0.saturating_add(1));
        if self.tails < TAIL_MAX {
            self.tails += 1;
            known.tail.insert(index.0, entry);
        }
        if let Some(settlement) = settlement {
            self.settle(&settlement);
        }
    }

    /// A message settles another by being there, whether the checkpoint log says so yet or not.
    fn settle(&mut self, settlement: &Settlement) {
        self.consumers.complete(settlement);
    }
}

/// A queue that nothing is known of.
static EMPTY: QueueState =
    QueueState { first: 0, marked: 0, end: 0, relocated: BTreeMap::new(), tail: BTreeMap::new() };

impl TopicState {
    /// The first message and the end of each queue.
    pub(super) fn extents(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.queues.count()).map(|queue| self.queues.get(queue).map_or((0, 0), |queue| (queue.first, queue.end)))
    }
}

impl QueueState {
    fn marked(extent: &Extent) -> Self {
        let relocated = extent.relocated.iter().map(|(index, entry)| (index.0, *entry)).collect();
        let (first, end) = (extent.first.0, extent.end.0);
        Self { first, marked: end, end, relocated, tail: BTreeMap::new() }
    }

    /// The relocated messages before the first that is kept, and then those that are kept.
    pub(super) fn indexes(&self) -> impl Iterator<Item = u64> + '_ {
        let moved = self.relocated.range((Unbounded, Excluded(self.first))).map(|(index, _)| *index);
        moved.chain(self.first..self.end)
    }
}

fn look(dir: &Path, kind: LogKind, identity: Identity, faults: &mut Vec<Fault>) -> Result<Unrecovered> {
    let before = faults.len();
    let log = Unrecovered::look(dir, kind, identity.id, faults)?;
    if log.is_missing() && identity.generation > 0 && faults.len() == before {
        faults.push(Fault::new(dir, 0, "11.2", "the segments of a log", "none"));
    }
    Ok(log)
}

fn pending(message: &MessageRecord<'_>, at: &FrameAt<'_>) -> Pending {
    let entry = Entry { offset: at.position, size: at.len as u32, tag: tag_hash(message.tag.as_bytes()) };
    (message.queue, message.index, message.relocated, entry, message.settlement)
}
