//! The work of inspecting a store grows with its files and not with their square: counted in reads and bytes read.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use crate::forge;
use crate::scene::{Scene, TOPIC};
use popstore::inspect::{Fault, Snapshot};
use popstore::{GroupOptions, Message, Options};

/// What four times the files may cost, in units of what they cost once: the square would be 16.
const TIMES_MAX: u64 = 6;

/// The reads of this thread so far, and their bytes, each read counted as a kilobyte.
fn reads() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse::<u64>();
    field("rchar:").unwrap() + 1024 * field("syscr:").unwrap()
}

/// How much is read by a task.
fn cost(task: impl FnOnce()) -> u64 {
    let before = reads();
    task();
    reads() - before
}

/// A store of some size is made, and what the task costs there must not grow faster than the store.
fn grows_with_the_files(make: impl Fn(u32) -> Scene, task: impl Fn(&Path, u32)) {
    let [small, large] = [200, 800].map(|size| {
        let scene = make(size);
        cost(|| task(&scene.path, size))
    });
    assert!(small > 0 && large <= TIMES_MAX * small, "{small} for the small one, {large} for the large one");
}

fn faults(dir: &Path) -> Vec<Fault> {
    let mut faults = Vec::new();
    Snapshot::open(dir).unwrap().verify(|_, _| {}, |fault| faults.push(fault.clone())).unwrap();
    faults
}

/// The files of a queue in order.
fn queue_files(dir: &Path) -> Vec<PathBuf> {
    let files = Snapshot::open(dir).unwrap().queue_files(TOPIC, 0).unwrap();
    files.into_iter().map(|(path, ..)| path).collect()
}

/// A closed store of so many messages, eight times the number of files of their queue.
fn one_queue(files: u32) -> Scene {
    let mut scene = Scene::buffered();
    scene.append_many("m", files * 8);
    scene.close();
    scene
}

/// A closed store of so many topics with a message each.
fn many_topics(topics: u32) -> Scene {
    let mut scene = Scene::buffered();
    for topic in 0..topics {
        scene.store().append(&format!("t{topic}"), Message::new("m")).unwrap();
    }
    scene.close();
    scene
}

fn read_all_topics(dir: &Path, topics: u32) {
    let snapshot = Snapshot::open(dir).unwrap();
    let mut lookup = snapshot.lookup();
    for topic in 0..topics {
        assert_eq!(lookup.message(&format!("t{topic}"), 0, 0).unwrap().unwrap().body, b"m");
    }
}

#[test]
fn verify_costs_no_more_for_each_missing_queue_file() {
    let every_second_missing = |files| {
        let scene = one_queue(files);
        queue_files(&scene.path).iter().step_by(2).for_each(|file| std::fs::remove_file(file).unwrap());
        scene
    };
    grows_with_the_files(every_second_missing, |dir, files| {
        assert_eq!(faults(dir).len() as u32, files / 2);
    });
}

#[test]
fn entries_that_no_file_has_are_one_fault_up_to_the_next_file() {
    let scene = one_queue(6);
    let files = queue_files(&scene.path);
    // Of the second the last three are missing, and all of the two behind it; the last one is missing, too.
    std::fs::OpenOptions::new().write(true).open(&files[1]).unwrap().set_len(5 * 16).unwrap();
    [&files[2], &files[3], &files[5]].into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let found: Vec<_> = faults(&scene.path).into_iter().map(|it| (it.path, it.offset, it.len, it.expected)).collect();
    let expected = [
        (files[1].clone(), 5 * 16, 19 * 16, "entries to 31".to_string()),
        (files[5].clone(), 0, 8 * 16, "entries to 47".to_string()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_lookup_without_queue_files_reads_the_log_once() {
    let without_files = |topics| {
        let scene = many_topics(topics);
        std::fs::remove_dir_all(scene.path.join("queues")).unwrap();
        scene
    };
    grows_with_the_files(without_files, read_all_topics);
}

#[test]
fn a_lookup_by_wrong_queue_files_reads_the_log_once() {
    let with_wrong_files = |topics| {
        let scene = many_topics(topics);
        for topic in 0..topics {
            let file = scene.path.join(format!("queues/t{topic}/0/{:020}", 0));
            std::fs::write(file, [7; 16]).unwrap();
        }
        scene
    };
    grows_with_the_files(with_wrong_files, read_all_topics);
}

/// Each name compared with each other takes the better part of an hour.
#[test]
fn a_topic_is_found_by_its_name_without_reading_all_names() {
    const TOPICS: u64 = 400_000;
    let options = Options::default().segment_bytes(32 << 20);
    let mut scene = Scene::sized(options, GroupOptions::default());
    scene.die(|dir| {
        let topics: Vec<_> = (0..TOPICS).map(|id| forge::topic(id, 1, &format!("t{id}"))).collect();
        forge::write(dir, "commit", &topics);
    });
    let (done, wait) = std::sync::mpsc::channel();
    let path = scene.path.clone();
    std::thread::spawn(move || {
        let snapshot = Snapshot::open(path).unwrap();
        let mut lookup = snapshot.lookup();
        let names = (0..TOPICS).map(|id| format!("t{id}"));
        done.send(names.filter(|name| lookup.message(name, 0, 0).unwrap().is_none()).count())
    });
    assert_eq!(wait.recv_timeout(std::time::Duration::from_mins(5)), Ok(TOPICS as usize));
}
