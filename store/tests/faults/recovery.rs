//! Every call of a recovery fails: the open is refused or succeeds, and the next one has everything.

use std::path::Path;

use crate::case::{check_reopened, run_all};
use crate::disk::segments;
use crate::fault::{Call, Fault};
use crate::play::{Play, scratch};
use crate::scene::{MODES, copy, secs};
use crate::script;
use popstore::{Durability, Error};

/// What a killed process left, and more that a crash can leave: bytes behind the ends of both logs, a file under
/// construction, a spare that is too short and a consume queue without its files.
fn left_behind(mode: Durability) -> Play {
    let mut play = Play::new(mode);
    play.disk.order(None);
    script::first_life(&mut play);
    script::second_life(&mut play);
    let copied = play.copy();
    play.store = None;
    play.dir = copied;
    for log in ["commit", "checkpoint"] {
        dirty_tail(play.dir.path(), log);
        let log = play.dir.path().join(log);
        std::fs::write(log.join("00000000000000999424.tmp"), [7; 100]).unwrap();
        std::fs::write(log.join("spare-00000000000000000001"), [7; 100]).unwrap();
    }
    std::fs::remove_dir_all(play.dir.path().join("queues/orders")).unwrap();
    play
}

/// Puts bytes that are no record behind the last one.
fn dirty_tail(dir: &Path, log: &str) {
    for path in segments(dir, log).iter().rev() {
        let mut bytes = std::fs::read(path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 64;
        // A segment that lies ready holds its header and nothing else.
        if end > 192 && end + 100 < bytes.len() {
            bytes[end..end + 100].fill(0xab);
            return std::fs::write(path, bytes).unwrap();
        }
    }
}

fn open_under(play: &mut Play, base: &Path, fault: Option<Fault>) -> Vec<Call> {
    play.dir = scratch();
    copy(base, play.dir.path());
    play.clock.set(secs(2_000_000));
    play.disk.order(fault);
    match play.options().hook(play.disk.clone()).open(play.dir.path()) {
        Ok(store) => drop(store),
        Err(Error::Io { .. } | Error::Full { .. } | Error::Poisoned { .. }) if play.disk.struck() => {}
        Err(error) => panic!("{error}: {error:?}"),
    }
    play.disk.calls()
}

#[test]
fn a_recovery_survives_a_fault_at_every_call() {
    for mode in MODES {
        let mut play = left_behind(mode);
        let base = std::mem::replace(&mut play.dir, scratch());
        let calls = open_under(&mut play, base.path(), None);
        check_reopened(&mut play);
        let faults = Fault::all(&calls);
        let play = std::cell::RefCell::new(play);
        run_all(&format!("recovery, {mode:?}"), &calls, &faults, |fault| {
            let mut play = play.borrow_mut();
            open_under(&mut play, base.path(), Some(fault));
            check_reopened(&mut play);
        });
    }
}
