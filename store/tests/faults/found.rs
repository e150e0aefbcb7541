//! What the injected faults found, each once by its name.

use crate::case::{run, undisturbed};
use crate::fault::{Call, Errno, Fault};
use crate::play::Play;
use crate::scene::{MODES, secs};
use crate::script::{GROUP, ORDERS};
use popstore::{Delivery, Durability, Error, GroupOptions, Message, Pop};

fn once(at: usize, errno: Errno) -> Option<Fault> {
    Some(Fault { at, errno, lasts: false })
}

/// The sync of new room may be the one that the system tells a failure of earlier writes to. It was forgotten.
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

/// The file was gone, and each later try failed on that: no segment was ever let go of again.
#[test]
fn segments_go_on_being_retired_after_a_failed_sync_of_their_directory() {
    for mode in MODES {
        let calls = undisturbed(mode).1;
        let gone = |pair: &[Call]| matches!(pair, [Call::Remove | Call::Rename, Call::SyncDir]);
        let syncs: Vec<usize> = (1..calls.len()).filter(|at| gone(&calls[at - 1..=*at])).collect();
        assert!(syncs.len() > 3);
        syncs.into_iter().filter_map(|at| once(at, Errno::Io)).for_each(|fault| run(mode, fault));
    }
}

/// A spare that could not be opened was forgotten, although it kept its place on the disk.
#[test]
fn spares_that_cannot_be_opened_for_a_while_are_used_later() {
    let mut play = Play::new(Durability::Buffered);
    play.open();
    let store = play.store.clone().unwrap();
    store.append(ORDERS, Message::new("a")).unwrap();
    let group = store.create_group(GROUP, GroupOptions::default().without_limit()).unwrap();
    let work = || {
        let mut rounds = 0..1000;
        rounds.all(|_| {
            store.run_pending();
            let popped = group.pop(ORDERS, Pop::up_to(1));
            let receipt = popped.ok().and_then(|popped| popped.first().map(Delivery::receipt));
            receipt.is_some_and(|receipt| group.nack(receipt, secs(0)).is_ok())
        })
    };
    assert!(work());
    let before = spares(&play);
    assert!(before > 0);
    for _ in 0..4 {
        play.disk.order(Some(Fault { at: 0, errno: Errno::TooManyFiles, lasts: true }));
        assert!(!work());
        play.disk.heal();
        play.clock.advance(secs(31));
        assert!(work());
    }
    assert!(spares(&play) <= before, "{} spares, {before} before", spares(&play));
}

fn spares(play: &Play) -> usize {
    let names = std::fs::read_dir(play.dir.path().join("checkpoint")).unwrap();
    names.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("spare-")).count()
}
