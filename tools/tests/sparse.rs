//! Sparse files: time and memory follow what a file takes on the disk, whatever its length says.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use popstore::{Message, Store, fuzzing};

/// Five minutes, for what takes a second.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSES_MAX: u32 = 15_000;
/// In KiB, of address space: what takes memory by the length of a file does not get this far.
const MEMORY: &str = "1500000";

/// A store of some messages, and the last segment of its commit log.
fn store(home: &Path) -> (PathBuf, PathBuf) {
    let dir = home.join("data");
    let store = Store::options().segment_bytes(1 << 20).open(&dir).unwrap();
    let body = vec![b'x'; 10_000];
    for _ in 0..20 {
        store.append("orders", Message::new(&body)).unwrap();
    }
    drop(store);
    let last = std::fs::read_dir(dir.join("commit")).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok();
    let last = last.filter(is_segment).min().unwrap();
    (dir, last)
}

/// Makes the file so long, and its header say so.
fn stretch(segment: &Path, len: u64, capacity: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment).unwrap();
    file.set_len(len).unwrap();
    let mut header = vec![0; 64];
    file.read_exact_at(&mut header, 0).unwrap();
    header[40..48].copy_from_slice(&capacity.to_le_bytes());
    fuzzing::repair(&mut header, 0);
    file.write_all_at(&header, 0).unwrap();
    for later in std::fs::read_dir(segment.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()) {
        if later != segment {
            std::fs::remove_file(later).unwrap();
        }
    }
}

/// Runs a verb with little memory. Returns what it printed.
fn run(dir: &Path, verb: &str) -> String {
    let tool = env!("CARGO_BIN_EXE_store-inspect");
    let line = format!("ulimit -v {MEMORY}; exec {tool} {}", verb.replace("DIR", &dir.display().to_string()));
    let mut child =
        Command::new("sh").args(["-c", &line]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pauses = 0;
    while child.try_wait().unwrap().is_none() {
        pauses += 1;
        if pauses > PAUSES_MAX {
            child.kill().unwrap();
            panic!("{verb} does not end");
        }
        std::thread::sleep(PAUSE);
    }
    let done = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.code().is_some_and(|code| code <= 1), "{verb}: {:?} {err}", done.status);
    out.into_owned()
}

#[test]
fn a_sparse_segment_costs_what_it_holds() {
    let home = tempfile::tempdir().unwrap();
    let (dir, segment) = store(home.path());
    stretch(&segment, 64 << 30, 64 << 30);
    assert!(run(&dir, "summary DIR").contains("orders"));
    assert!(run(&dir, "verify DIR").contains("20 messages"));
    run(&dir, "recover DIR --dry-run");
}

#[test]
fn a_record_that_claims_a_hole_takes_no_memory() {
    let home = tempfile::tempdir().unwrap();
    let (dir, segment) = store(home.path());
    stretch(&segment, 64 << 30, 64 << 30);
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    for at in 0..2000_u64 {
        let mut claim = [0; 64];
        // Longer than any record, and as long as the longest; each behind the log's end.
        let len = if at % 2 == 0 { u32::MAX } else { 1 << 30 };
        claim[4..8].copy_from_slice(&len.to_le_bytes());
        (claim[16], claim[20]) = (1, 2);
        file.write_all_at(&claim, (1 << 20) + at * 64).unwrap();
    }
    drop(file);
    run(&dir, "summary DIR");
    run(&dir, "verify DIR");
    run(&dir, "recover DIR --dry-run");
}

#[test]
fn a_sparse_file_that_no_segment_can_be_ends_in_an_answer() {
    let home = tempfile::tempdir().unwrap();
    let (dir, segment) = store(home.path());
    stretch(&segment, 1 << 40, 1 << 40);
    run(&dir, "summary DIR");
    run(&dir, "verify DIR");
}

#[test]
fn a_message_that_claims_a_hole_takes_no_memory_to_find() {
    let home = tempfile::tempdir().unwrap();
    let (dir, segment) = store(home.path());
    stretch(&segment, 4 << 30, 4 << 30);
    let (at, len) = (1_u64 << 20, (1_u32 << 31) - 1);
    let mut claim = [0; 64];
    claim[4..8].copy_from_slice(&len.to_le_bytes());
    (claim[16], claim[20]) = (1, 2);
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&claim, at).unwrap();
    let entry = [&at.to_le_bytes()[..], &len.to_le_bytes(), &[0; 4]].concat();
    let entries = std::fs::OpenOptions::new().write(true).open(dir.join(format!("queues/orders/0/{:020}", 0))).unwrap();
    (0..20).for_each(|index| entries.write_all_at(&entry, index * 16).unwrap());
    assert_eq!(run(&dir, "queue DIR orders 0").matches("NO SUCH MESSAGE").count(), 20);
    assert!(run(&dir, "why DIR --at orders/0/3").contains("appended"));
}
