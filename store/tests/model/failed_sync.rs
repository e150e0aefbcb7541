//! A sync fails, the store is poisoned, the next owner makes everything durable; and then the power fails.

use std::sync::Arc;

use popstore::clock::ManualClock;
use popstore::inspect::Snapshot;
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Store};

use crate::disk::Recorder;
use crate::op::Sectors;
use crate::tree::scratch;

const TOPIC: &str = "orders";
const MODES: [Durability; 3] =
    [Durability::SyncEach, Durability::SyncEvery(std::time::Duration::from_secs(1)), Durability::Buffered];

fn options(mode: Durability, segment_bytes: u64) -> Options {
    let clock = Arc::new(ManualClock::at(std::time::Duration::from_secs(1_000_000)));
    let options = Options::default().durability(mode).segment_bytes(segment_bytes).checkpoint_segment_bytes(1 << 14);
    options.clock(clock)
}

/// Appends, pops and acks; returns how many messages the topic has if all was acknowledged.
fn work(store: &Store, messages: u64) -> Result<u64, Error> {
    let group = store.create_group("billing", GroupOptions::default())?;
    let mut end = 0;
    for at in 0..messages {
        end = store.append(TOPIC, Message::new(&format!("{at} {:x<200}", "")))?.index + 1;
        for delivery in group.pop(TOPIC, Pop::up_to(1))? {
            assert!(group.ack(delivery.receipt())?.counted());
        }
        store.run_pending();
    }
    Ok(end)
}

/// Returns whether a sync failed, so that there was something to lose.
fn cut(
    first: Durability,
    second: Durability,
    log: &'static str,
    closes: bool,
    segment_bytes: u64,
    before: u64,
) -> bool {
    let dir = scratch();
    let recorder = Recorder::new(dir.path());
    let store = options(first, segment_bytes).hook(recorder.clone()).open(dir.path()).unwrap();
    work(&store, before).unwrap();
    store.sync().unwrap();
    recorder.fail_a_sync_of(log);
    let _ = work(&store, 30).and_then(|_| store.sync());
    if !recorder.has_failed() {
        return false;
    }
    let poisoned = store.append(TOPIC, Message::new("m"));
    assert!(matches!(poisoned, Err(Error::Poisoned { .. })), "{poisoned:?}");
    drop(store);
    let store = options(second, segment_bytes).hook(recorder.clone()).open(dir.path()).unwrap();
    let end = work(&store, 20).unwrap();
    let acked = store.group("billing").unwrap().stats().unwrap().acked;
    if closes {
        store.close().unwrap()
    } else {
        store.sync().unwrap()
    }
    let cut = recorder.picture().tree(Sectors::Old).plant();
    let what = format!("{first:?}, then {second:?}, {log}, closed {closes}, {segment_bytes}");
    let verified = Snapshot::open(cut.path()).unwrap().verify(|_, _| (), |fault| panic!("{what}: {fault}"));
    assert_eq!(verified.unwrap().faults, 0);
    let store = options(second, segment_bytes).open(cut.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), end, "{what}: messages are gone");
    for index in 0..end {
        assert!(store.message(TOPIC, 0, index).unwrap().is_some(), "{what}: {index}");
    }
    assert_eq!(store.group("billing").unwrap().stats().unwrap().acked, acked, "{what}: acks are gone");
    true
}

#[test]
fn promise_5_what_a_second_owner_synced_survives_a_power_cut() {
    let mut failed = 0;
    for first in MODES {
        for second in MODES {
            for log in ["commit", "checkpoint"] {
                for (closes, segment_bytes, before) in [(false, 1 << 16, 3), (true, 1 << 13, 25), (false, 1 << 13, 31)]
                {
                    failed += u32::from(cut(first, second, log, closes, segment_bytes, before));
                }
            }
        }
    }
    assert!(failed >= 48, "only {failed} syncs failed");
}
