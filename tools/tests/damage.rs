//! `store-inspect` on damaged stores: always a report, never a panic, never a write, and `verify` names the place.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/bytes.rs"]
mod bytes;
mod ruin;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use popstore::inspect::{Snapshot, StoreLog};
use popstore::{GroupOptions, Message, Pop};
use ruin::{Ruin, Seen};

/// Every verb, on a store with the topic `orders`.
const VERBS: [&str; 15] = [
    "summary data --json",
    "segments data",
    "messages data --json",
    "messages data --reverse --last 5",
    "queue data orders 0",
    "checkpoints data",
    "leases data",
    "dead-letters data --all",
    "why data --topic orders --index 3",
    "why data --key order-2 --json",
    "stats data",
    "recover data --dry-run",
    "salvage data --to fresh",
    "export data messages",
    "export data checkpoints",
];

/// The bytes of a store that mean something, by file: what a flipped bit there must not go unnoticed.
fn meaningful(ruin: &Ruin) -> Vec<(PathBuf, u64)> {
    let snapshot = Snapshot::open(ruin.dir()).unwrap();
    let mut used = vec![(PathBuf::from("store"), 36)];
    for log in [StoreLog::Commit, StoreLog::Checkpoint] {
        let segments = snapshot.segments(log).unwrap();
        used.extend(segments.into_iter().map(|it| (it.path, it.used)));
    }
    for topic in snapshot.topics() {
        for queue in 0..topic.queues.len() as u32 {
            for (path, first, bytes) in snapshot.queue_files(&topic.name, queue).unwrap() {
                let end = topic.queues[queue as usize].1;
                used.push((path, bytes.min((end - first) * 16)));
            }
        }
    }
    let dir = ruin.dir();
    used.into_iter().map(|(path, used)| (path.strip_prefix(&dir).unwrap_or(&path).to_path_buf(), used)).collect()
}

fn is_segment(path: &Path) -> bool {
    path.starts_with("commit") || path.starts_with("checkpoint")
}

#[test]
fn a_sound_store_is_sound_to_every_verb() {
    for closed in [true, false] {
        let ruin = Ruin::new(closed);
        for verb in VERBS.into_iter().chain(["verify data"]) {
            let seen = ruin.run(verb);
            assert_eq!(seen.code, 0, "{verb}: {}", seen.out);
            assert!(!seen.out.is_empty(), "{verb}");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_named_by_file_and_byte() {
    let ruin = Ruin::new(true);
    let used = meaningful(&ruin);
    let segments = used.iter().filter(|(path, _)| is_segment(path)).count();
    assert!(segments >= 4 && used.len() > segments + 3, "the store is too small to show much: {used:?}");
    let (mut flips, mut torn) = (0, 0);
    for (path, used) in &used {
        let whole = &ruin.whole[path];
        for byte in 0..*used as usize {
            // These four bytes of a segment's header are not read.
            if is_segment(path) && (60..64).contains(&byte) {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << (byte % 8);
            ruin.write(path, &bytes);
            let seen = ruin.run("verify data --json");
            let named = seen.named(&ruin.dir());
            let place = named.iter().find(|(at, from, end, _)| at == path && (*from..*end).contains(&(byte as u64)));
            let Some((.., fault)) = place else { panic!("byte {byte} of {path:?} is not named: {named:?}") };
            // The last records of a log are not proven durable by later ones: there, damage looks like a torn write.
            assert_eq!(seen.code, u8::from(named.iter().any(|(.., fault)| *fault)), "{path:?} {byte}");
            torn += u64::from(!fault);
            flips += 1;
            if byte % 7 == 0 {
                let verb = VERBS[byte % VERBS.len()];
                assert!(ruin.run(verb).code <= 2, "{verb}");
            }
        }
        ruin.write(path, whole);
    }
    assert!(flips > 10_000 && torn < 400, "{flips} flips, {torn} of them looked like torn writes");
}

#[test]
fn why_tells_a_damaged_message_from_one_that_is_not_there() {
    for closed in [true, false] {
        let ruin = Ruin::of(closed, |store, _| {
            for body in ["one", "two"] {
                store.append("orders", Message::new(body)).unwrap();
            }
        });
        let offset = ruin.run("messages data --json").objects()[0]["offset"].clone();
        let at = |bytes: &[u8]| bytes.windows(3).position(|body| body == b"one");
        let (path, at) = ruin.whole.iter().find_map(|(path, bytes)| Some((path, at(bytes)?))).unwrap();
        let mut bytes = ruin.whole[path].clone();
        bytes[at] ^= 1;
        ruin.write(path, &bytes);
        let code = |which: &str| ruin.run(&format!("why data {which}")).code;
        assert_eq!(code("--topic orders --index 0"), 1, "damaged; closed: {closed}");
        assert_eq!(code(&format!("--offset {offset}")), 1, "damaged; closed: {closed}");
        assert_eq!(code("--topic orders --index 1"), u8::from(!closed), "whole; closed: {closed}");
        if closed {
            assert_eq!(code("--topic orders --index 2"), 2, "not there");
        }
    }
}

#[test]
fn a_flipped_bit_where_nothing_is_written_is_no_fault() {
    let ruin = Ruin::new(true);
    for (path, used) in meaningful(&ruin).into_iter().filter(|(path, _)| is_segment(path)) {
        let mut bytes = ruin.whole[&path].clone();
        let Some(last) = bytes.len().checked_sub(9).filter(|last| *last as u64 > used) else { continue };
        bytes[last] ^= 4;
        ruin.write(&path, &bytes);
        let seen = ruin.run("verify data");
        assert_eq!(seen.code, 0, "{path:?}: {}", seen.out);
        ruin.restore();
    }
}

/// Damages a file, and looks at the store with every verb.
fn look_at_ruin(ruin: &Ruin, what: &str, damaged: &[&PathBuf], damage: impl Fn()) -> Seen {
    damage();
    for verb in VERBS {
        let seen = ruin.run(verb);
        assert!(seen.code <= 2, "{what}: {verb}");
    }
    let seen = ruin.run("verify data --json");
    if seen.code < 2 {
        let named = seen.named(&ruin.dir());
        // Where a log began that lost its first segment is told by nothing.
        let hit = named.iter().any(|(path, ..)| damaged.iter().any(|it| *it == path || it.parent() == Some(path)));
        assert!(hit, "{what}: {damaged:?} not named by {named:?}");
    }
    ruin.restore();
    seen
}

#[test]
fn a_file_that_is_short_empty_or_gone_is_named() {
    for closed in [true, false] {
        let ruin = Ruin::new(closed);
        // A torn tail of a store that was not closed is the same as no tail when it is cut off cleanly.
        for (path, used) in meaningful(&ruin).into_iter().filter(|(_, used)| *used > 100 || *used == 36) {
            let whole = &ruin.whole[&path];
            let at = ruin.dir().join(&path);
            look_at_ruin(&ruin, "gone", &[&path], || std::fs::remove_file(&at).unwrap());
            for len in [0, 20, used as usize / 2] {
                look_at_ruin(&ruin, &format!("{len} bytes long"), &[&path], || ruin.write(&path, &whole[..len]));
            }
        }
    }
}

#[test]
fn files_that_were_swapped_are_named() {
    let ruin = Ruin::new(true);
    let files: Vec<PathBuf> =
        meaningful(&ruin).into_iter().filter(|(_, used)| *used > 20).map(|(path, _)| path).collect();
    for (at, one) in files.iter().enumerate() {
        for other in &files[at + 1..] {
            let what = format!("{one:?} for {other:?}");
            let seen = look_at_ruin(&ruin, &what, &[one, other], || {
                ruin.write(one, &ruin.whole[other]);
                ruin.write(other, &ruin.whole[one]);
            });
            assert_ne!(seen.code, 0, "{what}");
        }
    }
}

#[test]
fn without_its_logs_or_queues_a_store_is_still_looked_at() {
    let ruin = Ruin::new(true);
    for gone in ["commit", "checkpoint", "queues", "queues/orders"] {
        std::fs::remove_dir_all(ruin.dir().join(gone)).unwrap();
        for verb in VERBS {
            assert!(ruin.run(verb).code <= 2, "{gone}: {verb}");
        }
        assert_eq!(ruin.run("verify data --json").code, 1, "{gone}");
        ruin.restore();
    }
}

/// The real binary on the same damages; the other verbs on a sample of them.
#[test]
fn the_binary_itself_neither_panics_nor_writes() {
    let ruin = Ruin::new(true);
    for (path, used) in meaningful(&ruin) {
        for byte in 0..used as usize {
            let mut bytes = ruin.whole[&path].clone();
            bytes[byte] ^= 1 << (byte % 8);
            ruin.write(&path, &bytes);
            let before = std::fs::read(ruin.dir().join(&path)).unwrap();
            let other = (byte % 307 == 0).then(|| VERBS[byte % VERBS.len()]);
            for verb in std::iter::once("verify data").chain(other) {
                let mut command = Command::new(env!("CARGO_BIN_EXE_store-inspect"));
                let dir = ruin.dir();
                let output = command.args(verb.split_whitespace()).current_dir(dir.parent().unwrap()).output().unwrap();
                let err = String::from_utf8(output.stderr).unwrap();
                assert!(
                    output.status.code().is_some_and(|code| code <= 2) && !err.contains("panicked"),
                    "{verb}: {err}"
                );
                let _ = std::fs::remove_dir_all(ruin.beside("fresh"));
            }
            assert!(std::fs::read(ruin.dir().join(&path)).unwrap() == before);
        }
        ruin.restore();
    }
}

/// Images of an index that holds much look like frames at many places, and so does what lies behind a damaged one.
#[test]
fn a_flipped_bit_in_the_oldest_segment_left_is_named() {
    let ruin = Ruin::of(true, |store, clock| {
        let group = store.create_group("g", GroupOptions::default()).unwrap();
        for n in 0..400 {
            store.append("orders", Message::new("x")).unwrap();
            let lease = Pop::up_to(1).invisible_for(Duration::from_millis(1000 * 3600 + 37 * n));
            assert_eq!(group.pop("orders", lease).unwrap().len(), 1);
            clock.advance(Duration::from_millis(13));
            store.run_pending();
        }
    });
    let segments = Snapshot::open(ruin.dir()).unwrap().segments(StoreLog::Checkpoint).unwrap();
    assert!(segments[0].base > 0 && segments[0].used > 2000, "{segments:?}");
    let path = segments[0].path.strip_prefix(ruin.dir()).unwrap();
    for byte in (64..segments[0].used as usize).step_by(5) {
        let mut bytes = ruin.whole[path].clone();
        bytes[byte] = !bytes[byte];
        ruin.write(path, &bytes);
        let named = ruin.run("verify data --json").named(&ruin.dir());
        let place =
            named.iter().find(|(at, from, end, fault)| *fault && at == path && (*from..*end).contains(&(byte as u64)));
        assert!(place.is_some(), "byte {byte}: {named:?}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_in_the_place_of_one_is_a_fault() {
    let ruin = Ruin::new(true);
    for name in ruin.whole.keys().filter(|path| path.iter().count() > 1) {
        let path = ruin.dir().join(name);
        std::fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        for verb in [
            "verify data",
            "summary data",
            "messages data",
            "leases data",
            "recover data --dry-run",
            "why data --key order-1",
        ] {
            let command = std::iter::once("store-inspect").chain(verb.split(' '));
            let command = command.map(|word| if word == "data" { ruin.dir() } else { word.into() });
            let command = popstore_tools::eyes::Command::try_parse_from(command).unwrap();
            let _ = popstore_tools::eyes::run(&command, &mut Vec::new());
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let seen = ruin.run("verify data --json");
        assert_ne!(seen.code, 0, "{name:?}");
        std::fs::remove_dir(&path).unwrap();
        ruin.restore();
    }
}
