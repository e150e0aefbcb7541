//! The base of all rooms of an open store: which store it is, how it was opened, the time, whether it is open and sound,
//! and the receiver of its events.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use popstore_revive::Time;

use crate::callback;
use crate::clock::Timeline;
use crate::error::{Error, Result};
use crate::event::StoreEvent;
use crate::format::identity::Identity;
use crate::log::Poison;
use crate::options::{Durability, Options};
use crate::segment::Lock;

/// Shared by all rooms. Only whether the store is closed or poisoned changes.
pub(crate) struct Context {
    pub(crate) dir: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) options: Options,
    pub(crate) clock: Timeline,
    pub(crate) poison: Arc<Poison>,
    pub(crate) wakes: Wakes,
    /// Locked while the store is open; never deleted.
    pub(crate) lock: Arc<Lock>,
    closed: AtomicBool,
}

/// The channels that wake the threads. A full channel means that the thread is awake.
#[derive(Clone)]
pub(crate) struct Wakes {
    pub(crate) prepare: Sender<()>,
    pub(crate) make: Sender<()>,
    pub(crate) revive: Sender<()>,
    pub(crate) maintain: Sender<()>,
    pub(crate) flush: Sender<()>,
}

impl Wakes {
    pub(crate) fn all(&self) {
        let Self { prepare, make, revive, maintain, flush } = self;
        for wake in [prepare, make, revive, maintain, flush] {
            let _ = wake.try_send(());
        }
    }
}

impl Context {
    pub(crate) fn new(
        identity: Identity,
        options: Options,
        clock: Timeline,
        poison: Arc<Poison>,
        wakes: Wakes,
        (dir, lock): (PathBuf, Arc<Lock>),
    ) -> Self {
        Self { dir, identity, options, clock, poison, wakes, lock, closed: AtomicBool::new(false) }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The time, for a verb whose writes would not show that the clock has failed.
    pub(crate) fn time(&self) -> Result<Time> {
        let now = self.now();
        if self.clock.has_failed() { self.poison.check().map(|()| now) } else { Ok(now) }
    }

    /// Refuses calls on a closed or poisoned store.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<()> {
        let is_fine = self.lock.is_ours() && !self.closed.load(Ordering::SeqCst) && !self.poison.is_set();
        if is_fine { Ok(()) } else { self.why_not() }
    }

    #[cold]
    fn why_not(&self) -> Result<()> {
        self.check_open()?;
        self.poison.check()
    }

    /// Refuses calls on a closed store, and those of a forked child, whose parent has the store open.
    pub(crate) fn check_open(&self) -> Result<()> {
        if !self.lock.is_ours() {
            return Err(Error::Locked { path: self.lock.path().to_path_buf() });
        }
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Closes the store for all calls to come. Returns whether it was closed already.
    pub(crate) fn close(&self) -> bool {
        self.closed.swap(true, Ordering::SeqCst)
    }

    /// Whether each call is durable before it returns.
    pub(crate) fn syncs_each(&self) -> bool {
        self.options.durability == Durability::SyncEach
    }

    /// Reports an event to the log and to the program's hook.
    pub(crate) fn emit(&self, event: &StoreEvent) {
        callback::log(|| tracing::warn!(?event, store = %self.dir.display(), "popstore"));
        let Some(hook) = &self.options.on_event else { return };
        if callback::call(|| hook(event)).is_none() {
            callback::log(|| tracing::error!(?event, "the hook for events panicked"));
        }
    }

    /// Reports that a background task failed, unless the store is closed or poisoned, which every call reports.
    pub(crate) fn emit_failure(&self, task: &'static str, done: Result<()>) {
        if let Err(error) = done
            && self.check().is_ok()
        {
            self.emit(&StoreEvent::BackgroundFailure { task, reason: error.to_string() });
        }
    }
}
