//! Inspection reports each fault once, and as none what the owner of the store has deleted meanwhile.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::disk::{MESSAGE, frames_of, segments};
use crate::scene::{GROUP, Scene, TOPIC};
use popstore::inspect::{RecoveryPlan, Snapshot};
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Retention};

fn faults(dir: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    Snapshot::open(dir).unwrap().verify(|_, _| {}, |fault| faults.push(fault.to_string())).unwrap();
    faults
}

/// The message that is missing behind a damaged record is the one that is damaged.
#[test]
fn verify_reports_one_damage_once() {
    let mut scene = Scene::buffered();
    scene.append_many("m", 20);
    scene.close();
    frames_of(&scene.path, "commit", MESSAGE)[7].flip(30);
    let mut faults = Vec::new();
    Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| faults.push(fault.clone())).unwrap();
    assert_eq!(faults.len(), 1, "{faults:?}");
}

/// Opening refuses it, so nobody may call it sound.
#[test]
fn an_older_file_store_is_refused_by_plan_and_verify() {
    let mut scene = Scene::new();
    scene.append_many("m", 2);
    let older = std::fs::read(scene.path.join("store")).unwrap();
    scene.kill();
    scene.append_many("n", 2);
    scene.kill_and(|_| {});
    scene.append_many("o", 2);
    scene.die(|dir| std::fs::write(dir.join("store"), &older).unwrap());
    let refusal = scene.refusal().to_string();
    let planned = RecoveryPlan::read(&scene.path).unwrap().refused.map(|refused| refused.to_string());
    assert_eq!(planned, Some(refusal));
    let found = faults(&scene.path);
    assert!(found.iter().any(|fault| fault.contains("store") && fault.contains("generation 2 at least")), "{found:?}");
}

#[test]
fn a_log_without_any_segment_is_a_fault_and_not_an_empty_log() {
    for log in ["commit", "checkpoint"] {
        let mut scene = Scene::sized(Options::default(), GroupOptions::default());
        scene.append_many("m", 3);
        scene.die(|dir| segments(dir, log).iter().for_each(|path| std::fs::remove_file(path).unwrap()));
        assert!(matches!(scene.refusal(), Error::Corrupt { .. }));
        let found = faults(&scene.path);
        assert!(found.iter().any(|fault| fault.contains(log) && fault.contains("segments of a log")), "{found:?}");
    }
}

/// Their owner deletes them after the snapshot is taken.
#[test]
fn entries_of_deleted_queue_files_are_gone_and_not_damaged() {
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().when_done());
    let scene = Scene::with(options, GroupOptions::default());
    let fill = |segments: usize| {
        for _ in 0..4 * segments {
            assert!(scene.store().append("other", Message::new(&[b'x'; 1000])).is_ok());
            for topic in ["other", TOPIC] {
                for delivery in scene.group().pop(topic, Pop::up_to(100)).unwrap_or_default() {
                    assert!(scene.ack(delivery.receipt()).counted());
                }
            }
            scene.store().run_pending();
        }
    };
    // The log must not begin at 0 in the snapshot.
    fill(4);
    scene.append_many("m", 8);
    (0..6).for_each(|_| assert!(scene.store().append("other", Message::new(&[b'x'; 1000])).is_ok()));
    scene.store().run_pending();
    let snapshot = Snapshot::open(&scene.path).unwrap();
    assert!(snapshot.mark() > 0 && !snapshot.queue_files(TOPIC, 0).unwrap().is_empty());
    fill(6);
    assert!(snapshot.queue_files(TOPIC, 0).unwrap().is_empty(), "the files are still there");
    let mut lookup = snapshot.lookup();
    for index in 0..8 {
        assert!(lookup.queue_entry(TOPIC, 0, index).unwrap().is_none(), "{index}");
        assert!(lookup.message(TOPIC, 0, index).unwrap().is_none(), "{index}");
    }
}

/// Opening a snapshot takes a while, and the owner of the store deletes segments that were listed first.
#[test]
fn segments_deleted_while_a_snapshot_opens_are_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options::default().durability(Durability::Buffered).segment_bytes(4096).checkpoint_segment_bytes(4096);
    let store = options.retention(Retention::keep().bytes(16 * 4096)).open(dir.path()).unwrap();
    store.create_topic(TOPIC, 1).unwrap();
    store.create_group(GROUP, GroupOptions::default()).unwrap();
    let faults = thread::scope(|scope| {
        let inspect = || {
            let open = |_| Snapshot::open(dir.path()).unwrap().faults().iter().map(ToString::to_string).collect();
            (0..300).flat_map::<Vec<_>, _>(open).collect::<Vec<String>>()
        };
        let inspecting = scope.spawn(inspect);
        while !inspecting.is_finished() {
            // On a slow machine the snapshots must not have more and more to read.
            if store.stats().unwrap().commit_bytes > 1 << 20 {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            assert!(store.append(TOPIC, Message::new(&[b'x'; 1500])).is_ok());
        }
        inspecting.join().unwrap()
    });
    assert!(faults.is_empty(), "{faults:?}");
}
