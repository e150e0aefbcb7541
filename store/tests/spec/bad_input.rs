//! Bad input: each a typed error that says what, where and what to do; nothing is half-written.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::{Tap, change, segments};
use crate::scene::{Scene, TOPIC, secs};
use popstore::{Backoff, Durability, Error, GroupOptions, Message, Options, Pop, Receipt, Store};

/// Expects an error of this variant whose text holds these words.
macro_rules! refused {
    ($result:expr, $variant:pat, $($word:expr),+ $(,)?) => {{
        let error = $result.map(|_| ()).expect_err("not refused");
        assert!(matches!(error, $variant), "{error:?}");
        let told = error.to_string();
        $(assert!(told.contains(&*$word), "{told:?} does not tell {:?}", $word);)+
    }};
}

const BAD_NAMES: [&str; 9] = ["", ".", "..", "../x", "a/b", ".hidden", "%DLQ%billing", "a b", "a\0b"];

#[test]
fn wrong_names_of_topics_are_refused_by_name_and_rule() {
    let scene = Scene::new();
    let long = "x".repeat(128);
    for name in BAD_NAMES.into_iter().chain([long.as_str()]) {
        let shown = format!("{name:?}");
        refused!(
            scene.store().append(name, Message::new("a")),
            Error::Invalid { what: "topic", .. },
            shown,
            "1 to 127"
        );
        refused!(scene.store().create_topic(name, 1), Error::Invalid { what: "topic", .. }, shown);
    }
    assert!(scene.store().stats().unwrap().topics.is_empty());
    assert_eq!(scene.store().append(&long[..127], Message::new("a")).unwrap().index, 0);
}

#[test]
fn wrong_names_of_groups_are_refused_by_name_and_rule() {
    let scene = Scene::new();
    for name in BAD_NAMES {
        let made = scene.store().create_group(name, GroupOptions::default());
        refused!(made, Error::Invalid { what: "group", .. }, format!("{name:?}"), "A-Z");
    }
    assert_eq!(scene.store().stats().unwrap().groups.len(), 1);
}

#[test]
fn an_empty_body_is_a_message_like_any_other() {
    let scene = Scene::new();
    scene.append("");
    assert_eq!(scene.pop().body(), b"");
}

#[test]
fn what_is_too_large_is_refused_wholly_and_with_both_sizes() {
    let scene = Scene::with(Options::default().body_bytes_max(100), GroupOptions::default());
    let (body, long) = ("x".repeat(101), "k".repeat(1025));
    let store = scene.store();
    refused!(store.append(TOPIC, Message::new(&body)), Error::TooLarge { .. }, "body", "101", "100");
    refused!(store.append(TOPIC, Message::new("a").key(&long)), Error::TooLarge { .. }, "key", "1025", "1024");
    refused!(store.append(TOPIC, Message::new("a").tag(&long)), Error::TooLarge { .. }, "tag", "1025");
    let heavy = Message::new("a").property("p", &"v".repeat(1 << 16));
    refused!(store.append(TOPIC, heavy), Error::TooLarge { .. }, "properties", "65536");
    let batch = vec![Message::new("fits"), Message::new(&body)];
    refused!(store.append_batch(TOPIC, &batch), Error::TooLarge { .. }, "101");
    assert!(store.stats().unwrap().topics.is_empty());
}

#[test]
fn a_batch_that_no_segment_can_hold_is_refused() {
    let scene = Scene::new();
    let body = [b'x'; 500];
    let batch = vec![Message::new(&body); 9];
    refused!(scene.store().append_batch(TOPIC, &batch), Error::TooLarge { .. }, "batch", "3828");
    assert!(scene.store().stats().unwrap().topics.is_empty(), "a topic was made for it");
    assert_eq!(scene.append("the next"), 0);
}

#[test]
fn an_append_that_is_refused_makes_no_topic() {
    let scene = Scene::with(Options::default().queues(2).body_bytes_max(100), GroupOptions::default());
    let (store, long) = (scene.store(), "x".repeat(101));
    let to_queue = |queue| Message::new("a").queue(queue);
    refused!(store.append("typo", to_queue(2)), Error::Invalid { what: "queue", .. }, "\"2\"", "the topic has 2");
    let batch = [to_queue(0), to_queue(u32::MAX)];
    refused!(store.append_batch("typo", &batch), Error::Invalid { what: "queue", .. }, "4294967295");
    refused!(store.append("typo", Message::new(&long).queue(1)), Error::TooLarge { .. }, "101");
    refused!(store.append_batch("typo", &[]), Error::Invalid { what: "batch", .. }, "the batch is not valid: it must");
    assert!(store.stats().unwrap().topics.is_empty(), "a refused append made a topic");
    assert_eq!(store.append("typo", to_queue(1)).unwrap().queue, 1);
}

#[test]
fn the_default_limit_of_a_body_is_4_mib() {
    let scene = Scene::sized(Options::default().segment_bytes(8 << 20), GroupOptions::default());
    let body = vec![7; (4 << 20) + 1];
    assert!(scene.store().append(TOPIC, Message::new(&body[1..])).is_ok());
    assert_eq!(scene.pop().body().len(), 4 << 20);
    refused!(scene.store().append(TOPIC, Message::new(&body)), Error::TooLarge { .. }, "4194305", "4194304");
}

#[test]
fn zero_and_too_many_are_refused() {
    let scene = Scene::new();
    scene.append("a");
    for messages in [0, 4097, u32::MAX] {
        let popped = scene.group().pop(TOPIC, Pop::up_to(messages));
        refused!(popped, Error::Invalid { .. }, "number of messages", messages.to_string(), "1 to 4096");
    }
    refused!(scene.store().append_batch(TOPIC, &[]), Error::Invalid { what: "batch", .. }, "at least one");
    refused!(scene.group().ack_batch(&[]), Error::Invalid { what: "batch", .. }, "at least one");
    for queues in [0, 1025] {
        refused!(scene.store().create_topic("t", queues), Error::Invalid { .. }, queues.to_string(), "1 to 1024");
    }
}

#[test]
fn unknown_topics_groups_and_queues_are_named() {
    let scene = Scene::new();
    scene.append("a");
    refused!(scene.store().group("nobody"), Error::Unknown { what: "group", .. }, "nobody");
    refused!(scene.store().delete_group("nobody"), Error::Unknown { what: "group", .. }, "nobody");
    refused!(scene.group().pop("nothing", Pop::up_to(1)), Error::Unknown { what: "topic", .. }, "nothing");
    refused!(scene.store().message("nothing", 0, 0), Error::Unknown { what: "topic", .. }, "nothing");
    refused!(scene.group().pop(TOPIC, Pop::up_to(1).queue(7)), Error::Invalid { what: "queue", .. }, "\"7\"");
    refused!(scene.store().append(TOPIC, Message::new("b").queue(7)), Error::Invalid { what: "queue", .. }, "\"7\"");
    assert!(scene.store().message(TOPIC, 0, 99).unwrap().is_none());
}

#[test]
fn skip_gives_up_nothing_but_what_is_damaged() {
    let scene = Scene::new();
    scene.append_many("m", 2);
    let held = scene.pop();
    for index in [0, 1, 2, u64::MAX] {
        assert!(!scene.group().skip(TOPIC, 0, index).unwrap(), "message {index} was given up");
    }
    refused!(scene.group().skip(TOPIC, 3, 0), Error::Invalid { what: "queue", .. }, "\"3\"");
    assert_eq!((scene.pop().body(), scene.ack(held.receipt()).counted()), (&b"m1"[..], true));
    scene.append("m2");
    assert_eq!(scene.pop().body(), b"m2");
}

#[test]
fn damaged_receipts_are_refused_as_text_and_as_bytes() {
    for text in ["", "00", "zz", "not a receipt", &"0".repeat(96), &"\u{e4}".repeat(48)] {
        refused!(text.parse::<Receipt>(), Error::Invalid { what: "receipt", .. }, "as the delivery gave it");
    }
    refused!(Receipt::from_bytes(&[0; 48]), Error::Invalid { what: "receipt", .. }, "whole");
    refused!(Receipt::from_bytes(&[0; 500]), Error::Invalid { what: "receipt", .. }, "whole");
}

#[test]
fn a_receipt_is_refused_by_another_store_and_says_why() {
    let (scene, other) = (Scene::new(), Scene::new());
    scene.append("a");
    let receipt = scene.pop().receipt();
    refused!(other.group().ack(receipt), Error::Invalid { .. }, receipt.to_string(), "this store");
    let shipping = scene.store().create_group("shipping", GroupOptions::default()).unwrap();
    refused!(shipping.ack_batch(&[receipt]), Error::Invalid { .. }, receipt.to_string(), "this group");
}

#[test]
fn times_out_of_range_are_refused() {
    let scene = Scene::new();
    scene.append("a");
    let receipt = scene.pop().receipt();
    let week = secs(7 * 86_400);
    for lease in [Duration::ZERO, week + secs(1)] {
        let shown = format!("{lease:?}");
        refused!(scene.group().extend(receipt, lease), Error::Invalid { .. }, shown, "1 ms to 7 days");
        let group = scene.store().create_group("g", GroupOptions::default().invisible_for(lease));
        refused!(group, Error::Invalid { .. }, shown, "1 ms to 7 days");
    }
    refused!(scene.group().nack(receipt, 60 * week), Error::Invalid { what: "delay", .. }, "366 days");
    for rungs in [0, 257] {
        let ladder = GroupOptions::default().backoff(Backoff::Ladder(vec![secs(1); rungs]));
        refused!(scene.store().create_group("g", ladder), Error::Invalid { .. }, rungs.to_string(), "1 to 256");
    }
}

#[test]
fn options_out_of_range_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let options = Store::options;
    refused!(options().segment_bytes(100).open(&new), Error::Invalid { what: "segment_bytes", .. }, "100", "4096");
    refused!(options().checkpoint_segment_bytes(1 << 40).open(&new), Error::Invalid { .. }, "1 GiB");
    refused!(options().queues(0).open(&new), Error::Invalid { what: "queues", .. }, "it must be 1 to 1024");
    for (mode, shown) in [(0o777, "\"0o777\""), (0o400, "\"0o400\""), (0, "\"0o0\"")] {
        let opened = options().file_mode(mode).open(&new);
        refused!(
            opened,
            Error::Invalid { what: "file_mode", .. },
            shown,
            "it must be 0o600, with reading or writing for others"
        );
    }
    refused!(options().durability(Durability::SyncEvery(secs(0))).open(&new), Error::Invalid { .. }, "SyncEach");
    assert!(!new.exists());
}

#[test]
fn a_second_opening_names_the_lock() {
    let scene = Scene::new();
    refused!(scene.options.clone().open(&scene.path), Error::Locked { .. }, "lock", "one owner");
}

#[test]
fn a_directory_that_is_not_a_store_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    refused!(Store::open(dir.path()), Error::Format { .. }, "notes.txt", dir.path().to_str().unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    refused!(Store::open(dir.path().join("notes.txt")), Error::Io { .. }, "notes.txt");
}

/// Folders of the names that a store has may be somebody else's, too.
#[test]
fn a_directory_with_a_stores_folders_is_refused_and_unchanged() {
    for path in ["commit/notes.txt", "commit/notes.tmp", "checkpoint/spare-parts", "store.tmp"] {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join(path);
        std::fs::create_dir_all(notes.parent().unwrap()).unwrap();
        std::fs::write(&notes, [b'm'; 40]).unwrap();
        refused!(Store::open(dir.path()), Error::Format { .. }, notes.file_name().unwrap().to_str().unwrap());
        assert_eq!(std::fs::read(&notes).unwrap(), [b'm'; 40]);
        let plan = popstore::inspect::RecoveryPlan::read(dir.path()).unwrap();
        assert!(plan.refused.is_some(), "{plan:?}");
    }
}

#[test]
fn a_store_without_its_identity_is_refused_if_it_has_records() {
    let mut scene = Scene::new();
    scene.append("a");
    scene.close();
    std::fs::remove_file(scene.path.join("store")).unwrap();
    refused!(Err::<(), _>(scene.refusal()), Error::Format { .. }, "store", "missing", "records");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let mut scene = Scene::new();
    scene.append("a");
    scene.close();
    change(&segments(&scene.path, "commit")[0], |bytes| {
        bytes[8] = 9;
        let checksum = crc32fast::hash(&bytes[..56]);
        bytes[56..60].copy_from_slice(&checksum.to_le_bytes());
    });
    refused!(Err::<(), _>(scene.refusal()), Error::Format { .. }, "version 9", "commit");
    change(&scene.path.join("store"), |bytes| bytes[8] = 7);
    refused!(Err::<(), _>(scene.refusal()), Error::Format { .. }, "version 7", "store");
}

#[test]
fn a_full_disk_or_read_only_directory_is_named_at_open() {
    for (kind, full) in [(std::io::ErrorKind::StorageFull, true), (std::io::ErrorKind::PermissionDenied, false)] {
        let (dir, tap) = (tempfile::tempdir().unwrap(), Arc::new(Tap::default()));
        tap.fail(move |_, _| Err(kind.into()));
        let error = Store::options().hook(tap.clone()).open(dir.path()).unwrap_err();
        assert!(if full { matches!(error, Error::Full { .. }) } else { matches!(error, Error::Io { .. }) });
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        tap.heal();
        Store::options().hook(tap).open(dir.path()).unwrap();
    }
}

#[test]
fn after_close_every_call_says_so() {
    let mut scene = Scene::new();
    scene.append("a");
    let (store, group) = (scene.store().clone(), scene.group());
    let receipt = scene.pop().receipt();
    scene.close();
    refused!(store.append(TOPIC, Message::new("b")), Error::Closed, "closed");
    refused!(group.pop(TOPIC, Pop::up_to(1)), Error::Closed, "closed");
    refused!(group.ack(receipt), Error::Closed, "closed");
    refused!(store.sync(), Error::Closed, "closed");
    refused!(store.stats(), Error::Closed, "closed");
    refused!(store.message(TOPIC, 0, 0), Error::Closed, "closed");
    refused!(store.close(), Error::Closed, "closed");
}
