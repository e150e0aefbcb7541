//! Records with right checksums that say what cannot be: each reader refuses or names them, and what is called sound
//! opens and is delivered.

use crate::disk::{Dice, HEADER, MESSAGE, base, change, frames_of, segments};
use crate::forge::{
    Judged, Raw, Record, T, V, advance, end_of, forge, found, group, mark, mark_topic, message, message_with, options,
    popped, record, topic, write,
};
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::inspect::Snapshot;
use popstore::{Error, GroupOptions, Message, Options, Pop, Retention, fuzzing};
use std::os::unix::fs::MetadataExt;

/// How many stores are made of lies by chance.
const CASES: u32 = 150;

/// Two messages of a topic.
fn orders() -> Vec<Record> {
    vec![topic(0, 1, "orders"), message(0, 0, 0), message(0, 0, 1)]
}

/// Opening must refuse the store with these words, and verify name it.
fn refused(commit: &[Record], checkpoint: &[Record], words: &str) -> Judged {
    let judged = forge(commit, checkpoint).judge();
    let told = judged.refused.clone().unwrap_or_else(|| panic!("{words}: opened"));
    assert!(told.contains(words), "{told}");
    judged
}

/// The same for a mark of the two messages that is told by these records.
fn mark_refused(parts: &[Record], words: &str) {
    let commit = orders();
    let told = [parts, &[mark(end_of(&commit), 1)]].concat();
    refused(&commit, &told, words);
}

#[test]
fn what_is_written_by_hand_and_true_is_sound_and_delivered() {
    let commit = orders();
    let marked = [mark_topic(0, "orders", 0, &[(0, 2)]), mark(end_of(&commit), 1)];
    for checkpoint in [&[][..], &[group(0, "billing"), popped(1, 0, 0)], &marked] {
        let judged = forge(&commit, checkpoint).judge();
        assert!(judged.refused.is_none() && judged.faults.is_empty(), "{judged:?}");
        assert_eq!((judged.popped.len(), judged.salvaged.len()), (2, 2));
    }
}

#[test]
fn a_marked_topic_without_queues_is_refused() {
    mark_refused(&[mark_topic(0, "orders", 0, &[])], "without a queue");
}

#[test]
fn a_marked_queue_of_more_messages_than_there_can_be_is_refused() {
    for extent in [(u64::MAX, u64::MAX), (0, u64::MAX), (1 << 40, 1 << 40), (0, 1 << 30)] {
        mark_refused(&[mark_topic(0, "orders", 0, &[extent])], "no more messages than");
    }
}

#[test]
fn a_marked_queue_that_ends_before_it_begins_is_refused() {
    for extent in [(1, 0), (u64::MAX, 2), (3, 2)] {
        mark_refused(&[mark_topic(0, "orders", 0, &[extent])], "extent has an impossible value");
    }
}

#[test]
fn a_topic_of_more_queues_than_there_can_be_is_refused() {
    refused(&[topic(0, 1025, "orders")], &[], "number of queues");
    refused(&[topic(0, 0, "orders")], &[], "number of queues");
    mark_refused(&[mark_topic(0, "orders", 0, &[(0, 0); 1025])], "number of queues");
    let parts = [mark_topic(0, "orders", 0, &[(0, 0); 600]), mark_topic(0, "orders", 601, &[(0, 0); 425])];
    mark_refused(&parts, "number of queues");
}

#[test]
fn a_queue_beyond_those_that_a_topic_can_have_is_refused() {
    refused(&[topic(0, 1024, "orders"), message(0, 1024, 0)], &[], "field queue");
    refused(&orders(), &[group(0, "billing"), popped(1, 1024, 0)], "field queue");
}

#[test]
fn a_mark_that_leaves_messages_out_is_not_sound() {
    let commit = orders();
    for extent in [(0, 1), (1, 2), (0, 0)] {
        let marked = [mark_topic(0, "orders", 0, &[extent]), mark(end_of(&commit), 1)];
        assert!(!forge(&commit, &marked).judge().faults.is_empty(), "{extent:?}");
    }
    let none = [mark(end_of(&commit), 0)];
    assert!(!forge(&commit, &none).judge().faults.is_empty());
}

#[test]
fn a_mark_in_the_middle_of_a_record_is_not_sound() {
    let commit = orders();
    let marked = [mark_topic(0, "orders", 0, &[(0, 1)]), mark(end_of(&commit[..2]) + 7, 1)];
    assert!(!forge(&commit, &marked).judge().faults.is_empty());
}

#[test]
fn a_mark_or_a_beginning_behind_the_log_is_refused() {
    let commit = orders();
    let marked = |at| [mark_topic(0, "orders", 0, &[(0, 2)]), mark(at, 1)];
    for at in [end_of(&commit) + 1, 1 << 20, 1 << 62, u64::MAX] {
        assert!(forge(&commit, &marked(at)).judge().refused.is_some(), "{at}");
        let closed = [record(25, &[V(at)])];
        assert!(forge(&commit, &closed).judge().refused.is_some(), "{at}");
        let begun = [&marked(end_of(&commit))[..], &[record(26, &[V(at)])]].concat();
        refused(&commit, &begun, "a commit log that begins at");
    }
    let begun = [&marked(end_of(&commit))[..], &[record(26, &[V(100)])]].concat();
    refused(&commit, &begun, "a segment");
}

#[test]
fn a_copy_that_lies_outside_of_the_log_is_refused() {
    let entry = |offset: u64, size: u32| [&offset.to_le_bytes()[..], &size.to_le_bytes(), &[0; 4]].concat();
    for (offset, size, words) in [
        (0, 40, "field entry"),
        (64, 20, "field entry"),
        (64, u32::MAX, "the place of a copy"),
        (1 << 40, 40, "the place of a copy"),
        (u64::MAX, 40, "the place of a copy"),
    ] {
        let copy = entry(offset, size);
        let told = record(22, &[V(0), T("orders"), V(0), V(1), V(1), V(2), V(1), V(0), Raw(&copy)]);
        mark_refused(&[told], words);
    }
    for index in [2, 1 << 40] {
        let copied = [orders(), vec![message_with(0, 0, index, 16, "")]].concat();
        refused(&copied, &[], "a copy of message");
    }
    refused(&[orders(), vec![message_with(0, 0, u64::MAX, 16, "")]].concat(), &[], "field index");
}

#[test]
fn the_largest_number_of_a_topic_or_group_is_given_to_none() {
    refused(&[topic(u64::from(u32::MAX), 1, "orders")], &[], "field topic");
    refused(&orders(), &[group(u64::from(u32::MAX), "billing")], "field group");
    let next = [record(20, &[V(u64::from(u32::MAX)), V(u64::from(u32::MAX))])];
    let forged = forge(&orders(), &next);
    let store = options(&forged).open(forged.dir()).unwrap();
    for name in ["one", "two"] {
        let made = store.append(name, Message::new("a")).unwrap_err();
        assert!(matches!(made, Error::Invalid { what: "topic", .. }), "{made:?}");
        let made = store.create_group(name, Default::default()).unwrap_err();
        assert!(matches!(made, Error::Invalid { what: "group", .. }), "{made:?}");
    }
    assert_eq!(store.append("orders", Message::new("b")).unwrap().index, 2);
}

#[test]
fn a_group_of_an_impossible_name_is_refused_and_not_copied() {
    let long = "x".repeat(128);
    for name in ["", "..", "a/b", "\u{1b}[2J", "%DLQ%billing", &long] {
        refused(&orders(), &[group(0, name)], "field group name");
    }
}

#[test]
fn two_groups_of_one_name_and_one_of_two_are_refused() {
    refused(&orders(), &[group(0, "billing"), group(1, "billing")], "two groups have the name");
    refused(&orders(), &[group(0, "billing"), group(0, "audit")], "a group has two names");
    let again = [group(0, "billing"), record(3, &[V(0)]), group(1, "billing"), group(1, "billing")];
    assert!(forge(&orders(), &again).judge().refused.is_none());
}

#[test]
fn two_topics_of_one_name_are_refused_and_both_are_saved() {
    let commit = [orders(), vec![topic(1, 1, "orders"), message(1, 0, 0)]].concat();
    let judged = refused(&commit, &[], "two topics have the name");
    assert_eq!(judged.salvaged.len(), 3, "{judged:?}");
    let two = [mark_topic(0, "orders", 0, &[(0, 2)]), mark_topic(1, "orders", 0, &[(0, 1)]), mark(end_of(&commit), 2)];
    let judged = refused(&commit, &two, "two topics have the name");
    assert_eq!(judged.salvaged.len(), 3, "{judged:?}");
}

#[test]
fn what_is_saved_without_a_name_takes_no_name_of_another() {
    let commit = [orders(), vec![topic(1, 1, "salvaged-7"), message(1, 0, 0), message(7, 0, 0)]].concat();
    let judged = refused(&commit, &[], "a queue of a topic with an earlier record");
    assert_eq!(judged.salvaged.len(), 4, "{judged:?}");
}

#[test]
fn two_messages_of_one_place_are_named_by_salvage() {
    let twice = [orders(), vec![message(0, 0, 1)]].concat();
    refused(&twice, &[], "not at the end of its queue");
    let marked = [mark_topic(0, "orders", 0, &[(0, 2)]), mark(end_of(&twice), 1)];
    assert!(!forge(&twice, &marked).judge().faults.is_empty());
}

#[test]
fn numbers_that_no_delivery_has_are_refused() {
    for delivery in [0, u64::from(u32::MAX), 1 << 40] {
        refused(&orders(), &[group(0, "billing"), popped(delivery, 0, 0)], "field delivery");
    }
    for (delivery, uncounted) in [(0, 0), (1, 1), (3, 4), (u64::from(u32::MAX), 0)] {
        let settling = [V(1), V(0), V(0), V(0), V(0), V(delivery), V(uncounted), V(0), V(0), T(""), T(""), T("")];
        let letter = record(2, &[&[V(0), V(0), V(0), V(0), V(2), V(8)][..], &settling].concat());
        refused(&[orders(), vec![letter]].concat(), &[], "field delivery");
    }
}

#[test]
fn the_last_delivery_is_not_followed_by_another() {
    let last = u64::from(u32::MAX - 1);
    let without_limit = record(2, &[&[V(0), T("billing"), V(1000), V(0), V(0), V(0)][..], &[V(0); 7]].concat());
    let forged = forge(&orders(), &[without_limit, popped(last, 0, 0)]);
    advance(&forged, secs(31));
    let store = options(&forged).open(forged.dir()).unwrap();
    store.run_pending();
    let billing = store.group("billing").unwrap();
    assert_eq!(billing.dead_letters().unwrap().count(), 1, "it was put back for a delivery that has no number");
    store.close().unwrap();
    assert!(options(&forged).open(forged.dir()).is_ok());
}

#[test]
fn times_and_places_at_the_end_of_the_numbers_are_survived() {
    let (end, one) = (V(u64::MAX), [V(1), V(1 << 2 | 1), V(0), V(0)]);
    let place = |index| [&one[..], &[V(index)]].concat();
    let with = |front: &[_], index| [front, &place(index)].concat();
    let pops = [
        record(5, &with(&[V(0), V(1), end, end], 0)),
        record(5, &with(&[V(0), V(1), V(0), end], u64::MAX - 1)),
        record(4, &[V(0), V(0), V(0), end]),
        record(12, &[V(0), V(0), end]),
        record(12, &[V(9), V(9), V(0)]),
        record(5, &[V(0), V(1), V(0), V(1), V(1), V(1 << 2), V(0), V(0), V(u64::MAX / 64), Raw(&[255; 8])]),
        record(8, &with(&[V(0), end, end], 0)),
        record(9, &with(&[V(0), end, end], 0)),
        record(7, &with(&[V(0), V(1), end, end], 0)),
        record(11, &[V(1), V(1), V(0), V(0), V(u64::MAX - 1)]),
    ];
    for pop in pops {
        let judged = forge(&orders(), &[group(0, "billing"), pop]).judge();
        assert!(judged.refused.is_none(), "{judged:?}");
    }
    refused(&orders(), &[group(0, "billing"), popped(1, 0, u64::MAX)], "field index");
}

#[test]
fn settings_that_no_group_can_have_are_refused() {
    let group = |lease, rest: &[_]| record(2, &[&[V(0), T("g"), V(lease), V(1), V(0)], rest, &[V(0); 7]].concat());
    for lease in [0, 999, 604_800_000_001, u64::MAX] {
        refused(&orders(), &[group(lease, &[V(0)])], "field invisible time");
    }
    refused(&orders(), &[group(1000, &[V(3), V(0)])], "field backoff ladder");
    refused(&orders(), &[group(1000, &[&[V(3), V(257)][..], &[V(1); 257]].concat())], "field backoff ladder");
}

#[test]
fn an_image_of_what_a_group_cannot_hold_is_refused() {
    let image_of = |position, from, end, block, mask: u64, (delivery, uncounted), state| {
        let front = [V(0), V(0), V(0), V(position), V(from), V(end), V(1), V(block)];
        let mask = mask.to_le_bytes();
        let rest = [Raw(&mask), V(state), V(1), V(1), V(1), V(delivery), V(uncounted), V(1), V(0)];
        let begun: &[_] = if end == 0 { &[V(0)] } else { &[] };
        [group(0, "billing"), record(13, &[&front[..], &rest, begun].concat())]
    };
    let image = |position, from, end, block, mask, delivery, state| {
        image_of(position, from, end, block, mask, (delivery, 0), state)
    };
    assert!(forge(&orders(), &image(2, 0, 0, 0, 0b11, 1, 1)).judge().refused.is_none());
    refused(&orders(), &image(2, 0, 0, 0, 0, 1, 1), "field mask");
    refused(&orders(), &image(1, 0, 0, 0, 0b11, 1, 1), "field mask");
    refused(&orders(), &image(u64::MAX, 0, 1, 1, 1, 1, 1), "field block");
    refused(&orders(), &image(u64::MAX, 5, 5, 0, 1, 1, 1), "field block");
    refused(&orders(), &image(2, 0, 0, 0, 1, 0, 1), "field delivery");
    refused(&orders(), &image(2, 0, 0, 0, 1, u64::from(u32::MAX - 1), 4), "field delivery");
    // The delivery of a lease counts until it is given back.
    assert!(forge(&orders(), &image_of(2, 0, 0, 0, 1, (3, 3), 4)).judge().refused.is_none());
    for (uncounted, state) in [(3, 1), (4, 1), (3, 2), (4, 4)] {
        refused(&orders(), &image_of(2, 0, 0, 0, 1, (3, uncounted), state), "field delivery");
    }
    let begun_behind = [V(0), V(0), V(0), V(2), V(0), V(0), V(0), V(0), V(3)];
    refused(&orders(), &[group(0, "billing"), record(13, &begun_behind)], "field begun");
}

#[test]
fn a_generation_that_is_not_the_records_own_is_refused() {
    let runs = [V(1), V(1 << 2 | 1), V(0), V(0), V(0)];
    let popped = record(5, &[&[V(0), V(2), V(0), V(0)][..], &runs].concat());
    refused(&orders(), &[group(0, "billing"), popped], "a pop of generation 2");
    refused(&orders(), &[record(24, &[V(2), V(0), V(0)])], "an open of generation 2");
}

#[test]
fn the_end_of_a_snapshot_that_did_not_begin_there_is_refused() {
    for begin in [64, 70, 1 << 20, u64::MAX] {
        let snapshot = [group(0, "billing"), record(20, &[V(1), V(1)]), record(21, &[V(begin)])];
        refused(&orders(), &snapshot, "the place where the last snapshot begins");
    }
}

#[test]
fn properties_that_are_not_names_and_values_are_not_sound() {
    refused(&[orders(), vec![message_with(0, 0, 2, 0, "\u{1}k\u{9}v")]].concat(), &[], "names and values");
}

#[test]
fn a_store_that_was_opened_too_often_is_not_sound() {
    let forged = forge(&orders(), &[]);
    crate::disk::change(&forged.dir().join("store"), |bytes| {
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        popstore::fuzzing::repair(bytes, 0);
    });
    assert!(forged.judge().refused.is_some());
}

/// A store of two topics and two groups with leases, a mark and a snapshot, all of it true.
fn story() -> [Vec<Record>; 2] {
    let mut commit = vec![topic(0, 2, "orders"), topic(1, 1, "mails")];
    commit.extend((0..4).map(|at| message(0, at % 2, at / 2)));
    commit.extend((0..2).map(|at| message(1, 0, at)));
    let marked = end_of(&commit[..6]);
    let from = 64 + record(24, &[V(1), V(1_000_000_000_000), V(0)]).len() as u64;
    let checkpoint = vec![
        record(20, &[V(2), V(2)]),
        group(0, "billing"),
        mark_topic(0, "orders", 0, &[(0, 2), (0, 2)]),
        mark_topic(1, "mails", 0, &[(0, 0)]),
        mark(marked, 2),
        record(26, &[V(0)]),
        record(21, &[V(from)]),
        group(1, "audit"),
        record(4, &[V(1), V(0), V(1), V(1)]),
        popped(1, 0, 0),
        popped(1, 1, 0),
        record(6, &[V(0), V(1_000_000_000_001), V(1), V(1 << 2 | 1), V(0), V(0), V(0)]),
    ];
    [commit, checkpoint]
}

/// Removes, repeats or exchanges records, or writes another number over a byte of one.
fn lie(dice: &mut Dice, records: &mut Vec<Record>) {
    const NUMBERS: [u64; 12] = [0, 1, 2, 3, 7, 64, 1023, 1024, 1 << 31, u32::MAX as u64, u64::MAX / 64, u64::MAX];
    let at = dice.below(records.len());
    match dice.below(10) {
        0 => drop(records.remove(at)),
        1 => records.insert(at, records[at].clone()),
        2 => {
            let other = dice.below(records.len());
            records.swap(at, other);
        }
        _ => {
            let record = &mut records[at];
            // The first field of a message says that more follow: then it never happened.
            let from = 22.min(record.len() - 1);
            let place = from + dice.below(record.len() - from);
            let number = crate::forge::record(0, &[V(NUMBERS[dice.below(NUMBERS.len())])]);
            record.splice(place..=place, number[21..].iter().copied());
            let len = record.len() as u32;
            record[4..8].copy_from_slice(&len.to_le_bytes());
        }
    }
}

#[test]
fn what_is_called_sound_opens_and_is_delivered_whatever_it_says() {
    let [commit, checkpoint] = story();
    let judged = forge(&commit, &checkpoint).judge();
    assert!(judged.refused.is_none() && judged.faults.is_empty() && judged.popped.len() == 6, "{judged:?}");
    let (mut dice, mut refused) = (Dice(0x5eed), 0);
    for _ in 0..CASES {
        let (mut commit, mut checkpoint) = (commit.clone(), checkpoint.clone());
        for _ in 0..=dice.below(3) {
            let log = if dice.below(2) == 0 { &mut commit } else { &mut checkpoint };
            lie(&mut dice, log);
        }
        refused += u32::from(forge(&commit, &checkpoint).judge().refused.is_some());
    }
    assert!(
        (CASES / 5..CASES).contains(&refused),
        "{refused} of {CASES} were refused: too few or too many to show much"
    );
}

/// A commit log that begins behind the mark: what was marked is known of it all the same.
#[test]
fn two_topics_of_one_name_are_refused_also_behind_a_mark() {
    let mut scene = Scene::new();
    scene.append_many(&"m".repeat(1000), 9);
    scene.die(|dir| {
        let files = segments(dir, "commit");
        let messages = frames_of(dir, "commit", MESSAGE);
        let before = messages.iter().filter(|message| message.path == files[0]).count() as u64;
        let (start, end) = (base(&files[1]), base(&files[2]));
        std::fs::remove_file(&files[0]).unwrap();
        // The first record of a segment names its topic, and this one gives it another number.
        change(&files[1], |bytes| {
            assert_eq!(bytes[HEADER + 20..HEADER + 22], [3, 0]);
            bytes[HEADER + 21] = 1;
            fuzzing::repair(bytes, HEADER);
        });
        let opened = record(24, &[V(1), V(1_000_000_000_000), V(0)]);
        let marked = [mark_topic(0, TOPIC, 0, &[(before, before)]), mark(start - 1, 1)];
        let begins = [record(25, &[V(end)]), record(26, &[V(start)])];
        write(dir, "checkpoint", &[&[opened][..], &marked, &begins].concat());
    });
    let snapshot = Snapshot::open(&scene.path).unwrap();
    assert!(snapshot.faults().iter().any(|fault| fault.found.contains("two topics")), "{:?}", snapshot.faults());
    assert_eq!(snapshot.topics().len(), 1, "the second takes the name of the first");
    let judged = found(scene).judge();
    assert!(judged.refused.unwrap().contains("two topics have the name"));
    assert!(judged.faults.iter().any(|fault| fault.contains("two topics have the name")), "{:?}", judged.faults);
}

/// Whatever is kept ready is as much as one segment, and that of new ones is what messages can need.
#[test]
fn a_header_that_claims_much_room_is_not_given_it() {
    for log in ["commit", "checkpoint"] {
        for mode in MODES {
            let options = Options::default().durability(mode).retention(Retention::keep().when_done());
            let mut scene = Scene::with(options, GroupOptions::default());
            scene.append_many("m", 3);
            scene.kill_and(|dir| {
                change(&segments(dir, log).pop().unwrap(), |bytes| {
                    bytes[40..48].copy_from_slice(&(1_u64 << 36).to_le_bytes());
                    let crc = crc32fast::hash(&bytes[..56]);
                    bytes[56..60].copy_from_slice(&crc.to_le_bytes());
                });
            });
            (0..10).for_each(|_| assert!(scene.append("more") < 13));
            scene.store().run_pending();
            let files = std::fs::read_dir(scene.path.join(log)).unwrap();
            let taken: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
            assert!(taken < 4 << 20, "{log}, {mode:?}: {taken} bytes");
            assert_eq!(scene.pop_up_to(100).len(), 13);
        }
    }
}

#[test]
fn a_mark_without_all_its_topics_is_refused() {
    let topics = [mark_topic(0, "orders", 0, &[(0, 2)])];
    for (parts, count) in [(&topics[..], 2), (&[], 1), (&topics, 0)] {
        let told = [parts, &[mark(end_of(&orders()), count)]].concat();
        refused(&orders(), &told, "topics before their mark");
    }
    // What an owner has left of a mark belongs to none of the next.
    let opened = record(24, &[V(1), V(1_000_000_000_000), V(0)]);
    let left = [mark_topic(7, "gone", 0, &[(0, 0)]), opened, topics[0].clone(), mark(end_of(&orders()), 1)];
    assert!(forge(&orders(), &left).judge().refused.is_none());
}

#[test]
fn the_clock_is_found_set_back_once_an_open() {
    let (reanchored, opened) = (record(15, &[V(5)]), record(24, &[V(1), V(1_000_000_000_000), V(0)]));
    let once = [group(0, "billing"), popped(1, 0, 0), reanchored.clone()];
    assert!(forge(&orders(), &once).judge().refused.is_none());
    assert!(forge(&orders(), &[&once[..], &[opened, reanchored.clone()]].concat()).judge().refused.is_none());
    refused(&orders(), &[&once[..], &[reanchored]].concat(), "another Reanchored");
}

#[test]
fn a_moved_message_that_is_not_where_it_should_is_not_sound() {
    let options =
        Options::default().durability(popstore::Durability::Buffered).retention(Retention::keep().bytes(6000));
    let mut scene = Scene::with(options, GroupOptions::default());
    for at in 0..30 {
        scene.append(&"x".repeat(500));
        if at == 2 {
            let lease = Pop::up_to(1).invisible_for(secs(3600));
            assert_eq!(scene.group().pop(TOPIC, lease).unwrap()[0].index(), 0);
        }
        scene.store().run_pending();
    }
    assert_eq!(Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |_| {}).unwrap().faults, 0);
    scene.die(|dir| {
        let mut moved = 0;
        for path in segments(dir, "commit") {
            change(&path, |bytes| {
                let Some(mut all) = fuzzing::records(bytes) else { return };
                for record in all.iter_mut().filter(|record| record.kind == 2) {
                    let numbers = fuzzing::numbers(&record.payload);
                    if numbers[5].1 & 16 != 0 {
                        assert_eq!(numbers[4].1, 0, "its index");
                        record.payload.splice(numbers[4].0.clone(), fuzzing::number(1));
                        moved += 1;
                    }
                }
                *bytes = fuzzing::with_records(bytes, &all).unwrap();
            });
        }
        assert!(moved > 0, "nothing was moved");
    });
    let mut faults = Vec::new();
    Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| faults.push(fault.to_string())).unwrap();
    assert!(faults.iter().any(|fault| fault.contains("the copy of message orders/0/0")), "{faults:?}");
}
