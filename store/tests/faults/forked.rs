//! A forked child has copies of the store's memory and files, and none of its threads. It can do nothing with the store,
//! and its end changes nothing.
#![allow(unsafe_code)]

use std::time::Duration;

use popstore::{Error, Group, GroupOptions, Message, Pop, Receipt, Store};

use crate::play::scratch;
use crate::scene::{MODES, secs};

const TOPIC: &str = "orders";

/// What each verb says in the child: a letter for a refusal that names the lock, another for anything else.
fn verbs(store: &Store, group: &Group, receipt: Receipt) -> String {
    let pop = Pop::up_to(1);
    let second = Duration::from_secs(1);
    let results: Vec<Result<(), Error>> = vec![
        store.append(TOPIC, Message::new("child")).map(drop),
        store.append_batch(TOPIC, &[Message::new("child")]).map(drop),
        store.create_topic("other", 1),
        store.create_group("other", GroupOptions::default()).map(drop),
        store.group("billing").map(drop),
        store.delete_group("billing"),
        store.message(TOPIC, 0, 0).map(drop),
        store.stats().map(drop),
        store.topic_stats(TOPIC).map(drop),
        store.sync(),
        group.pop(TOPIC, pop).map(drop),
        group.pop_wait(TOPIC, pop, 60 * second).map(drop),
        group.ack(receipt).map(drop),
        group.ack_batch(&[receipt]).map(drop),
        group.nack(receipt, second).map(drop),
        group.extend(receipt, second).map(drop),
        group.dead_letters().map(drop),
        group.skip(TOPIC, 0, 0).map(drop),
        group.options().map(drop),
        group.stats().map(drop),
        store.group_of(&receipt).map(drop),
    ];
    store.run_pending();
    results.into_iter().map(|result| if matches!(result, Err(Error::Locked { .. })) { '.' } else { 'X' }).collect()
}

/// Runs `child` in a forked process; what it returns, or nothing if it did not end by itself within a minute.
fn in_child(child: impl FnOnce() -> String) -> String {
    let (mut ends, mut text) = ([0; 2], String::new());
    // SAFETY: plain system calls; the child only allocates, which the C library prepares for in a fork, and ends by `_exit`.
    unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(60);
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or_else(|_| "panic".into());
            libc::write(ends[1], told.as_ptr().cast(), told.len());
            libc::_exit(0);
        }
        libc::close(ends[1]);
        let mut byte = 0_u8;
        while libc::read(ends[0], (&raw mut byte).cast(), 1) == 1 {
            text.push(char::from(byte));
        }
        libc::close(ends[0]);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    text
}

#[test]
fn a_forked_child_is_refused_and_changes_nothing() {
    for mode in MODES {
        let dir = scratch();
        let store = Store::options().durability(mode).open(dir.path()).unwrap();
        let group = store.create_group("billing", GroupOptions::default()).unwrap();
        (0..3).for_each(|at| assert_eq!(store.append(TOPIC, Message::new(&format!("{at}"))).unwrap().index, at));
        let receipt = group.pop(TOPIC, Pop::up_to(1).invisible_for(secs(3600))).unwrap()[0].receipt();
        let (theirs, of_theirs) = (store.clone(), group.clone());
        let told = in_child(move || {
            let told = verbs(&theirs, &of_theirs, receipt);
            // All clones that the child has.
            drop((theirs, of_theirs));
            told
        });
        assert_eq!(told, ".".repeat(21), "{mode:?}");
        let second = Store::open(dir.path()).map(drop);
        assert!(matches!(second, Err(Error::Locked { .. })), "the child gave the lock back: {second:?}");
        assert_eq!(store.append(TOPIC, Message::new("parent")).unwrap().index, 3);
        assert!(group.ack(receipt).unwrap().counted());
        drop(group);
        store.close().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.topic_stats(TOPIC).unwrap().messages(), 4);
        assert!(store.recovery().clean);
    }
}

#[test]
fn the_last_clone_can_be_dropped_in_a_forked_child() {
    let dir = scratch();
    let mut store = Some(Store::open(dir.path()).unwrap());
    store.as_ref().unwrap().append(TOPIC, Message::new("m")).unwrap();
    let told = in_child(|| {
        let closed = store.take().unwrap().close();
        format!("{}", matches!(closed, Err(Error::Locked { .. })))
    });
    assert_eq!(told, "true");
    // The closure took it here, too, without running: it was closed in order.
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.recovery().clean);
    assert_eq!(store.append(TOPIC, Message::new("m")).unwrap().index, 1);
}

/// The first check is whether the store can be used at all: neither a letter nor an unknown topic comes before it.
#[test]
fn a_listing_and_a_waiting_pop_check_the_store_first() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let group = store.create_group("billing", GroupOptions::default().max_reconsume_times(0)).unwrap();
    store.append(TOPIC, Message::new("m")).unwrap();
    let _ = group.nack(group.pop(TOPIC, Pop::up_to(1)).unwrap()[0].receipt(), secs(0)).unwrap();
    store.run_pending();
    let letters = || group.dead_letters().unwrap();
    let (mut in_the_child, mut after_close) = (letters(), letters());
    assert!(letters().next().unwrap().is_ok(), "there is a letter to list");
    let popped = || group.pop_wait("unknown", Pop::up_to(1), secs(3600)).map(drop);
    let told = in_child(|| {
        let listed = in_the_child.next().map(|letter| letter.map(drop));
        format!(
            "{} {}",
            matches!(listed, Some(Err(Error::Locked { .. }))),
            matches!(popped(), Err(Error::Locked { .. }))
        )
    });
    assert_eq!(told, "true true");
    store.close().unwrap();
    let listed = after_close.next().map(|letter| letter.map(drop));
    assert!(matches!(listed, Some(Err(Error::Closed))), "{listed:?}");
    let popped = popped();
    assert!(matches!(popped, Err(Error::Closed)), "{popped:?}");
}
