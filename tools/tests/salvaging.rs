//! What opening would do, told before it is done, and what is saved of a store that cannot be opened.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/bytes.rs"]
mod bytes;
mod ruin;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use popstore::inspect::{Snapshot, StoreLog};
use popstore::{Error, Pop, Store};
use ruin::Ruin;
use serde_json::Value;

/// Body by place of everything that can be read.
fn messages(dir: &Path) -> BTreeMap<(String, u32, u64), Vec<u8>> {
    let snapshot = Snapshot::open(dir).unwrap();
    let topics = snapshot.topics();
    let of = |name: &str| snapshot.messages(name).map(Result::unwrap).collect::<Vec<_>>();
    let all = topics.iter().flat_map(|topic| of(&topic.name));
    all.map(|it| ((it.topic.to_string(), it.queue, it.index), it.body)).collect()
}

/// Group, body, attempt, state and end of everything held, whatever its place is.
fn held(dir: &Path) -> Vec<(String, Vec<u8>, u32, String, std::time::SystemTime)> {
    let snapshot = Snapshot::open(dir).unwrap();
    let mut lookup = snapshot.lookup();
    let leases = snapshot.leases().filter_map(|it| {
        let message = lookup.message(&it.topic, it.queue, it.index).unwrap()?;
        Some((it.group.to_string(), message.body, it.attempt, format!("{:?}", it.state), it.due_at))
    });
    let mut held: Vec<_> = leases.collect();
    held.sort();
    held
}

fn salvage(ruin: &Ruin) -> (u8, Value) {
    let to = ruin.beside("saved");
    let _ = std::fs::remove_dir_all(&to);
    let seen = ruin.run(&format!("salvage data --to {} --json", to.display()));
    (seen.code, seen.objects().pop().unwrap())
}

#[test]
fn a_sound_store_is_salvaged_whole() {
    for closed in [true, false] {
        let ruin = Ruin::new(closed);
        let (code, sum) = salvage(&ruin);
        let saved = ruin.beside("saved");
        assert_eq!((code, &sum["lost"], &sum["moved"]), (0, &0.into(), &Value::Array(Vec::new())));
        assert_eq!(messages(&saved), messages(&ruin.dir()));
        assert_eq!(held(&saved), held(&ruin.dir()));
        assert!(!held(&saved).is_empty());
        let groups = |dir: &Path| {
            Snapshot::open(dir)
                .unwrap()
                .groups()
                .into_iter()
                .map(|mut group| {
                    group.oldest_lease_for = None;
                    group
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(groups(&saved), groups(&ruin.dir()));
        let origins = |dir: &Path| -> Vec<_> {
            let snapshot = Snapshot::open(dir).unwrap();
            let letters = snapshot.messages("%DLQ%billing").chain(snapshot.messages("%DLQ%audit"));
            let letters = letters.map(Result::unwrap);
            letters.map(|it| (snapshot.is_redriven(&it.topic, it.index), it.topic, it.origin, it.appended_at)).collect()
        };
        assert_eq!(origins(&saved), origins(&ruin.dir()));
        assert!(origins(&saved).iter().any(|(redriven, ..)| *redriven));
    }
}

#[test]
fn around_a_lost_message_everything_else_is_saved() {
    let ruin = Ruin::new(true);
    let (whole, before) = (messages(&ruin.dir()), held(&ruin.dir()));
    let lost = b"5.2 ";
    let (path, bytes) = ruin.whole.iter().find(|(_, bytes)| bytes.windows(4).any(|four| four == lost)).unwrap();
    let at = bytes.windows(4).position(|four| four == lost).unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    ruin.write(path, &damaged);
    let (code, sum) = salvage(&ruin);
    assert_eq!((code, &sum["lost"]), (1, &1.into()), "{sum}");
    let shown = ruin.run(&format!("salvage data --to {}", ruin.beside("again").display())).out;
    let lost_line = shown.lines().find_map(|line| line.strip_prefix("lost: ")).unwrap();
    assert!(!lost_line.contains(" to "), "one message is a range: {lost_line}");
    let saved = ruin.beside("saved");
    let is_lost = |body: &[u8]| body.starts_with(lost);
    let bodies = |all: BTreeMap<_, Vec<u8>>| all.into_values().filter(|body| !is_lost(body)).collect::<Vec<_>>();
    assert_eq!(bodies(messages(&saved)), bodies(whole));
    assert_eq!(held(&saved), before.into_iter().filter(|it| !is_lost(&it.1)).collect::<Vec<_>>());
    // The lost message is no stone in the way of a group.
    let store = Store::open(&saved).unwrap();
    let group = store.group("audit").unwrap();
    let mut left = group.stats().unwrap().lag;
    while left > 0 {
        for delivery in group.pop_wait("orders", Pop::up_to(32), Duration::from_secs(5)).unwrap() {
            assert!(group.ack(delivery.receipt()).unwrap().counted());
        }
        left = group.stats().unwrap().lag;
    }
    store.close().unwrap();
    assert_eq!(ruin.run("verify data").code, 1);
}

#[test]
fn a_store_without_its_checkpoint_log_keeps_its_messages() {
    let ruin = Ruin::new(true);
    let whole = messages(&ruin.dir());
    std::fs::remove_dir_all(ruin.dir().join("checkpoint")).unwrap();
    let (code, sum) = salvage(&ruin);
    assert_eq!((code, &sum["groups"]), (1, &0.into()));
    assert_eq!(messages(&ruin.beside("saved")), whole);
}

#[test]
fn a_target_that_is_not_empty_or_lies_in_the_store_is_refused() {
    let ruin = Ruin::new(true);
    let inside = ruin.dir().join("saved");
    for to in [ruin.dir(), inside] {
        assert_eq!(ruin.run(&format!("salvage data --to {}", to.display())).code, 2, "{to:?}");
    }
}

#[test]
fn no_detour_leads_a_salvage_into_the_store_itself() {
    let ruin = Ruin::new(true);
    let refused = |to: &Path| {
        assert_eq!(ruin.run(&format!("salvage data --to {}", to.display())).code, 2, "{to:?}");
        assert!(!ruin.beside("missing").exists());
    };
    for detour in ["missing/../data/in", "missing/../data", "missing/deep/../../data/queues/in", "missing/.."] {
        refused(&ruin.beside(detour));
    }
    #[cfg(unix)]
    {
        let link = |name: &str, to: &str| std::os::unix::fs::symlink(ruin.dir().join(to), ruin.beside(name)).unwrap();
        std::fs::create_dir(ruin.dir().join("empty")).unwrap();
        for (name, leads) in [("a", "empty"), ("b", ""), ("c.unfinished", "empty")] {
            link(name, leads);
        }
        ["a", "a/in", "b/in", "c"].into_iter().for_each(|name| refused(&ruin.beside(name)));
    }
}

#[test]
fn recover_tells_what_the_open_that_follows_does() {
    let ruin = Ruin::new(false);
    // A write under way when the power failed: half a frame.
    let snapshot = Snapshot::open(ruin.dir()).unwrap();
    let end = snapshot.commit_extent().1;
    let base = snapshot.segment_bases(StoreLog::Commit).into_iter().rfind(|base| *base < end).unwrap();
    let log = &PathBuf::from(format!("commit/{base:020}"));
    let mut bytes = ruin.whole[log].clone();
    let at = (end - base) as usize;
    bytes.resize(bytes.len().max(at + 30), 0);
    bytes[at..at + 30].fill(0xab);
    ruin.write(log, &bytes);
    std::fs::remove_dir_all(ruin.dir().join("queues").join("mails")).unwrap();
    let steps = ruin.run("recover data --dry-run --json").objects();
    let (sum, steps) = steps.split_last().unwrap();
    assert_eq!((&sum["generation"], &sum["clean"], &sum["refused"]), (&2.into(), &false.into(), &Value::Null));
    let count = |action: &str| -> u64 {
        let of = steps.iter().filter(|step| step["action"] == action);
        of.map(|step| step["count"].as_u64().unwrap()).sum()
    };
    let store = Store::options().segment_bytes(4096).checkpoint_segment_bytes(4096).open(ruin.dir()).unwrap();
    let recovery = store.recovery().clone();
    assert_eq!((count("cut"), count("void")), (recovery.tail_bytes_cut, recovery.records_voided));
    assert!(recovery.tail_bytes_cut >= 30);
    let rebuilt = steps.iter().filter(|step| step["action"] == "rebuild").count() as u64;
    assert!(rebuilt > 0 && rebuilt == recovery.queues_rebuilt, "{steps:?}");
    assert_eq!(count("complete"), recovery.dead_letters_completed);
    // What is due happens right behind the open, before anyone can ask.
    let done = store.group("billing").unwrap().stats().unwrap();
    assert!(count("redeliver") + count("dead_letter") > 0 && done.in_flight == 0, "{steps:?}");
}

#[test]
fn recover_tells_what_would_be_refused_and_why() {
    let ruin = Ruin::new(true);
    let (path, bytes) = ruin.whole.iter().find(|(path, _)| path.starts_with("checkpoint")).unwrap();
    let mut damaged = bytes.clone();
    damaged[70] ^= 1;
    ruin.write(path, &damaged);
    let seen = ruin.run("recover data --dry-run --json");
    let sum = seen.objects().pop().unwrap();
    let Err(Error::Corrupt { offset, .. }) = Store::open(ruin.dir()) else { panic!("it is damaged") };
    assert_eq!((seen.code, offset), (1, 64));
    assert!(sum["refused"].as_str().unwrap().contains("at byte 64"), "{sum}");
    ruin.restore();
}

/// After an orderly close, too, room is reused and a record written once more: no reason for alarm.
#[test]
fn recover_says_that_a_closed_store_loses_nothing() {
    let ruin = Ruin::new(true);
    let plan = ruin.run("recover data --dry-run");
    assert!(plan.out.contains("it was closed in order") && plan.out.contains("rewrite "), "{}", plan.out);
    assert!(plan.out.ends_with("nothing is lost or cut\n"), "{}", plan.out);
    let plan = Ruin::new(false).run("recover data --dry-run");
    assert!(plan.out.contains("it was not closed in order") && !plan.out.contains("nothing"), "{}", plan.out);
}

#[test]
fn an_interrupted_salvage_leaves_no_store_of_that_name() {
    let ruin = Ruin::new(true);
    let (to, unfinished) = (ruin.beside("saved"), ruin.beside("saved.unfinished"));
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("store"), "half").unwrap();
    assert_eq!(ruin.run(&format!("salvage data --to {}", to.display())).code, 2);
    assert!(!to.exists());
    std::fs::remove_dir_all(&unfinished).unwrap();
    assert_eq!(salvage(&ruin).0, 0);
    assert!(to.exists() && !unfinished.exists());
}

#[test]
fn damage_to_what_consumers_did_is_listed_by_salvage() {
    let ruin = Ruin::new(true);
    let (path, bytes) = ruin.whole.iter().find(|(path, _)| path.starts_with("checkpoint")).unwrap();
    let mut damaged = bytes.clone();
    damaged[900] ^= 1;
    ruin.write(path, &damaged);
    let seen = ruin.run("salvage data --to fresh --json");
    let fault = &seen.objects()[0];
    assert_eq!(seen.code, 1);
    assert!(fault["path"].as_str().unwrap().ends_with(path.to_str().unwrap()), "{fault}");
}

#[test]
fn what_is_saved_has_segments_as_long_as_those_it_came_from() {
    let ruin = Ruin::new(true);
    assert_eq!(salvage(&ruin).0, 0);
    for log in [StoreLog::Commit, StoreLog::Checkpoint] {
        let lengths = |dir: &Path| -> std::collections::BTreeSet<u64> {
            let segments = Snapshot::open(dir).unwrap().segments(log).unwrap();
            segments.into_iter().map(|segment| segment.capacity).collect()
        };
        assert_eq!(lengths(&ruin.beside("saved")), lengths(&ruin.dir()), "{log:?}");
    }
}

#[test]
fn a_message_that_fills_its_segment_is_saved() {
    let fits = |body: &usize| {
        let home = tempfile::tempdir().unwrap();
        let store = Store::options().segment_bytes(4096).open(home.path()).unwrap();
        store.append("orders", popstore::Message::new(&vec![b'x'; *body])).is_ok()
    };
    let body = (3000..4096).rev().find(fits).unwrap();
    let ruin = Ruin::of(true, |store, _| {
        store.append("orders", popstore::Message::new(&vec![b'x'; body])).unwrap();
    });
    assert_eq!(salvage(&ruin).0, 0);
    assert_eq!(messages(&ruin.beside("saved")), messages(&ruin.dir()));
}
