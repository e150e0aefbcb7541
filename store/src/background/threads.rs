//! The threads behind a store: each sleeps until it is woken or its time comes, works in short steps, and ends when the
//! store closes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::engine::options::Durability;
use crate::engine::{Engine, Wakes};
use crate::error::{Error, Result};
use crate::event::StoreEvent;

/// How long a background task waits after a failure, such as a full disk.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often retention looks at the clock at least and at most.
const RETAIN_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// A log to which nothing was appended for so long is marked.
const QUIET: Duration = Duration::from_millis(50);

/// The ends of the channels the threads listen on.
pub(crate) struct Listen {
    prepare: Receiver<()>,
    make: Receiver<()>,
    revive: Receiver<()>,
    keep: Receiver<()>,
    flush: Receiver<()>,
}

/// Makes the channels. Each holds one wake-up: more mean the same.
pub(crate) fn channels() -> (Wakes, Listen) {
    let (prepare, prepared) = bounded(1);
    let (make, made) = bounded(1);
    let (revive, revived) = bounded(1);
    let (keep, kept) = bounded(1);
    let (flush, flushed) = bounded(1);
    let wakes = Wakes { prepare, make, revive, keep, flush };
    (wakes, Listen { prepare: prepared, make: made, revive: revived, keep: kept, flush: flushed })
}

/// The running threads.
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Starts them all, or those before the first that the system refuses.
    pub(crate) fn start(engine: &Arc<Engine>, listen: Listen) -> (Self, Result<()>) {
        type Body = Box<dyn FnOnce(&Engine) + Send>;
        type Bodies = Vec<(&'static str, Body)>;
        let Listen { prepare, make, revive, keep, flush } = listen;
        let mut bodies: Bodies = vec![
            ("prepare", Box::new(move |engine| prepare_ahead(engine, &prepare))),
            ("make", Box::new(move |engine| make_ahead(engine, &make))),
            ("revive", Box::new(move |engine| revive_on_time(engine, &revive))),
            ("keep", Box::new(move |engine| keep_house(engine, &keep))),
        ];
        if let Durability::SyncEvery(every) = engine.options.durability {
            bodies.push(("flush", Box::new(move |engine| sync_every(engine, &flush, every))));
        }
        // Order matters: from here on appends wait for the thread, which sees to the consumers' reserve first. An append
        // that made its own room could take the last of the disk before.
        [&engine.checkpoint, &engine.commit].iter().for_each(|log| log.attend(true));
        let mut threads = Self(Vec::new());
        for (name, body) in bodies {
            let its = Arc::clone(engine);
            let builder = std::thread::Builder::new().name(format!("popstore-{name}"));
            match builder.spawn(move || live(&its, name, body)) {
                Ok(started) => threads.0.push(started),
                Err(source) => {
                    // Closing appends once more, and no thread makes its room.
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

/// Runs the work of a thread. The store does not go on without it.
fn live(engine: &Engine, name: &'static str, body: impl FnOnce(&Engine)) {
    if catch_unwind(AssertUnwindSafe(|| body(engine))).is_err() {
        engine.give_up(&format!("the thread {name:?} panicked"));
    }
}

fn is_open(engine: &Engine) -> bool {
    engine.check_open().is_ok()
}

fn prepare_ahead(engine: &Engine, wake: &Receiver<()>) {
    while is_open(engine) {
        // In turns: the consumers do not wait for all the room that messages may want, nor the other way round.
        let mut steps = [Some(true); 2];
        while steps.contains(&Some(true)) && is_open(engine) {
            let [checkpoint, commit] = &mut steps;
            *checkpoint = checkpoint.and_then(|_| done(engine, engine.checkpoint.prepare()));
            // Order matters: only now, since the last of the disk is for the consumers' log.
            let _ = engine.wakes.make.try_send(());
            *commit = commit.and_then(|_| done(engine, engine.commit.fill_ahead()));
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
        while is_open(engine) && done(engine, engine.commit.make_ahead()) == Some(true) {}
    }
}

/// Whether there is more to do for a log; nothing when the last piece could not be made.
fn done(engine: &Engine, made: Result<bool>) -> Option<bool> {
    match made {
        Ok(more) => Some(more),
        // Appends that need the room are told so themselves.
        Err(Error::Full { .. }) => None,
        Err(error) => {
            engine.tell(&StoreEvent::BackgroundFailure { task: "prepare", reason: error.to_string() });
            None
        }
    }
}

fn revive_on_time(engine: &Engine, wake: &Receiver<()>) {
    while is_open(engine) {
        match engine.revive() {
            Some(due) => drop(wake.recv_timeout(due.since(engine.now()))),
            None => drop(wake.recv()),
        }
    }
}

fn keep_house(engine: &Engine, wake: &Receiver<()>) {
    let rules = &engine.options.retention;
    let look = match rules.after {
        Some(after) => Some((after / 10).clamp(RETAIN_EVERY.0, RETAIN_EVERY.1)),
        None if rules.when_done || rules.bytes.is_some() => Some(Duration::from_secs(1)),
        None => None,
    };
    // The log's end that was last seen, if a mark there is worth while, and when it is made; and where one was tried.
    let (mut seen, mut tried) = (None, None);
    while is_open(engine) {
        engine.keep_house();
        let (now, end) = (engine.now(), engine.worth_a_mark().filter(|end| tried != Some(*end)));
        seen = end.map(|end| seen.filter(|(before, _)| *before == end).unwrap_or((end, now.after(QUIET))));
        let left = seen.map(|(_, due)| due.since(now));
        if left == Some(Duration::ZERO) {
            engine.mark_in_the_quiet();
            tried = end;
            continue;
        }
        match left.or(look) {
            Some(wait) => drop(wake.recv_timeout(wait)),
            None => drop(wake.recv()),
        }
    }
}

/// Syncs both logs so long after the first append that needs it. The commit log goes first: what the checkpoint log
/// speaks of is then durable before it.
fn sync_every(engine: &Engine, wake: &Receiver<()>, every: Duration) {
    while is_open(engine) {
        let _ = wake.recv();
        let wait_until = engine.now().after(every);
        while is_open(engine) && engine.now() < wait_until {
            std::thread::sleep(wait_until.since(engine.now()).min(Duration::from_millis(100)));
        }
        // Appends from here on ask again.
        while wake.try_recv().is_ok() {}
        // A failure poisons the store, and everybody who writes is told.
        let _ = engine.commit.sync_all().and_then(|()| engine.checkpoint.sync_all());
    }
}
