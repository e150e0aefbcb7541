//! Faults under a store that runs by itself: several callers at once, and the threads behind them. Nobody hangs.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Store};

use crate::fault::{Errno, Fault, FaultyDisk};
use crate::play::scratch;
use crate::scene::{MODES, secs};

const CALLERS: u64 = 4;
const MESSAGES: u64 = 30;
const TOPIC: &str = "orders";

fn open(dir: &std::path::Path, mode: Durability, disk: Option<Arc<FaultyDisk>>) -> popstore::Result<Store> {
    let options = Options::default().durability(mode).segment_bytes(8192).checkpoint_segment_bytes(4096);
    let options = options.entries_per_file(16).mark_every_bytes(4096);
    match disk {
        Some(disk) => options.hook(disk).open(dir),
        None => options.open(dir),
    }
}

/// Appends, pops and acks until it is refused; returns the indexes that were acknowledged: appended, and acked.
fn call(store: &Store, caller: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut appended, mut acked) = (BTreeSet::new(), BTreeSet::new());
    let typed = |error: Error| {
        assert!(matches!(error, Error::Io { .. } | Error::Full { .. } | Error::Poisoned { .. }), "{error:?}");
    };
    let group = store.group("billing").unwrap();
    for at in 0..MESSAGES {
        match store.append(TOPIC, Message::new(&format!("{caller} {at} {:x<200}", ""))) {
            Ok(place) => drop(appended.insert(place.index)),
            Err(error) => typed(error),
        }
        let popped = group.pop(TOPIC, Pop::up_to(1).invisible_for(secs(3600))).map_err(typed).unwrap_or_default();
        for delivery in popped.iter().filter(|_| at % 2 == 0) {
            match group.ack(delivery.receipt()) {
                Ok(settled) => assert!(settled.counted() && acked.insert(delivery.message().index())),
                Err(error) => typed(error),
            }
        }
    }
    (appended, acked)
}

fn survive(mode: Durability, fault: Fault) {
    let dir = scratch();
    let disk = Arc::new(FaultyDisk::default());
    let store = open(dir.path(), mode, Some(disk.clone())).unwrap();
    store.create_topic(TOPIC, 1).unwrap();
    store.create_group("billing", GroupOptions::default().without_limit()).unwrap();
    disk.order(Some(fault));
    let (send, results) = mpsc::channel();
    for caller in 0..CALLERS {
        let (store, send) = (store.clone(), send.clone());
        std::thread::spawn(move || {
            let known = call(&store, caller);
            // Order matters: whoever heard of everybody holds the last clone.
            drop(store);
            send.send(known).unwrap();
        });
    }
    let (mut appended, mut acked) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..CALLERS {
        let known = results.recv_timeout(Duration::from_secs(60));
        let (more, done) = known.unwrap_or_else(|error| panic!("{mode:?}, {fault:?}: a caller is stuck: {error}"));
        appended.extend(more);
        acked.extend(done);
    }
    let _ = store.close();
    disk.heal();
    let store = open(dir.path(), mode, None).unwrap();
    let end = store.topic_stats(TOPIC).unwrap().queues[0].1;
    assert!(appended.iter().all(|index| *index < end && store.message(TOPIC, 0, *index).unwrap().is_some()));
    let group = store.group("billing").unwrap();
    let stats = group.stats().unwrap();
    assert!(stats.acked >= acked.len() as u64 && stats.acked + stats.lag == end, "{stats:?}");
}

#[test]
fn callers_and_threads_end_whatever_call_fails() {
    let mut cases = 0;
    for mode in MODES {
        for errno in Errno::ALL {
            for at in [0, 3, 10, 25, 60, 120] {
                for lasts in [false, true] {
                    survive(mode, Fault { at, errno, lasts });
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases with threads");
}
