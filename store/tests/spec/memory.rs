//! What a store costs in memory and in open files follows what lies in it.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::disk::segments;
use crate::forge;
use crate::scene::Scene;
use popstore::inspect::{RecoveryPlan, Snapshot};
use popstore::{GroupOptions, Message, Options};

/// In KiB; a million queues that take memory each need more than four times as much.
const MEMORY: u64 = 100_000;

/// Runs a test of this file in a process of its own, since memory is that of a process. Returns whether this is it.
fn alone(test: &str) -> bool {
    if std::env::var_os("POPSTORE_ALONE").is_some() {
        return true;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let done = child.env("POPSTORE_ALONE", "1").args(["--exact", test, "--nocapture"]).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&done.stderr));
    false
}

/// The most memory that this process has had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_queue_that_was_never_used_takes_no_memory() {
    if !alone("memory::a_queue_that_was_never_used_takes_no_memory") {
        return;
    }
    let options = Options::default().segment_bytes(1 << 20).checkpoint_segment_bytes(1 << 16);
    let mut scene = Scene::sized(options, GroupOptions::default());
    scene.die(|dir| {
        let topics: Vec<_> = (0..1000).map(|id| forge::topic(id, 1024, &format!("t{id}"))).collect();
        forge::write(dir, "commit", &topics);
    });
    let snapshot = Snapshot::open(&scene.path).unwrap();
    snapshot.verify(|_, _| {}, |fault| panic!("{fault}")).unwrap();
    assert!(RecoveryPlan::read_for(&scene.path, &scene.options).unwrap().refused.is_none());
    scene.open();
    assert_eq!(scene.store().append("t999", popstore::Message::new("a").queue(1023)).unwrap().index, 0);
    assert!(peak() < MEMORY, "{} KiB", peak());
    assert_eq!(scene.store().topic_stats("t999").unwrap().queues[1023], (0, 1));
}

#[test]
fn queues_that_are_added_are_the_same_for_all_who_use_them() {
    let mut scene = Scene::new();
    scene.store().create_topic("many", 40).unwrap();
    for (queues, used) in [(40, 39), (64, 63), (1024, 1023)] {
        scene.store().create_topic("many", queues).unwrap();
        for queue in [0, 31, 32, used] {
            let index = scene.store().append("many", popstore::Message::new("a").queue(queue)).unwrap().index;
            assert!(scene.store().message("many", queue, index).unwrap().is_some(), "{queue}");
        }
    }
    scene.reopen();
    let mut popped = 0;
    while let Some(delivery) = scene.group().pop("many", popstore::Pop::up_to(1)).unwrap().pop() {
        popped += u32::from(scene.ack(delivery.receipt()).counted());
    }
    assert_eq!(popped, 12);
    let stats = scene.store().topic_stats("many").unwrap();
    assert_eq!(
        (stats.queues.len(), stats.queues[0], stats.queues[1023], stats.queues[500]),
        (1024, (0, 3), (0, 1), (0, 0))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_store_with_many_queues_and_segments_keeps_few_files_open() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut scene = Scene::buffered();
    scene.store().create_topic("wide", 300).unwrap();
    let before = open();
    for _ in 0..4 {
        let body = [b'x'; 500];
        for queue in 0..300 {
            scene.store().append("wide", Message::new(&body).queue(queue)).unwrap();
        }
        scene.store().run_pending();
    }
    // Other tests of this process come and go beside it.
    assert!(open() < before + 150, "{} files are open, {before} were", open());
    assert!(segments(&scene.path, "commit").len() > 100);
    scene.close();
}
