//! Hostile files: the body of the fuzz target `open_damaged`.
//!
//! An input is, byte by byte: which store (1), the options of its owner (4), how many damages (1), each of them (4), and
//! what its owner does, each (4).
//!
//! Invariants checked: whatever lies in a directory, opening it, inspecting it, verifying it, planning its recovery,
//! salvaging it and using it end with an answer or an error. What is only read is not changed, nor is a store that is
//! refused, and nothing outside of the directory ever. What `verify` calls sound opens. What opens can be used, or
//! names the damage when it is met, and opens again after it was closed. A store that nobody damaged does so whatever
//! its disk refuses, and has everything that was acknowledged.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use popstore::clock::ManualClock;
use popstore::inspect::{RecoveryPlan, Snapshot, StoreLog};
use popstore::{Error, GroupOptions, Message, Options, Pop, Retention, Store};

use super::habits::{self, Habits, Owner, Verb};
use super::mutation::{Mutation, Thing, mutation};
use super::{Files, Ruin, fill, read};
use crate::bytes::{self, CHOICE};

/// How many damages a store gets at most, and what is done with it.
const MUTATIONS_MAX: usize = 8;
const VERBS_MAX: usize = 14;

/// A file beside the store.
const OUTSIDE: &str = "outside";
const PRECIOUS: &[u8] = b"nobody's business";

/// Stores to damage: with marks or without any, closed or killed, and one that has deleted segments.
fn stores() -> &'static [Files] {
    static STORES: LazyLock<Vec<Files>> = LazyLock::new(|| {
        let marked = [true, false].map(|closed| Ruin::new(closed).whole);
        let unmarked = Ruin::with(false, |options| options.mark_every_bytes(1 << 40), fill).whole;
        let retention = Retention::keep().when_done().bytes(10_000);
        let when_done = |options: Options| options.retention(retention.clone());
        let thinned = [true, false].map(|closed| Ruin::with(closed, when_done, retained).whole);
        let first = Path::new("commit/00000000000000000000");
        assert!(thinned.iter().all(|files| !files.contains_key(first)), "retention deleted nothing");
        marked.into_iter().chain([unmarked]).chain(thinned).collect()
    });
    &STORES
}

/// A store whose first segments have gone, with a lease and dead letters out of them.
fn retained(store: &Store, clock: &ManualClock) {
    fill(store, clock);
    let second = Duration::from_secs(1);
    let all = Pop::up_to(500).invisible_for(9 * second);
    for _ in 0..2 {
        for group in ["billing", "audit"].map(|group| store.group(group).unwrap()) {
            for topic in ["orders", "mails"] {
                for delivery in group.pop(topic, all).unwrap().iter().skip(1) {
                    let _ = group.ack(delivery.receipt()).unwrap();
                }
            }
        }
        store.append("mails", Message::new("later")).unwrap();
        clock.advance(40 * second);
        store.run_pending();
    }
    let _ = store.create_group("late", GroupOptions::default()).unwrap();
}

/// Reads the bytes as damages, and uses the store that got them.
pub(crate) fn open_damaged(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let (habits, bytes) = bytes.split_at(bytes.len().min(CHOICE));
    let habits = bytes::one(&habits::habits(), habits);
    let (mutations, bytes) = bytes.split_first().map_or((0, bytes), |(count, rest)| (usize::from(*count), rest));
    let (mutations, bytes) = bytes.split_at(bytes.len().min(mutations % (MUTATIONS_MAX + 1) * CHOICE));
    let mutations = bytes::each(&mutation(), mutations);
    let verbs = bytes::each(&habits::verb(), &bytes[..bytes.len().min(VERBS_MAX * CHOICE)]);

    let stores = stores();
    let mut files = stores[usize::from(*how) % stores.len()].clone();
    mutations.iter().for_each(|mutation| mutation.apply(&mut files));
    let home = Ruin::copy(&files);
    std::fs::write(home.path().join(OUTSIDE), PRECIOUS).unwrap();
    let dir = home.path().join("data");
    if !dir.is_dir() {
        return;
    }
    mutations.iter().for_each(|mutation| replace(mutation, &files, &dir));
    let case = Case { dir: &dir, before: read(&dir), mutations: &mutations, habits, verbs: &verbs };
    // It takes a segment as large as they come.
    let is_sound = case.inspect(&home.path().join("fresh"), how / 16 == 0);
    if let Err(why) = case.open(is_sound) {
        panic!("{why}\n{mutations:?}\n{:?}\n{verbs:?}", case.habits);
    }
    assert!(std::fs::read(home.path().join(OUTSIDE)).unwrap() == PRECIOUS, "a file outside was changed: {mutations:?}");
    let strangers = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let strangers: Vec<_> =
        strangers.filter(|name| !["data", "fresh", OUTSIDE].contains(&name.to_str().unwrap())).collect();
    assert!(strangers.is_empty(), "made outside of the store: {strangers:?}, {mutations:?}");
}

/// Puts something else where a file lies.
fn replace(mutation: &Mutation, files: &Files, dir: &Path) {
    let Some((file, by)) = mutation.replaces(files.len()) else { return };
    let path = dir.join(files.keys().nth(file).unwrap());
    if path.is_symlink() || path.is_dir() {
        return;
    }
    let outside = dir.with_file_name(OUTSIDE);
    let real = path.with_extension("real");
    match by {
        Thing::LinkInside => std::fs::rename(&path, &real).unwrap(),
        _ => std::fs::remove_file(&path).unwrap(),
    }
    match by {
        Thing::Directory => std::fs::create_dir(&path).unwrap(),
        Thing::LinkOutside => link(&outside, &path),
        Thing::LinkNowhere => link(&dir.with_file_name("nowhere"), &path),
        Thing::LinkInside => link(&real, &path),
    }
}

#[cfg(unix)]
fn link(to: &Path, path: &Path) {
    std::os::unix::fs::symlink(to, path).unwrap();
}

/// Where links are not for everybody the file is only gone.
#[cfg(not(unix))]
fn link(_: &Path, _: &Path) {}

/// A damaged store and what is to be done with it.
struct Case<'c> {
    dir: &'c Path,
    before: Files,
    mutations: &'c [Mutation],
    habits: Habits,
    verbs: &'c [Verb],
}

impl Case<'_> {
    /// Reads everything there is to read. Returns whether it is called sound.
    fn inspect(&self, fresh: &Path, salvaged: bool) -> bool {
        let is_sound = inspect(self.dir, fresh, salvaged);
        assert!(read(self.dir) == self.before, "reading changed the store: {:?}", self.mutations);
        is_sound
    }

    /// Opens the store, uses it, closes it, and opens it again.
    fn open(&self, is_sound: bool) -> Result<(), String> {
        let lies = self.mutations.iter().any(Mutation::lies);
        let mut owner = match Owner::open(self.dir, self.habits.clone()) {
            Ok(owner) => owner,
            Err(error) if is_sound && !self.is_replaced() => {
                return Err(format!("verify calls it sound, and it cannot be opened: {error}"));
            }
            Err(Error::Corrupt { .. } | Error::Format { .. }) => return self.unchanged(),
            Err(_) if lies || self.is_replaced() => return Ok(()),
            Err(error) => return Err(format!("cannot be opened, and is not called damaged: {error}")),
        };
        let mut damage = false;
        for verb in self.verbs {
            match owner.act(verb) {
                Err(Error::Corrupt { .. }) if self.mutations.is_empty() => {
                    return Err(format!("{verb:?} meets damage"));
                }
                Err(Error::Corrupt { .. }) => damage = true,
                Err(error @ (Error::Io { .. } | Error::Format { .. } | Error::Poisoned { .. }))
                    if self.mutations.is_empty() && !owner.failed =>
                {
                    return Err(format!("{verb:?}: {error}"));
                }
                // What a verb cannot do to this store, or a disk that fails.
                _ => {}
            }
        }
        match owner.reopen() {
            Ok(()) if self.mutations.is_empty() => owner.missing().map_or(Ok(()), Err),
            Ok(()) => Ok(()),
            // What was written with a right checksum may say anything, and be refused late.
            Err(_) if lies || self.is_replaced() => Ok(()),
            // Sealed segments are not read at open: damage there is named when it is met.
            Err(Error::Corrupt { .. }) if damage || !self.mutations.is_empty() => Ok(()),
            Err(Error::Closed) => Ok(()),
            Err(error) => Err(format!("cannot be opened again: {error}")),
        }
    }

    /// A store that is refused is left as it was, but for the file of the lock.
    fn unchanged(&self) -> Result<(), String> {
        let mut found = read(self.dir);
        let locks = |path: &Path| path != Path::new("lock");
        found.retain(|path, _| locks(path));
        let before = self.before.iter().filter(|(path, _)| locks(path));
        if before.eq(&found) { Ok(()) } else { Err("a refused store was changed".into()) }
    }

    fn is_replaced(&self) -> bool {
        self.mutations.iter().any(|mutation| matches!(mutation, Mutation::Replace { .. }))
    }
}

fn inspect(dir: &Path, fresh: &Path, salvaged: bool) -> bool {
    let _ = RecoveryPlan::read(dir);
    let Ok(snapshot) = Snapshot::open(dir) else { return false };
    let mut faults = 0;
    let verified = snapshot.verify(|_, _| {}, |_| faults += 1);
    let is_sound = verified.as_ref().is_ok_and(|verified| verified.faults == 0);
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
    is_sound
}
