//! The limits of the process and of its memory file systems: the store stays below them, or is refused with a typed error.

use std::path::Path;
use std::time::Duration;

use popstore::inspect::Snapshot;
use popstore::{Delivery, Durability, Error, GroupOptions, Message, Options, Pop, Store};

use crate::child;
use crate::fault::{Errno, Fault};
use crate::play::Play;
use crate::scene::{copy, secs};
use crate::script::{GROUP, ORDERS};

const TOPIC: &str = "orders";

fn append(store: &Store) -> popstore::Result<u64> {
    store.append(TOPIC, Message::new(&[b'x'; 3000])).map(|place| place.index + 1)
}

/// A file for each segment that is not synced would be more than the process may open.
#[test]
fn segments_that_wait_for_a_sync_need_few_open_files() {
    let Some(dir) = child::dir() else {
        let dir = tempfile::tempdir().unwrap();
        let test = "limits::segments_that_wait_for_a_sync_need_few_open_files";
        return child::expect_passed(&child::run(&["env"], "ulimit -n 150", test, dir.path()));
    };
    for durability in [Durability::Buffered, Durability::SyncEvery(Duration::from_secs(3600))] {
        let dir = dir.join(format!("{durability:?}"));
        let options = Options::default().durability(durability).segment_bytes(4096);
        let store = options.clone().open(&dir).unwrap();
        (1..=1500).for_each(|end| assert_eq!(append(&store).unwrap(), end));
        store.sync().unwrap();
        store.close().unwrap();
        let store = options.open(&dir).unwrap();
        assert!(store.recovery().clean);
        assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), 1500);
    }
}

/// Opening writes what a kill left unproven once more, and syncs it, segment by segment.
#[test]
fn segments_that_a_kill_left_unproven_need_few_open_files() {
    let Some(dir) = child::dir() else {
        let dir = tempfile::tempdir().unwrap();
        let test = "limits::segments_that_a_kill_left_unproven_need_few_open_files";
        return child::expect_passed(&child::run(&["env"], "ulimit -n 150", test, dir.path()));
    };
    let hourly = Durability::SyncEvery(Duration::from_secs(3600));
    let options = Options::default().segment_bytes(4096).mark_every_bytes(1 << 40);
    let store = options.clone().durability(hourly).open(dir.join("whole")).unwrap();
    (1..=600).for_each(|end| assert_eq!(append(&store).unwrap(), end));
    for (number, durability) in [Durability::SyncEach, hourly, Durability::Buffered].into_iter().enumerate() {
        let killed = dir.join(format!("killed{number}"));
        std::fs::create_dir(&killed).unwrap();
        copy(&dir.join("whole"), &killed);
        let (_, _, proven) = Snapshot::open(&killed).unwrap().commit_extent();
        assert!(proven < 4096, "there is nothing to write again: {proven}");
        let opened = options.clone().durability(durability).open(&killed).unwrap();
        assert!(!opened.recovery().clean);
        opened.sync().unwrap();
        assert_eq!(append(&opened).unwrap(), 601, "{durability:?}");
        opened.close().unwrap();
    }
}

/// With all maps that a process can have it could allocate no memory.
#[test]
fn too_many_segments_are_refused_before_maps_run_out() {
    let dir = crate::play::scratch();
    let options = Options::default().durability(Durability::Buffered).segment_bytes(4096);
    let store = options.clone().mark_every_bytes(1 << 40).open(dir.path()).unwrap();
    let mut end = 0;
    let refused = loop {
        match append(&store) {
            Ok(next) => end = next,
            Err(error) => break error,
        }
        assert!(end < 70_000, "nothing bounds the maps");
    };
    assert!(matches!(&refused, Error::Io { source, .. } if source.to_string().contains("too many segments")));
    let group = store.create_group("billing", GroupOptions::default()).unwrap();
    assert_eq!(group.pop(TOPIC, Pop::up_to(10)).unwrap().len(), 10);
    drop(group);
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), end, "what one process made another can open");
}

/// Copied without the space of its zeroes, on a file system where reading them takes it.
#[test]
fn a_sparse_copy_on_a_full_disk_is_refused_and_ends_nobody() {
    let Some(disk) = child::dir() else {
        let test = "limits::a_sparse_copy_on_a_full_disk_is_refused_and_ends_nobody";
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let mount = format!("mount -t tmpfs -o size=32m tmpfs {}", disk.display());
        let shell = ["unshare", "-rm"];
        if !child::can(&shell, &["sh".as_ref(), "-c".as_ref(), mount.as_ref()]) {
            return println!("skipped {test}: cannot do \"{} {mount}\" here", shell.join(" "));
        }
        return child::expect_passed(&child::run(&shell, &mount, test, &disk));
    };
    let options = Options::default().durability(Durability::Buffered).segment_bytes(1 << 21);
    let (whole, sparse) = (disk.join("whole"), disk.join("sparse"));
    let store = options.clone().open(&whole).unwrap();
    let zeroes = vec![0; 1 << 20];
    (0..6).for_each(|at| assert_eq!(store.append(TOPIC, Message::new(&zeroes)).unwrap().index, at));
    store.close().unwrap();
    assert!(child::can(&["cp", "-r", "--sparse=always"], &[whole.as_os_str(), sparse.as_os_str()]));
    std::fs::remove_dir_all(&whole).unwrap();
    let filler = disk.join("filler");
    fill(&filler);
    let refused = options.clone().open(&sparse).map(drop);
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    std::fs::remove_file(&filler).unwrap();
    let store = options.open(&sparse).unwrap();
    fill(&filler);
    let group = store.create_group("billing", GroupOptions::default()).unwrap();
    for delivery in group.pop(TOPIC, Pop::up_to(6).invisible_for(secs(3600))).unwrap() {
        assert_eq!(delivery.body(), zeroes);
    }
}

fn fill(filler: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(filler).unwrap();
    for bytes in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; bytes]).is_ok() {}
    }
}

/// A spare that cannot be opened has its place on the disk all the same.
#[test]
fn spares_that_cannot_be_opened_for_a_while_are_used_later() {
    let mut play = Play::new(Durability::Buffered);
    play.open();
    let store = play.store.clone().unwrap();
    store.append(ORDERS, Message::new("a")).unwrap();
    let group = store.create_group(GROUP, GroupOptions::default().without_limit()).unwrap();
    let work = || {
        let mut rounds = 0..1000;
        rounds.all(|_| {
            store.run_pending();
            let popped = group.pop(ORDERS, Pop::up_to(1));
            let receipt = popped.ok().and_then(|popped| popped.first().map(Delivery::receipt));
            receipt.is_some_and(|receipt| group.nack(receipt, secs(0)).is_ok())
        })
    };
    assert!(work());
    let before = spares(&play);
    assert!(before > 0);
    for _ in 0..4 {
        play.disk.order(Some(Fault { at: 0, errno: Errno::TooManyFiles, lasts: true }));
        assert!(!work());
        play.disk.heal();
        play.clock.advance(secs(31));
        assert!(work());
    }
    assert!(spares(&play) <= before, "{} spares, {before} before", spares(&play));
}

fn spares(play: &Play) -> usize {
    let names = std::fs::read_dir(play.dir.path().join("checkpoint")).unwrap();
    names.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("spare-")).count()
}
