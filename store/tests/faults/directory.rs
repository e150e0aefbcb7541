//! The store's directory is the one that was opened, whatever becomes of its name; nobody else comes in, and nothing
//! outside of it is written to.

use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use popstore::inspect::Snapshot;
use popstore::{Durability, Error, Event, GroupOptions, Hook, Message, Options, Pop, Retention, Store, StoreEvent};

use crate::child;
use crate::scene::MODES;

const TOPIC: &str = "orders";

fn options(mode: Durability) -> Options {
    Options::default().durability(mode).segment_bytes(8192).checkpoint_segment_bytes(4096).mark_every_bytes(4096)
}

/// Appends past the ends of some segments, with consume queue files, marks and snapshots.
fn work(store: &Store, messages: u64) {
    for at in 0..messages {
        store.append(TOPIC, Message::new(&format!("{at} {:x<300}", ""))).unwrap();
    }
}

fn expect_sound(dir: &Path, messages: u64) {
    let store = Store::open(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), messages, "{}", dir.display());
    store.close().unwrap();
    let verified = Snapshot::open(dir).unwrap().verify(|_, _| (), |fault| panic!("{fault}")).unwrap();
    assert_eq!(verified.faults, 0);
}

#[test]
fn a_changed_working_directory_does_not_change_the_store() {
    let Some(dir) = child::dir() else {
        for other in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (here, there) = (dir.path().join("here"), dir.path().join("there"));
            [&here, &there].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
            if other {
                let store = options(Durability::Buffered).open(there.join("data")).unwrap();
                work(&store, 100);
                store.close().unwrap();
            }
            let name = "directory::a_changed_working_directory_does_not_change_the_store";
            child::expect_passed(&child::run(&["env"], "true", name, dir.path()));
            MODES.iter().enumerate().for_each(|(mode, _)| expect_sound(&here.join(format!("data{mode}")), 201));
            match other {
                true => expect_sound(&there.join("data"), 100),
                false => assert_eq!(std::fs::read_dir(&there).unwrap().count(), 0, "it made something elsewhere"),
            }
        }
        return;
    };
    for (number, mode) in MODES.into_iter().enumerate() {
        std::env::set_current_dir(dir.join("here")).unwrap();
        let store = options(mode).open(format!("data{number}")).unwrap();
        work(&store, 1);
        std::env::set_current_dir(dir.join("there")).unwrap();
        work(&store, 200);
        store.close().unwrap();
    }
}

/// Neither the store that is read nor the one that is made changes with the working directory.
#[test]
fn a_changed_working_directory_does_not_redirect_a_salvage() {
    let Some(dir) = child::dir() else {
        let dir = tempfile::tempdir().unwrap();
        let name = "directory::a_changed_working_directory_does_not_redirect_a_salvage";
        child::expect_passed(&child::run(&["env"], "true", name, dir.path()));
        return;
    };
    let [here, there, elsewhere] = ["here", "there", "elsewhere"].map(|name| dir.join(name));
    for (place, messages) in [(&here, 30), (&there, 20), (&elsewhere, 10)] {
        std::fs::create_dir(place).unwrap();
        let store = options(Durability::Buffered).open(place.join("data")).unwrap();
        work(&store, messages);
        store.close().unwrap();
    }
    std::env::set_current_dir(&here).unwrap();
    let snapshot = Snapshot::open("data").unwrap();
    std::env::set_current_dir(&there).unwrap();
    let done = snapshot.salvage("saved", |_, _| std::env::set_current_dir(&elsewhere).unwrap()).unwrap();
    assert_eq!((done.messages, done.faults), (30, Vec::new()), "it read another store");
    assert_eq!(snapshot.dir(), Path::new("data"), "it is reported as it was given");
    expect_sound(&there.join("saved"), 30);
    assert!(!elsewhere.join("saved").exists());
}

#[test]
fn a_renamed_directory_stays_the_store() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let first = options(mode).retention(Retention::keep().bytes(1 << 30)).open(&old).unwrap();
        work(&first, 10);
        std::fs::rename(&old, &new).unwrap();
        let second = options(mode).open(&old).unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| work(&first, 200));
            work(&second, 100);
        });
        second.close().unwrap();
        first.close().unwrap();
        expect_sound(&new, 210);
        expect_sound(&old, 100);
    }
}

#[test]
fn a_removed_lock_file_lets_nobody_in() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let store = options(mode).on_event(move |event| seen.lock().unwrap().push(event.clone())).open(dir.path());
        let store = store.unwrap();
        work(&store, 10);
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        let second = options(mode).open(dir.path());
        assert!(matches!(second, Err(Error::Locked { .. })), "not refused by the lock: {second:?}");
        work(&store, 200);
        store.run_pending();
        assert!(dir.path().join("lock").exists(), "the owner locks it again");
        assert_eq!(*events.lock().unwrap(), [StoreEvent::LockReplaced]);
        let third = options(mode).open(dir.path());
        assert!(matches!(third, Err(Error::Locked { .. })), "{third:?}");
        store.close().unwrap();
        expect_sound(dir.path(), 210);
    }
}

/// A file outside, and what becomes of it when a store opens and works with links to it.
fn with_link(name: &str, opens: bool) {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("store"), dir.path().join("outside"));
        let store = options(mode).open(&inside).unwrap();
        work(&store, 60);
        store.close().unwrap();
        std::fs::write(&outside, "not yours").unwrap();
        let link = inside.join(name);
        let _ = std::fs::remove_file(&link);
        symlink(&outside, &link).unwrap();
        match options(mode).open(&inside) {
            Ok(store) => {
                assert!(opens, "{name}: opened");
                work(&store, 100);
                let _ = store.close();
            }
            Err(error) => assert!(!opens, "{name}: {error}"),
        }
        assert_eq!(std::fs::read(&outside).unwrap(), b"not yours", "{mode:?} {name}");
    }
}

#[test]
fn no_link_is_followed_to_be_written() {
    with_link("store.tmp", true);
    with_link("checkpoint/spare-00000000000000000099", true);
    with_link("commit/00000000000000999999.tmp", true);
    with_link("lock", false);
    with_link("store", false);
    with_link("commit/00000000000000000000", false);
}

#[test]
fn a_directory_that_is_a_link_is_refused_untouched() {
    for name in ["commit", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("store"), dir.path().join("outside"));
        let store = options(Durability::Buffered).open(&inside).unwrap();
        work(&store, 60);
        store.close().unwrap();
        std::fs::rename(inside.join(name), &outside).unwrap();
        symlink(&outside, inside.join(name)).unwrap();
        expect_refused_untouched(&inside, name);
    }
}

#[test]
fn a_refused_open_changes_nothing() {
    for name in ["commit", "checkpoint"] {
        let dir = tempfile::tempdir().unwrap();
        let store = options(Durability::SyncEach).open(dir.path()).unwrap();
        work(&store, 60);
        store.close().unwrap();
        std::fs::remove_dir_all(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name), "a file").unwrap();
        expect_refused_untouched(dir.path(), name);
    }
}

/// Queues are derived: what stands in their place is put aside, and a link is not followed.
#[test]
fn a_link_in_place_of_the_queues_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("store"), dir.path().join("outside"));
    let store = options(Durability::Buffered).open(&inside).unwrap();
    work(&store, 60);
    store.close().unwrap();
    std::fs::rename(inside.join("queues"), &outside).unwrap();
    symlink(&outside, inside.join("queues")).unwrap();
    let before = tree(&outside);
    let store = options(Durability::Buffered).open(&inside).unwrap();
    work(&store, 100);
    store.close().unwrap();
    assert_eq!(tree(&outside), before, "it was written to");
    expect_sound(&inside, 160);
}

fn expect_refused_untouched(dir: &Path, names: &str) {
    let before = tree(dir);
    let refused = Store::open(dir).map(drop).unwrap_err().to_string();
    assert!(refused.contains(names), "it names another file: {refused}");
    assert_eq!(tree(dir), before, "{names}: the open changed something");
}

/// The files of a directory with their bytes, but for the lock.
fn tree(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(tree(&entry.path())),
            false => files.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default())),
        }
    }
    files.sort();
    files
}

/// What a kill leaves behind the end may be zeroes of which a write failed: they are made afresh, not found.
#[test]
fn room_behind_the_end_is_made_afresh_after_a_kill() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let store = options(mode).segment_bytes(1 << 22).open(dir.path()).unwrap();
        work(&store, 10);
        let copy = tempfile::tempdir().unwrap();
        copy_files(dir.path(), copy.path());
        store.close().unwrap();
        for (path, closed) in [(copy.path(), false), (dir.path(), true)] {
            let afresh = Arc::new(Afresh::default());
            let store = options(mode).segment_bytes(1 << 22).hook(afresh.clone()).open(path).unwrap();
            let trusts = closed && mode == Durability::SyncEach;
            let made = afresh.0.load(Ordering::SeqCst);
            assert!(made != trusts, "{mode:?}, closed {closed}: the room was trusted, or made for nothing");
            drop(store);
        }
    }
}

/// An open after a kill makes the room afresh, and its owner may close in order before it has written the zeroes.
#[test]
fn room_is_zeroed_again_after_a_short_session_behind_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Durability::SyncEach).segment_bytes(1 << 22).checkpoint_segment_bytes(1 << 20);
    let store = options.clone().open(dir.path()).unwrap();
    work(&store, 10);
    let killed = tempfile::tempdir().unwrap();
    copy_files(dir.path(), killed.path());
    store.close().unwrap();
    options.clone().open(killed.path()).unwrap().close().unwrap();
    let rooms = Arc::new(Rooms::default());
    let store = options.clone().hook(rooms.clone()).open(killed.path()).unwrap();
    work(&store, 150);
    let group = store.create_group("billing", GroupOptions::default()).unwrap();
    (0..150).for_each(|_| drop(group.pop(TOPIC, Pop::up_to(1)).unwrap()));
    drop(group);
    store.close().unwrap();
    for log in ["commit", "checkpoint"] {
        let room = rooms.of(log);
        assert!(room.written > room.page_end, "{log}: nothing is appended behind the page of the end");
        assert_eq!(room.trusted.first(), None, "{log}: a record where the zeroes are not proven");
    }
}

/// What is written to the first segments of the two logs, and whether the room there was zeroed and synced before.
#[derive(Default)]
struct Rooms(Mutex<[Room; 2]>);

#[derive(Clone, Default)]
struct Room {
    /// The zeroes in the page of the first write are as durable as the record before it.
    page_end: u64,
    written: u64,
    zeroed: Vec<Range<u64>>,
    proven: Vec<Range<u64>>,
    trusted: Vec<Range<u64>>,
}

impl Room {
    fn write(&mut self, from: u64, end: u64) {
        if self.page_end == 0 {
            self.page_end = from.next_multiple_of(4096);
        }
        self.written = self.written.max(end);
        let mut at = from.max(self.page_end);
        while let Some(room) = self.proven.iter().find(|room| room.contains(&at)) {
            at = room.end;
        }
        if at < end {
            self.trusted.push(at..end);
        }
    }
}

impl Rooms {
    fn of(&self, log: &str) -> Room {
        self.0.lock().unwrap()[usize::from(log == "checkpoint")].clone()
    }

    fn on(&self, path: &Path, step: impl FnOnce(&mut Room)) {
        if path.ends_with("commit/00000000000000000000") {
            step(&mut self.0.lock().unwrap()[0]);
        } else if path.ends_with("checkpoint/00000000000000000000") {
            step(&mut self.0.lock().unwrap()[1]);
        }
    }
}

impl Hook for Rooms {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        if let Event::Write { path, at, len } = event {
            self.on(path, |room| room.write(*at, at + *len as u64));
        }
        Ok(())
    }

    fn after(&self, event: &Event<'_>) {
        match event {
            Event::Room { path, at, len } => self.on(path, |room| room.zeroed.push(*at..at + *len as u64)),
            Event::SyncFile(path) => self.on(path, |room| room.proven.append(&mut room.zeroed)),
            _ => {}
        }
    }
}

/// Whether space of the first commit segment was made afresh.
#[derive(Default)]
struct Afresh(AtomicBool);

impl Hook for Afresh {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        if let Event::Space { path, afresh: true, .. } = event
            && path.ends_with("commit/00000000000000000000")
        {
            self.0.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => {
                std::fs::create_dir(&to).unwrap();
                copy_files(&entry.path(), &to);
            }
            // Also its zeroes get their space.
            false => std::fs::write(&to, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

fn modes_of(dir: &Path) -> Vec<(bool, u32)> {
    let mut modes = vec![(true, std::fs::metadata(dir).unwrap().mode() & 0o777)];
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => modes.extend(modes_of(&entry.path())),
            false => modes.push((false, entry.metadata().unwrap().permissions().mode() & 0o777)),
        }
    }
    modes
}

#[test]
fn only_the_owner_can_read_unless_an_option_says_so() {
    for (mode, dirs) in [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made").join("store");
        let store = options(Durability::SyncEach).file_mode(mode).open(&path).unwrap();
        work(&store, 100);
        store.close().unwrap();
        for (is_dir, found) in modes_of(&path) {
            // The umask of the process takes away, and adds nothing.
            assert_eq!(found & !(if is_dir { dirs } else { mode }), 0, "{found:o}");
            assert_eq!(found & 0o700, if is_dir { 0o700 } else { 0o600 });
        }
    }
    let refused = Options::default().file_mode(0o4777).open("never made").map(drop);
    assert!(matches!(refused, Err(Error::Invalid { what: "file_mode", .. })), "{refused:?}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let refused = Store::open(dir.path().join("file").join("store")).map(drop).unwrap_err();
    assert!(
        matches!(&refused, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory),
        "{refused:?}"
    );
}
