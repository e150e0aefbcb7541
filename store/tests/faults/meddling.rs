//! Another program deletes or truncates the files of a running store. That is outside what can be promised: a read of
//! a map behind the end of its file is SIGBUS. But the running store does not notice a name that is gone; the next
//! open, or whoever reads what was lost, is told which file is damaged; and what can be made anew is.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::child;
use crate::disk::{files, segments};
use crate::play::scratch;
use crate::scene::{MODES, copy, secs, text};
use popstore::clock::ManualClock;
use popstore::inspect::Snapshot;
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Settled, Store};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const SIGBUS: i32 = 7;

fn open(dir: &Path, mode: Durability, segment_bytes: u64) -> popstore::Result<Store> {
    let options = Options::default().durability(mode).segment_bytes(segment_bytes).entries_per_file(8);
    let options = options.checkpoint_segment_bytes(segment_bytes).mark_every_bytes(4096);
    options.clock(Arc::new(ManualClock::at(secs(1_000_000)))).open(dir)
}

/// Appends, pops and acks: message n has n in front of its body, and each third is acked.
fn work(store: &Store, messages: u64) {
    let group = store.create_group(GROUP, GroupOptions::default().without_limit()).unwrap();
    for _ in 0..messages {
        let next = store.topic_stats(TOPIC).map_or(0, |stats| stats.queues[0].1);
        let appended = store.append(TOPIC, Message::new(&body(next))).expect("appends go on");
        assert_eq!(appended.index, next);
        let popped = group.pop(TOPIC, Pop::up_to(1).invisible_for(secs(3600))).expect("pops go on");
        if next.is_multiple_of(3) {
            assert_eq!(group.ack(popped[0].receipt()).expect("acks go on"), Settled::Done);
        }
        store.run_pending();
    }
}

fn body(index: u64) -> String {
    format!("{index:06} {:x<300}", "")
}

fn expect_everything(store: &Store, messages: u64) {
    assert_eq!(store.topic_stats(TOPIC).unwrap().queues, [(0, messages)]);
    for index in 0..messages {
        assert_eq!(text(store.message(TOPIC, 0, index).unwrap().unwrap().body()), body(index));
    }
    let stats = store.group(GROUP).unwrap().stats().unwrap();
    assert_eq!((stats.acked, stats.in_flight), (messages.div_ceil(3), messages - messages.div_ceil(3)));
}

/// Opens what is left: with everything, or not at all and without a change. Returns what is said to be damaged.
fn open_what_is_left(dir: &Path, mode: Durability, messages: u64) -> Option<PathBuf> {
    let before = files(dir);
    match open(dir, mode, 4096) {
        Ok(store) => {
            expect_everything(&store, messages);
            None
        }
        Err(Error::Corrupt { path, found, .. }) => {
            assert!(files(dir) == before, "a refused open changed something");
            println!("{mode:?}: {path:?}: {found}");
            Some(path)
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

/// Deletes the file that `choose` finds while the store runs on, and opens what is left, killed and closed.
fn delete(mode: Durability, log: &str, choose: impl Fn(&[PathBuf]) -> PathBuf) -> (PathBuf, Option<PathBuf>) {
    let dir = scratch();
    let store = open(dir.path(), mode, 4096).unwrap();
    work(&store, 30);
    let gone = choose(&segments(dir.path(), log));
    std::fs::remove_file(&gone).unwrap();
    expect_everything(&store, 30);
    work(&store, 20);
    expect_everything(&store, 50);
    let name = gone.strip_prefix(dir.path()).unwrap().to_path_buf();
    let killed = scratch();
    copy(dir.path(), killed.path());
    let damaged = open_what_is_left(killed.path(), mode, 50);
    let damaged = damaged.map(|path| path.strip_prefix(killed.path()).unwrap().to_path_buf());
    store.close().unwrap();
    let closed = open_what_is_left(dir.path(), mode, 50);
    assert_eq!(closed.map(|path| path.strip_prefix(dir.path()).unwrap().to_path_buf()), damaged);
    (name, damaged)
}

#[test]
fn a_deleted_commit_segment_is_named_by_the_next_open() {
    for mode in MODES {
        // Where the log begins the checkpoint log says.
        let oldest = delete(mode, "commit", |segments| segments[0].clone());
        assert_eq!(oldest.1.as_ref(), Some(&oldest.0), "{mode:?}");
        let middle = delete(mode, "commit", |segments| segments[segments.len() / 2].clone());
        assert_eq!(middle.1.as_ref(), Some(&middle.0), "{mode:?}");
        let newest = delete(mode, "commit", |segments| segments[segments.len() - 1].clone());
        assert_eq!(newest.1.as_ref(), Some(&newest.0), "{mode:?}");
    }
}

#[test]
fn a_deleted_checkpoint_segment_is_reported_while_it_is_needed() {
    for mode in MODES {
        let oldest = delete(mode, "checkpoint", |segments| segments[0].clone());
        assert!(oldest.1.is_none() || oldest.1.as_deref() == oldest.0.parent(), "{mode:?}: {oldest:?}");
        let newest = delete(mode, "checkpoint", |segments| segments[segments.len() - 1].clone());
        let told = newest.1.as_deref();
        assert!(told.is_none() || told == Some(&newest.0) || told == newest.0.parent(), "{mode:?}: {newest:?}");
    }
}

#[test]
fn a_deleted_consume_queue_file_is_made_anew() {
    for mode in MODES {
        let dir = scratch();
        let store = open(dir.path(), mode, 4096).unwrap();
        work(&store, 30);
        let queue = dir.path().join("queues").join(TOPIC);
        segments(&queue, "0").iter().for_each(|file| std::fs::remove_file(file).unwrap());
        expect_everything(&store, 30);
        work(&store, 20);
        segments(&queue, "0").iter().take(2).for_each(|file| std::fs::remove_file(file).unwrap());
        store.close().unwrap();
        let store = open(dir.path(), mode, 4096).unwrap();
        expect_everything(&store, 50);
        assert!(store.recovery().queues_rebuilt > 0, "{:?}", store.recovery());
    }
}

/// The child: a segment of its running store becomes too short, and it reads and goes on as long as it can.
fn truncate_and_go_on(dir: &Path, mode: Durability) {
    let store = open(dir, mode, 1 << 16).unwrap();
    work(&store, 600);
    store.sync().unwrap();
    let sealed = segments(dir, "commit")[1].clone();
    println!("truncated {}", sealed.display());
    std::fs::File::options().write(true).open(&sealed).unwrap().set_len(10_000).unwrap();
    let typed = |error: &Error| assert!(matches!(error, Error::Corrupt { .. } | Error::Io { .. }), "{error:?}");
    // What is read of the page that the file ends in is zeroes; what lies behind is SIGBUS.
    for index in 0..600 {
        match store.message(TOPIC, 0, index) {
            Ok(message) => assert_eq!(text(message.unwrap().body()), body(index)),
            Err(error) => typed(&error),
        }
    }
}

/// An open reads no messages that lie before the last mark: it succeeds, and who reads what is gone is told. Nothing
/// else is lost, and nothing wrong is returned.
fn expect_damage(dir: &Path, mode: Durability, truncated: &Path) {
    let mut faults = Vec::new();
    Snapshot::open(dir).unwrap().verify(|_, _| {}, |fault| faults.push(fault.clone())).unwrap();
    assert!(faults.iter().any(|fault| fault.path == truncated), "{faults:?}");
    let store = open(dir, mode, 1 << 16).unwrap();
    let mut lost = 0;
    for index in 0..600 {
        match store.message(TOPIC, 0, index) {
            Ok(message) => assert_eq!(text(message.unwrap().body()), body(index)),
            Err(Error::Corrupt { path, .. }) if path == truncated => lost += 1,
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
    assert!((100..200).contains(&lost), "{lost} messages lay behind the new end");
}

#[test]
fn a_truncated_segment_is_a_typed_error_or_sigbus() {
    let test = "meddling::a_truncated_segment_is_a_typed_error_or_sigbus";
    if let Some(dir) = child::dir() {
        let mode: usize = dir.extension().unwrap().to_str().unwrap().parse().unwrap();
        return truncate_and_go_on(&dir, MODES[mode]);
    }
    let dir = scratch();
    for (at, mode) in MODES.into_iter().enumerate() {
        let store = dir.path().join(format!("store.{at}"));
        let output = child::run(&["env"], "true", test, &store);
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let truncated = told.lines().find_map(|line| line.split("truncated ").nth(1)).expect(&told);
        let ended = (output.status.success(), output.status.signal());
        println!("{mode:?}: {ended:?}");
        assert!(matches!(ended, (true, None) | (false, Some(SIGBUS))), "{}: {told}", output.status);
        expect_damage(&store, mode, Path::new(truncated));
    }
}
