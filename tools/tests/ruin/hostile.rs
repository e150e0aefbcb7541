//! Hostile files: the body of the fuzz target `open_damaged`.
//!
//! Invariants checked: whatever lies in a directory, opening it, looking into it, verifying it, planning its recovery and
//! salvaging it end with an answer or an error. What was looked at is not changed. What opens can be used, or
//! tells of the damage when it is met, and opens again after it was closed.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use popstore::{Error, ManualClock, Message, Pop, RecoveryPlan, Snapshot, Store, StoreLog};

use super::mutation::{Mutation, mutation};
use super::{Files, Ruin, options, read};
use crate::bytes::{self, CHOICE};

/// How many damages a store gets at most.
const MUTATIONS_MAX: usize = 6;

/// Reads the bytes as damages, and opens the store that got them.
pub(crate) fn open_damaged(bytes: &[u8]) {
    static STORES: LazyLock<[Files; 2]> = LazyLock::new(|| [true, false].map(|closed| Ruin::new(closed).whole));
    let Some((how, bytes)) = bytes.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MUTATIONS_MAX * CHOICE)];
    let mutations = bytes::each(&mutation(), bytes);
    let mut files = STORES[usize::from(how % 2)].clone();
    mutations.iter().for_each(|mutation| mutation.apply(&mut files));
    let home = Ruin::copy(&files);
    let dir = home.path().join("data");
    if !dir.is_dir() {
        return;
    }
    // It takes a segment as large as they come.
    let salvaged = how % 16 < 2;
    look(&dir, &home.path().join("fresh"), salvaged);
    assert!(read(&dir) == files, "looking changed the store: {mutations:?}");
    let lies = mutations.iter().any(Mutation::lies);
    if let Err(why) = open(&dir, &files, lies) {
        panic!("{why}\n{mutations:?}");
    }
}

/// Reads everything there is to read.
fn look(dir: &Path, fresh: &Path, salvaged: bool) {
    let _ = RecoveryPlan::read(dir);
    let Ok(snapshot) = Snapshot::open(dir) else { return };
    let mut faults = 0;
    let verified = snapshot.verify(|_, _| {}, |_| faults += 1);
    assert!(verified.is_err() || verified.unwrap().faults == faults);
    let _ = (snapshot.groups(), snapshot.leases().count(), snapshot.is_closed(), snapshot.opened_at());
    for log in [StoreLog::Commit, StoreLog::Checkpoint] {
        let _ = (snapshot.segments(log), snapshot.log_files(log));
    }
    for topic in snapshot.topics() {
        let _ = snapshot.messages(&topic.name).count();
        for queue in 0..topic.queues.len().min(3) as u32 {
            let _ = (snapshot.queue_files(&topic.name, queue), snapshot.places(&topic.name, queue).count());
            let _ = snapshot.lookup().message(&topic.name, queue, topic.queues[queue as usize].0);
        }
    }
    if salvaged && snapshot.salvage(fresh, |_, _| {}).is_ok() {
        Store::open(fresh).unwrap_or_else(|error| panic!("what was salvaged does not open: {error}"));
    }
}

/// Opens the store, uses it, closes it, and opens it again.
fn open(dir: &Path, files: &Files, lies: bool) -> Result<(), String> {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_800_000_100)));
    let store = match options(clock.clone()).open(dir) {
        Ok(store) => store,
        // A store that is refused is left as it was, but for the file of the lock.
        Err(Error::Corrupt { .. } | Error::Format { .. }) => {
            let mut found = read(dir);
            let locks = |path: &Path| path != Path::new("lock");
            found.retain(|path, _| locks(path));
            let before = files.iter().filter(|(path, _)| locks(path));
            return if before.eq(&found) { Ok(()) } else { Err("a refused store was changed".into()) };
        }
        Err(_) if lies => return Ok(()),
        Err(error) => return Err(format!("cannot be opened, and is not called damaged: {error}")),
    };
    let used = work(&store, &clock);
    let closed = store.close();
    if lies {
        // What was written with a right checksum may say anything, and be refused late.
        return Ok(());
    }
    match used.and(closed) {
        Ok(()) => {}
        // Sealed segments are not read at open: damage there is told when it is met.
        Err(Error::Corrupt { .. }) => return Ok(()),
        Err(error) => return Err(format!("it opened, but cannot be used: {error}")),
    }
    options(clock).open(dir).map(drop).map_err(|error| format!("cannot be opened again: {error}"))
}

fn work(store: &Store, clock: &ManualClock) -> Result<(), Error> {
    let group = store.create_group("late", Default::default())?;
    store.append("orders", Message::new("one more"))?;
    for _ in 0..3 {
        for delivery in group.pop("orders", Pop::up_to(40).invisible_for(Duration::from_secs(9)))? {
            let _ = group.ack(delivery.receipt())?;
        }
        for known in store.stats()?.groups {
            let known = store.group(&known.name)?;
            known.pop("orders", Pop::up_to(2).invisible_for(Duration::from_secs(9)))?;
            known.dead_letters()?.take(9).for_each(drop);
        }
        clock.advance(Duration::from_secs(40));
        store.run_pending();
    }
    store.sync()
}
