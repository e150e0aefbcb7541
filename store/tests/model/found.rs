//! What was found once and must not come back, each as the shortest history that shows it.

use std::time::Duration;

use popstore::{Message, Pop, Settled};

use crate::disk::Recorder;
use crate::op::{Mode, Op, Sectors, Setup, Size};
use crate::random::survives;
use crate::stage::Stage;
use crate::tree::scratch;

const EACH: Setup = Setup { mode: Mode::SyncEach, when_done: false, queues: 1 };
const BUFFERED: Setup = Setup { mode: Mode::Buffered, ..EACH };

fn append(bytes: u16) -> Op {
    Op::Append { topic: 0, queue: 0, size: Size::Bytes(bytes) }
}

fn pop(messages: u8) -> Op {
    Op::Pop { group: 0, topic: 0, messages: messages - 1, lease_secs: 0 }
}

#[test]
fn more_letters_than_fit_into_one_segment_are_all_written() {
    let history = [append(1300), append(1300), append(1300), append(1300), pop(4), Op::Advance { secs: 5 }, pop(4)];
    survives(EACH, &[&history[..], &[Op::Advance { secs: 5 }]].concat()).map(drop).unwrap();
}

#[test]
fn a_message_that_can_be_appended_can_become_a_letter() {
    let mut stage = Stage::ready(EACH);
    let store = stage.store().clone();
    let mut bytes = vec![b'x'; 4000];
    while store.append("orders", Message::new(&bytes)).is_err() {
        bytes.pop();
    }
    let group = store.group("billing").unwrap();
    for _ in 0..2 {
        assert_eq!(group.pop("orders", Pop::up_to(1)).unwrap().len(), 1);
        stage.pass(60);
    }
    assert_eq!(group.dead_letters().unwrap().count(), 1, "{} bytes", bytes.len());
}

#[test]
fn a_letter_never_outlives_the_lease_that_it_ended() {
    let history = [append(9), Op::Sync, pop(1), Op::Advance { secs: 5 }, pop(1), Op::Advance { secs: 5 }];
    let cut = [Op::PowerCut { calls: 0, sectors: Sectors::Old }, Op::Sync];
    survives(BUFFERED, &[&history[..], &cut].concat()).map(drop).unwrap();
}

#[test]
fn a_spare_that_a_crash_left_too_short_is_no_segment() {
    for bytes in [0, 100, 512] {
        let mut stage = Stage::ready(EACH);
        stage.store.take().unwrap().close().unwrap();
        let spare = stage.path().join("checkpoint/spare-00000000000000000000");
        std::fs::write(spare, vec![0; bytes]).unwrap();
        let store = stage.options().open(stage.path()).unwrap();
        store.append("orders", Message::new("a")).unwrap();
        let group = store.group("billing").unwrap();
        let receipt = group.pop("orders", Pop::up_to(1)).unwrap()[0].receipt();
        for secs in 1..250 {
            let told = group.extend(receipt, Duration::from_secs(secs)).unwrap();
            assert_eq!(told, Settled::Done);
        }
        drop((group, store));
        stage.options().open(stage.path()).unwrap_or_else(|error| panic!("{bytes}: {error}"));
    }
}

#[test]
fn a_store_in_a_new_directory_does_not_vanish_with_it() {
    let above = scratch();
    let recorder = Recorder::new(above.path());
    let stage = Stage::new(EACH);
    let store = stage.options().hook(recorder.clone()).open(above.path().join("new/data")).unwrap();
    store.append("orders", Message::new("a")).unwrap();
    let left = recorder.picture().tree(Sectors::Old).plant();
    let store = stage.options().open(left.path().join("new/data")).unwrap();
    assert_eq!(store.message("orders", 0, 0).unwrap().unwrap().body(), b"a");
}

#[test]
fn a_wait_that_was_over_may_begin_again_when_the_clock_was_set_back() {
    let change =
        |backoff_secs| Op::ChangeGroup { group: 1, limit: Some(1), discard: false, ordered: false, backoff_secs };
    let pop = Op::Pop { group: 1, topic: 1, messages: 0, lease_secs: 0 };
    let history = [
        Op::AppendBatch { topic: 1, parts: vec![(0, Size::Bytes(0))] },
        pop.clone(),
        change(1),
        Op::Advance { secs: 1053 },
        Op::ClockJump { secs: -25 },
        change(0),
        Op::Advance { secs: 1 },
        Op::PowerCut { calls: 0, sectors: Sectors::Old },
        append(0),
        pop,
    ];
    survives(EACH, &history).map(drop).unwrap();
}

#[test]
fn an_ordered_group_that_began_to_discard_after_a_crash_goes_on() {
    let change = |group, limit, discard, ordered| Op::ChangeGroup { group, limit, discard, ordered, backoff_secs: 0 };
    let a = |topic| Op::Append { topic, queue: 0, size: Size::ToSector(0) };
    let pop = Op::Pop { group: 1, topic: 1, messages: 0, lease_secs: 0 };
    let history = vec![
        Op::PowerCut { calls: 1, sectors: Sectors::Old },
        a(0),
        a(0),
        Op::PowerCut { calls: 50, sectors: Sectors::New },
        Op::Sync,
        a(0),
        a(0),
        change(1, Some(0), false, true),
        Op::AppendBatch { topic: 1, parts: vec![(0, Size::ToSector(0))] },
        Op::Ack { receipt: 0 },
        Op::ClockJump { secs: -9 },
        a(1),
        pop.clone(),
        change(0, Some(0), false, false),
        Op::Extend { receipt: 0, secs: 15 },
        a(0),
        Op::Advance { secs: 16 },
        a(0),
        pop,
        change(1, Some(0), true, true),
    ];
    survives(Setup { mode: Mode::Buffered, when_done: true, queues: 1 }, &history).map(drop).unwrap();
}
