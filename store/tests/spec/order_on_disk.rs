//! What is done to the disk in which order, where a crash between two steps is too rare to be met by chance.

use std::sync::Arc;

use crate::disk::{FrameIn, MESSAGE, Tap, What, change, frames_of, segments, tapped};
use crate::scene::{Scene, TOPIC, secs};
use popstore::{Durability, Error, GroupOptions, Message, Options};

/// What the record of the topic takes, which stands before the first message after a reopening.
const TOPIC_RECORD: usize = 30;

/// A store that died with six messages, of which the second is torn, and where that and those behind it lie. A message
/// as long as `n1` takes, with the record of its topic, the place of the second.
pub fn with_a_tail() -> (Scene, Vec<FrameIn>) {
    let (scene, _, lost) = tapped_with_a_tail();
    (scene, lost)
}

fn tapped_with_a_tail() -> (Scene, Arc<Tap>, Vec<FrameIn>) {
    let (mut scene, tap) = tapped(Durability::Buffered);
    scene.append("m0");
    scene.append(&format!("m1{}", "x".repeat(TOPIC_RECORD)));
    (2..6).for_each(|at| assert_eq!(scene.append(&format!("m{at}")), at));
    let mut lost = Vec::new();
    scene.die(|dir| {
        lost = frames_of(dir, "commit", MESSAGE).split_off(1);
        lost[0].flip(30);
    });
    (scene, tap, lost)
}

/// Opens the store and tells what was done to the commit log.
fn repairs(scene: &mut Scene, tap: &Tap) -> Vec<What> {
    tap.heal();
    scene.open();
    // In this mode the last of it is left to the keeper.
    scene.store().run_pending();
    // A file is made for what is not proven durable, and then a segment ahead.
    let mut seen = tap.seen("commit");
    let ahead = seen.iter().rposition(|what| *what == What::Create).expect("a segment ahead");
    seen.truncate(ahead);
    seen
}

/// What is not proven durable, in a new file with space, header and frames that takes the name of the old one, and synced
/// with what was appended since.
const RENEWED: [What; 8] =
    [What::Create, What::Room, What::Write, What::Write, What::Sync, What::Rename, What::SyncDir, What::Sync];

#[test]
fn rule_2_bytes_from_before_a_truncation_never_parse() {
    let (mut scene, lost) = with_a_tail();
    let old = lost[1].bytes();
    scene.open();
    scene.append("n1");
    // As if the zeroes had never reached the disk.
    scene.kill_and(|dir| {
        change(&segments(dir, "commit")[0], |bytes| bytes[lost[1].at..][..old.len()].copy_from_slice(&old))
    });
    assert_eq!(scene.bodies(), ["m0", "n1"]);
    assert_eq!(scene.store().recovery().tail_bytes_cut, old.len() as u64, "it lies where the log ends");
}

#[test]
fn rule_4_a_cut_is_zeroed_and_synced_before_the_next_append() {
    let (mut scene, tap, lost) = tapped_with_a_tail();
    let done = repairs(&mut scene, &tap);
    let zeroed = [What::Room, What::Sync];
    // The names; what leads beyond the end, and the rest behind it; its space; and once more what was not proven durable.
    let expected = [&[What::SyncDir][..], &zeroed.repeat(2), &[What::Room], &RENEWED].concat();
    assert_eq!(done, expected, "in the wrong order");
    let bytes = std::fs::read(&segments(&scene.path, "commit")[0]).unwrap();
    assert!(bytes[lost[0].at..].iter().all(|byte| *byte == 0));
}

#[test]
fn rule_4_nothing_leads_past_the_end_after_segments_are_removed() {
    let (mut scene, tap) = tapped(Durability::Buffered);
    scene.append("first");
    (0..8).for_each(|_| assert!(scene.store().append(TOPIC, Message::new(&[b'x'; 1500])).is_ok()));
    scene.die(|dir| frames_of(dir, "commit", MESSAGE)[1].flip(30));
    let later = segments(&scene.path, "commit").len() - 1;
    assert!(later > 2);
    let removed = [What::Remove, What::SyncDir].repeat(later);
    let zeroed = [What::Room, What::Sync];
    let expected = [&[What::SyncDir][..], &zeroed, &removed, &zeroed, &[What::Room], &RENEWED].concat();
    assert_eq!(repairs(&mut scene, &tap), expected, "in the wrong order");
    assert_eq!(scene.bodies(), ["first"]);
}

/// A store that nobody promised durability dies when the copy of a dead letter is written and its sync has failed.
#[test]
fn rule_6_a_letter_found_at_open_is_durable_before_it_settles() {
    let tap = Arc::new(Tap::default());
    let options = Options::default().durability(Durability::Buffered).hook(tap.clone());
    let mut scene = Scene::with(options, GroupOptions::default().max_reconsume_times(0));
    scene.append("m0");
    scene.append("m1");
    assert_eq!(scene.pop().body(), b"m0");
    scene.advance(secs(31));
    assert_eq!((scene.letters(), scene.pop().body()), (vec!["m0".to_string()], &b"m1"[..]));
    let refuse = |what, path: &std::path::Path| {
        let refused = what == What::Sync && path.components().any(|part| part.as_os_str() == "commit");
        if refused { Err(std::io::Error::other("the disk is gone")) } else { Ok(()) }
    };
    tap.fail(refuse);
    scene.advance(secs(31));
    scene.die(|_| {});
    tap.fail(refuse);
    assert!(matches!(scene.refusal(), Error::Poisoned { .. }), "the letter is not durable");
    tap.heal();
    scene.open();
    assert_eq!(scene.letters(), ["m0", "m1"]);
    scene.expect_nothing();
}

#[test]
fn rule_8_a_segment_is_whole_and_durable_before_it_has_its_name() {
    let (scene, tap) = tapped(Durability::SyncEach);
    scene.append("first");
    tap.heal();
    while !tap.seen("commit").contains(&What::Rename) {
        scene.append("more");
    }
    let done = tap.seen("commit");
    let made = done.iter().position(|what| *what == What::Create).unwrap();
    let named = done.iter().position(|what| *what == What::Rename).unwrap();
    assert!(done[made + 1..named - 2].iter().all(|what| *what == What::Room), "in the wrong order: {done:?}");
    let expected = [What::Write, What::Sync, What::Rename, What::SyncDir];
    assert_eq!(done[named - 2..=named + 1], expected, "in the wrong order");
}

#[test]
fn a_queue_file_has_a_durable_name_before_a_mark_refers_to_it() {
    let (mut scene, tap) = tapped(Durability::SyncEach);
    let marked = |scene: &Scene| {
        tap.heal();
        (0..2).for_each(|_| assert!(scene.store().append(TOPIC, Message::new(&[b'x'; 2500])).is_ok()));
        scene.store().run_pending();
        tap.seen("queues")
    };
    let (made, known) = ([What::Create, What::Write, What::Sync, What::SyncDir], [What::Write, What::Sync]);
    assert!(marked(&scene).ends_with(&made), "in the wrong order");
    assert_eq!(marked(&scene), known, "its name is durable");
    scene.kill_and(|_| {});
    // Who made it may have been killed before that.
    assert_eq!(marked(&scene), [&known[..], &[What::SyncDir]].concat());
    let next = (0..8).map(|_| marked(&scene)).find(|done| *done != known);
    assert_eq!(next.as_deref(), Some(&made[..]), "the next file");
}

#[test]
fn a_store_whose_first_open_failed_half_way_is_made_anew() {
    for log in ["checkpoint", "commit"] {
        let (dir, tap) = (tempfile::tempdir().unwrap(), Arc::new(Tap::default()));
        let options = Options::default().hook(tap.clone());
        tap.fail(move |what, path| {
            match what == What::Rename && path.components().any(|part| part.as_os_str() == log) {
                true => Err(std::io::Error::other("the disk is gone")),
                false => Ok(()),
            }
        });
        assert!(matches!(options.clone().open(dir.path()), Err(Error::Io { .. })), "{log}");
        tap.heal();
        let store = options.open(dir.path()).unwrap();
        assert_eq!((store.recovery().generation, store.recovery().clean), (1, true), "{log}");
    }
}
