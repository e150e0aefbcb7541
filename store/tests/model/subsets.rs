//! Short scripts, crashed at every seam call, with every subset of what was not synced then: each sector, length and
//! name old or new.

use std::collections::HashSet;

use crate::film::Film;
use crate::luck::{Luck, Way};
use crate::op::{Crash, Mode, Op, Sectors, Setup, Size};
use crate::picture::Picture;
use crate::stage::Stage;

/// More than this many things are never un-synced at once in a script.
const UNSYNCED_MAX: usize = 11;

const EACH: Setup = Setup { mode: Mode::SyncEach, when_done: true, queues: 2 };
const BUFFERED: Setup = Setup { mode: Mode::Buffered, ..EACH };

/// What was tried.
#[derive(Debug, Default)]
struct Tried {
    points: usize,
    images: usize,
    unsynced_max: usize,
}

impl Tried {
    /// Every subset at one moment: what was seen of it before is not tried again.
    fn every_subset(&mut self, picture: &Picture, mut recovers: impl FnMut(&crate::tree::Tree)) {
        self.points += 1;
        let mut luck = Luck::Each(Way::default());
        let mut known = HashSet::new();
        loop {
            let tree = picture.tree_by(&mut luck);
            let Luck::Each(way) = &mut luck else { unreachable!() };
            self.unsynced_max = self.unsynced_max.max(way.decisions());
            assert!(way.decisions() <= UNSYNCED_MAX, "the script leaves {} things un-synced", way.decisions());
            if known.insert(tree.fingerprint()) {
                self.images += 1;
                recovers(&tree);
            }
            if !way.turn() {
                break;
            }
        }
    }

    fn film(&mut self, film: &Film) {
        let desk = Stage::new(film.setup);
        for (at, (step, picture)) in film.pictures.iter().enumerate() {
            self.every_subset(picture, |tree| {
                let crash = Crash::PowerCut(Sectors::Mixed(0));
                film.recovers(&desk, *step, tree, crash).map_err(|why| format!("picture {at}: {why}")).unwrap();
            });
        }
    }
}

/// Every subset at every seam call of every script, and of the recoveries from three of the images at its end.
fn every_subset_of_every_script(setup: Setup) {
    let mut tried = Tried::default();
    for (name, before, ops) in scripts() {
        println!("{name}");
        let ops = before.into_iter().map(|op| (false, op)).chain(ops.into_iter().map(|op| (true, op)));
        let film = Film::shoot(setup, false, &ops.collect::<Vec<_>>());
        tried.film(&film);
        let (step, picture) = film.pictures.last().unwrap();
        for sectors in [Sectors::Old, Sectors::New, Sectors::Mixed(7)] {
            tried.film(&film.recovery(*step, picture, sectors).unwrap().0);
        }
    }
    println!("{:?}: every subset, {tried:?}", setup.mode);
    assert!(tried.images > 1000, "the scripts became too short");
}

#[test]
fn any_subset_of_sectors_may_be_lost_when_each_op_is_synced() {
    every_subset_of_every_script(EACH);
}

#[test]
fn any_subset_of_sectors_may_be_lost_when_nothing_is_synced() {
    every_subset_of_every_script(BUFFERED);
}

#[test]
fn any_subset_of_sectors_may_be_lost_when_a_store_is_made() {
    let mut tried = Tried::default();
    tried.film(&Film::shoot(EACH, true, &[]));
    println!("made: {tried:?}");
}

fn append(bytes: u16) -> Op {
    Op::Append { topic: 0, queue: 0, size: Size::Bytes(bytes) }
}

fn pop(messages: u8) -> Op {
    Op::Pop { group: 0, topic: 0, messages: messages - 1, lease_secs: 5 }
}

/// What a script is called, what goes before it, and its steps.
fn scripts() -> Vec<(&'static str, Vec<Op>, Vec<Op>)> {
    let batch = |bytes| Op::AppendBatch { topic: 1, parts: vec![(0, Size::Bytes(bytes)), (1, Size::ToSector(bytes))] };
    let expire = || Op::Advance { secs: 20 };
    vec![
        ("append", vec![Op::Sync], vec![append(1300), append(0)]),
        (
            "append to a sector's end",
            vec![Op::Sync],
            vec![Op::Append { topic: 0, queue: 0, size: Size::ToSector(600) }, append(9)],
        ),
        ("append a batch", vec![append(100), Op::Sync], vec![batch(700)]),
        ("append into the next segment", vec![append(1300), append(1300), Op::Sync], vec![append(1300)]),
        ("append a batch into the next segment", vec![append(1300), append(1100), Op::Sync], vec![batch(600)]),
        ("pop", vec![append(1), append(2), append(3), Op::Sync], vec![pop(2), pop(2)]),
        (
            "ack",
            vec![append(1), append(2), pop(2), Op::Sync],
            vec![Op::Ack { receipt: 0 }, Op::AckBatch { receipts: vec![0, 1] }],
        ),
        (
            "nack",
            vec![append(1), append(2), pop(2), Op::Sync],
            vec![Op::Nack { receipt: 0, delay_secs: Some(3) }, Op::Nack { receipt: 1, delay_secs: None }],
        ),
        ("extend", vec![append(1), pop(1), Op::Sync], vec![Op::Extend { receipt: 0, secs: 90 }]),
        ("release", vec![append(1), pop(1), Op::Sync], vec![Op::Release { receipt: 0, delay_secs: 9 }]),
        ("expire", vec![append(1), pop(1), Op::Sync], vec![expire(), pop(1)]),
        ("dead-letter", vec![append(500), pop(1), expire(), pop(1), Op::Sync], vec![expire()]),
        (
            "redrive",
            vec![append(500), pop(1), expire(), pop(1), expire(), Op::Sync],
            vec![Op::Redrive { group: 0, letter: 0 }],
        ),
        (
            "change a group",
            vec![Op::Sync],
            vec![Op::ChangeGroup { group: 0, limit: Some(3), discard: true, ordered: false, backoff_secs: 4 }],
        ),
        ("sync", vec![append(1), Op::Sync, append(300), pop(1)], vec![Op::Sync]),
        ("three appends", vec![Op::Sync], vec![append(1300), append(1300), append(700)]),
        (
            "mark the end of a segment",
            vec![append(1300), append(1300), Op::Sync],
            vec![append(900), append(300), Op::Advance { secs: 1 }],
        ),
        (
            "all of it",
            vec![append(5), Op::Sync],
            vec![append(900), pop(2), Op::Ack { receipt: 0 }, append(600), pop(1)],
        ),
        ("close and open", vec![append(1), append(300), pop(1)], vec![Op::Reopen]),
    ]
}
