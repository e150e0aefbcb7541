//! Each check must be able to fail: a mistake is made on purpose, and must be seen.

use popstore::Error;

use crate::op::{Crash, Mode, Op, Sectors, Setup, Size};
use crate::oracle::{Oracle, Synced};
use crate::stage::{Moment, Stage};
use crate::tree::Tree;
use crate::world::{Body, Fate, Phase, World};

const EACH: Setup = Setup { mode: Mode::SyncEach, when_done: false, queues: 1 };

fn append() -> Op {
    Op::Append { topic: 0, queue: 0, size: Size::Bytes(100) }
}

fn pop(messages: u8) -> Op {
    Op::Pop { group: 0, topic: 0, messages: messages - 1, lease_secs: 5 }
}

/// Plays a history, tells the oracle something wrong, plays on and to the end, and expects the oracle to say this.
fn catches(before: &[Op], lie: impl Fn(&mut World), after: &[Op], expected: &str) {
    let mut stage = Stage::ready(EACH);
    stage.play(before).unwrap();
    let lied = stage.oracle.step(|world| {
        lie(world);
        Ok(())
    });
    lied.unwrap();
    stage.oracle.done(Synced::Both);
    let found = stage.play(after).and_then(|()| stage.drain()).unwrap_err();
    assert!(found.contains(expected), "{found}");
}

fn group(world: &mut World) -> &mut crate::world::Group {
    world.groups.get_mut(&0).unwrap()
}

#[test]
fn an_ack_that_was_lost_is_seen() {
    let forget = |world: &mut World| {
        let held = group(world).queues.get_mut(&(0, 0)).unwrap().held.remove(&0);
        assert!(held.is_some());
        group(world).queues.get_mut(&(0, 0)).unwrap().settled.insert(0, Fate::Acked);
    };
    catches(&[append(), pop(1)], forget, &[Op::Advance { secs: 60 }, pop(1)], "it was settled as Some(Acked)");
    catches(&[append(), pop(1)], forget, &[Op::Ack { receipt: 0 }], "was told Done, not [AlreadySettled]");
    let counted = |world: &mut World| group(world).acked += 1;
    catches(&[append(), pop(1)], counted, &[Op::Advance { secs: 1 }], "popped, acked, nacked");
}

#[test]
fn a_message_that_was_lost_or_changed_is_seen() {
    let one_more = |world: &mut World| world.queues.get_mut(&(0, 0)).unwrap().push(Body { id: 9, len: 9 });
    catches(&[append()], one_more, &[Op::Advance { secs: 1 }], "ends at 1, not 2");
    let another = |world: &mut World| world.queues.get_mut(&(0, 0)).unwrap()[0].id = 9;
    catches(&[append()], another, &[Op::Advance { secs: 1 }], "holds");
    catches(&[append()], another, &[pop(1)], "body");
    let half_a_batch = |world: &mut World| {
        world.queues.get_mut(&(0, 0)).unwrap().pop();
    };
    let batch = Op::AppendBatch { topic: 0, parts: vec![(0, Size::Bytes(9)), (0, Size::Bytes(9))] };
    catches(&[batch], half_a_batch, &[Op::Kill { calls: 0 }, append()], "");
}

#[test]
fn a_delivery_too_many_too_early_or_out_of_order_is_seen() {
    let attempt =
        |world: &mut World| group(world).queues.get_mut(&(0, 0)).unwrap().held.get_mut(&0).unwrap().delivery = 2;
    catches(&[append(), pop(1)], attempt, &[Op::Advance { secs: 60 }], "is no dead letter");
    let lasting =
        |world: &mut World| group(world).queues.get_mut(&(0, 0)).unwrap().held.get_mut(&0).unwrap().due += 900;
    catches(&[append(), pop(1)], lasting, &[Op::Advance { secs: 60 }, pop(1)], "it is Held");
    let ahead = |world: &mut World| group(world).queues.entry((0, 0)).or_default().position = 1;
    catches(&[append(), append()], ahead, &[pop(1)], "the next new one is 1");
    let ordered = |world: &mut World| group(world).policy.ordered = true;
    catches(&[append(), append()], ordered, &[pop(2)], "0 comes before it");
    let behind = |world: &mut World| {
        let held = group(world).queues.get_mut(&(0, 0)).unwrap().held.get_mut(&0).unwrap();
        held.state = Phase::Ready { durable: true, since: 0, due: 0 };
    };
    catches(&[append(), pop(1)], behind, &[pop(1)], "more could be had");
}

#[test]
fn a_letter_too_many_or_too_few_is_seen() {
    let dying = [append(), pop(1), Op::Advance { secs: 60 }, pop(1)];
    let unlimited = |world: &mut World| group(world).policy.limit = None;
    catches(&dying, unlimited, &[Op::Advance { secs: 60 }], "has a letter");
    let lettered = [&dying[..], &[Op::Advance { secs: 60 }]].concat();
    let twice = |world: &mut World| {
        let letters = world.letters.get_mut(&0).unwrap();
        letters.push(letters[0]);
    };
    catches(&lettered, twice, &[Op::Advance { secs: 1 }], "has the letters");
    let none = |world: &mut World| world.letters.clear();
    catches(&lettered, none, &[Op::Advance { secs: 1 }], "of what is not held");
    let redriven = |world: &mut World| world.letters.get_mut(&0).unwrap()[0].redriven = true;
    catches(&lettered, redriven, &[Op::Advance { secs: 1 }], "has the letters");
}

#[test]
fn a_disk_that_loses_what_was_synced_is_seen() {
    let mut stage = Stage::ready(EACH);
    stage.play(&[append(), append()]).unwrap();
    let early = stage.recorder.picture();
    stage.play(&[append(), pop(3), Op::Ack { receipt: 0 }]).unwrap();
    let moment = Moment { before: stage.oracle.clone(), after: stage.oracle.clone(), now: stage.now };
    let lost = Stage::new(EACH).crash_at(&moment, &early, Crash::PowerCut(Sectors::New)).unwrap_err();
    assert!(lost.contains("ends at 2, not 3"), "{lost}");
    let late = stage.recorder.picture();
    Stage::new(EACH).crash_at(&moment, &late, Crash::PowerCut(Sectors::Old)).unwrap();
}

#[test]
fn a_suffix_may_be_lost_only_if_it_was_not_synced() {
    let setup = Setup { mode: Mode::Buffered, ..EACH };
    for (synced, keeps) in [(Synced::AsPromised, true), (Synced::Both, false)] {
        let mut stage = Stage::ready(setup);
        stage.play(&[append(), Op::Sync, append(), pop(2)]).unwrap();
        stage.oracle.done(synced);
        let moment = Moment { before: stage.oracle.clone(), after: stage.oracle.clone(), now: stage.now };
        let picture = stage.recorder.picture();
        let after = Stage::new(setup).crash_at(&moment, &picture, Crash::PowerCut(Sectors::Old));
        assert_eq!(after.is_ok(), keeps, "{after:?}");
        // A killed process loses nothing in any mode.
        let killed = Stage::new(setup).crash_at(&moment, &picture, Crash::Kill);
        assert!(killed.is_ok(), "{killed:?}");
    }
}

#[test]
fn without_states_left_the_oracle_speaks_up() {
    let mut oracle = Oracle::new(Mode::SyncEach);
    assert_eq!(oracle.step(|_| Err("no".into())), Err("no".into()));
}

/// Flips bits all over a store that was synced, and opens it: it is refused and left as it is, or shows what was there.
/// Only the last group of each log may be rolled back, since it cannot be told from a torn write.
#[test]
fn a_flipped_bit_is_reported_and_nothing_is_changed() {
    let mut stage = Stage::ready(EACH);
    stage.play(&[append(), append(), pop(1), append(), Op::Ack { receipt: 0 }]).unwrap();
    let whole = crate::view::look(stage.store()).unwrap();
    let (mut without_append, mut without_ack) = (whole.clone(), whole.clone());
    without_append.queues.get_mut(&(0, 0)).unwrap().1.pop();
    without_ack.groups.get_mut(&0).unwrap()[1] = 0;
    let tree = stage.recorder.picture().tree(Sectors::New);
    let (mut refused, mut harmless, mut rolled_back) = (0, 0, 0);
    for (path, bytes) in tree.files.iter().filter_map(|(path, bytes)| Some((path, bytes.as_ref()?))) {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in (0..used).step_by(3) {
            let mut tree = tree.clone();
            tree.files.get_mut(path).unwrap().as_mut().unwrap()[at] ^= 1 << (at % 8);
            let dir = tree.plant();
            match stage.options().open(dir.path()) {
                Ok(store) => match crate::view::look(&store).unwrap() {
                    found if found == whole => harmless += 1,
                    found if found == without_append || found == without_ack => rolled_back += 1,
                    found => panic!("{path:?} at {at} was taken for {found:?}"),
                },
                Err(Error::Corrupt { .. } | Error::Format { .. }) => {
                    refused += 1;
                    assert_eq!(Tree::read(dir.path()), tree, "a refused store was changed: {path:?} at {at}");
                }
                Err(other) => panic!("{path:?} at {at}: {other}"),
            }
        }
    }
    assert!(refused > 100 && rolled_back > 20, "{refused} refused, {harmless} harmless, {rolled_back} rolled back");
}
