//! Opening: from a directory, whatever a crash left in it, to the parts of a store.
//!
//! First everything is read and judged, and nothing is changed: a store that is damaged is refused as it is. Then the
//! generation is raised, the logs are cut and their tails written again (that of the commit log soon after, in a store in
//! which no append promises to be durable), and what recovery decided is recorded and synced, before anything new is
//! appended. FORMAT.md states the rules and why each comes where it does. An open that
//! is interrupted at any point starts over to the same result.

mod batches;
mod checkpoint;
mod commit;
pub(crate) mod directory;
mod plan;
mod queue;
mod sequence;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use popstore_revive::{Change, QueueIndex, Time};

use crate::background::keeper::Keeper;
use crate::background::marks::Marks;
use crate::background::retention::Retention;
use crate::clock::Timeline;
use crate::context::{Context, Wakes};
use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::fault::{Fault, Faults};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{Cause, Settlement};
use crate::format::frame::LogKind;
use crate::format::identity::Identity;
use crate::ledger::{LastSnapshot, Ledger, Locked, ended_at};
use crate::log::{Poison, Shape, Unrecovered};
use crate::messages::{Messages, Topics, aside};
use crate::options::{Durability, Options};
use crate::segment::{Disk, Lock};

pub(crate) use batches::Batches;
pub(crate) use checkpoint::Replay;
pub(crate) use commit::{FoundMessages, FoundTopic};
pub use plan::{PlannedStep, RecoveryPlan};
pub(crate) use queue::{EMPTY, FoundQueue};
pub(crate) use sequence::{Sequence, Wrong};

/// What opening a store did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// How often the store has been opened, this time included.
    pub generation: u32,
    /// Whether it had been closed in order.
    pub clean: bool,
    /// Records of the checkpoint log that were replayed.
    pub records_replayed: u64,
    /// Records of the commit log that were read, once more for all the consume queues that were rebuilt from it.
    pub records_scanned: u64,
    /// Bytes behind the ends of the logs that were cut off: writes that were under way.
    pub tail_bytes_cut: u64,
    /// Places that were void because their messages had been lost with an unsynced tail.
    pub records_voided: u64,
    /// Consume queues made anew from the commit log.
    pub queues_rebuilt: u64,
    /// Dead letters that a crash had left half-way, and that were settled.
    pub dead_letters_completed: u64,
    /// Waits that were shortened because the clock had been set back.
    pub clock_set_back: bool,
    /// How long it took.
    pub took: Duration,
}

/// A store as it was found: whole, or as far as it could be read.
pub(crate) struct Found {
    pub(crate) checkpoint: Unrecovered,
    pub(crate) commit: Unrecovered,
    pub(crate) replay: Replay,
    pub(crate) messages: FoundMessages,
}

impl Found {
    /// Reads a store without changing anything. What is wrong with it goes to `faults`.
    pub(crate) fn read(dir: &Path, identity: Identity, faults: &mut Faults<'_>) -> Result<Self> {
        let generation = identity.generation;
        let log = find(dir, LogKind::Checkpoint, identity, faults)?;
        let (checkpoint, replay) = Replay::read(log, generation, faults)?;
        let log = find(dir, LogKind::Commit, identity, faults)?;
        let (commit, mut messages) = FoundMessages::read(log, generation, &replay, faults)?;
        if messages.found.generation > replay.found.generation && faults.spare(checkpoint.dir()) {
            // Each open is on record in the checkpoint log before anything is appended.
            messages.found.disturbed = true;
            let expected = format!("records of generation {}, as in the commit log", messages.found.generation);
            let found = format!("none after generation {}: it is older than the commit log", replay.found.generation);
            faults.found(Fault::new(checkpoint.dir(), 0, "11.3", expected, found))?;
        }
        Ok(Self { checkpoint, commit, replay, messages })
    }
}

fn find(dir: &Path, kind: LogKind, identity: Identity, faults: &mut Faults<'_>) -> Result<Unrecovered> {
    let (dir, before) = (dir.join(kind.name()), faults.count());
    let log = Unrecovered::find(dir, kind, identity.id, faults)?;
    if log.is_missing() && identity.generation > 0 && faults.count() == before {
        faults.found(Fault::new(log.dir(), 0, "11.2", "the segments of a log", "the log is missing"))?;
    }
    Ok(log)
}

fn next_generation(dir: &Path, identity: Identity) -> Result<u32> {
    identity.generation.checked_add(1).ok_or_else(|| Error::format(dir, "it was opened too often"))
}

/// Opens the store in a directory that is locked.
pub(crate) fn open(
    mut options: Options,
    disk: Disk,
    lock: Arc<Lock>,
    wakes: Wakes,
) -> Result<(Engine, Keeper, Recovery)> {
    let dir = disk.root().to_path_buf();
    let poison = Arc::new(Poison::default());
    let clock = {
        let (poison, dir) = (Arc::clone(&poison), dir.clone());
        Timeline::start(options.clock.as_ref(), move || {
            poison.set(dir.clone(), std::io::Error::other("the clock panicked"));
        })
    };
    let dir = dir.as_path();
    let begun = clock.now();
    poison.check()?;
    directory::check_kinds(dir)?;
    let identity = directory::identify(dir, &disk)?;
    let Found { mut checkpoint, commit, mut replay, mut messages, .. } =
        Found::read(dir, identity, &mut Faults::Refuse)?;
    directory::check_place(dir, &disk)?;

    let generation = next_generation(dir, identity)?;
    // Order matters: whether the queues can be written is known before anything else changes.
    aside::put_aside(&disk, &messages.in_the_way(dir)?)?;
    let identity = Identity { generation, ..identity };
    if generation > 1 {
        match directory::write_identity(dir, &disk, &identity) {
            Err(Error::Full { .. }) => directory::overwrite_identity(dir, &disk, &identity)?,
            written => written?,
        }
    }

    options.checkpoint_segment_bytes = checkpoint.segment_bytes(options.checkpoint_segment_bytes, &disk)?;
    let was_closed = replay.closed == Some(messages.found.end);
    let shape = |kind: LogKind, segment_bytes| Shape {
        kind,
        dir: dir.join(kind.name()),
        store: identity.id,
        generation,
        segment_bytes,
        ready_bytes: options.ready_bytes,
        moves_segments: options.retention.when_done,
        staged: options.durability == Durability::SyncEach,
        // Files of messages go by what the checkpoint log says, so that is made durable at once.
        lazy: options.durability == Durability::Buffered && kind == LogKind::Commit,
        was_closed,
        poison: Arc::clone(&poison),
        clock: clock.clone(),
        wake: wakes.prepare.clone(),
    };
    let checkpoint_shape = shape(LogKind::Checkpoint, options.checkpoint_segment_bytes);
    let checkpoint = checkpoint.recover(&replay.found, checkpoint_shape, disk.clone())?;
    // What fitted into a segment once must fit into a new one, as a dead letter.
    let segment_bytes = options.segment_bytes.max(commit.capacity_max());
    let commit = commit.recover(&messages.found, shape(LogKind::Commit, segment_bytes), disk.clone())?;
    if generation == 1 {
        // Order matters: from here on a missing log is damage.
        directory::write_identity(dir, &disk, &identity)?;
    }
    // An interrupted retention is finished.
    commit.retire_before(replay.commit_start)?;

    let mut recovery = Recovery {
        generation,
        clean: was_closed || generation == 1,
        records_replayed: replay.found.records,
        records_scanned: messages.found.records,
        tail_bytes_cut: replay.found.tail_bytes + messages.found.tail_bytes,
        ..Recovery::default()
    };
    let topics = Topics::new(dir, options.entries_per_file, replay.next_topic);
    messages.fill(&topics);
    let mark = replay.mark.written(replay.commit_start);
    let last = LastSnapshot { begin: replay.snapshot_begin, bytes: replay.snapshot_bytes, live: replay.snapshot_told };
    let consumers = std::mem::take(&mut replay.consumers);
    let context = Arc::new(Context::new(identity, options, clock, poison, wakes, (dir.to_path_buf(), lock)));
    let ledger = Ledger::new(Arc::clone(&context), checkpoint, consumers, mark, last);
    let engine = Engine::new(Arc::clone(&context), Messages::new(context, commit, topics, disk), ledger);
    let keeper = Keeper::new(Marks::behind(messages.mark, &engine), Retention::of_store_opened_at(begun));
    rebuild_queues(&engine, &mut recovery)?;
    record_what_was_decided(&engine, &messages.settlements, &mut recovery)?;
    recovery.took = engine.context().time()?.since(begun);
    Ok((engine, keeper, recovery))
}

fn rebuild_queues(engine: &Engine, recovery: &mut Recovery) -> Result<()> {
    let messages = engine.messages();
    let topics = messages.topics().all();
    let mut wanting = Vec::new();
    for queue in topics.iter().flat_map(|topic| topic.all_used()) {
        for (path, _) in queue.left_files() {
            messages.disk().remove(&path).at("remove", &path)?;
        }
        if !queue.files_are_long_enough() {
            wanting.push(&**queue);
        }
    }
    recovery.records_scanned += messages.rebuild(&wanting)?;
    recovery.queues_rebuilt += wanting.len() as u64;
    Ok(())
}

/// Puts on record, before anything new happens, what the two logs say only together.
fn record_what_was_decided(engine: &Engine, settlements: &[Settlement], recovery: &mut Recovery) -> Result<()> {
    let now = engine.context().now();
    if !settlements.is_empty() {
        // Order matters: the copy is durable before the original is settled, in every mode.
        engine.messages().log().sync_all()?;
    }
    let mut consumers = engine.consumers();
    let (generation, sync_each) = (engine.context().identity.generation, engine.context().syncs_each());
    consumers.record(&CheckpointRecord::Opened { generation, at: now, sync_each })?;
    void_what_is_gone(engine, &mut consumers, recovery)?;
    for settlement in settlements {
        recovery.dead_letters_completed += complete(&mut consumers, settlement, engine.context().now())?;
    }
    recovery.clock_set_back = consumers.index().outlasts(now);
    if recovery.clock_set_back {
        consumers.change(Change::Reanchored { at: now })?;
    }
    consumers.retry_burials_at(now);
    consumers.became_visible(now);
    drop(consumers);
    engine.ledger().log().sync_all()
}

/// Voids what the index holds about messages that the commit log has not.
fn void_what_is_gone(engine: &Engine, consumers: &mut Locked<'_>, recovery: &mut Recovery) -> Result<()> {
    let end = |queue| engine.messages().topics().queue(queue).map_or(QueueIndex(0), |queue| queue.end());
    for queue in consumers.index().beyond(end) {
        recovery.records_voided += consumers.change(Change::Truncated { queue, end: end(queue) })?.touched;
    }
    Ok(())
}

/// Settles what a message in the commit log settles, unless that is on record already.
fn complete(consumers: &mut Locked<'_>, settlement: &Settlement, now: Time) -> Result<u64> {
    let runs = [settlement.run()];
    match settlement.cause {
        Cause::DeadLetter(_) => {
            let held = consumers.index().held(settlement.group, settlement.queue, settlement.index);
            if held.is_none_or(|held| held.attempt != settlement.attempt) {
                return Ok(0);
            }
            if let Some(at) = ended_at(consumers.index(), settlement, now) {
                consumers.change(Change::Ended { group: settlement.group, at, runs: &runs })?;
            }
            Ok(consumers.change(settlement.change(now, &runs))?.touched)
        }
        Cause::Redrive if consumers.index().is_redriven(settlement.queue, settlement.index) => Ok(0),
        Cause::Redrive => consumers.change(settlement.change(now, &runs)).map(|_| 1),
    }
}

/// Takes the lock of a store's directory, which is made if it is missing.
pub(crate) fn lock(dir: &Path, options: &Options) -> Result<(Disk, Arc<Lock>)> {
    let mut disk = Disk::make_root(dir, options.file_mode, options.hook.clone()).at("create", dir)?;
    directory::check_is_store_or_empty(disk.root())?;
    let path = disk.root().join("lock");
    match disk.lock().at("lock", &path)? {
        Ok(lock) => Ok((disk, lock)),
        Err(path) => Err(Error::Locked { path }),
    }
}
