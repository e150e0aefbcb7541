//! Topics, groups and dead letters through the command `popstore`: made, changed, listed.
#![allow(clippy::unwrap_used)]

mod shell;

use std::time::Duration;

use popstore::{AtLimit, Backoff, GroupOptions, Store};
use shell::Shell;

#[test]
fn topics_and_groups_are_made_and_listed() {
    let shell = Shell::new();
    shell.ok("topic create data wide --queues 3");
    shell.ok("group create data g");
    assert_eq!(shell.ok("topic list data --json").object()["queues"].as_array().unwrap().len(), 3);
    assert_eq!(shell.ok("group list data --json").object()["name"], "g");
    shell.ok("append data wide hello");
    assert_eq!(shell.ok("topic list data --json").object()["messages"], 1);
    assert!(shell.ok("topic list data").out.contains("wide"));
    let groups = shell.ok("group list data").out;
    for column in ["group", "lag", "in flight", "dead-lettered", "discarded"] {
        assert!(groups.contains(column), "{column}: {groups}");
    }
    assert!(groups.contains("g has not popped yet"), "{groups}");
    let group = shell.ok("group list data --json").object();
    assert_eq!((&group["has_read"], &group["lag"]), (&false.into(), &1.into()));
    shell.ok("pop data wide --group g");
    assert!(!shell.ok("group list data").out.contains("has not popped yet"));
}

#[test]
fn a_group_is_listed_with_its_settings_as_they_are_now() {
    let shell = Shell::new();
    shell.ok("group create data g --max-reconsume-times 5 --invisible 1500ms --backoff 1s..1m --discard --ordered");
    let listed = shell.ok("group list data").out;
    assert!(listed.contains("5 redeliveries, lease 1500ms, backoff 1s..60s, discards, ordered"), "{listed}");
    let set = shell.ok("group set data g --max-reconsume-times unlimited --backoff 1s,10s --discard=false --json");
    let settings = ["max_reconsume_times", "invisible_ms", "backoff", "at_limit", "ordered"];
    let wanted = serde_json::json!([null, 1500, "1s,10s", "dead_letter", true]);
    for object in [set.object(), shell.ok("group list data --json").object()] {
        assert_eq!(settings.map(|setting| object[setting].clone()).to_vec(), *wanted.as_array().unwrap());
    }
}

#[test]
fn lists_read_a_store_in_use_and_leave_it_alone() {
    let shell = Shell::new();
    let store = Store::open(shell.path("data")).unwrap();
    store.append("jobs", popstore::Message::new("hello")).unwrap();
    let group = store.create_group("g", GroupOptions::default()).unwrap();
    let delivery = group.pop("jobs", popstore::Pop::up_to(1)).unwrap().remove(0);
    let generation = store.recovery().generation;

    assert_eq!(shell.ok("topic list data --json").object()["messages"], 1);
    assert_eq!(shell.ok("group list data --json").object()["in_flight"], 1);
    let refused = shell.run("pop data jobs --group g");
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("open elsewhere"), "{}", refused.err);

    assert!(group.ack(delivery.receipt()).unwrap().counted());
    drop((group, delivery));
    store.close().unwrap();
    shell.ok("group list data");
    let store = Store::open(shell.path("data")).unwrap();
    assert_eq!((store.recovery().generation, store.recovery().clean), (generation + 1, true));
}

#[test]
fn a_list_of_a_damaged_store_says_that_it_is_not_all() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\n");
    let log = shell.path("data/checkpoint/00000000000000000000");
    let mut bytes = std::fs::read(&log).unwrap();
    // In the log's first record.
    bytes[80] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let listed = shell.run("topic list data --json");
    assert_eq!((listed.code, &listed.object()["name"]), (1, &"jobs".into()));
    assert!(listed.err.contains("damaged"), "{}", listed.err);
}

/// The settings of the group `g`, as the store has them.
fn settings(shell: &Shell) -> GroupOptions {
    let store = Store::open(shell.path("data")).unwrap();
    store.group("g").unwrap().options().unwrap()
}

#[test]
fn group_set_changes_only_what_is_given() {
    let shell = Shell::new();
    shell.ok("group create data g --max-reconsume-times 3 --backoff 1.5s..60s --invisible 5s --ordered --discard");
    let second = Duration::from_secs(1);
    let mut expected = GroupOptions::default()
        .max_reconsume_times(3)
        .backoff(Backoff::Exponential { first: second * 3 / 2, cap: 60 * second })
        .invisible_for(5 * second)
        .ordered(true)
        .at_limit(AtLimit::Discard);
    assert_eq!(settings(&shell), expected);

    shell.ok("group set data g --invisible 0.5m");
    expected = expected.invisible_for(30 * second);
    assert_eq!(settings(&shell), expected);
    shell.ok("group set data g --max-reconsume-times unlimited --ordered=false");
    expected = expected.without_limit().ordered(false);
    assert_eq!(settings(&shell), expected);
    shell.ok("group set data g --discard=false --backoff none");
    expected = expected.at_limit(AtLimit::DeadLetter).backoff(Backoff::None);
    assert_eq!(settings(&shell), expected);

    shell.ok("group create data g --ordered");
    assert_eq!(settings(&shell), GroupOptions::default().ordered(true));
}

#[test]
fn group_set_makes_no_group() {
    let shell = Shell::new();
    shell.ok("topic create data jobs");
    let printed = shell.run("group set data g --ordered");
    assert_eq!(printed.code, 2);
    assert!(printed.err.contains("there is no group \"g\""), "{}", printed.err);
    assert_eq!(shell.ok("group list data --json").out, "");
}

#[test]
fn dead_letters_are_listed_with_their_history_and_put_back() {
    let shell = Shell::new();
    shell.ok("append data jobs worse --key k1");
    shell.append_lines(b"bad\n");
    assert_eq!(shell.work("--max-reconsume-times 1", "false").code, 1);

    let listed = shell.ok("dead-letters list data --group g --json").objects();
    assert_eq!(listed.len(), 2);
    let first = &listed[0];
    assert_eq!((&first["origin_topic"], &first["origin_index"]), (&"jobs".into(), &0.into()));
    assert_eq!((&first["attempts"], &first["reason"]), (&2.into(), &"nacked".into()));
    assert_eq!((&first["letter"]["key"], &first["letter"]["body"]), (&"k1".into(), &"worse".into()));
    let times = ["appended_at", "popped_at", "buried_at"].map(|time| first[time].as_str().unwrap());
    assert!(times.is_sorted() && times.iter().all(|time| time.starts_with("20") && time.ends_with('Z')), "{times:?}");

    let table = shell.ok("dead-letters list data --group g -n 1").out;
    for shown in ["jobs/0/0", "nacked", "k1", "worse", "appended", "popped", "buried", "1 dead letter\n"] {
        assert!(table.contains(shown), "{shown}: {table}");
    }
    let back = shell.ok("dead-letters redrive data --group g -n 1 --json").object();
    assert_eq!((&back["origin_index"], &back["index"]), (&0.into(), &2.into()));
    assert_eq!(shell.ok("dead-letters list data --group g --json").objects().len(), 1);
    assert!(shell.ok("dead-letters redrive data --group g").out.contains("1 dead letter put back"));
    assert_eq!(shell.ok("dead-letters list data --group g").out, "0 dead letters\n");
    assert_eq!(shell.ready(), [("worse".to_string(), 1), ("bad".to_string(), 1)]);
}
