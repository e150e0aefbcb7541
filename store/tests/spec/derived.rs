//! What is derived from the logs is made again, whatever stands in its place.
#![cfg(unix)]

use std::path::{Path, PathBuf};

use crate::disk::files;
use crate::scene::Scene;
use popstore::inspect::{Fault, RecoveryPlan, Snapshot};

/// What can stand where it does not belong.
#[derive(Clone, Copy, Debug)]
enum Thing {
    File,
    Directory,
    /// A link to something outside of the store, of either kind or not there.
    LinkToFile,
    LinkToDirectory,
    LinkToNothing,
    Pipe,
}
use Thing::{Directory, File, LinkToDirectory, LinkToFile, LinkToNothing, Pipe};

impl Thing {
    fn put(self, path: &Path, outside: &Path) {
        let link = |target: &str| std::os::unix::fs::symlink(outside.join(target), path).unwrap();
        match self {
            File => std::fs::write(path, "mine").unwrap(),
            Directory => {
                std::fs::create_dir(path).unwrap();
                std::fs::write(path.join("notes"), "mine").unwrap();
            }
            LinkToFile => link("file"),
            LinkToDirectory => link("directory"),
            LinkToNothing => link("nothing"),
            Pipe => {
                let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            }
        }
    }
}

fn faults(dir: &Path) -> Vec<Fault> {
    let mut faults = Vec::new();
    Snapshot::open(dir).unwrap().verify(|_, _| {}, |fault| faults.push(fault.clone())).unwrap();
    faults
}

/// A store with some queue files, closed in order, and what is outside of it.
fn store() -> (Scene, tempfile::TempDir) {
    let mut scene = Scene::new();
    scene.append_many("m", 20);
    scene.close();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), [7; 4096]).unwrap();
    std::fs::create_dir(outside.path().join("directory")).unwrap();
    (scene, outside)
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.unwrap();
}

#[test]
fn what_is_in_the_place_of_a_queue_is_put_aside_not_followed() {
    let file = "queues/orders/0/00000000000000000000";
    let next = "queues/orders/0/00000000000000000024";
    let in_place_of_directory = [File, LinkToFile, LinkToDirectory, LinkToNothing, Pipe];
    let in_place_of_file = [Directory, LinkToFile, LinkToDirectory, LinkToNothing, Pipe];
    let directories = ["queues", "queues/orders", "queues/orders/0"];
    let cases = directories.into_iter().flat_map(|place| in_place_of_directory.map(|thing| (place, thing)));
    let files_of = [file, next].into_iter().flat_map(|place| in_place_of_file.map(|thing| (place, thing)));
    for (place, thing) in cases.chain(files_of) {
        let (mut scene, outside) = store();
        let path = scene.path.join(place);
        if path.exists() {
            remove(&path);
        }
        thing.put(&path, outside.path());
        let before = files(outside.path());
        let named = faults(&scene.path);
        assert!(named.iter().any(|fault| fault.path == path && fault.rule == "2"), "{place} {thing:?}: {named:?}");
        let plan = RecoveryPlan::read_for(&scene.path, &scene.options).unwrap();
        let step = plan.steps.iter().find(|step| step.action == "put_aside");
        assert_eq!(step.and_then(|step| step.path.clone()), Some(path.clone()), "{place} {thing:?}: {plan:?}");

        scene.open();
        let all: Vec<String> = (0..20).map(|at| format!("m{at}")).collect();
        assert_eq!(scene.bodies(), all, "{place} {thing:?}");
        scene.append_many("n", 20);
        scene.close();
        assert_eq!(faults(&scene.path), [], "{place} {thing:?}");
        let aside = PathBuf::from(format!("{}.aside~1", path.display()));
        assert!(std::fs::symlink_metadata(&aside).is_ok(), "{place} {thing:?} is gone");
        assert!(files(outside.path()) == before, "{place} {thing:?}: something outside was changed");
        assert_eq!(std::fs::read_dir(outside.path().join("directory")).unwrap().count(), 0, "{place} {thing:?}");
    }
}

/// What opening does is decided before the link gets another name.
#[test]
fn files_behind_a_link_are_no_files_of_a_queue() {
    let (mut scene, outside) = store();
    // A queue of other options has such a file, and opening would remove it.
    let theirs = outside.path().join("directory").join(format!("{:020}", 1));
    std::fs::write(&theirs, "theirs").unwrap();
    let queue = scene.path.join("queues/orders/0");
    remove(&queue);
    LinkToDirectory.put(&queue, outside.path());
    let plan = RecoveryPlan::read_for(&scene.path, &scene.options).unwrap();
    assert!(plan.steps.iter().all(|step| step.action != "remove"), "{plan:?}");
    scene.open();
    assert_eq!(scene.store().recovery().queues_rebuilt, 1);
    assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
}

#[test]
fn what_was_put_aside_before_stays() {
    let (mut scene, outside) = store();
    for _ in 0..2 {
        remove(&scene.path.join("queues"));
        File.put(&scene.path.join("queues"), outside.path());
        scene.open();
        scene.close();
    }
    for aside in ["queues.aside~1", "queues.aside~2"] {
        assert_eq!(std::fs::read(scene.path.join(aside)).unwrap(), b"mine", "{aside}");
    }
}

/// Who cannot put it aside says so before the store is changed.
#[test]
fn an_open_that_cannot_put_something_aside_changes_nothing() {
    use crate::disk::{What, tapped};
    let (mut scene, tap) = tapped(popstore::Durability::SyncEach);
    scene.append_many("m", 20);
    scene.close();
    remove(&scene.path.join("queues"));
    std::fs::write(scene.path.join("queues"), "mine").unwrap();
    let before = files(&scene.path);
    tap.fail(|what, _| if what == What::Rename { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) });
    assert!(scene.refusal().to_string().contains("queues"));
    assert!(files(&scene.path) == before, "the refused store was changed");
    tap.heal();
    scene.open();
    assert_eq!(scene.bodies().len(), 20);
}

#[test]
fn queue_files_of_another_length_are_made_again() {
    for (before, after) in [(8, 16), (8, 12), (12, 8), (16, 8), (8, 1 << 16)] {
        let (mut scene, _outside) = store();
        scene.options = scene.options.clone().entries_per_file(before);
        remove(&scene.path.join("queues"));
        scene.open();
        scene.append_many("n", 1);
        scene.close();
        scene.options = scene.options.clone().entries_per_file(after);
        let plan = RecoveryPlan::read_for(&scene.path, &scene.options).unwrap();
        assert!(plan.steps.iter().any(|step| step.action == "rebuild"), "{before} to {after}: {plan:?}");
        scene.open();
        scene.append_many("o", 9);
        assert_eq!(scene.bodies().len(), 30, "{before} to {after}");
        scene.close();
        assert_eq!(faults(&scene.path), [], "{before} to {after}");
        let snapshot = Snapshot::open(&scene.path).unwrap();
        for (path, first, bytes) in snapshot.queue_files("orders", 0).unwrap() {
            assert!(first % after == 0 && bytes <= 16 * before.max(after), "{before} to {after}: {path:?}");
        }
    }
}

#[test]
fn one_reading_of_the_log_makes_all_queues_again() {
    let mut scene = Scene::new();
    let queues = 200_u64;
    scene.store().create_topic("wide", queues as u32).unwrap();
    for at in 0..3 * queues {
        let message = popstore::Message::new("m").queue((at % queues) as u32);
        scene.store().append("wide", message).unwrap();
    }
    scene.close();
    let records = Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| panic!("{fault}")).unwrap();
    remove(&scene.path.join("queues"));
    scene.open();
    let recovery = scene.store().recovery();
    assert_eq!((recovery.queues_rebuilt, recovery.records_scanned), (queues, records.commit_records));
    scene.close();
    assert_eq!(faults(&scene.path), []);
}
