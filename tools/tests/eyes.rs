//! `store-inspect` on stores whose contents are known: each verb tells what is there.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/bytes.rs"]
mod bytes;
mod ruin;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Parser;
use popstore::clock::ManualClock;
use popstore::{Delay, GroupOptions, Message, Pop, Store};
use ruin::{Ruin, fill};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

fn texts(objects: &[Value], field: &str) -> Vec<String> {
    objects.iter().map(|object| object[field].as_str().unwrap().to_string()).collect()
}

/// One message that is acked, one that is dead-lettered after two deliveries, one in flight, one given back for later,
/// and one that nobody was given.
fn one_of_each(store: &Store, clock: &ManualClock) {
    let group = store.create_group("g", GroupOptions::default().max_reconsume_times(1)).unwrap();
    for body in ["acked", "dead", "held", "later", "new"] {
        store.append("orders", Message::new(body).key(body).tag("paid")).unwrap();
        clock.advance(SECOND);
    }
    let pop = |n, seconds| group.pop("orders", Pop::up_to(n).invisible_for(seconds * SECOND)).unwrap();
    let first = pop(2, 10);
    clock.advance(SECOND);
    assert!(group.ack(first[0].receipt()).unwrap().counted());
    clock.advance(20 * SECOND);
    store.run_pending();
    assert_eq!(pop(1, 10)[0].body(), b"dead");
    let more = pop(2, 1000);
    assert!(group.nack(more[1].receipt(), Delay::After(500 * SECOND)).unwrap().counted());
    clock.advance(20 * SECOND);
    store.run_pending();
    assert_eq!(group.stats().unwrap().dead_lettered, 1);
}

#[test]
fn summary_counts_what_the_store_itself_counts() {
    let ruin = Ruin::of(true, one_of_each);
    let summary = ruin.run("summary data --json").objects().remove(0);
    assert!(ruin.run("summary data").out.contains("closed in order"));
    let store = Store::open(ruin.dir()).unwrap();
    let stats = store.group("g").unwrap().stats().unwrap();
    // The clock of the test stood in the past: by the wall clock, everything held is over and due.
    let group = &summary["groups"][0];
    assert_eq!(group["lag"], stats.lag);
    assert_eq!((&group["popped"], &group["acked"]), (&stats.popped.into(), &stats.acked.into()));
    assert_eq!((&group["overdue"], &group["dead_letters"]), (&1.into(), &1.into()));
    assert_eq!(summary["topics"][0]["messages"], 5);
    assert_eq!((&summary["closed"], &summary["generation"]), (&true.into(), &1.into()));
}

#[test]
fn why_tells_the_life_of_a_dead_letter_in_order() {
    let ruin = Ruin::of(true, one_of_each);
    let events = ruin.run("why data --key dead --json").objects();
    // The letter has the same key and a life of its own.
    let life: Vec<Value> = events.iter().filter(|event| event["topic"] == "orders").cloned().collect();
    let what = ["appended", "popped", "revived", "popped", "ended", "dead letter", "buried", "now"];
    assert_eq!(texts(&life, "event"), what);
    let times: Vec<&str> = life.iter().filter_map(|event| event["happened_at"].as_str()).collect();
    assert!(times.len() == 7 && times.is_sorted(), "{times:?}");
    assert_eq!(life[3]["delivery"], 2);
    assert!(life[7]["record"].as_str().unwrap().contains("dead-lettered (expired) as %DLQ%g/0/0"));
    for (key, now) in [("acked", "acked"), ("held", "its lease was over"), ("later", "ready"), ("new", "not given out")]
    {
        let told = ruin.run(&format!("why data --key {key}")).out;
        assert!(told.lines().last().unwrap().contains(now), "{key}: {told}");
    }
    let by_place = ruin.run("why data --topic orders --index 1").out;
    let offset = life[0]["record"].as_str().unwrap().strip_prefix("commit ").unwrap();
    assert_eq!(ruin.run(&format!("why data --offset {offset}")).out, by_place);
    assert_eq!(ruin.run("why data --at orders/0/1").out, by_place);
    for no_place in ["orders", "orders/1", "orders/0/x", "orders/0/1/", "orders/-1/1"] {
        let words = ["store-inspect", "why", "data", "--at", no_place];
        assert!(popstore_tools::eyes::Command::try_parse_from(words).is_err(), "{no_place}");
    }
    assert_eq!(ruin.run("why data --at other/0/1").code, 2);
    assert_eq!(ruin.run("why data --topic orders --index 99").code, 2);
}

#[test]
fn leases_and_dead_letters_are_told_with_their_history() {
    let ruin = Ruin::of(true, one_of_each);
    let leases = ruin.run("leases data --json").objects();
    assert_eq!(texts(&leases, "key"), ["held", "later"]);
    assert_eq!(texts(&leases, "state"), ["in_flight", "ready"]);
    let overdue = ruin.run("leases data --overdue --group g --json").objects();
    assert_eq!(texts(&overdue, "key"), ["held"]);
    let told = ruin.run("leases data").out;
    assert_eq!((told.lines().count(), told.lines().last()), (3, Some("2 held messages")));
    assert_eq!(ruin.run("leases data --group other").code, 2);
    let letter = ruin.run("dead-letters data --json").objects().remove(0);
    assert_eq!((&letter["origin_index"], &letter["attempts"]), (&1.into(), &2.into()));
    assert_eq!((&letter["reason"], &letter["redriven"]), (&"expired".into(), &false.into()));
    assert_eq!((&letter["letter"]["body"], &letter["letter"]["tag"]), (&"dead".into(), &"paid".into()));
}

#[test]
fn messages_are_chosen_by_each_of_their_fields() {
    let ruin = Ruin::new(true);
    let all = ruin.run("messages data --json").objects();
    let bodies = |options: &str| texts(&ruin.run(&format!("messages data --json {options}")).objects(), "body");
    let chosen = |wanted: &dyn Fn(&Value) -> bool| -> Vec<String> {
        texts(&all.iter().filter(|message| wanted(message)).cloned().collect::<Vec<_>>(), "body")
    };
    assert_eq!(bodies("--topic orders --queue 1"), chosen(&|it| it["topic"] == "orders" && it["queue"] == 1));
    assert_eq!(bodies("--key order-3"), chosen(&|it| it["key"] == "order-3"));
    assert_eq!(bodies("--tag paid"), chosen(&|it| it["tag"] == "paid"));
    assert_eq!(
        bodies("--grep ^1[01].2"),
        chosen(&|it| it["body"].as_str().unwrap().starts_with("10.2 ")
            || it["body"].as_str().unwrap().starts_with("11.2 "))
    );
    let middle = &all[all.len() / 2];
    let (offset, at) = (middle["offset"].as_u64().unwrap(), middle["appended_at"].as_str().unwrap());
    assert_eq!(bodies(&format!("--from {offset}")), chosen(&|it| it["offset"].as_u64().unwrap() >= offset));
    assert_eq!(bodies(&format!("--since {at}")), chosen(&|it| it["appended_at"].as_str().unwrap() >= at));
    assert_eq!(bodies(&format!("--until {at}")), chosen(&|it| it["appended_at"].as_str().unwrap() < at));
    let mut last = texts(&all, "body").split_off(all.len() - 20);
    assert_eq!(bodies("--last 20"), last);
    last.reverse();
    assert_eq!(bodies("--last 20 --reverse"), last);
    assert_eq!(bodies("--reverse").len(), all.len());
    assert_eq!(ruin.run("export data messages").objects(), all);
    let hex = ruin.run("messages data --last 1 --body hex --json").objects().remove(0);
    assert!(hex["body_hex"].as_str().unwrap().len() as u64 == 2 * hex["body_bytes"].as_u64().unwrap());
}

#[test]
fn checkpoints_are_chosen_by_group_topic_and_kind() {
    // Some acks come behind the last snapshot of the consumers' log.
    let ruin = Ruin::of(true, |store, clock| {
        fill(store, clock);
        let group = store.group("billing").unwrap();
        for delivery in group.pop("orders", Pop::up_to(5)).unwrap() {
            assert!(group.ack(delivery.receipt()).unwrap().counted());
        }
    });
    let entries = ruin.run("queue data orders 0 --json").objects();
    let messages = ruin.run("messages data --topic orders --queue 0 --json").objects();
    let offsets = |objects: &[Value]| objects.iter().map(|it| it["offset"].clone()).collect::<Vec<_>>();
    assert!(!entries.is_empty() && offsets(&entries) == offsets(&messages));
    assert!(entries.iter().all(|entry| entry["sound"] == true));
    assert_eq!(ruin.run("queue data orders 7").code, 2);

    let all = ruin.run("checkpoints data --json").objects();
    let of = |options: &str| ruin.run(&format!("checkpoints data --json {options}")).objects();
    let acked: Vec<Value> =
        all.iter().filter(|it| it["kind"] == "acked" && it["group"] == "billing").cloned().collect();
    assert!(acked.len() > 3, "{} records", acked.len());
    assert_eq!(of("--kind acked --group billing"), acked);
    assert!(of("--topic mails").iter().all(|it| it["places"][0]["topic"] == "mails"));
    assert_eq!(of("--last 3"), all[all.len() - 3..]);
    assert_eq!(of(&format!("--from {}", all[5]["position"])), all[5..]);
    assert_eq!(ruin.run("export data checkpoints").objects(), all);
}

#[test]
fn segments_form_a_chain_and_name_the_groups_that_need_them() {
    let ruin = Ruin::new(true);
    let rows = ruin.run("segments data --json").objects();
    for log in ["commit", "checkpoint"] {
        let of: Vec<&Value> = rows.iter().filter(|row| row["log"] == log).collect();
        let number = |row: &Value, field: &str| row[field].as_u64().unwrap();
        assert!(of.windows(2).all(|two| number(two[0], "base") + number(two[0], "capacity") == number(two[1], "base")));
        assert!(of.iter().all(|row| number(row, "used") <= number(row, "bytes")));
    }
    let pinned = |group: &str| -> u64 {
        let pins = rows.iter().filter_map(|row| row["pinned"].as_array()).flatten();
        pins.filter(|pin| pin["group"] == group).map(|pin| pin["messages"].as_u64().unwrap()).sum()
    };
    let summary = ruin.run("summary data --json").objects().remove(0);
    for group in summary["groups"].as_array().unwrap() {
        assert_eq!(pinned(group["name"].as_str().unwrap()), group["lag"].as_u64().unwrap(), "{group}");
    }
}

#[test]
fn stats_time_acks_and_warn_near_the_invisible_time() {
    let slow = |millis| {
        Ruin::of(true, move |store, clock| {
            let group = store.create_group("g", GroupOptions::default().invisible_for(SECOND)).unwrap();
            for _ in 0..10 {
                store.append("orders", Message::new("x")).unwrap();
                let delivery = group.pop("orders", Pop::up_to(1)).unwrap().remove(0);
                clock.advance(Duration::from_millis(millis));
                assert!(group.ack(delivery.receipt()).unwrap().counted());
            }
        })
    };
    for (millis, near) in [(100, false), (950, true)] {
        let ruin = slow(millis);
        let rows = ruin.run("stats data --json").objects();
        let group = rows.iter().find(|row| row["acks"] == 10).unwrap();
        assert_eq!(group["pop_to_ack_max_us"], millis * 1000);
        assert_eq!(group["near_invisible_time"], near);
        assert_eq!(ruin.run("stats data").out.contains("WARNING"), near);
        let counted = |name: &str| -> u64 {
            rows.iter().filter(|row| row["histogram"] == name).map(|row| row["count"].as_u64().unwrap()).sum()
        };
        assert_eq!(["sizes", "ages", "attempts", "pop_to_ack", "redeliveries"].map(counted), [10, 10, 10, 10, 0]);
    }
}

#[test]
fn every_field_of_the_json_is_told_in_its_page() {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    names.insert(name.clone());
                    // The names of properties are the users' own.
                    if name != "properties" {
                        collect(value, names);
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
            _ => {}
        }
    }
    let (whole, ruin) = (Ruin::new(true), Ruin::new(true));
    let (path, mut bytes) =
        whole.whole.iter().find(|(path, _)| path.starts_with("commit")).map(|(a, b)| (a, b.clone())).unwrap();
    bytes[300] ^= 1;
    ruin.write(path, &bytes);
    let mut names = BTreeSet::new();
    for verb in [
        "summary data --json",
        "segments data --json",
        "messages data --json",
        "messages data --json --body hex",
        "queue data orders 0 --json",
        "checkpoints data --json",
        "leases data --json",
        "dead-letters data --all --json",
        "why data --key order-1 --json",
        "stats data --json",
        "verify data --json",
        "recover data --dry-run --json",
        "salvage data --to fresh --json",
    ] {
        for of in [&whole, &ruin] {
            of.run(verb).objects().iter().for_each(|object| collect(object, &mut names));
        }
    }
    let page = include_str!("../JSON.md");
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(names.len() > 80 && missing.is_empty(), "not in JSON.md: {missing:?}");
}
