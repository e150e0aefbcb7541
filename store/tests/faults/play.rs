//! A store on a faulty disk: opens it, sorts what each step returned, and knows whether it is poisoned.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use popstore::clock::ManualClock;
use popstore::{Durability, Error, Message, Options, Receipt, Result, Retention, Store, StoreEvent};

use crate::fault::FaultyDisk;
use crate::oracle::{Oracle, Place};
use crate::scene::{secs, text};
use crate::script::ORDERS;

pub struct Play {
    pub disk: Arc<FaultyDisk>,
    pub clock: Arc<ManualClock>,
    pub store: Option<Store>,
    pub oracle: Oracle,
    pub poisoned: bool,
    /// The files and the facts right after the step in which the fault struck.
    pub died: Option<(tempfile::TempDir, Oracle)>,
    mode: Durability,
    /// What was popped and not settled, oldest first.
    pub held: Vec<(Place, Receipt)>,
    /// How many bodies were made up.
    pub bodies: u32,
    troubles: Arc<Mutex<Vec<String>>>,
    /// It goes last: a store that closes makes its directories anew.
    pub dir: tempfile::TempDir,
}

impl Play {
    pub fn new(mode: Durability) -> Self {
        Self {
            dir: scratch(),
            disk: Arc::default(),
            clock: Arc::new(ManualClock::at(secs(1_000_000))),
            store: None,
            oracle: Oracle::default(),
            poisoned: false,
            died: None,
            mode,
            held: Vec::new(),
            bodies: 0,
            troubles: Arc::default(),
        }
    }

    /// The options without the faulty disk.
    pub fn options(&self) -> Options {
        let troubles = Arc::clone(&self.troubles);
        let options = Options::default().durability(self.mode).clock(self.clock.clone()).entries_per_file(8);
        let options = options.segment_bytes(4096).checkpoint_segment_bytes(4096).mark_every_bytes(2048);
        options.retention(Retention::keep().when_done()).on_event(move |event| {
            if matches!(event, StoreEvent::BackgroundFailure { .. } | StoreEvent::DeadLetterDelayed { .. }) {
                troubles.lock().unwrap().push(format!("{event:?}"));
            }
        })
    }

    /// What background work complained about since this was asked last.
    pub fn troubles(&self) -> Vec<String> {
        std::mem::take(&mut self.troubles.lock().unwrap())
    }

    /// Opens the store; once more if what was in the way is over.
    pub fn open(&mut self) {
        self.poisoned = false;
        match self.try_open() {
            Ok(store) => {
                self.store = Some(store);
                if self.disk.take_poisoning() {
                    self.expect_poisoned("open");
                }
            }
            Err(Error::Io { .. } | Error::Full { .. } | Error::Poisoned { .. }) if self.disk.struck() => {
                self.disk.take_poisoning();
                if !self.disk.is_sick() {
                    self.store = Some(self.try_open().expect("nothing is in the way any more"));
                }
            }
            Err(error) => panic!("open: {error}: {error:?}"),
        }
    }

    fn try_open(&self) -> Result<Store> {
        self.options().hook(self.disk.clone()).open(self.dir.path())
    }

    pub fn reopen(&mut self) {
        if let Some(store) = self.store.take() {
            self.sort("close", store.close());
            self.held.clear();
            self.open();
        }
    }

    /// What was returned, or nothing if that is a typed error that there is a reason for.
    pub fn sort<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        let reason = self.disk.struck();
        let found = match result {
            Ok(value) => {
                assert!(!self.poisoned, "{what} was acknowledged by a poisoned store");
                Some(value)
            }
            Err(Error::Poisoned { .. }) if reason => {
                self.poisoned = true;
                None
            }
            // A poisoned store that is closed still tries what else it can.
            Err(Error::Io { .. } | Error::Full { .. } | Error::Unknown { .. })
                if reason && (!self.poisoned || what == "close") =>
            {
                None
            }
            Err(error) => panic!("{what}: {error}: {error:?}"),
        };
        if self.disk.take_poisoning() {
            self.expect_poisoned(what);
        }
        found
    }

    /// Nothing is acknowledged any more, and what can be read can be read.
    pub fn expect_poisoned(&mut self, what: &str) {
        let Some(store) = &self.store else { return };
        self.poisoned = true;
        let synced = store.sync();
        assert!(matches!(synced, Err(Error::Poisoned { .. })), "not poisoned by {what}: {synced:?}");
        let appended = store.append(ORDERS, Message::new("never"));
        assert!(matches!(appended, Err(Error::Poisoned { .. })), "{what}: {appended:?}");
        let Some(((topic, index), body)) = self.oracle.messages.last_key_value() else { return };
        match store.message(topic, 0, *index) {
            Ok(Some(message)) => assert_eq!(text(message.body()), *body),
            Ok(None) => assert!(store.topic_stats(topic).unwrap().queues[0].0 > *index, "{topic}/{index} is gone"),
            Err(error) => assert!(self.disk.is_sick(), "reads do not go on: {error}"),
        }
    }

    /// Before each step: what the process would leave if it died now, when a fault has struck since the last step.
    pub fn begin(&mut self) -> Option<Store> {
        if self.disk.struck() && self.died.is_none() && self.store.is_some() {
            self.died = Some((self.copy(), self.oracle.clone()));
        }
        self.store.clone()
    }

    /// The process dies: what the system has is copied to where the next one looks.
    pub fn copy(&self) -> tempfile::TempDir {
        let dir = scratch();
        crate::scene::copy(self.dir.path(), dir.path());
        dir
    }
}

/// An empty directory, in memory where there is such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}
