//! What a plan says of files, where the model test sees them too seldom: which, where, how much.

use std::path::{Path, PathBuf};

use crate::disk::{files, segments};
use crate::scene::{Scene, TOPIC, secs};
use popstore::inspect::{PlannedStep, RecoveryPlan};
use popstore::{Durability, Error, GroupOptions, Message, Options, Pop, Retention};

fn plan(scene: &Scene) -> RecoveryPlan {
    RecoveryPlan::read_for(&scene.path, &scene.options).unwrap()
}

fn steps<'p>(plan: &'p RecoveryPlan, action: &str) -> Vec<&'p PlannedStep> {
    plan.steps.iter().filter(|step| step.action == action).collect()
}

fn places(steps: &[&PlannedStep]) -> Vec<(PathBuf, u64, u64)> {
    steps.iter().map(|step| (step.path.clone().unwrap(), step.offset, step.count)).collect()
}

/// The end of what is not zero, from the segment's begin.
fn end_of(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

#[test]
fn of_a_closed_store_only_the_closing_record_is_unproven() {
    let mut scene = Scene::buffered();
    scene.append_many("m", 20);
    scene.close();
    let plan = plan(&scene);
    let [step] = plan.steps.as_slice() else { panic!("{plan:?}") };
    assert!(plan.clean && plan.refused.is_none() && step.action == "rewrite" && step.count > 0, "{plan:?}");
    assert_eq!(step.path, Some(scene.path.join("checkpoint")));
}

#[test]
fn a_cut_is_planned_where_the_tail_begins_and_as_long_as_it_is() {
    let mut scene = Scene::buffered();
    scene.append_many("message ", 120);
    scene.close();
    let head = segments(&scene.path, "commit").into_iter().rfind(|path| end_of(path) > 64).unwrap();
    assert_ne!(head, segments(&scene.path, "commit")[0]);
    let mut bytes = std::fs::read(&head).unwrap();
    let end = end_of(&head);
    bytes.resize(4096, 0);
    bytes[end as usize..][..33].fill(0xee);
    std::fs::write(&head, bytes).unwrap();
    assert_eq!(places(&steps(&plan(&scene), "cut")), [(head, end, 33)]);
}

#[test]
fn queues_without_files_are_planned_to_be_rebuilt_wholly() {
    let mut scene = Scene::buffered();
    scene.append_many("m", 5);
    scene.append_many("a message that fills the segments faster, number ", 200);
    scene.close();
    let queue = scene.path.join("queues").join(TOPIC).join("0");
    std::fs::remove_dir_all(&queue).unwrap();
    assert_eq!(places(&steps(&plan(&scene), "rebuild")), [(queue, 0, 205)]);
    scene.open();
    assert_eq!(scene.store().recovery().queues_rebuilt, 1);
}

#[test]
fn a_segment_with_only_a_name_is_planned_to_be_made_again() {
    let mut scene = Scene::buffered();
    scene.append_many("message ", 3);
    scene.close();
    for path in &segments(&scene.path, "commit")[1..] {
        std::fs::remove_file(path).unwrap();
    }
    let half_made = scene.path.join("commit").join(format!("{:020}", 4096));
    std::fs::write(&half_made, []).unwrap();
    // The log ends in its first segment, so this one only goes.
    assert_eq!(places(&steps(&plan(&scene), "remove")), [(half_made.clone(), 0, 0)]);
    scene.open();
    scene.append_many("message ", 120);
    scene.die(|dir| {
        let all = segments(dir, "commit");
        let head = all.iter().rposition(|path| end_of(path) > 64).unwrap();
        all[head + 1..].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        std::fs::write(&all[head], []).unwrap();
    });
    let half_made = segments(&scene.path, "commit").pop().unwrap();
    assert_eq!(places(&steps(&plan(&scene), "create")), [(half_made, 0, 0)]);
}

#[test]
fn what_retention_was_about_to_remove_is_planned_to_be_removed() {
    let options = Options::default().durability(Durability::Buffered).retention(Retention::keep().bytes(10_000));
    let mut scene = Scene::with(options, GroupOptions::default());
    scene.append_many("m", 3);
    let oldest = segments(&scene.path, "commit").remove(0);
    let bytes = std::fs::read(&oldest).unwrap();
    while oldest.exists() {
        assert!(scene.store().append(TOPIC, Message::new(&[b'x'; 400])).is_ok());
        scene.store().run_pending();
    }
    scene.close();
    std::fs::write(&oldest, bytes).unwrap();
    let planned = plan(&scene);
    assert_eq!(places(&steps(&planned, "remove")), [(oldest, 0, 4096)], "{planned:?}");
}

/// Of what opening refuses, it does nothing.
#[test]
fn of_a_store_that_is_refused_no_step_is_planned() {
    let mut scene = Scene::new();
    scene.append_many("m", 3);
    assert_eq!(scene.group().pop(TOPIC, Pop::up_to(2).invisible_for(secs(9))).unwrap().len(), 2);
    scene.die(|dir| {
        std::fs::write(dir.join("checkpoint").join("00000000000000008192.tmp"), [1]).unwrap();
        std::fs::remove_file(&segments(dir, "commit")[0]).unwrap();
    });
    let damaged = plan(&scene);
    assert!(damaged.refused.is_some() && damaged.steps.is_empty(), "{damaged:?}");
}

/// Opening removes files under construction, and refuses what it cannot remove.
#[test]
fn a_directory_named_as_a_temporary_file_is_in_the_plan() {
    let mut scene = Scene::buffered();
    scene.append("a");
    scene.close();
    let path = scene.path.join("commit/00000000000000000000.tmp");
    std::fs::create_dir(&path).unwrap();
    let refused = plan(&scene).refused.unwrap().to_string();
    assert_eq!(refused, scene.refusal().to_string());
    assert!(refused.contains(path.to_str().unwrap()), "{refused}");
}

/// The files of a queue are named by numbers alone.
#[test]
fn what_is_not_a_queues_file_by_its_name_is_left_in_its_folder() {
    let options = Options::default().durability(Durability::Buffered).entries_per_file(8);
    let mut scene = Scene::with(options.retention(Retention::keep().bytes(8192)), GroupOptions::default());
    scene.append_many(&"x".repeat(400), 100);
    scene.store().run_pending();
    scene.close();
    let names = ["+0000000000000000000", "00000000000000000000.bak", "notes.txt"];
    let paths = names.map(|name| scene.path.join("queues").join(TOPIC).join("0").join(name));
    paths.iter().for_each(|path| std::fs::write(path, "mine").unwrap());
    scene.open();
    assert!(scene.store().topic_stats(TOPIC).unwrap().queues[0].0 > 8);
    assert!(paths.iter().all(|path| path.exists()));
}

#[test]
fn a_plan_refuses_the_options_that_opening_refuses() {
    let mut scene = Scene::new();
    scene.close();
    let before = files(&scene.path);
    let bad = [Options::default().checkpoint_segment_bytes(0), Options::default().segment_bytes(7)];
    for options in bad {
        let plan = RecoveryPlan::read_for(&scene.path, &options).unwrap();
        assert!(matches!(plan.refused, Some(Error::Invalid { .. })) && plan.steps.is_empty(), "{plan:?}");
    }
    assert_eq!(files(&scene.path), before);
}
