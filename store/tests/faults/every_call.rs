//! Every call of a scripted run fails once, and from every call on all fail.

use crate::case::{run, run_all, undisturbed};
use crate::fault::{Call, Fault};
use crate::scene::MODES;
use popstore::Durability;

fn every_call(mode: Durability) {
    let calls = undisturbed(mode).1;
    assert_eq!(undisturbed(mode).1, calls, "the script is not the same each time");
    run_all(&format!("{mode:?}"), &calls, &Fault::all(&calls), |fault| run(mode, fault));
}

#[test]
fn a_sync_each_store_survives_a_fault_at_every_call() {
    every_call(MODES[0]);
}

#[test]
fn a_sync_every_store_survives_a_fault_at_every_call() {
    every_call(MODES[1]);
}

#[test]
fn a_buffered_store_survives_a_fault_at_every_call() {
    every_call(MODES[2]);
}

#[test]
fn without_a_fault_the_script_makes_each_call_and_loses_nothing() {
    for mode in MODES {
        let (mut play, calls) = undisturbed(mode);
        let kinds = [Call::Create, Call::Open, Call::Map, Call::Write, Call::SyncFile, Call::SyncDir, Call::Rename];
        for kind in kinds.into_iter().chain([Call::Remove]) {
            assert!(calls.contains(&kind), "{mode:?}: no {kind:?}");
        }
        let stats = play.store.as_ref().unwrap().stats().unwrap();
        assert!(stats.topics[0].queues[0].0 > 0, "{mode:?}: nothing was retired: {:?}", stats.topics);
        let billing = &stats.groups[0];
        assert!(billing.redelivered > 0 && billing.dead_lettered > 0 && billing.nacked > 0, "{billing:?}");
        assert!(!play.oracle.redriven.is_empty());
        let checkpoint = std::fs::read_dir(play.dir.path().join("checkpoint")).unwrap();
        let names: Vec<_> = checkpoint.map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name == "00000000000000000000"), "the log was not told anew: {names:?}");
        play.store = None;
        crate::case::check_reopened(&mut play);
    }
}
