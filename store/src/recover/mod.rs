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
mod judge;
mod plan;
mod queue;
mod sequence;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use popstore_revive::{Decided, Time};

use judge::Judged;

use crate::background::maintenance::Maintenance;
use crate::background::marks::Marks;
use crate::background::retention::RetentionTask;
use crate::clock::Timeline;
use crate::context::{Context, Wakes};
use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::fault::{Fault, Faults};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::frame::LogKind;
use crate::format::identity::Identity;
use crate::ledger::{LastSnapshot, Ledger};
use crate::log::{Poison, Shape, Unrecovered};
use crate::messages::{ConsumeQueue, Messages, aside};
use crate::options::{Durability, Options};
use crate::segment::{Disk, Lock};

pub(crate) use batches::Batches;
pub(crate) use checkpoint::Replay;
pub(crate) use commit::{FoundMessages, FoundTopic};
pub use plan::{PlannedStep, RecoveryPlan};
pub(crate) use queue::{EMPTY, FoundQueue};
pub(crate) use sequence::Sequence;

/// The report of an opening: what it found and did.
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
    /// Consume queues that were rebuilt from the commit log.
    pub queues_rebuilt: u64,
    /// Dead letters that a crash had left half-way, and that were settled.
    pub dead_letters_completed: u64,
    /// Waits that were shortened because the clock had been set back.
    pub clock_set_back: bool,
    /// How long it took.
    pub took: Duration,
}

/// A store as it was found: whole, or as far as it could be read.
pub(crate) struct FoundStore {
    pub(crate) checkpoint: Unrecovered,
    pub(crate) commit: Unrecovered,
    pub(crate) replay: Replay,
    pub(crate) messages: FoundMessages,
}

impl FoundStore {
    /// Reads a store without changing anything. Adds its faults to `faults`.
    pub(crate) fn read(dir: &Path, identity: Identity, faults: &mut Faults) -> Result<Self> {
        let generation = identity.generation;
        let log = find(dir, LogKind::Checkpoint, identity, faults)?;
        let (checkpoint, replay) = Replay::read(log, generation, faults)?;
        let log = find(dir, LogKind::Commit, identity, faults)?;
        let (commit, mut messages) = FoundMessages::read(log, generation, &replay, faults)?;
        if messages.found.generation > replay.found.generation && faults.spare(checkpoint.dir()) {
            // Each open is on record in the checkpoint log before anything is appended.
            messages.found.disturb(true);
            let expected = format!("records of generation {}, as in the commit log", messages.found.generation);
            let found = format!("none after generation {}: it is older than the commit log", replay.found.generation);
            faults.found(Fault::new(checkpoint.dir(), 0, "11.3", expected, found))?;
        }
        Ok(Self { checkpoint, commit, replay, messages })
    }
}

fn find(dir: &Path, kind: LogKind, identity: Identity, faults: &mut Faults) -> Result<Unrecovered> {
    let (dir, before) = (dir.join(kind.name()), faults.all.len());
    let log = Unrecovered::find(dir, kind, identity.id, faults)?;
    if log.is_missing() && identity.generation > 0 && faults.all.len() == before {
        faults.found(Fault::new(log.dir(), 0, "11.2", "the segments of a log", "the log is missing"))?;
    }
    Ok(log)
}

fn next_generation(dir: &Path, identity: Identity) -> Result<u32> {
    identity
        .generation
        .checked_add(1)
        .ok_or_else(|| Error::format(dir, "it cannot be opened again: its generation is the largest number there is"))
}

/// Reads a store, and decides what opening does to it. Nothing is changed.
fn judge(dir: &Path, disk: &Disk, options: &Options, now: Time) -> Result<(Identity, Judged)> {
    directory::check_kinds(dir)?;
    let identity = directory::identify(dir, disk)?;
    let found = FoundStore::read(dir, identity, &mut Faults::refused())?;
    let judged = Judged::of(found, dir, options, now)?;
    directory::check_place(dir, disk)?;
    Ok((identity, judged))
}

/// Makes a generation durable, on a full disk in the place of the one before.
fn raise_generation(dir: &Path, disk: &Disk, identity: &Identity) -> Result<()> {
    match directory::write_identity(dir, disk, identity) {
        Err(Error::Full { .. }) => directory::overwrite_identity(dir, disk, identity),
        written => written,
    }
}

/// The clock of a store, which is poisoned if that panics.
fn start_clock(options: &Options, dir: &Path, poison: &Arc<Poison>) -> Timeline {
    let (poison, dir) = (Arc::clone(poison), dir.to_path_buf());
    Timeline::start(options.clock.as_ref(), move || {
        poison.set(dir.clone(), std::io::Error::other("the clock panicked"));
    })
}

/// Opens the store in a directory that is locked.
pub(crate) fn open(
    mut options: Options,
    disk: Disk,
    lock: Arc<Lock>,
    wakes: Wakes,
) -> Result<(Engine, Maintenance, Recovery)> {
    let (root, poison) = (disk.root().to_path_buf(), Arc::new(Poison::default()));
    let (dir, clock) = (root.as_path(), start_clock(&options, &root, &poison));
    let begun = clock.now();
    poison.check()?;
    let (found_identity, mut judged) = judge(dir, &disk, &options, begun)?;
    let generation = next_generation(dir, found_identity)?;
    let identity = Identity { generation, ..found_identity };
    // Order matters: whether the queues can be written is known before anything else changes.
    aside::put_aside(&disk, &judged.aside)?;
    if generation > 1 {
        raise_generation(dir, &disk, &identity)?;
    }

    judged.fit_to_disk(&mut options, &disk)?;
    let (mut recovery, was_closed) = (judged.recovery(generation), judged.was_closed());
    let shape = |kind: LogKind, segment_bytes| Shape {
        kind,
        dir: dir.join(kind.name()),
        store: identity.id,
        generation,
        segment_bytes,
        ready_bytes: options.ready_bytes,
        moves_segments: options.retention.when_done,
        staged: options.durability == Durability::SyncEach,
        // Files of messages are deleted by records of the checkpoint log, so those are made durable at once.
        lazy: options.durability == Durability::Buffered && kind == LogKind::Commit,
        was_closed,
        poison: Arc::clone(&poison),
        clock: clock.clone(),
        wake: wakes.prepare.clone(),
    };
    let checkpoint_shape = shape(LogKind::Checkpoint, options.checkpoint_segment_bytes);
    let Judged { found, left, rebuilt, topics, segment_bytes, to_record, .. } = judged;
    let FoundStore { checkpoint, commit, replay, messages } = found;
    let checkpoint = checkpoint.recover(&replay.found, checkpoint_shape, disk.clone())?;
    let commit = commit.recover(&messages.found, shape(LogKind::Commit, segment_bytes), disk.clone())?;
    if generation == 1 {
        // Order matters: from here on a missing log is damage.
        directory::write_identity(dir, &disk, &identity)?;
    }
    // An interrupted retention is finished.
    commit.retire_before(replay.commit_start)?;

    let mark = replay.mark.written(replay.commit_start);
    let last = LastSnapshot { begin: replay.snapshot_begin, bytes: replay.snapshot_bytes, live: replay.snapshot_live };
    let context = Arc::new(Context::new(identity, options, clock, poison, wakes, (root, lock)));
    let ledger = Ledger::new(Arc::clone(&context), checkpoint, replay.consumers, mark, last);
    let engine = Engine::new(Arc::clone(&context), Messages::new(context, commit, topics, disk), ledger);
    let maintenance = Maintenance::new(Marks::behind(messages.mark, &engine), RetentionTask::of_store_opened_at(begun));
    recovery.records_scanned += repair_queues(engine.messages(), &left, &rebuilt)?;
    record(&engine, &to_record)?;
    recovery.took = engine.context().time()?.since(begun);
    Ok((engine, maintenance, recovery))
}

/// Removes files of queues, and makes those of others again. Returns how many records were read for that.
fn repair_queues(messages: &Messages, left: &[(PathBuf, &str)], rebuilt: &[Arc<ConsumeQueue>]) -> Result<u64> {
    for (path, _) in left {
        messages.disk().remove(path).at("remove", path)?;
    }
    messages.rebuild(&rebuilt.iter().map(|queue| &**queue).collect::<Vec<_>>())
}

/// Puts on record, before anything new happens, what the two logs say only together. The index says so already.
fn record(engine: &Engine, decided: &[Decided]) -> Result<()> {
    if decided.iter().any(|decided| decided.parts().next().is_some()) {
        // Order matters: a copy is durable before its original is settled, in every mode.
        engine.messages().log().sync_all()?;
    }
    let now = engine.context().now();
    let mut consumers = engine.consumers();
    let (generation, sync_each) = (engine.context().identity.generation, engine.context().syncs_each());
    consumers.write(&CheckpointRecord::Opened { generation, at: now, sync_each })?;
    for change in decided.iter().flat_map(Decided::changes) {
        consumers.write(&CheckpointRecord::Change(change))?;
    }
    consumers.retry_burials_at(now);
    consumers.became_visible(now);
    drop(consumers);
    engine.ledger().log().sync_all()
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
