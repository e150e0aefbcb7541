//! A disk that is full: no file grows and none is made unless another was removed. Consumers go on, for ever.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::disk::{Gate, Tap, What};
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::{Durability, Error, Event, GroupOptions, Hook, Message, Options, Pop, Retention, Settled};

/// Counts the free bytes of the disk; a new file takes a block.
pub struct Space(pub AtomicI64);

const BLOCK: i64 = 4096;

impl Space {
    fn take(&self, bytes: i64) -> io::Result<()> {
        if bytes > 0 && self.0.load(Ordering::SeqCst) < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.fetch_sub(bytes, Ordering::SeqCst);
        Ok(())
    }
}

impl Hook for Space {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let blocks = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len() as i64 / BLOCK + 1);
        match event {
            Event::Create(path) => self.take(if path.exists() { 0 } else { BLOCK }),
            Event::Write { path, at, len } | Event::Room { path, at, len } | Event::Space { path, at, len, .. } => {
                self.take(((*at as i64 + *len as i64) / BLOCK + 1 - blocks(path)).max(0) * BLOCK)
            }
            Event::Remove(path) | Event::Rename { to: path, .. } => self.take(-blocks(path) * BLOCK),
            _ => Ok(()),
        }
    }

    fn after(&self, _event: &Event<'_>) {}
}

fn filled(mode: Durability) -> (Scene, Arc<Space>) {
    filled_with(Options::default().durability(mode))
}

fn filled_with(options: Options) -> (Scene, Arc<Space>) {
    let space = Arc::new(Space(AtomicI64::new(i64::MAX / 2)));
    let options = options.hook(space.clone()).entries_per_file(8).mark_every_bytes(4096);
    let options = options.segment_bytes(4096).checkpoint_segment_bytes(1 << 14);
    let scene = Scene::sized(options, GroupOptions::default().without_limit());
    scene.append_many("m", 100);
    scene.store().run_pending();
    space.0.store(0, Ordering::SeqCst);
    (scene, space)
}

/// Thousands of deliveries, which make the checkpoint log roll over many times.
fn work(scene: &Scene, rounds: usize) {
    for _ in 0..rounds {
        let delivery = scene.pop();
        let nacked = scene.group().nack(delivery.receipt(), secs(0)).expect("a consumer goes on");
        assert_eq!(nacked, Settled::Done);
        scene.store().run_pending();
    }
}

/// Each message is a run of its own, and more of them than fit into a record were chosen.
#[test]
fn a_pop_is_one_record_or_did_not_happen() {
    let tap = Arc::new(Tap::default());
    let options = Options::default().durability(Durability::Buffered).hook(tap.clone()).segment_bytes(1 << 16);
    let options = options.checkpoint_segment_bytes(4096).entries_per_file(64).mark_every_bytes(1 << 20);
    let scene = Scene::sized(options, GroupOptions::default().without_limit());
    scene.store().create_topic("wide", 200).unwrap();
    (0..200).for_each(|at| assert_eq!(scene.store().append("wide", Message::new("m").queue(at)).unwrap().index, 0));
    let (mut popped, mut refusals) = (0, 0);
    while popped < 200 {
        // Each second attempt finds no room for a record that needs another segment.
        let refuses = refusals % 2 == 0;
        tap.fail(move |what, path| match what {
            What::Create | What::Room if refuses && path.to_string_lossy().contains("checkpoint") => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        });
        refusals += 1;
        let in_flight = || scene.group().stats_of("wide").unwrap().in_flight;
        let before = in_flight();
        let handed_out = match scene.group().pop("wide", Pop::up_to(4096)) {
            Ok(deliveries) => deliveries.len() as u64,
            Err(error) => {
                assert!(matches!(error, Error::Full { .. }), "{error:?}");
                0
            }
        };
        assert_eq!(in_flight() - before, handed_out, "a lease that nobody was given");
        popped += handed_out;
        assert!(refusals < 100);
    }
    assert!(popped / refusals < 100, "all of them fit into one record");
}

#[test]
fn consumers_go_on_for_ever_on_a_full_disk() {
    for mode in MODES {
        let (scene, _space) = filled(mode);
        let full = (0..200).find_map(|_| scene.store().append(TOPIC, Message::new(&[0; 500])).err());
        assert!(matches!(full, Some(Error::Full { .. })), "{full:?}");
        work(&scene, 1500);
    }
}

/// The entries of queues that were not in their files yet had no space there, and no segment went for want of it.
#[test]
fn settled_messages_make_room_on_a_disk_full_to_the_last_block() {
    for (mode, taken) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let space = Arc::new(Space(AtomicI64::new(i64::MAX / 2)));
        let retention = Retention::keep().when_done();
        let options = Options::default().durability(mode).hook(space.clone()).retention(retention).entries_per_file(8);
        // Marks are due all the time, and on the full disk each writes what it can.
        let options = options.segment_bytes(4096).checkpoint_segment_bytes(1 << 14).mark_every_bytes(1 << 12);
        let mut scene = Scene::sized(options, GroupOptions::default().without_limit());
        // The file of this queue has room for another entry, also when there is no space for a new file.
        let other = |scene: &Scene| scene.store().append("other", Message::new("o")).unwrap();
        other(&scene);
        scene.append_many("m", 100);
        let first = scene.group().pop("other", Pop::up_to(1)).unwrap().remove(0);
        assert_eq!(scene.ack(first.receipt()), Settled::Done);
        drop(first);
        scene.reopen();
        scene.append_many("n", 100);
        other(&scene);
        scene.store().run_pending();
        // Or somebody else takes what becomes free.
        space.0.store(if taken { i64::MIN / 2 } else { 0 }, Ordering::SeqCst);
        let append = |scene: &Scene| scene.store().append(TOPIC, Message::new(&[0; 500]));
        assert!((0..200).any(|_| append(&scene).is_err()), "{mode:?}: it is full");
        while let Some(delivery) = scene.pop_up_to(1).pop() {
            assert_eq!(scene.ack(delivery.receipt()), Settled::Done);
            scene.store().run_pending();
        }
        let appended = (0..5).find_map(|_| {
            scene.store().run_pending();
            append(&scene).ok()
        });
        assert_eq!(appended.is_none(), taken, "{mode:?}: whether there is room");
        assert!(scene.store().stats().unwrap().commit_bytes < 4 * 4096, "{mode:?}: what is done has gone");
        if taken {
            scene.die(|_| {});
        } else {
            scene.store().run_pending();
            scene.close();
        }
        expect_sound(&scene);
        let plan = popstore::inspect::RecoveryPlan::read_for(&scene.path, &scene.options).unwrap();
        assert!(plan.refused.is_none() && plan.steps.iter().all(|step| step.action != "rebuild"), "{mode:?}: {plan:?}");
        scene.open();
        if let Some(appended) = appended {
            assert_eq!(scene.pop().message().index(), appended.index, "{mode:?}");
        }
        assert_eq!(scene.group().pop("other", Pop::up_to(9)).unwrap().len(), 1, "{mode:?}");
        space.0.store(1 << 30, Ordering::SeqCst);
        scene.append_many("n", 40);
        scene.reopen();
        assert_eq!(scene.pop_up_to(100).len(), 40, "{mode:?}");
        scene.close();
        expect_sound(&scene);
    }
}

fn expect_sound(scene: &Scene) {
    let verified =
        popstore::inspect::Snapshot::open(&scene.path).unwrap().verify(|_, _| {}, |fault| panic!("{fault:?}"));
    assert!(verified.is_ok(), "{verified:?}");
}

/// Pops that were never refused used up what the acks of those messages need, and what closing and opening do.
#[test]
fn leases_do_not_outgrow_the_reserve_of_a_full_disk() {
    for (mode, before) in MODES.into_iter().flat_map(|mode| [(mode, 0), (mode, 300)]) {
        let (mut scene, space) = filled(mode);
        space.0.store(1 << 30, Ordering::SeqCst);
        scene.append_many("n", 3000 + 4 * before);
        let mut held = Vec::new();
        for _ in 0..before {
            scene.advance(Duration::from_millis(1));
            held.extend(scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(secs(500_000))).unwrap());
        }
        let mut held: Vec<_> = held.iter().map(popstore::Delivery::receipt).collect();
        scene.store().run_pending();
        space.0.store(0, Ordering::SeqCst);
        for round in 0..3 {
            let mut given_back = held.len() / 3;
            let full = loop {
                // Each is a cohort of its own. The keeper is late.
                scene.clock.advance(Duration::from_millis(1));
                let receipt = match scene.group().pop(TOPIC, Pop::up_to(1).invisible_for(secs(500_000))) {
                    Ok(popped) => popped[0].receipt(),
                    Err(error) => break error,
                };
                if held.len() > 3 * given_back && scene.group().nack(receipt, secs(500_000)).is_ok() {
                    given_back += 1;
                } else {
                    held.push(receipt);
                }
            };
            assert!(matches!(full, Error::Full { .. }), "{full:?}");
            assert!(round > 0 || held.len() > 20, "{mode:?}, {before} before: {} held", held.len());
            if round == 1 {
                scene.kill();
                space.0.store(0, Ordering::SeqCst);
            }
            if round == 2 {
                scene.advance(secs(600_000));
            }
            for receipt in held.drain(..) {
                let acked = scene.group().ack(receipt);
                let expected = if round == 2 { Settled::Late } else { Settled::Done };
                let as_expected = matches!(acked, Ok(settled) if settled == expected);
                assert!(as_expected, "{mode:?}, {before} before, round {round}: {acked:?}");
            }
            assert!(scene.group().pop(TOPIC, Pop::up_to(1)).is_ok(), "what was acked is not in the way");
        }
        scene.reopen();
    }
}

#[test]
fn a_store_on_a_full_disk_opens_again_and_goes_on() {
    for mode in MODES {
        let (mut scene, space) = filled(mode);
        work(&scene, 100);
        scene.kill();
        work(&scene, 300);
        scene.reopen();
        work(&scene, 300);
        assert_eq!(scene.bodies().len(), 100);
        space.0.store(1 << 30, Ordering::SeqCst);
        assert_eq!(scene.append("there is space again"), 100);
    }
}

#[test]
fn a_mark_written_again_after_reopening_says_the_same() {
    for mode in MODES {
        let options = Options::default().durability(mode).retention(Retention::keep().bytes(4096));
        let (mut scene, space) = filled_with(options);
        space.0.store(1 << 30, Ordering::SeqCst);
        scene.append_many(&"n".repeat(100), 100);
        scene.store().run_pending();
        space.0.store(0, Ordering::SeqCst);
        // Their entries have no place in a file.
        scene.append_many("t", 20);
        let (bodies, first) = (scene.bodies(), scene.store().topic_stats(TOPIC).unwrap().queues[0].0);
        assert!(first > 0, "retention had nothing to remove");
        scene.kill();
        work(&scene, 300);
        scene.kill();
        assert_eq!((scene.bodies(), scene.store().recovery().queues_rebuilt), (bodies, 0), "{mode:?}");
    }
}

/// The keeper may come late. Consumers that outran it used up what its snapshot needs, and all was stuck.
#[test]
fn consumers_on_a_full_disk_do_not_use_up_what_the_keeper_needs() {
    for mode in MODES {
        let (scene, _space) = filled(mode);
        let rounds = if mode == Durability::Buffered { 5000 } else { 1000 };
        for _ in 0..rounds {
            assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
        }
    }
}

/// Between a roll of the checkpoint log and the snapshot that frees a segment there is nothing to give back for a new
/// generation.
#[test]
fn a_store_on_a_full_disk_opens_again_from_its_reserve() {
    for mode in MODES {
        for rounds in (0..600).step_by(30) {
            let (mut scene, _space) = filled(mode);
            for _ in 0..rounds {
                assert_eq!(scene.nack(scene.pop().receipt(), secs(0)), Settled::Done);
            }
            scene.kill();
            work(&scene, 20);
            assert_eq!(scene.bodies().len(), 100);
        }
    }
}

/// The segment that lay ready was removed, and somebody else took its space.
#[test]
fn an_open_on_a_full_disk_gives_nothing_of_the_reserve_away() {
    for mode in MODES {
        let (mut scene, space) = filled(mode);
        scene.kill();
        space.0.store(0, Ordering::SeqCst);
        work(&scene, 500);
    }
}

#[test]
fn short_lives_do_not_pile_up_spares() {
    let dir = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(dir.path().join("checkpoint")).unwrap().count();
    let mut most = 0;
    for round in 0..20 {
        let store = popstore::Store::options().checkpoint_segment_bytes(4096).open(dir.path()).unwrap();
        store.append("t", popstore::Message::new("x")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        store.close().unwrap();
        if round == 4 {
            most = files();
        }
    }
    assert!(files() <= most.max(4), "{} files, and {most} after the first rounds", files());
}

#[test]
fn a_reopened_store_has_only_the_spares_that_its_snapshot_needs() {
    let options = Options::default().durability(Durability::Buffered);
    let mut scene = Scene::with(options, GroupOptions::default().without_limit());
    scene.append("m");
    work(&scene, 2000);
    scene.reopen();
    scene.store().run_pending();
    let files = std::fs::read_dir(scene.path.join("checkpoint")).unwrap().count();
    assert!(files < 10, "{files} files");
}

/// A spare was removed for each segment that was let go of, and a new one made and zeroed for each that was needed.
#[test]
fn a_log_that_is_told_anew_lives_off_its_own_segments() {
    for mode in MODES {
        let tap = Arc::new(Tap::default());
        let options = Options::default().durability(mode).hook(tap.clone()).checkpoint_segment_bytes(1 << 14);
        let scene = Scene::sized(options, GroupOptions::default().without_limit());
        scene.append("m");
        work(&scene, 2000);
        tap.heal();
        work(&scene, 2000);
        let done = tap.seen("checkpoint");
        let times = |what| done.iter().filter(|seen| **seen == what).count();
        assert!(times(What::Rename) > 8, "it did not roll: {done:?}");
        assert_eq!((times(What::Create), times(What::Remove)), (0, 0), "{mode:?}");
    }
}

/// The furthest byte that was zeroed in a file of the checkpoint log: more at once is taken space.
#[derive(Default)]
struct Filled(AtomicI64);

const CHECKPOINT_SEGMENT: u64 = 2 << 20;
const ZEROED_AT_ONCE: usize = 1 << 18;

impl Hook for Filled {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        if let Event::Room { path, at, len } = event
            && path.parent().is_some_and(|parent| parent.ends_with("checkpoint"))
            && *len <= ZEROED_AT_ONCE
        {
            self.0.fetch_max((at + *len as u64) as i64, Ordering::SeqCst);
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

/// What is zeroed long before it is used goes to the disk twice.
#[test]
#[cfg(target_os = "linux")]
fn a_buffered_checkpoint_log_has_the_space_of_whole_segments() {
    let filled = Arc::new(Filled::default());
    let options = Options::default().durability(Durability::Buffered).hook(filled.clone());
    let options = options.checkpoint_segment_bytes(CHECKPOINT_SEGMENT);
    let scene = Scene::sized(options, GroupOptions::default().without_limit());
    scene.append("m");
    work(&scene, 4000);
    let used = scene.store().stats().unwrap().checkpoint_bytes as i64;
    let ahead = filled.0.load(Ordering::SeqCst) - used;
    assert!(used > 100_000 && (0..=3 << 18).contains(&ahead), "{used} bytes used, {ahead} ahead");
    for entry in std::fs::read_dir(scene.path.join("checkpoint")).unwrap() {
        use std::os::unix::fs::MetadataExt;
        let taken = entry.unwrap().metadata().unwrap().blocks() * 512;
        assert!(taken >= CHECKPOINT_SEGMENT, "{taken} bytes of space");
    }
}

/// A store that was copied without the space of its zeroes would be killed by the system at an append through the map.
#[test]
fn room_that_was_found_is_used_only_if_it_has_its_space() {
    let (mut scene, space) = filled(Durability::Buffered);
    space.0.store(1 << 30, Ordering::SeqCst);
    scene.close();
    let refuses = Arc::new(Tap::default());
    refuses.fail(|what, path| match what {
        What::Room if path.components().any(|part| part.as_os_str() == "commit") => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
    let options = scene.options.clone().hook(refuses.clone());
    let store = options.open(&scene.path).expect("what is there can be read");
    let refused = store.append(TOPIC, Message::new(b"m"));
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    refuses.heal();
    store.append(TOPIC, Message::new(b"m")).expect("there is space again");
}

/// Holds the attempt to make the second segment for messages, and has it find the disk full when it is let go.
struct FailsLate {
    gate: Arc<Gate>,
    armed: AtomicBool,
}

impl Hook for FailsLate {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let second = |path: &std::path::Path| path.ends_with("commit/00000000000000065536.tmp");
        let makes = matches!(event, Event::Create(path) if second(path));
        if makes && self.armed.swap(false, Ordering::SeqCst) {
            self.gate.before(event)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

#[test]
fn an_append_is_not_refused_for_what_was_tried_before_it_asked() {
    let dir = tempfile::tempdir().unwrap();
    let hook = Arc::new(FailsLate { gate: Gate::at(|_| true), armed: AtomicBool::new(true) });
    let options = Options::default().durability(Durability::Buffered).segment_bytes(1 << 16);
    hook.gate.close();
    let store = options.hook(hook.clone()).open(dir.path()).unwrap();
    hook.gate.wait_until_it_holds_one();
    let (appender, body) = (store.clone(), vec![b'x'; 1000]);
    let appends =
        std::thread::spawn(move || (0..300).try_for_each(|_| appender.append(TOPIC, Message::new(&body)).map(|_| ())));
    // Time enough to use up what room there is and to wait for more; with less the test shows nothing.
    std::thread::sleep(Duration::from_millis(200));
    hook.gate.open();
    appends.join().unwrap().expect("there is space");
    store.close().unwrap();
}

/// The record of a topic has space where that of its first message has none.
#[test]
fn an_append_that_finds_no_space_makes_no_topic() {
    for mode in MODES {
        let (scene, _space) = filled(mode);
        let mut refused = 0;
        for name in (0..40).map(|at| format!("new{at}")) {
            let appended = scene.store().append(&name, Message::new(&[7; 3000]));
            let is_made = scene.store().stats().unwrap().topics.iter().any(|topic| topic.name == name);
            match appended {
                Err(Error::Full { .. }) => refused += 1,
                appended => assert_eq!(appended.unwrap().index, 0),
            }
            let has_message = scene.store().message(&name, 0, 0).is_ok_and(|message| message.is_some());
            assert_eq!(is_made, has_message, "{name} was made without its message");
        }
        assert!(refused > 30, "{refused}");
    }
}
