//! A failed sync is reported as what it is: it poisons the store, or the work behind it is done again later.

use crate::case::{run, undisturbed};
use crate::fault::{Call, Errno, Fault};
use crate::play::Play;
use crate::scene::MODES;
use crate::script::ORDERS;
use popstore::{Durability, Error, Message};

fn once(at: usize, errno: Errno) -> Option<Fault> {
    Some(Fault { at, errno, lasts: false })
}

/// The sync of new room may be the one to which the system reports a failure of earlier writes.
#[test]
fn a_failed_sync_of_new_room_poisons_the_store() {
    let first_append = |fault| {
        let mut play = Play::new(Durability::SyncEach);
        play.open();
        play.disk.order(fault);
        let appended = play.store.as_ref().unwrap().append(ORDERS, Message::new("a"));
        (play, appended)
    };
    let (play, appended) = first_append(None);
    assert!(appended.is_ok());
    let sync = play.disk.calls().iter().position(|call| *call == Call::SyncFile).unwrap();
    let (play, appended) = first_append(once(sync, Errno::Io));
    assert!(matches!(appended, Err(Error::Poisoned { .. })), "{appended:?}");
    let again = play.store.as_ref().unwrap().append(ORDERS, Message::new("b"));
    assert!(matches!(again, Err(Error::Poisoned { .. })), "{again:?}");
}

/// The file is gone by then, which must not make each later try fail.
#[test]
fn segments_are_deleted_after_a_failed_sync_of_the_directory() {
    for mode in MODES {
        let calls = undisturbed(mode).1;
        let gone = |pair: &[Call]| matches!(pair, [Call::Remove | Call::Rename, Call::SyncDir]);
        let syncs: Vec<usize> = (1..calls.len()).filter(|at| gone(&calls[at - 1..=*at])).collect();
        assert!(syncs.len() > 3);
        syncs.into_iter().filter_map(|at| once(at, Errno::Io)).for_each(|fault| run(mode, fault));
    }
}
