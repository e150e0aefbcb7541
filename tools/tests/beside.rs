//! `store-inspect` beside a writer at full speed: it sees a sound store all the time, and disturbs nobody.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use popstore::clock::{Clock, SystemClock};
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

/// So many messages are acked while the verbs look on, also where every sync takes its time.
const ACKED_MIN: u64 = 100;
/// How far appends may be ahead of acks: a queue that only grows would fill the disk of a slow machine.
const AHEAD_MAX: u64 = 100_000;
/// How long a slow machine may take for what a quick one does in a second.
const PATIENCE: Duration = Duration::from_secs(600);

/// Appends, pops, acks, nacks and forgets in several threads until told to stop; counts what was acked.
fn work(store: &Store, stop: &AtomicBool, acked: &AtomicU64) {
    let options = GroupOptions::default().max_reconsume_times(1);
    let group = store.create_group("billing", options).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            let body = "x".repeat(300);
            let mut n: u64 = 0;
            while !stop.load(Ordering::SeqCst) {
                if 20 * n > acked.load(Ordering::Relaxed) + AHEAD_MAX {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
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
}

fn beside(durability: Durability) {
    let home = tempfile::tempdir().unwrap();
    let options = Store::options().durability(durability).segment_bytes(8 << 20).checkpoint_segment_bytes(1 << 19);
    let options = options.mark_every_bytes(1 << 20).entries_per_file(8192).queues(2);
    let store = options.retention(Retention::keep().bytes(32 << 20)).open(home.path().join("data")).unwrap();
    store.create_topic("orders", 2).unwrap();
    store.append("orders", Message::new("first")).unwrap();
    let (stop, acked) = (AtomicBool::new(false), AtomicU64::new(0));
    let clock = SystemClock::start();
    let late_at = clock.now().after(PATIENCE);
    thread::scope(|threads| {
        threads.spawn(|| work(&store, &stop, &acked));
        let mut looked = 0;
        while looked < VERBS.len() || acked.load(Ordering::Relaxed) < ACKED_MIN {
            let verb = VERBS[looked % VERBS.len()];
            looked += 1;
            let Output { status, stdout, stderr } = inspect(home.path(), verb);
            let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
            let late = clock.now() >= late_at;
            if status.code() != Some(0) || late {
                stop.store(true, Ordering::SeqCst);
                panic!("{verb}: {status}, too late: {late}, {} acked\n{out}{err}", acked.load(Ordering::Relaxed));
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
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

/// A running `store-inspect --follow --json`.
struct Followed {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl From<Child> for Followed {
    fn from(mut child: Child) -> Self {
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            out.lines().try_for_each(|line| sender.send(serde_json::from_str(&line.unwrap()).unwrap()))
        });
        Self { child, lines }
    }
}

impl Followed {
    /// Waits for so many lines.
    fn next(&mut self, lines: usize) -> Vec<Value> {
        (0..lines).map(|_| self.lines.recv_timeout(PATIENCE).unwrap()).collect()
    }

    /// Stops it, and tells what it said beyond what was waited for.
    fn rest(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

#[test]
fn follow_prints_appends_and_acks_also_after_a_reopening() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let open = || Store::options().segment_bytes(4096).open(&dir).unwrap();
    let store = open();
    store.append("orders", Message::new("one")).unwrap();
    let follow = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store-inspect"));
        command.args(line.split_whitespace()).current_dir(home.path()).stdout(Stdio::piped());
        Followed::from(command.spawn().unwrap())
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
    let mut told = messages.next(41);
    store.close().unwrap();
    let store = open();
    store.append("orders", Message::new("last")).unwrap();
    told.extend(messages.next(1));
    assert_eq!((&told[0]["body"], &told[41]["body"]), (&"one".into(), &"last".into()));
    let offsets: Vec<u64> = told.iter().map(|message| message["offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted_by(|one, other| one < other));
    assert_eq!(acks.next(1)[0]["places"][0]["indexes"][0], 0);
    assert_eq!((messages.rest(), acks.rest()), (Vec::<Value>::new(), Vec::new()));
    store.close().unwrap();
}
