//! A fresh store from the readable part of a damaged one.
//!
//! The first reading of the commit log finds the readable messages, the second one copies them. Indexes are dense, so the
//! messages behind a lost one move up, and so do the places in groups' state. The fresh store has an id of
//! its own: it does not accept receipts of the old one, and messages in flight come back when their leases end.

mod renumber;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use popstore_revive::{Buried, Change, Cohort, Cursor, GroupId, QueueId, QueueImage, QueueIndex, Run, Time, TopicId};

use renumber::{Ranks, Readable};

use crate::clock::{Clock, ManualClock, SystemClock};
use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::fault::Fault;
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, MESSAGE_OVERHEAD_MAX, MessageRecord, Settlement, TOPIC_OVERHEAD_MAX};
use crate::format::limits::NAME_MAX;
use crate::inspect::{Lookup, Snapshot, StoreLog};
use crate::log::{Room, WalkStep};
use crate::messages::Topic;
use crate::options::{Durability, Options};
use crate::segment::{Disk, directory_above};
use crate::store::Store;

/// The shortest segment that options allow, and more than the headers of a segment and of two frames take.
const SEGMENT_MIN: u64 = 4096;
const BESIDE: usize = 256;
/// The copy is made durable, and its memory given back, each time this many bytes were copied.
const SYNC_EVERY: u64 = 32 << 20;

/// The result of a salvage: what was copied, and what could not be.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # use popstore::inspect::*;
/// let fresh = tempfile::tempdir().unwrap();
/// let salvaged = Snapshot::open(dir.path())?.salvage(fresh.path(), |_, _| ())?;
/// assert_eq!((salvaged.messages, salvaged.lost.len()), (1, 0));
/// assert_eq!(Store::open(fresh.path())?.message("orders", 0, 0)?.unwrap().body(), b"12.50 EUR");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// Messages that are in the fresh store, dead letters included.
    pub messages: u64,
    /// Topics.
    pub topics: u64,
    /// Groups.
    pub groups: u64,
    /// Messages that groups hold: in flight, waiting, or about to leave.
    pub held: u64,
    /// Topic, queue and places of messages that should be there and cannot be read.
    pub lost: Vec<(Arc<str>, u32, Range<u64>)>,
    /// Held messages among them, by group.
    pub lost_held: u64,
    /// Queues whose messages have other places now: topic, queue, and how far the last one moved.
    pub renumbered: Vec<(Arc<str>, u32, u64)>,
    /// What is wrong in the commit log, besides the faults that opening the snapshot found: of two messages of
    /// one place only one is copied.
    pub faults: Vec<Fault>,
}

/// The copying, half-way.
struct Salvage<'s> {
    snapshot: &'s Snapshot,
    readable: Readable,
    engine: &'s Engine,
    topics: HashMap<TopicId, Arc<Topic>>,
    groups: HashMap<GroupId, GroupId>,
    done: Salvaged,
}

impl Snapshot {
    /// Copies every message that can be read, and what groups know of them, into a fresh store. This store is not
    /// touched. `progress` gets the number of bytes of the commit log done and of all.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the other directory is not empty or lies in this store; those of opening and appending.
    pub fn salvage(&self, to: impl AsRef<Path>, mut progress: impl FnMut(u64, u64)) -> Result<Salvaged> {
        let to = to.as_ref();
        self.check_target(to)?;
        // The program may change its working directory meanwhile.
        let to = std::path::absolute(to).at("create", to)?;
        let readable = Readable::read(self)?;
        // A frame of its length fits, and what an append reserves beside it.
        let least = readable.frame_max + (MESSAGE_OVERHEAD_MAX + TOPIC_OVERHEAD_MAX + 2 * NAME_MAX + BESIDE) as u64;
        let usual = Options::default();
        let known = |log, usual| Some(self.segment_capacity(log)).filter(|known| *known > 0).unwrap_or(usual);
        let segments = known(StoreLog::Commit, usual.segment_bytes).max(least).max(SEGMENT_MIN);
        let records = known(StoreLog::Checkpoint, usual.checkpoint_segment_bytes).clamp(SEGMENT_MIN, 1 << 30);
        let now = SystemClock::start().now().since(Time(0));
        // On a clock that stands still, no lease ends while its message may not be there yet.
        let options = usual.durability(Durability::Buffered).segment_bytes(segments);
        let options = options.checkpoint_segment_bytes(records);
        // Under another name until it is whole: an interrupted copy must not be taken for a store.
        let unfinished = unfinished(&to);
        let store = options.clock(Arc::new(ManualClock::at(now))).open(&unfinished)?;
        let engine = Arc::clone(&store.handle.engine);
        let known: HashSet<_> = self.faults().iter().map(|fault| (&fault.path, fault.offset)).collect();
        let faults = readable.faults.iter().map(|fault| self.reported(fault));
        let faults = faults.filter(|fault| !known.contains(&(&fault.path, fault.offset)));
        let (topics, groups) = (HashMap::new(), HashMap::new());
        let done = Salvaged { faults: faults.collect(), ..Salvaged::default() };
        let mut salvage = Salvage { snapshot: self, readable, engine: &engine, topics, groups, done };
        salvage.make_topics()?;
        salvage.make_groups();
        salvage.copy(&store, &mut progress)?;
        salvage.move_consumers();
        salvage.count_lost();
        let done = salvage.done;
        engine.ledger().snapshot(engine.messages().topics().next_id())?;
        drop(engine);
        store.close()?;
        let above = directory_above(&to);
        let disk = Disk::open_dir(above, 0, None).at("open", above)?;
        disk.rename(&unfinished, &to).at("rename", &unfinished)?;
        disk.sync_dir(above).at("sync", above)?;
        Ok(done)
    }

    fn check_target(&self, to: &Path) -> Result<()> {
        let invalid = |rule| Err(Error::invalid("target", to.display().to_string(), rule));
        for dir in [to, &unfinished(to)] {
            let empty = match std::fs::read_dir(dir) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
                entries => entries.at("read", dir)?.next().is_none(),
            };
            if !empty && dir == to {
                return invalid("it must be empty or missing");
            }
            if !empty {
                return invalid("beside it lies DIR.unfinished of an attempt that was interrupted: remove that first");
            }
        }
        let source = self.home().canonicalize().at("read", self.dir())?;
        for dir in [to, &unfinished(to)] {
            let there = |above: &Path| {
                let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                above.canonicalize().ok()
            };
            let above = dir.ancestors().find_map(|above| Some((there(above)?, dir.strip_prefix(above).ok()?)));
            let Some((target, missing)) = above else { continue };
            if target.starts_with(&source) {
                return invalid("it must not lie in the store itself");
            }
            // Where such a path leads is known only when the directory is made.
            if missing.components().any(|part| part == Component::ParentDir) {
                return invalid("its path must not lead through a missing directory");
            }
        }
        Ok(())
    }
}

/// A name that no topic has: two topics of one name would be one.
fn free_name(names: &mut HashSet<Arc<str>>, topic: TopicId) -> Arc<str> {
    let mut name: Arc<str> = format!("salvaged-{}", topic.0).into();
    while !names.insert(Arc::clone(&name)) {
        name = format!("{name}-").into();
    }
    name
}

/// Where a fresh store is made before it gets its name.
fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.components().collect::<PathBuf>().into_os_string();
    name.push(".unfinished");
    PathBuf::from(name)
}

impl Salvage<'_> {
    fn make_topics(&mut self) -> Result<()> {
        let mut wanted: BTreeMap<TopicId, (Arc<str>, u32)> = BTreeMap::new();
        for (id, topic) in self.snapshot.topic_states() {
            wanted.insert(*id, (Arc::clone(&topic.name), topic.queues.count().max(1)));
        }
        let mut names: HashSet<Arc<str>> = wanted.values().map(|(name, _)| Arc::clone(name)).collect();
        for queue in self.readable.queues.keys() {
            // The messages of a topic whose records are all lost are copied under its number.
            let unknown = || (free_name(&mut names, queue.topic), 1);
            let (_, queues) = wanted.entry(queue.topic).or_insert_with(unknown);
            *queues = (*queues).max(queue.queue + 1);
        }
        for (id, (name, queues)) in wanted {
            self.topics.insert(id, self.engine.messages().make_topic(&name, queues, Room::Free)?);
        }
        self.done.topics = self.topics.len() as u64;
        Ok(())
    }

    fn make_groups(&mut self) {
        let old = self.snapshot.consumers();
        let mut consumers = self.engine.consumers();
        for (id, entry) in old.groups() {
            let Some(policy) = old.index().policy(*id) else { continue };
            let (group, counters) = (consumers.next_group(), old.index().counters(*id).unwrap_or_default());
            let (policy, counters) = (Box::new(policy.clone()), Box::new(counters));
            let (name, invisible_for) = (&*entry.name, entry.invisible_for);
            // No record yet: the snapshot at the end holds everything.
            consumers.apply(&CheckpointRecord::Group { group, name, invisible_for, policy, counters });
            self.groups.insert(*id, group);
        }
        self.done.groups = self.groups.len() as u64;
    }

    fn copy(&mut self, store: &Store, progress: &mut impl FnMut(u64, u64)) -> Result<()> {
        let total = self.readable.end;
        let mut sync_at = SYNC_EVERY;
        let mut lookup = self.snapshot.lookup();
        let mut walk = self.snapshot.walk_in(self.snapshot.home(), StoreLog::Commit, 0)?;
        while let Some(step) = walk.step()? {
            let WalkStep::Frame(at, frame) = step else { continue };
            if at.position >= self.readable.end {
                break;
            }
            if let Ok(CommitRecord::Message(record)) = CommitRecord::decode(&frame)
                && !record.relocated
            {
                self.copy_moved(&mut lookup, record.queue, record.index.0)?;
                self.append(&record)?;
            }
            if self.engine.messages().log().appended() >= sync_at {
                sync_at = self.engine.messages().log().appended() + SYNC_EVERY;
                store.run_pending();
                progress(at.position, total);
            }
        }
        let queues: Vec<QueueId> = self.readable.queues.keys().copied().collect();
        for queue in queues {
            self.copy_moved(&mut lookup, queue, u64::MAX)?;
        }
        progress(total, total);
        Ok(())
    }

    /// Copies messages that lie elsewhere in the log and come before a place of their queue.
    fn copy_moved(&mut self, lookup: &mut Lookup<'_>, queue: QueueId, before: u64) -> Result<()> {
        loop {
            let ranks = self.readable.queues.get_mut(&queue);
            let first = ranks.and_then(|ranks| ranks.moved.first_entry().filter(|first| *first.key() < before));
            let Some(offset) = first.map(|first| first.remove()) else { return Ok(()) };
            if let Some(copied) = lookup.with_message(offset, |record| self.append(record))? {
                copied?;
            }
        }
    }

    fn append(&mut self, record: &MessageRecord<'_>) -> Result<()> {
        let place = self.readable.queues.get(&record.queue).and_then(|ranks| ranks.place(record.index.0));
        let (Some(topic), Some(place)) = (self.topics.get(&record.queue.topic), place) else { return Ok(()) };
        let queue = QueueId { topic: topic.id, queue: record.queue.queue };
        // The second of two records of one place.
        if topic.queue(queue.queue).is_none_or(|queue| queue.end().0 != place) {
            return Ok(());
        }
        let settlement = record.settlement.map(|settlement| self.moved(&settlement));
        let copy = MessageRecord { rest: 0, queue, relocated: false, settlement, ..*record };
        self.engine.messages().append(topic, std::iter::once(copy), Room::Free, |_| {})?;
        self.done.messages += 1;
        Ok(())
    }

    /// The settlement with the new names and places. A settled message that is not there any more has its old place.
    fn moved(&self, settlement: &Settlement) -> Settlement {
        let (queue, QueueIndex(index)) = (settlement.queue, settlement.index);
        let place = self.readable.queues.get(&queue).and_then(|ranks| ranks.place(index));
        Settlement {
            group: self.groups.get(&settlement.group).copied().unwrap_or(GroupId(u32::MAX)),
            queue: self.queue(queue).unwrap_or(QueueId { topic: TopicId(u32::MAX), ..queue }),
            index: QueueIndex(place.unwrap_or(index)),
            ..*settlement
        }
    }

    fn queue(&self, queue: QueueId) -> Option<QueueId> {
        Some(QueueId { topic: self.topics.get(&queue.topic)?.id, ..queue })
    }

    fn move_consumers(&mut self) {
        let index = self.snapshot.consumers().index();
        let mut cursor = Cursor::default();
        while let Some(change) = index.image(&mut cursor, usize::MAX) {
            if let Change::Image(image) = change {
                self.move_image(&image);
            }
        }
        let mut consumers = self.engine.consumers();
        for run in index.redriven() {
            let (Some(queue), Some(ranks)) = (self.queue(run.queue), self.readable.queues.get(&run.queue)) else {
                continue;
            };
            let places = run.indexes().filter_map(|index| ranks.place(index.0));
            let runs: Vec<Run> = places.map(|place| Run::one(queue, QueueIndex(place), 0)).collect();
            consumers.apply(&CheckpointRecord::Change(Change::Redriven { runs: &runs }));
        }
    }

    fn move_image(&mut self, image: &QueueImage) {
        let (Some(group), Some(queue)) = (self.groups.get(&image.group), self.queue(image.queue)) else { return };
        let ranks = self.readable.queues.get(&image.queue);
        let place = |index: QueueIndex| ranks.and_then(|ranks| ranks.place(index.0)).map(QueueIndex);
        let mut cohorts: Vec<(u64, Cohort)> = Vec::new();
        for (block, cohort) in &image.cohorts {
            for index in cohort.indexes(*block) {
                match place(index) {
                    Some(place) => {
                        // The generation is that of receipts, and none of the old ones is good here.
                        cohorts.push((place.block(), Cohort { mask: place.bit(), generation: 1, ..*cohort }));
                        self.done.held += 1;
                    }
                    None => self.done.lost_held += 1,
                }
            }
        }
        let moved = |buried: &Buried| Some(Buried { index: place(buried.index)?, ..*buried });
        let buried = image.buried.iter().filter_map(moved).collect();
        let position = QueueIndex(ranks.map_or(0, |ranks| ranks.rank(image.position.0)));
        let begun = QueueIndex(ranks.map_or(0, |ranks| ranks.rank(image.begun.0)));
        let image = QueueImage { group: *group, queue, position, from: 0, end: None, cohorts, buried, begun };
        self.engine.consumers().apply(&CheckpointRecord::Change(Change::Image(Box::new(image))));
    }

    fn count_lost(&mut self) {
        for (topic, state) in self.snapshot.topic_states() {
            for (number, queue) in state.queues.used() {
                let id = QueueId { topic: *topic, queue: number };
                let ranks = self.readable.queues.get(&id);
                let unread = Ranks::default();
                let holes = ranks.unwrap_or(&unread).holes(queue.first, queue.end);
                let name = Arc::clone(&state.name);
                self.done.lost.extend(holes.into_iter().map(|hole| (Arc::clone(&name), number, hole)));
                let moved = ranks.map_or(0, |ranks| ranks.last_moved_by());
                if moved > 0 {
                    self.done.renumbered.push((name, number, moved));
                }
            }
        }
    }
}
