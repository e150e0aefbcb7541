//! One group pops messages that are not in memory, beside one that pops messages just appended. No message is read under
//! the lock of the consumers, so the second should have most of the rate that it has alone.
//!
//! `cargo bench --bench cold [MIB] [DIR]`: this many MiB of cold messages, 1024 by default, in a directory on a disk.
#![allow(clippy::disallowed_methods)]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use popstore::{Durability, Group, GroupOptions, Message, Options, Pop, Store};
use rustix::fs::{Advice, fadvise};

const COLD_BODY: [u8; 1024] = [b'x'; 1024];
const HOT_BODY: [u8; 64] = [b'x'; 64];
const AT_ONCE: u32 = 32;
const ALONE_FOR: Duration = Duration::from_secs(3);

fn options() -> Options {
    Store::options().durability(Durability::Buffered)
}

/// Messages of a topic in files, none of which is in memory afterwards.
fn make_cold(dir: &Path, mib: u64) {
    let store = options().open(dir).expect("a new store");
    let batch: Vec<_> = (0..1024).map(|_| Message::new(&COLD_BODY)).collect();
    (0..mib).for_each(|_| drop(store.append_batch("cold", &batch).expect("there is space")));
    store.close().expect("it closes");
    forget_pages(dir);
}

fn forget_pages(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            forget_pages(&entry);
            continue;
        }
        let file = File::open(&entry).expect("a file");
        file.sync_all().expect("it is synced");
        fadvise(&file, 0, None, Advice::DontNeed).expect("it is advice");
    }
}

/// Pops and acks all there is, and says how many messages that were.
fn consume(group: &Group, topic: &str) -> u64 {
    let popped = group.pop(topic, Pop::up_to(AT_ONCE)).expect("a pop");
    let receipts: Vec<_> = popped.iter().map(popstore::Delivery::receipt).collect();
    // Each body is read, as a consumer would.
    let read: u64 =
        popped.iter().map(|delivery| delivery.body().iter().map(|byte| u64::from(*byte)).sum::<u64>()).sum();
    assert!(read > 0 || popped.is_empty());
    if !receipts.is_empty() {
        let _ = group.ack_batch(&receipts).expect("an ack");
    }
    receipts.len() as u64
}

/// Messages a second of a group that pops what was just appended, until `stop`, and its longest pop with its ack.
fn hot_rate(store: &Store, group: &Group, stop: impl Fn() -> bool) -> (f64, Duration) {
    let batch: Vec<_> = (0..AT_ONCE).map(|_| Message::new(&HOT_BODY)).collect();
    let (begun, mut done, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while !stop() {
        let _ = store.append_batch("hot", &batch).expect("there is space");
        let before = Instant::now();
        done += consume(group, "hot");
        longest = longest.max(before.elapsed());
    }
    (done as f64 / begun.elapsed().as_secs_f64(), longest)
}

fn main() {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let mib = args.first().map_or(1024, |mib| mib.parse().expect("a number of MiB"));
    let parent = args.get(1).map_or_else(env::temp_dir, Into::into);
    let home = tempfile::tempdir_in(parent).expect("a directory");
    let dir = home.path().join("store");
    make_cold(&dir, mib);
    let store = options().open(&dir).expect("the store again");
    let group = |name| store.create_group(name, GroupOptions::default()).expect("a group");
    let (hot, cold) = (group("hot"), group("cold"));
    let begun = Instant::now();
    let (alone, longest_alone) = hot_rate(&store, &hot, || begun.elapsed() >= ALONE_FOR);
    let cold_done = AtomicBool::new(false);
    let ((beside, longest_beside), cold_rate) = thread::scope(|threads| {
        let cold = threads.spawn(|| {
            let (begun, mut done) = (Instant::now(), 0);
            while done < mib * 1024 {
                done += consume(&cold, "cold");
            }
            cold_done.store(true, Ordering::SeqCst);
            done as f64 / begun.elapsed().as_secs_f64()
        });
        let hot = hot_rate(&store, &hot, || cold_done.load(Ordering::SeqCst));
        (hot, cold.join().expect("no panic"))
    });
    println!("hot alone   {alone:>12.0} messages/s, longest pop and ack {longest_alone:?}");
    println!(
        "hot beside  {beside:>12.0} messages/s, longest pop and ack {longest_beside:?}, {:.2} of alone",
        beside / alone
    );
    println!("cold        {cold_rate:>12.0} messages/s");
}
