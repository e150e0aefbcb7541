//! One case: the script under one fault, what the store can do after it, and what the next open finds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use popstore::inspect::Snapshot;
use popstore::{Durability, Store};

use crate::fault::{Call, Fault};
use crate::play::Play;
use crate::script;

/// Runs each case and lists those that fail.
pub fn run_all(what: &str, calls: &[Call], faults: &[Fault], run: impl Fn(Fault)) {
    println!("{what}: {} calls, {} cases", calls.len(), faults.len());
    let failed = |fault: &&Fault| catch_unwind(AssertUnwindSafe(|| run(**fault))).is_err();
    let failed: Vec<_> = faults.iter().filter(failed).map(|fault| (fault, calls[fault.at])).collect();
    assert!(failed.is_empty(), "{what}: {} of {} cases fail: {failed:#?}", failed.len(), faults.len());
}

/// The script without a fault.
pub fn undisturbed(mode: Durability) -> (Play, Vec<Call>) {
    let mut play = Play::new(mode);
    play.disk.order(None);
    script::first_life(&mut play);
    script::second_life(&mut play);
    let calls = play.disk.calls();
    (play, calls)
}

/// The script under a fault.
pub fn run(mode: Durability, fault: Fault) {
    let mut play = Play::new(mode);
    play.disk.order(Some(fault));
    script::first_life(&mut play);
    // A store that has survived a fault must go on by itself; opening it again would heal too much.
    if play.poisoned || play.disk.is_sick() {
        script::second_life(&mut play);
    }
    play.disk.heal();
    if play.store.is_some() && !play.poisoned {
        go_on(&mut play);
    }
    match fault.lasts {
        // A fault that is over is followed by a kill, one that lasts by a drop that can do nothing any more.
        false => {
            let copy = play.copy();
            play.store = None;
            play.dir = copy;
        }
        true => {
            play.disk.break_down();
            play.store = None;
        }
    }
    check_reopened(&mut play);
    if let Some((dir, oracle)) = play.died.take() {
        (play.dir, play.oracle) = (dir, oracle);
        check_reopened(&mut play);
    }
}

/// Everything works again, without a restart.
fn go_on(play: &mut Play) {
    // What failed in the background is tried again after a while.
    play.advance(2);
    play.troubles();
    let struck = play.disk.struck();
    play.disk.order(None);
    script::afterwards(play);
    assert!(!play.poisoned);
    let troubles = play.troubles();
    assert!(troubles.is_empty(), "struck: {struck}, and still: {troubles:?}");
}

/// Nothing that was acknowledged is lost, and nothing is damaged.
pub fn check_reopened(play: &mut Play) {
    let open = |play: &Play| -> Store { play.options().open(play.dir.path()).expect("opens without faults") };
    let store = open(play);
    play.oracle.check(&store, &play.clock);
    store.close().unwrap();
    let store = open(play);
    assert!(store.recovery().clean, "{:?}", store.recovery());
    // A group whose topic was never made has read nothing.
    assert!(store.stats().unwrap().groups.iter().all(|group| group.lag == 0 || !group.has_read));
    drop(store);
    assert_eq!(Snapshot::open(play.dir.path()).unwrap().faults(), []);
}
