//! The threads behind a store: each sleeps until it is woken or its time comes, works in short steps, and ends when the
//! store closes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use popstore_revive::Time;

use crate::background::maintenance::Maintenance;
use crate::context::Wakes;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::StoreEvent;
use crate::options::Durability;
use crate::primitives::Hold;

/// How long a background task waits after a failure, such as a full disk.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often retention checks the clock at least and at most.
const RETAIN_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// A log to which nothing was appended for this long is marked.
const QUIET: Duration = Duration::from_millis(50);

/// The ends of the channels the threads listen on.
pub(crate) struct Listen {
    prepare: Receiver<()>,
    make: Receiver<()>,
    revive: Receiver<()>,
    maintain: Receiver<()>,
    flush: Receiver<()>,
}

/// Makes the channels. Each holds one wake-up: more mean the same.
pub(crate) fn channels() -> (Wakes, Listen) {
    let (prepare, prepared) = bounded(1);
    let (make, made) = bounded(1);
    let (revive, revived) = bounded(1);
    let (maintain, maintained) = bounded(1);
    let (flush, flushed) = bounded(1);
    let wakes = Wakes { prepare, make, revive, maintain, flush };
    (wakes, Listen { prepare: prepared, make: made, revive: revived, maintain: maintained, flush: flushed })
}

/// The running threads.
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Starts them all, or those before the first that the system refuses.
    pub(crate) fn start(
        engine: &Arc<Engine>,
        maintenance: &Arc<Mutex<Maintenance>>,
        listen: Listen,
    ) -> (Self, Result<()>) {
        type Body = Box<dyn FnOnce(&Engine) + Send>;
        type Bodies = Vec<(&'static str, Body)>;
        let Listen { prepare, make, revive, maintain, flush } = listen;
        let maintenance = Arc::clone(maintenance);
        let mut bodies: Bodies = vec![
            ("prepare", Box::new(move |engine| prepare_ahead(engine, &prepare))),
            ("make", Box::new(move |engine| make_ahead(engine, &make))),
            ("revive", Box::new(move |engine| revive_on_time(engine, &revive))),
            ("maintain", Box::new(move |engine| run_maintenance(engine, &maintenance, &maintain))),
        ];
        if let Durability::SyncEvery(every) = engine.context().options.durability {
            bodies.push(("flush", Box::new(move |engine| sync_every(engine, &flush, every))));
        }
        // Order matters: from here on appends wait for the thread, which prepares the checkpoint log first. An append
        // that made its own room could take the last of the disk before.
        [engine.ledger().log(), engine.messages().log()].iter().for_each(|log| log.prepare_in_background(true));
        let mut threads = Self(Vec::new());
        for (name, body) in bodies {
            let its = Arc::clone(engine);
            let builder = std::thread::Builder::new().name(format!("popstore-{name}"));
            match builder.spawn(move || run(&its, name, body)) {
                Ok(started) => threads.0.push(started),
                Err(source) => {
                    // Closing appends one more record, and no thread makes room for it.
                    engine.let_appends_prepare();
                    return (threads, Err(Error::io("start a thread for", Path::new(name), source)));
                }
            }
        }
        (threads, Ok(()))
    }

    /// Waits for the threads, which end when the store is closed.
    pub(crate) fn join(self) {
        for thread in self.0 {
            // Its panic was caught, and poisoned the store.
            let _ = thread.join();
        }
    }
}

/// Runs the work of a thread. A panic in it poisons the store.
fn run(engine: &Engine, name: &'static str, body: impl FnOnce(&Engine)) {
    if catch_unwind(AssertUnwindSafe(|| body(engine))).is_err() {
        engine.give_up(&format!("the thread {name:?} panicked"));
    }
}

fn is_open(engine: &Engine) -> bool {
    engine.context().check_open().is_ok()
}

fn prepare_ahead(engine: &Engine, wake: &Receiver<()>) {
    while is_open(engine) {
        // In turns: consumers do not wait for all the room that messages may want, nor the other way round.
        let mut steps = [Some(true); 2];
        while steps.contains(&Some(true)) && is_open(engine) {
            let [checkpoint, commit] = &mut steps;
            *checkpoint = checkpoint.and_then(|_| done(engine, engine.ledger().log().prepare()));
            // Order matters: only now, since the last space of the disk is for the checkpoint log.
            let _ = engine.context().wakes.make.try_send(());
            *commit = commit.and_then(|_| done(engine, engine.messages().log().fill_ahead()));
        }
        let failed = steps.contains(&None);
        let _ = if failed {
            wake.recv_timeout(RETRY_AFTER)
        } else {
            wake.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
    }
    engine.let_appends_prepare();
}

/// Makes the segments of the commit log, while room is made in those that are there.
fn make_ahead(engine: &Engine, wake: &Receiver<()>) {
    while is_open(engine) {
        let _ = wake.recv();
        while is_open(engine) && done(engine, engine.messages().log().make_ahead()) == Some(true) {}
    }
}

/// Whether there is more to do for a log; nothing when the last piece could not be made.
fn done(engine: &Engine, made: Result<bool>) -> Option<bool> {
    match made {
        Ok(more) => Some(more),
        // Appends that need the room get the error themselves.
        Err(Error::Full { .. }) => None,
        Err(error) => {
            engine.context().emit(&StoreEvent::BackgroundFailure { task: "prepare", reason: error.to_string() });
            None
        }
    }
}

fn revive_on_time(engine: &Engine, wake: &Receiver<()>) {
    while is_open(engine) {
        match engine.revive() {
            Some(due) => drop(wake.recv_timeout(due.since(engine.context().now()))),
            None => drop(wake.recv()),
        }
    }
}

fn run_maintenance(engine: &Engine, maintenance: &Mutex<Maintenance>, wake: &Receiver<()>) {
    let rules = &engine.context().options.retention;
    let every = match rules.after {
        Some(after) => Some((after / 10).clamp(RETAIN_EVERY.0, RETAIN_EVERY.1)),
        None if rules.when_done || rules.bytes.is_some() => Some(Duration::from_secs(1)),
        None => None,
    };
    let mut quiet = Quiet::default();
    while is_open(engine) {
        let worth_a_mark = {
            let mut maintenance = maintenance.hold();
            maintenance.step(engine);
            maintenance.worth_a_mark(engine)
        };
        match quiet.next(worth_a_mark, engine.context().now()) {
            Some(Duration::ZERO) => maintenance.hold().mark_in_the_quiet(engine),
            left => match left.or(every) {
                Some(wait) => drop(wake.recv_timeout(wait)),
                None => drop(wake.recv()),
            },
        }
    }
}

/// Whether the log has been quiet for long enough to be marked.
#[derive(Default)]
struct Quiet {
    /// The log's end that was last seen, if a mark there is worth its syncs, and when it is made.
    seen: Option<(u64, Time)>,
    /// The end at which one was tried.
    tried: Option<u64>,
}

impl Quiet {
    /// How long to wait for the mark at this end of the log; nothing when none is worth making. Zero means now, once.
    fn next(&mut self, end: Option<u64>, now: Time) -> Option<Duration> {
        let end = end.filter(|end| self.tried != Some(*end));
        self.seen = end.map(|end| self.seen.filter(|(before, _)| *before == end).unwrap_or((end, now.after(QUIET))));
        let left = self.seen.map(|(_, due)| due.since(now));
        if left == Some(Duration::ZERO) {
            self.tried = end;
        }
        left
    }
}

/// Syncs both logs this long after the first append that needs it. The commit log comes first: messages that the checkpoint
/// log names are then durable before it.
fn sync_every(engine: &Engine, wake: &Receiver<()>, every: Duration) {
    while is_open(engine) {
        let _ = wake.recv();
        let wait_until = engine.context().now().after(every);
        while is_open(engine) && engine.context().now() < wait_until {
            std::thread::sleep(wait_until.since(engine.context().now()).min(Duration::from_millis(100)));
        }
        // Appends from here on ask again.
        while wake.try_recv().is_ok() {}
        // A failure poisons the store, and every writer gets the error.
        let _ = engine.messages().log().sync_all().and_then(|()| engine.ledger().log().sync_all());
    }
}
