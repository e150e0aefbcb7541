//! The algebra of the index, held against a naive oracle.
//!
//! Invariants checked, after every step of random histories of two groups on two queues:
//!
//! - each message, count, counter, position, receipt and image is as the oracle has it, and nothing is due unseen;
//! - a pick offers what it must and nothing else: nothing leased, nothing behind an unsettled message of an ordered
//!   group; no message is delivered more than `max_reconsume_times + 1` times;
//! - a change seen twice changes nothing the second time;
//! - a replay gives the same from the beginning, from any walk however interleaved, and however it is split;
//! - changes that no store would write are ignored or taken, but neither panic nor upset the counts;
//! - on a clock that jumped no wait is longer than it was set to last;
//! - two indexes that were fed the same changes, one of them restored from images again and again, answer every command
//!   alike;
//! - nothing but a change changes the state: whatever the way to it, it is equal to the last bit, order included.

#[path = "../../fuzz/bytes.rs"]
mod bytes;
mod oracle;
mod twins;

use oracle::arbitrary::{config, group, junk, number, ops, policy, queue, time};
use oracle::checks::check_index;
use oracle::scene::{Checked, Op, Scene};
use oracle::{Flaw, Logged, ensure, held, replay, snapshot};
use popstore_revive::*;
use proptest::prelude::*;

fn policies() -> impl Strategy<Value = [Policy; 2]> {
    [policy(), policy()]
}

/// A scene after a random history.
fn played(policies: [Policy; 2], ops: &[Op]) -> Result<Scene, TestCaseError> {
    let mut scene = Scene::new(policies, Flaw::None);
    scene.run(ops).map_err(TestCaseError::fail)?;
    Ok(scene)
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn every_history_goes_as_the_oracle_says(policies in policies(), ops in ops(60)) {
        played(policies, &ops)?;
    }
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn a_replay_split_anywhere_gives_the_same_merge(
        policies in policies(),
        ops in ops(50),
        at in any::<prop::sample::Index>(),
        blocks_max in 1_usize..4,
    ) {
        let scene = played(policies, &ops)?;
        let log = &scene.log[scene.walked_from..];
        let (first, rest) = log.split_at(at.index(log.len() + 1));
        let whole = replay(log);
        let split = replay(snapshot(&replay(first), blocks_max).iter().chain(rest));
        prop_assert_eq!(&split, &whole);

        let decided = [&whole, &split].map(|index| {
            let mut decided = Vec::new();
            index.decide_over(scene.now, usize::MAX, &mut decided);
            decided
        });
        prop_assert_eq!(&decided[0], &decided[1]);
    }

    #[test]
    fn a_log_told_twice_over_rebuilds_the_same(policies in policies(), ops in ops(50)) {
        let scene = played(policies, &ops)?;
        let once = replay(&scene.log);
        let twice = replay(scene.log.iter().flat_map(|logged| [logged, logged]));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn after_a_clock_jump_no_wait_is_longer_than_it_was_set(
        policies in policies(),
        ops in ops(50),
        jumps in prop::collection::vec(0_u64..2100, 1..4),
    ) {
        let mut scene = played(policies, &ops)?;
        for now in jumps.into_iter().map(Time) {
            let before = scene.oracle.held.clone();
            let shortened = scene.take(Logged::new(Change::Reanchored { at: now }, vec![])).map_err(TestCaseError::fail)?;
            check_index(&scene.index, &scene.oracle, now).map_err(TestCaseError::fail)?;
            prop_assert_eq!(shortened > 0, before != scene.oracle.held);
            prop_assert!(!scene.index.outlasts(now));
            for (place, held) in held(&scene.index) {
                let was = before[&place];
                prop_assert!(held.due <= was.due, "{:?} waits longer", place);
                prop_assert!(held.due.since(now) <= was.due.since(was.since), "{:?} waits too long", place);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Junk {
    Change(Logged),
    Advance(Time, usize),
    Ask(GroupId, QueueId, u64, u64),
}

fn junk_ops() -> impl Strategy<Value = Vec<Junk>> {
    let junk = prop_oneof![
        12 => junk().prop_map(Junk::Change),
        3 => (time(), 1_usize..4).prop_map(|(now, blocks_max)| Junk::Advance(now, blocks_max)),
        2 => (group(), queue(), number(), number()).prop_map(|(g, q, first, end)| Junk::Ask(g, q, first, end)),
    ];
    prop::collection::vec(junk, 1..40)
}

impl Scene {
    fn suffer(&mut self, junk: Junk) -> Checked {
        match junk {
            Junk::Change(change) => self.take(change).map(drop),
            Junk::Advance(now, blocks_max) => self.advance(now, blocks_max),
            Junk::Ask(group, queue, first, end) => {
                let mut runs = Vec::new();
                self.index.pick(group, queue, 100, (QueueIndex(first), QueueIndex(end)), self.now, &mut runs);
                ensure!(runs.iter().map(Run::len).sum::<u32>() <= 100, "more than asked for: {runs:?}");
                for (delivery, generation) in [(1, 0), (1, 1), (2, 1), (u32::MAX, 2)] {
                    let lease = Lease { queue, index: QueueIndex(first), delivery, generation };
                    let found = self.index.standing(group, &lease, Time(end));
                    let expected = self.oracle.standing((group, queue, first), delivery, generation, Time(end));
                    ensure!(found == expected, "{first} at delivery {delivery} is {found:?} instead of {expected:?}");
                }
                let beyond = self.index.beyond(|_| QueueIndex(end)).contains(&queue);
                ensure!(beyond == self.oracle.beyond(queue, QueueIndex(end)), "{queue:?} beyond {end}: {beyond}");
                Ok(())
            }
        }
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn no_change_however_false_makes_the_index_panic_or_miscount(policies in policies(), junk in junk_ops()) {
        let mut scene = Scene::new(policies, Flaw::None);
        for junk in junk {
            scene.suffer(junk).and_then(|()| check_index(&scene.index, &scene.oracle, scene.now)).map_err(TestCaseError::fail)?;
        }
    }
}
