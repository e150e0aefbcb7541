//! The checks can fail: each of these lies about a store that is whole, and is caught.

use crate::case::{check_reopened, undisturbed};
use crate::play::Play;
use crate::script::{ORDERS, PARCELS};
use popstore::{Durability, Message};

fn finished() -> Play {
    let (mut play, _) = undisturbed(Durability::Buffered);
    play.store = None;
    play
}

#[test]
#[should_panic(expected = "is lost")]
fn a_message_that_nobody_has_is_missed() {
    let mut play = finished();
    play.oracle.messages.insert((ORDERS, 0), "0001".to_string());
    play.oracle.acked.remove(&(ORDERS, 0));
    check_reopened(&mut play);
}

#[test]
#[should_panic(expected = "ends at")]
fn a_message_behind_the_end_is_missed() {
    let mut play = finished();
    play.oracle.messages.insert((PARCELS, 999), "never appended".to_string());
    check_reopened(&mut play);
}

#[test]
#[should_panic(expected = "nobody appended")]
fn a_message_too_many_is_seen() {
    let mut play = finished();
    play.options().open(play.dir.path()).unwrap().append(ORDERS, Message::new("from nowhere")).unwrap();
    check_reopened(&mut play);
}

#[test]
#[should_panic(expected = "was acked")]
fn an_ack_that_was_forgotten_is_seen() {
    let mut play = finished();
    let last = *play.oracle.messages.keys().rfind(|(topic, _)| *topic == ORDERS).unwrap();
    assert!(play.oracle.acked.insert(last), "the script leaves the last message to the check");
    check_reopened(&mut play);
}

#[test]
#[should_panic(expected = "after 9")]
fn a_delivery_count_that_went_down_is_seen() {
    let mut play = finished();
    let last = *play.oracle.messages.keys().rfind(|(topic, _)| *topic == ORDERS).unwrap();
    play.oracle.attempts.insert(last, 9);
    check_reopened(&mut play);
}

#[test]
#[should_panic(expected = "the letter of")]
fn a_letter_that_is_gone_is_missed() {
    let mut play = finished();
    play.oracle.letters.insert((ORDERS, 998));
    check_reopened(&mut play);
}
