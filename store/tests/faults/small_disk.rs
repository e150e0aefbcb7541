//! A real file system that is full: in memory, and ext4 in a file where that can be mounted.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use crate::child;
use crate::scene::{MODES, secs, text};
use popstore::{Durability, Error, Group, GroupOptions, Message, Options, Pop, Settled, Store};

const TOPIC: &str = "orders";

fn on_a_small_disk(test: &str, shell: &[&str], make: impl Fn(&Path) -> String) {
    if let Some(disk) = child::dir() {
        return MODES.into_iter().for_each(|mode| life(&disk, mode));
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = make(dir.path());
    let mounts = ["sh".as_ref(), "-c".as_ref(), mount.as_ref()];
    if !child::can(shell, &mounts) {
        return println!("skipped {test}: cannot do \"{} {mount}\" here", shell.join(" "));
    }
    child::expect_passed(&child::run(shell, &mount, test, &disk));
}

#[test]
fn a_full_file_system_in_memory_stops_appends_and_nothing_else() {
    let test = "small_disk::a_full_file_system_in_memory_stops_appends_and_nothing_else";
    let make = |dir: &Path| format!("mount -t tmpfs -o size=2m tmpfs {}/disk", dir.display());
    on_a_small_disk(test, &["unshare", "-rm"], make);
}

#[test]
fn a_full_file_system_of_blocks_stops_appends_and_nothing_else() {
    let test = "small_disk::a_full_file_system_of_blocks_stops_appends_and_nothing_else";
    let make = |dir: &Path| {
        let image = dir.join("image");
        std::fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let quiet = child::can(&["mkfs.ext4", "-q", "-F"], &[image.as_ref()]);
        format!("{quiet} && mount -o loop {} {}/disk", image.display(), dir.display())
    };
    on_a_small_disk(test, &["unshare", "-m"], make);
}

/// A store and what it was told.
struct Life {
    store: Store,
    group: Group,
    appended: u64,
    acked: BTreeSet<u64>,
}

fn open(disk: &Path, mode: Durability) -> (Store, Group) {
    let options = Options::default().durability(mode).segment_bytes(1 << 16).checkpoint_segment_bytes(1 << 14);
    let options = options.entries_per_file(64).mark_every_bytes(1 << 15);
    let store = options.open(disk.join("store")).unwrap();
    let group = GroupOptions::default().without_limit().invisible_for(secs(3600));
    let group = store.create_group("billing", group).unwrap();
    (store, group)
}

fn body(index: u64) -> String {
    format!("{index:06} {:x<1000}", "")
}

fn life(disk: &Path, mode: Durability) {
    let (store, group) = open(disk, mode);
    let mut life = Life { store, group, appended: 0, acked: BTreeSet::new() };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 18]).unwrap();
    life.append_until_full();
    fill(&disk.join("filler"));
    life.consume(300);
    assert!(matches!(life.append(), Err(Error::Full { .. })), "{mode:?}");
    life.store.clone().close().unwrap();
    (life.store, life.group) = open(disk, mode);
    assert!(matches!(life.append(), Err(Error::Full { .. })), "{mode:?}, opened again");
    life.consume(300);
    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..20 {
        life.append().expect("there is space again");
    }
    std::fs::remove_file(disk.join("filler")).unwrap();
    life.store.clone().close().unwrap();
    (life.store, life.group) = open(disk, mode);
    life.check();
    println!("{mode:?}: {} messages", life.appended);
    drop(life);
    std::fs::remove_dir_all(disk.join("store")).unwrap();
}

/// Takes whatever space is left.
fn fill(filler: &Path) {
    let mut file = std::fs::File::create(filler).unwrap();
    for bytes in [4096, 512, 1] {
        while file.write_all(&vec![1; bytes]).and_then(|()| file.sync_data()).is_ok() {}
    }
}

impl Life {
    fn append(&mut self) -> popstore::Result<()> {
        let appended = self.store.append(TOPIC, Message::new(&body(self.appended)))?;
        assert_eq!(appended.index, self.appended);
        self.appended += 1;
        Ok(())
    }

    fn append_until_full(&mut self) {
        for _ in 0..20_000 {
            match self.append() {
                Ok(()) => {}
                Err(Error::Full { .. }) => return,
                Err(error) => panic!("{error}: {error:?}"),
            }
        }
        panic!("the disk is never full");
    }

    /// Pops messages, gives most of them back and acks the others.
    fn consume(&mut self, messages: u64) {
        for at in 0..messages {
            let popped = self.group.pop(TOPIC, Pop::up_to(1)).expect("pops go on");
            let index = popped[0].message().index();
            assert!(!self.acked.contains(&index), "{index} was acked");
            let settled = match at % 3 {
                0 => self.group.ack(popped[0].receipt()),
                _ => self.group.nack(popped[0].receipt(), secs(0)),
            };
            assert_eq!(settled.expect("acks go on"), Settled::Done);
            if at.is_multiple_of(3) {
                self.acked.insert(index);
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.store.topic_stats(TOPIC).unwrap().queues, [(0, self.appended)]);
        for index in 0..self.appended {
            let message = self.store.message(TOPIC, 0, index).unwrap().unwrap();
            assert_eq!(text(message.body()), body(index));
        }
        let mut left = BTreeSet::new();
        loop {
            let popped = self.group.pop(TOPIC, Pop::up_to(64)).unwrap();
            if popped.is_empty() {
                break;
            }
            left.extend(popped.iter().map(|delivery| delivery.message().index()));
        }
        let expected: BTreeSet<u64> = (0..self.appended).filter(|index| !self.acked.contains(index)).collect();
        assert_eq!(left, expected);
    }
}
