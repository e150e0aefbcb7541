//! Dead letters are written wholly, whatever their number and length, and are never more durable than their cause.

use popstore::{Message, Pop};

use crate::op::{Mode, Op, Sectors, Setup, Size};
use crate::random::survives;
use crate::stage::Stage;

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
