//! `store-inspect` beside a writer at full speed: it sees a sound store all the time, and disturbs nobody.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use popstore::{Delay, Durability, GroupOptions, Message, Pop, Retention, Store};
use serde_json::Value;

const VERBS: [&str; 12] = [
    "verify data",
    "summary data",
    "segments data --json",
    "messages data --last 20 --body none",
    "messages data --topic orders --queue 1 --reverse --last 3 --json",
    "queue data orders 0 --last 50",
    "checkpoints data --last 10",
    "leases data --group billing",
    "dead-letters data --json",
    "stats data --json",
    "export data checkpoints",
    "recover data --dry-run",
];

fn inspect(home: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_store-inspect"));
    command.args(line.split_whitespace()).current_dir(home).output().unwrap()
}

/// Appends, pops, acks, nacks and forgets in several threads until told to stop. Returns how many messages were acked.
fn work(store: &Store, stop: &AtomicBool) -> u64 {
    let acked = AtomicU64::new(0);
    let options = GroupOptions::default().max_reconsume_times(1);
    let group = store.create_group("billing", options).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            let body = "x".repeat(300);
            let mut n: u64 = 0;
            while !stop.load(Ordering::SeqCst) {
                let key = (n % 1000).to_string();
                let messages: Vec<_> = (0..20).map(|_| Message::new(&body).key(&key).tag("paid")).collect();
                store.append_batch("orders", &messages).unwrap();
                n += 1;
            }
        });
        threads.spawn(|| {
            let lease = Pop::up_to(32).invisible_for(Duration::from_millis(200));
            let mut n: u64 = 0;
            while !stop.load(Ordering::SeqCst) {
                for delivery in group.pop_wait("orders", lease, Duration::from_millis(50)).unwrap() {
                    n += 1;
                    // One in a thousand is forgotten, one given back.
                    let settled = match n % 1000 {
                        0 => continue,
                        1 => group.nack(delivery.receipt(), Delay::Backoff).unwrap(),
                        _ => group.ack(delivery.receipt()).unwrap(),
                    };
                    acked.fetch_add(u64::from(settled.counted()), Ordering::Relaxed);
                }
            }
        });
    });
    acked.into_inner()
}

fn beside(durability: Durability) {
    let home = tempfile::tempdir().unwrap();
    let options = Store::options().durability(durability).segment_bytes(8 << 20).checkpoint_segment_bytes(1 << 16);
    let options = options.mark_every_bytes(1 << 20).entries_per_file(512).queues(2);
    let store = options.retention(Retention::keep().bytes(32 << 20)).open(home.path().join("data")).unwrap();
    store.create_topic("orders", 2).unwrap();
    store.append("orders", Message::new("first")).unwrap();
    let stop = AtomicBool::new(false);
    let acked = thread::scope(|threads| {
        let worker = threads.spawn(|| work(&store, &stop));
        for verb in VERBS {
            let Output { status, stdout, stderr } = inspect(home.path(), verb);
            let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
            if status.code() != Some(0) {
                stop.store(true, Ordering::SeqCst);
                panic!("{verb}: {status}\n{out}{err}");
            }
        }
        stop.store(true, Ordering::SeqCst);
        worker.join().unwrap()
    });
    assert!(acked > 100, "the writer hardly worked: {acked}");
    store.close().unwrap();
    let Output { status, stdout, .. } = inspect(home.path(), "verify data --json");
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stdout));
}

#[test]
fn a_store_whose_owner_works_at_full_speed_is_sound_buffered() {
    beside(Durability::Buffered);
}

#[test]
fn a_store_whose_owner_works_at_full_speed_is_sound_synced() {
    beside(Durability::SyncEach);
}

#[test]
fn follow_tells_what_is_appended_and_acked_as_it_happens_also_in_a_later_generation() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let open = || Store::options().segment_bytes(4096).open(&dir).unwrap();
    let store = open();
    store.append("orders", Message::new("one")).unwrap();
    let follow = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store-inspect"));
        command.args(line.split_whitespace()).current_dir(home.path()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut messages = follow("messages data --follow --json");
    let mut acks = follow("checkpoints data --follow --kind acked --json");
    let group = store.create_group("g", GroupOptions::default()).unwrap();
    for n in 0..40 {
        // Over several segments.
        store.append("orders", Message::new(&format!("{n} {}", "x".repeat(400)))).unwrap();
    }
    let delivery = group.pop("orders", Pop::up_to(1)).unwrap().remove(0);
    assert!(group.ack(delivery.receipt()).unwrap().counted());
    drop((group, delivery));
    thread::sleep(Duration::from_millis(300));
    store.close().unwrap();
    let store = open();
    store.append("orders", Message::new("last")).unwrap();
    thread::sleep(Duration::from_millis(600));
    let told = |child: &mut std::process::Child| -> Vec<Value> {
        child.kill().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
        child.wait().unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (messages, acks) = (told(&mut messages), told(&mut acks));
    assert_eq!(messages.len(), 42);
    assert_eq!((&messages[0]["body"], &messages[41]["body"]), (&"one".into(), &"last".into()));
    let offsets: Vec<u64> = messages.iter().map(|message| message["offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted_by(|one, other| one < other));
    assert_eq!((acks.len(), &acks[0]["places"][0]["indexes"][0]), (1, &0.into()));
    store.close().unwrap();
}
