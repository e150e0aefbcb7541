//! On the machine's clock, with the store's own threads and many of ours.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::disk::Gate;
use crate::scene::{GROUP, TOPIC, copy, secs, text};
use popstore::clock::{Clock, SystemClock};
use popstore::inspect::{RecoveryPlan, Snapshot};
use popstore::{Durability, Error, Event, Group, GroupOptions, Hook, Message, Options, Pop, Retention, Settled, Store};

const MS: Duration = Duration::from_millis(1);
/// Longer than any test may take: who waits that long was never woken.
const FOR_EVER: Duration = Duration::from_secs(60);

struct Live {
    store: Store,
    group: Group,
    dir: tempfile::TempDir,
}

fn live(durability: Durability, settings: GroupOptions) -> Live {
    let dir = tempfile::tempdir().unwrap();
    let store = options(durability).open(dir.path()).unwrap();
    store.create_topic(TOPIC, 1).unwrap();
    let group = store.create_group(GROUP, settings).unwrap();
    Live { dir, store, group }
}

fn options(durability: Durability) -> Options {
    Options::default().durability(durability).segment_bytes(1 << 20)
}

fn buffered() -> Live {
    live(Durability::Buffered, GroupOptions::default())
}

fn append(store: &Store, body: &str) {
    store.append(TOPIC, Message::new(body)).unwrap();
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let clock = SystemClock::start();
    let begun = clock.now();
    let done = act();
    (done, clock.now().since(begun))
}

/// Waits for a message while something happens a little later on another thread.
fn wait_while(live: &Live, act: impl FnOnce() + Send) -> (popstore::Result<Vec<popstore::Delivery>>, Duration) {
    thread::scope(|scope| {
        let waiter = scope.spawn(|| timed(|| live.group.pop_wait(TOPIC, Pop::up_to(1), FOR_EVER)));
        thread::sleep(50 * MS);
        act();
        waiter.join().unwrap()
    })
}

#[test]
fn a_store_and_a_group_are_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<Store>();
    is_shared::<Group>();
    is_shared::<popstore::Delivery>();
}

#[test]
fn pop_wait_is_woken_by_an_append() {
    for durability in [Durability::SyncEach, Durability::Buffered] {
        let live = live(durability, GroupOptions::default());
        let (popped, took) = wait_while(&live, || append(&live.store, "a"));
        assert_eq!((popped.unwrap()[0].body(), took < secs(5)), (&b"a"[..], true), "{took:?}");
    }
}

#[test]
fn pop_wait_is_woken_by_a_redelivery_soon_after_the_leases_end() {
    let live = buffered();
    append(&live.store, "a");
    let lease = 100 * MS;
    let _ = live.group.pop(TOPIC, Pop::up_to(1).invisible_for(lease)).unwrap();
    let (popped, took) = timed(|| live.group.pop_wait(TOPIC, Pop::up_to(1), FOR_EVER).unwrap());
    assert_eq!(popped[0].attempt(), 2);
    assert!(took > 50 * MS && took < secs(5), "{took:?}");
}

#[test]
fn pop_wait_is_woken_when_the_delay_of_a_nack_is_over() {
    let live = buffered();
    append(&live.store, "a");
    let receipt = live.group.pop(TOPIC, Pop::up_to(1)).unwrap()[0].receipt();
    assert_eq!(live.group.nack(receipt, 100 * MS).unwrap(), Settled::Done);
    let (popped, took) = timed(|| live.group.pop_wait(TOPIC, Pop::up_to(1), FOR_EVER).unwrap());
    assert_eq!(popped[0].attempt(), 2);
    assert!(took > 50 * MS && took < secs(5), "{took:?}");
}

#[test]
fn pop_wait_is_woken_by_a_nack_without_a_delay() {
    let live = buffered();
    append(&live.store, "a");
    let receipt = live.group.pop(TOPIC, Pop::up_to(1)).unwrap()[0].receipt();
    let (popped, took) = wait_while(&live, || assert!(live.group.nack(receipt, secs(0)).unwrap().counted()));
    assert_eq!((popped.unwrap()[0].attempt(), took < secs(5)), (2, true));
}

#[test]
fn pop_wait_of_an_ordered_group_is_woken_by_the_ack_in_front() {
    let live = live(Durability::Buffered, GroupOptions::default().ordered(true));
    append(&live.store, "a");
    append(&live.store, "b");
    let receipt = live.group.pop(TOPIC, Pop::up_to(1)).unwrap()[0].receipt();
    let (popped, took) = wait_while(&live, || assert!(live.group.ack(receipt).unwrap().counted()));
    assert_eq!((popped.unwrap()[0].body(), took < secs(5)), (&b"b"[..], true));
}

#[test]
fn pop_wait_of_an_ordered_group_is_woken_by_a_dead_lettering() {
    let settings = GroupOptions::default().ordered(true).max_reconsume_times(0).invisible_for(100 * MS);
    let live = live(Durability::Buffered, settings);
    append(&live.store, "a");
    append(&live.store, "b");
    let _ = live.group.pop(TOPIC, Pop::up_to(1)).unwrap();
    let (popped, took) = timed(|| live.group.pop_wait(TOPIC, Pop::up_to(1), FOR_EVER).unwrap());
    assert_eq!((popped[0].body(), took < secs(5)), (&b"b"[..], true));
}

#[test]
fn pop_wait_is_woken_by_close() {
    let live = buffered();
    let (popped, took) = wait_while(&live, || live.store.clone().close().unwrap());
    assert!(matches!(popped, Err(Error::Closed)) && took < secs(5), "{popped:?} after {took:?}");
}

#[test]
fn pop_wait_comes_back_empty_after_its_timeout() {
    let live = buffered();
    let (popped, took) = timed(|| live.group.pop_wait(TOPIC, Pop::up_to(1), 80 * MS).unwrap());
    assert!(popped.is_empty() && took >= 80 * MS && took < secs(5), "{took:?}");
}

#[test]
fn no_wake_up_is_lost_between_four_producers_and_four_consumers() {
    const EACH: usize = 400;
    for durability in [Durability::Buffered, Durability::SyncEvery(5 * MS)] {
        let live = live(durability, GroupOptions::default());
        let (mut seen, took) = timed(|| {
            thread::scope(|scope| {
                let consumers: Vec<_> = (0..4).map(|_| scope.spawn(|| consume(&live.group))).collect();
                let producer = |at: usize| (0..EACH).for_each(|n| append(&live.store, &format!("{at}/{n}")));
                let producers: Vec<_> = (0..4).map(|at| scope.spawn(move || producer(at))).collect();
                producers.into_iter().for_each(|producer| producer.join().unwrap());
                (0..4).for_each(|_| append(&live.store, "stop"));
                consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect::<Vec<_>>()
            })
        });
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4 * EACH, "each message once");
        assert!(took < FOR_EVER / 2, "someone slept on: {took:?}");
        assert_eq!(live.group.stats().unwrap().lag, 0);
    }
}

/// Acks one message after the other until it is told to stop.
fn consume(group: &Group) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let popped = group.pop_wait(TOPIC, Pop::up_to(1), FOR_EVER).unwrap();
        let [delivery] = popped.as_slice() else { panic!("{} deliveries", popped.len()) };
        assert_eq!(group.ack(delivery.receipt()).unwrap(), Settled::Done);
        match delivery.body() {
            b"stop" => return seen,
            body => seen.push(text(body)),
        }
    }
}

#[test]
fn concurrent_appends_get_dense_indexes_that_survive_a_kill() {
    for durability in [Durability::SyncEach, Durability::Buffered] {
        let live = live(durability, GroupOptions::default());
        let appender = |at: u32| -> Vec<u64> {
            let one = |n| live.store.append(TOPIC, Message::new(&format!("{at}/{n}"))).unwrap().index;
            (0..40).map(one).collect()
        };
        let appender = &appender;
        let indexes: BTreeSet<u64> = thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|at| scope.spawn(move || appender(at))).collect();
            all.into_iter().flat_map(|one| one.join().unwrap()).collect()
        });
        assert!(indexes.into_iter().eq(0..160));
        let after = tempfile::tempdir().unwrap();
        copy(live.dir.path(), after.path());
        let store = options(durability).open(after.path()).unwrap();
        assert_eq!(crate::scene::bodies(&store).into_iter().collect::<BTreeSet<_>>().len(), 160);
    }
}

#[test]
fn sync_every_syncs_by_itself() {
    let live = live(Durability::SyncEvery(20 * MS), GroupOptions::default());
    for _ in 0..3 {
        let place = live.store.append(TOPIC, Message::new("a")).unwrap();
        let synced = || live.store.synced_through() > place.offset && live.store.stats().unwrap().unsynced_bytes == 0;
        assert!((0..500).any(|_| synced() || (thread::sleep(10 * MS), false).1), "never synced");
    }
}

#[test]
fn the_last_clone_that_is_dropped_closes_the_store() {
    let live = buffered();
    let clones: Vec<_> = (0..3).map(|_| (live.store.clone(), live.group.clone())).collect();
    append(&live.store, "a");
    let Live { dir, store, group } = live;
    drop((store, group));
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked { .. })));
    clones.into_iter().for_each(|clone| drop(thread::spawn(move || drop(clone)).join()));
    let store = Store::open(dir.path()).unwrap();
    assert!(store.recovery().clean, "{:?}", store.recovery());
    assert_eq!(crate::scene::bodies(&store), ["a"]);
}

#[test]
fn one_clone_closes_for_all_and_the_store_opens_beside_them() {
    let live = buffered();
    let other = live.store.clone();
    append(&other, "a");
    live.store.close().unwrap();
    assert!(matches!(other.append(TOPIC, Message::new("b")), Err(Error::Closed)));
    let again = Store::open(live.dir.path()).unwrap();
    drop((other, live.group));
    assert_eq!(crate::scene::bodies(&again), ["a"]);
    append(&again, "b");
}

#[test]
fn an_append_acknowledged_during_a_close_is_there_afterwards() {
    for round in 0..6 {
        let durability = if round % 2 == 0 { Durability::SyncEach } else { Durability::Buffered };
        let live = live(durability, GroupOptions::default());
        let appender = || (0..).take_while(|_| live.store.append(TOPIC, Message::new("a")).is_ok()).count();
        let (acknowledged, store) = thread::scope(|scope| {
            let appenders: Vec<_> = (0..2).map(|_| scope.spawn(appender)).collect();
            thread::sleep(10 * MS);
            live.store.clone().close().unwrap();
            let store = options(durability).open(live.dir.path()).unwrap();
            (appenders.into_iter().map(|one| one.join().unwrap()).sum::<usize>(), store)
        });
        assert_eq!(crate::scene::bodies(&store).len(), acknowledged, "round {round}");
    }
}

#[test]
fn what_fell_due_while_closed_is_there_for_the_first_pop() {
    for _ in 0..10 {
        let Live { dir, store, group } = buffered();
        append(&store, "a");
        assert_eq!(group.pop(TOPIC, Pop::up_to(1).invisible_for(MS)).unwrap().len(), 1);
        drop((store, group));
        thread::sleep(2 * MS);
        let store = options(Durability::Buffered).open(dir.path()).unwrap();
        let again = store.group(GROUP).unwrap().pop(TOPIC, Pop::up_to(1)).unwrap();
        assert_eq!(again.iter().map(popstore::Delivery::attempt).collect::<Vec<_>>(), [2]);
    }
}

/// The keeper falls behind on it: the logs are long, and a look at them takes its time.
struct SlowDisk;

impl Hook for SlowDisk {
    fn before(&self, event: &Event<'_>) -> std::io::Result<()> {
        if let Event::SyncFile(path) = event
            && path.iter().any(|name| name == "queues")
        {
            thread::sleep(100 * MS);
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

#[test]
fn beside_an_owner_whose_logs_roll_no_faults_are_reported() {
    for durability in [Durability::Buffered, Durability::SyncEach] {
        let dir = tempfile::tempdir().unwrap();
        let options = options(durability).checkpoint_segment_bytes(1 << 16).mark_every_bytes(1 << 18);
        let options = options.retention(Retention::keep().when_done()).hook(Arc::new(SlowDisk));
        let store = options.open(dir.path()).unwrap();
        store.create_topic(TOPIC, 1).unwrap();
        let group = store.create_group(GROUP, GroupOptions::default()).unwrap();
        let (refused, faults) = thread::scope(|scope| {
            let look = || {
                let plans = (0..10).map(|_| RecoveryPlan::read(dir.path()).unwrap());
                let refused: Vec<_> = plans.filter_map(|plan| plan.refused).collect();
                let mut faults = Vec::new();
                for _ in 0..5 {
                    let snapshot = Snapshot::open(dir.path()).unwrap();
                    snapshot.verify(|_, _| {}, |fault| faults.push(fault.to_string())).unwrap();
                }
                (refused, faults)
            };
            let looking = scope.spawn(look);
            while !looking.is_finished() {
                // A slow machine must not look at more and more.
                if store.stats().unwrap().commit_bytes > 16 << 20 {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
                store.append_batch(TOPIC, &std::array::from_fn::<_, 32, _>(|_| Message::new("one"))).unwrap();
                for delivery in group.pop(TOPIC, Pop::up_to(32)).unwrap() {
                    assert!(group.ack(delivery.receipt()).unwrap().counted());
                }
            }
            looking.join().unwrap()
        });
        assert!(refused.is_empty() && faults.is_empty(), "{durability:?}: {refused:?} {faults:?}");
    }
}

/// It took 20 seconds to close a store that was to have 2 GiB ready.
#[test]
fn a_store_that_closes_makes_no_more_room() {
    let gate = Gate::at(
        |event| matches!(event, Event::Space { path, .. } if path.ends_with("commit/00000000000001048576.tmp")),
    );
    let dir = tempfile::tempdir().unwrap();
    gate.close();
    let options = options(Durability::Buffered).ready_bytes(64 << 20).hook(gate.clone());
    let store = options.open(dir.path()).unwrap();
    gate.wait_until_it_holds_one();
    let closing = store.clone();
    thread::scope(|scope| {
        let closed = scope.spawn(move || closing.close());
        while !matches!(store.stats(), Err(Error::Closed)) {
            thread::sleep(MS);
        }
        gate.open();
        closed.join().unwrap().unwrap();
    });
    let files = std::fs::read_dir(dir.path().join("commit")).unwrap().count();
    assert!(files < 10, "{files} of 64 segments were made");
}

#[test]
fn nobody_waits_while_a_file_of_a_queue_is_read() {
    let gate = Gate::at(|event| matches!(event, Event::Open(path) if path.to_string_lossy().contains("queues/orders")));
    let dir = tempfile::tempdir().unwrap();
    let open = || options(Durability::Buffered).hook(gate.clone()).open(dir.path()).unwrap();
    let store = open();
    let _ = store.create_group(GROUP, GroupOptions::default()).unwrap();
    let bodies: Vec<_> = (0..1000).map(|_| Message::new("a")).collect();
    let _ = store.append_batch(TOPIC, &bodies).unwrap();
    store.append("other", Message::new("b")).unwrap();
    store.close().unwrap();
    let store = open();
    let group = store.group(GROUP).unwrap();
    let held = group.pop("other", Pop::up_to(1)).unwrap().remove(0);
    gate.close();
    let (done, when_done) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let reading = scope.spawn(|| group.pop(TOPIC, Pop::up_to(1)).unwrap().len());
        gate.wait_until_it_holds_one();
        let waiting = scope.spawn(|| group.pop(TOPIC, Pop::up_to(1)).unwrap().len());
        let others = scope.spawn(|| {
            store.append(TOPIC, Message::new("c")).unwrap();
            store.append("other", Message::new("d")).unwrap();
            assert!(group.ack(held.receipt()).unwrap().counted());
            assert_eq!(group.pop("other", Pop::up_to(1)).unwrap().len(), 1);
            done.send(()).unwrap();
        });
        let nobody_waited = when_done.recv_timeout(FOR_EVER).is_ok();
        gate.open();
        others.join().unwrap();
        assert_eq!((reading.join().unwrap(), waiting.join().unwrap()), (1, 1));
        assert!(nobody_waited, "appends, acks and pops waited for a read");
    });
}
