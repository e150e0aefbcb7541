//! What all clones of a store share: the engine, what runs behind it, and the closing of both.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::background::maintenance::Maintenance;
use crate::background::threads::{Threads, channels};
use crate::callback;
use crate::engine::Engine;
use crate::error::{At, Error, Result};
use crate::options::Options;
use crate::primitives::Hold;
use crate::recover::{self, Recovery};

/// An open store with its threads. The last one that is dropped closes it.
pub(crate) struct Handle {
    pub(crate) engine: Arc<Engine>,
    pub(crate) recovery: Recovery,
    maintenance: Arc<Mutex<Maintenance>>,
    threads: Arc<Mutex<Option<Threads>>>,
}

impl Handle {
    pub(super) fn open(dir: &Path, options: Options) -> Result<Arc<Self>> {
        let (wakes, listen) = channels();
        let (disk, lock) = recover::lock(dir, &options)?;
        let (engine, maintenance, recovery) = recover::open(options, disk, lock, wakes)?;
        let (engine, maintenance) = (Arc::new(engine), Arc::new(Mutex::new(maintenance)));
        let handle = Arc::new(Self { engine, recovery, maintenance, threads: Arc::default() });
        if handle.engine.context().clock.runs() {
            // Work that fell due while the store was closed is done before the first call.
            handle.engine.revive();
            let (threads, started) = Threads::start(&handle.engine, &handle.maintenance, listen);
            // Order matters: when one could not start, the others end with the handle.
            *handle.threads.hold() = Some(threads);
            started?;
        }
        Ok(handle)
    }

    /// Does the work of the threads that is due.
    pub(super) fn run_pending(&self) {
        let engine = &self.engine;
        if engine.context().check_open().is_ok() {
            engine.revive();
            self.maintenance.hold().step(engine);
            for log in [engine.ledger().log(), engine.messages().log()] {
                while let Ok(true) = log.prepare() {}
            }
            engine.messages().raise_all();
        }
    }

    pub(super) fn close(&self) -> Result<()> {
        let (engine, context) = (&self.engine, self.engine.context());
        if !context.lock.is_ours() {
            // A forked child: what its parent holds is neither closed nor given back, and its locks may never be free.
            std::mem::forget((Arc::clone(engine), Arc::clone(&self.maintenance), Arc::clone(&self.threads)));
            return context.check_open();
        }
        if context.close() {
            return Err(Error::Closed);
        }
        context.wakes.all();
        engine.messages().raise_all();
        if let Some(threads) = self.threads.hold().take() {
            threads.join();
        }
        let closed = self.maintenance.hold().close(engine);
        // Order matters: a call that came in before the store was closed must not write when another owner may.
        engine.messages().log().shut();
        engine.ledger().log().shut();
        let closed = closed.and_then(|()| engine.ledger().log().sync_all());
        closed.and(context.lock.give_back().at("unlock", context.lock.path()))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        match self.close() {
            Ok(()) | Err(Error::Closed) => {}
            Err(Error::Locked { .. }) => {}
            Err(error) => callback::log(|| {
                let dir = self.engine.context().dir.display();
                tracing::error!(%error, %dir, "a store was not closed in order");
            }),
        }
    }
}
