//! The checks can fail: each of these lies to the oracle, and is caught.

use std::collections::BTreeSet;

use crate::journal::{Done, Intent, Line, Outcome, Place, Said};
use crate::look::{SeenLetter, SeenMessage, View};
use crate::oracle::Oracle;
use crate::world::{GROUPS, readings};

const ONCE: usize = 0;
const THRICE: usize = 1;
const FIRST: Place = Place(0, 0, 0);
const SECOND: Place = Place(0, 0, 1);

/// What a worker tells, and what a look shows: true until a test changes it.
struct Tale {
    oracle: Oracle,
    view: View,
}

impl Tale {
    /// Two messages that nobody has popped.
    fn begin() -> Self {
        let mut tale = Self { oracle: Oracle::default(), view: View::default() };
        tale.tell(Intent::Append { topic: 0, tokens: vec![10, 11] }, Done::Appended(vec![FIRST, SECOND]));
        tale.view.queues.insert((0, 0), (0, 2));
        for (place, token) in [(FIRST, 10), (SECOND, 11)] {
            tale.view.messages.insert(place, SeenMessage { token: Some(token), copy_of: None });
        }
        readings().filter(|(_, topic)| *topic == 0).for_each(|(group, topic)| {
            tale.view.positions.insert((group, topic, 0), 0);
        });
        tale
    }

    fn will(&mut self, intent: Intent) {
        self.oracle.hear(Line(1, Said::Will(intent)));
    }

    fn tell(&mut self, intent: Intent, done: Done) {
        self.will(intent);
        self.oracle.hear(Line(1, Said::Did(done)));
    }

    fn pop(&mut self, group: usize, attempt: u32) {
        self.tell(Intent::Pop { group, topic: 0 }, Done::Popped(vec![(FIRST, attempt, 10)]));
        self.view.held.insert((group, FIRST), attempt);
        self.view.positions.insert((group, 0, 0), 1);
    }

    fn ack(&mut self, group: usize, attempt: u32, outcome: Outcome) {
        self.tell(Intent::Ack { group, deliveries: vec![(FIRST, attempt)] }, Done::Settled(vec![outcome]));
        self.view.held.remove(&(group, FIRST));
    }

    fn letter(&mut self, index: u64, attempts: u32) {
        let letter = SeenLetter { group: ONCE, index, origin: FIRST, attempts, token: Some(10) };
        self.view.letters.push(letter);
        self.view.held.remove(&(ONCE, FIRST));
    }

    fn judge(&mut self) {
        self.oracle.life_is_over();
        self.oracle.judge(&self.view);
        self.view.messages.clear();
        self.view.letters.clear();
    }
}

#[test]
fn the_truth_is_believed() {
    let mut tale = Tale::begin();
    tale.pop(THRICE, 1);
    tale.pop(ONCE, 1);
    tale.judge();
    tale.pop(THRICE, 2);
    tale.ack(THRICE, 2, Outcome::Counted);
    tale.letter(0, 1);
    tale.judge();
    // A pop that a kill kept from being told has used up an attempt of the other message.
    tale.will(Intent::Pop { group: THRICE, topic: 0 });
    tale.view.held.insert((THRICE, SECOND), 1);
    tale.view.positions.insert((THRICE, 0, 0), 2);
    tale.judge();
}

/// A test that tells a tale, which must end with these words.
macro_rules! canary {
    ($name:ident, $words:literal, $tale:expr) => {
        #[test]
        #[should_panic(expected = $words)]
        fn $name() {
            let mut tale = Tale::begin();
            let tell: fn(&mut Tale) = $tale;
            tell(&mut tale);
            tale.judge();
        }
    };
}

canary!(a_message_that_is_gone_is_missed, "message 1 is gone", |tale| {
    tale.view.queues.insert((0, 0), (0, 1));
});
canary!(a_message_that_cannot_be_read_is_missed, "cannot be read", |tale| {
    tale.view.messages.remove(&SECOND);
});
canary!(another_body_is_seen, "has another body", |tale| {
    tale.view.messages.insert(SECOND, SeenMessage { token: Some(12), copy_of: None });
});
canary!(another_body_in_a_delivery_is_seen, "delivered with another body", |tale| {
    tale.tell(Intent::Pop { group: ONCE, topic: 0 }, Done::Popped(vec![(FIRST, 1, 11)]));
});
canary!(a_message_from_nowhere_is_seen, "nobody appended", |tale| {
    tale.view.queues.insert((0, 0), (0, 3));
    tale.view.messages.insert(Place(0, 0, 2), SeenMessage { token: Some(99), copy_of: None });
});
canary!(half_a_batch_is_seen, "1 of a batch of 2", |tale| {
    tale.will(Intent::Append { topic: 0, tokens: vec![20, 21] });
    tale.view.queues.insert((0, 0), (0, 3));
    tale.view.messages.insert(Place(0, 0, 2), SeenMessage { token: Some(20), copy_of: None });
});
canary!(two_messages_at_one_place_are_seen, "given to two messages", |tale| {
    tale.tell(Intent::Append { topic: 0, tokens: vec![30] }, Done::Appended(vec![SECOND]));
});
canary!(a_delivery_after_the_ack_is_seen, "after its ack", |tale| {
    tale.pop(THRICE, 1);
    tale.ack(THRICE, 1, Outcome::Counted);
    tale.judge();
    tale.pop(THRICE, 2);
});
canary!(an_acked_message_that_is_held_is_seen, "although it was acked", |tale| {
    tale.pop(THRICE, 1);
    tale.ack(THRICE, 1, Outcome::Counted);
    tale.view.held.insert((THRICE, FIRST), 1);
});
canary!(an_attempt_that_comes_twice_is_seen, "attempt 1 twice", |tale| {
    tale.pop(THRICE, 1);
    tale.pop(THRICE, 1);
});
canary!(an_attempt_that_goes_down_is_seen, "attempt 1 after 2", |tale| {
    tale.pop(THRICE, 2);
    tale.oracle.life_is_over();
    tale.pop(THRICE, 1);
});
canary!(an_attempt_that_was_forgotten_is_seen, "held at attempt 1, and had 2", |tale| {
    tale.pop(THRICE, 1);
    tale.pop(THRICE, 2);
    tale.view.held.insert((THRICE, FIRST), 1);
});
canary!(an_attempt_without_a_delivery_is_seen, "1 were told, 0 pops were killed", |tale| {
    tale.pop(THRICE, 1);
    tale.view.held.insert((THRICE, FIRST), 2);
});
canary!(a_delivery_beyond_the_limit_is_seen, "was delivered 2 times", |tale| tale.pop(ONCE, 2));
canary!(a_message_nobody_has_is_missed, "is lost", |tale| {
    tale.pop(THRICE, 1);
    tale.view.held.clear();
});
canary!(a_message_that_was_skipped_is_missed, "is lost", |tale| {
    tale.view.positions.insert((ONCE, 0, 0), 2);
});
canary!(a_message_that_retention_took_too_early_is_missed, "is lost", |tale| {
    tale.view.queues.insert((0, 0), (1, 2));
});
canary!(a_position_that_went_back_is_seen, "as if it were new", |tale| {
    tale.pop(THRICE, 1);
    tale.ack(THRICE, 1, Outcome::Counted);
    tale.view.positions.insert((THRICE, 0, 0), 0);
});
canary!(a_second_letter_is_seen, "has a second letter", |tale| {
    tale.pop(ONCE, 1);
    tale.letter(0, 1);
    tale.judge();
    tale.letter(1, 1);
});
canary!(a_letter_of_an_acked_message_is_seen, "acked and dead-lettered", |tale| {
    tale.pop(ONCE, 1);
    tale.ack(ONCE, 1, Outcome::Counted);
    tale.letter(0, 1);
});
canary!(a_letter_before_the_limit_is_seen, "before its limit", |tale| {
    let letter = SeenLetter { group: THRICE, index: 0, origin: FIRST, attempts: 2, token: Some(10) };
    assert_eq!(GROUPS[THRICE].deliveries_max(), 3);
    tale.view.letters.push(letter);
});
canary!(a_letter_of_a_message_never_delivered_is_seen, "0 were told", |tale| tale.letter(0, 1));
canary!(a_delivery_after_the_letter_is_seen, "after it was dead-lettered", |tale| {
    tale.will(Intent::Pop { group: ONCE, topic: 0 });
    tale.letter(0, 1);
    tale.view.positions.insert((ONCE, 0, 0), 1);
    tale.judge();
    tale.pop(ONCE, 1);
});
canary!(a_letter_that_is_put_back_twice_is_seen, "put back twice", |tale| {
    for index in 2..4 {
        let intent = Intent::Redrive { group: ONCE, letter: 0, origin: FIRST, token: 10 };
        tale.tell(intent, Done::Redriven(Some(Place(0, 0, index))));
    }
});
canary!(a_copy_that_nobody_put_back_is_seen, "nobody put back", |tale| {
    tale.view.queues.insert((0, 0), (0, 3));
    tale.view.messages.insert(Place(0, 0, 2), SeenMessage { token: Some(10), copy_of: Some((ONCE, 0)) });
});
canary!(an_ack_that_counts_twice_is_seen, "two acks", |tale| {
    tale.pop(THRICE, 1);
    tale.ack(THRICE, 1, Outcome::Counted);
    tale.ack(THRICE, 1, Outcome::Counted);
});
canary!(an_ack_that_counts_behind_a_later_delivery_is_seen, "counted after 2", |tale| {
    tale.pop(THRICE, 1);
    tale.pop(THRICE, 2);
    tale.ack(THRICE, 1, Outcome::Counted);
});
canary!(a_lease_the_store_does_not_know_is_seen, "is Unknown", |tale| {
    tale.pop(THRICE, 1);
    tale.ack(THRICE, 1, Outcome::Unknown);
});
canary!(a_word_that_a_message_is_settled_is_checked, "said to be settled", |tale| {
    tale.pop(THRICE, 1);
    tale.ack(THRICE, 1, Outcome::AlreadySettled);
    tale.view.held.insert((THRICE, FIRST), 1);
});
canary!(a_message_that_never_runs_out_is_seen, "held after everything ran out", |tale| {
    tale.pop(THRICE, 1);
    tale.oracle.judge_the_end(&tale.view, &BTreeSet::new());
});
canary!(a_letter_that_is_not_listed_is_missed, "those that are listed", |tale| {
    tale.pop(ONCE, 1);
    tale.letter(0, 1);
    tale.view.positions.values_mut().for_each(|position| *position = 2);
    for group in [ONCE, THRICE] {
        let deliveries = vec![(SECOND, 1)];
        tale.tell(Intent::Ack { group, deliveries }, Done::Settled(vec![Outcome::Counted]));
    }
    tale.tell(Intent::Ack { group: THRICE, deliveries: vec![(FIRST, 1)] }, Done::Settled(vec![Outcome::Counted]));
    tale.oracle.judge_the_end(&tale.view, &BTreeSet::new());
});
