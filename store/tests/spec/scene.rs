//! A small stage for tests: a store in a directory of its own, on a clock that moves when it is told to, with tiny
//! segments so that everything crosses their borders.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use popstore::clock::ManualClock;
use popstore::{Delivery, Durability, Group, GroupOptions, Message, Options, Pop, Receipt, Settled, Store};

/// The topic and the group of a scene.
pub const TOPIC: &str = "orders";
pub const GROUP: &str = "billing";

/// Every durability; the tests that name it hold in each.
pub const MODES: [Durability; 3] =
    [Durability::SyncEach, Durability::SyncEvery(Duration::from_secs(1)), Durability::Buffered];

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub struct Scene {
    pub path: PathBuf,
    pub clock: Arc<ManualClock>,
    pub options: Options,
    pub settings: GroupOptions,
    store: Option<Store>,
    /// It goes last: a store that closes makes its directories anew.
    dir: Option<tempfile::TempDir>,
}

impl Scene {
    /// A store that syncs each operation, and a group with a lease of 30 s.
    pub fn new() -> Self {
        Self::with(Options::default(), GroupOptions::default())
    }

    pub fn limit(max_reconsume_times: u32) -> Self {
        Self::with(Options::default(), GroupOptions::default().max_reconsume_times(max_reconsume_times))
    }

    pub fn buffered() -> Self {
        Self::with(Options::default().durability(Durability::Buffered), GroupOptions::default())
    }

    pub fn with(options: Options, settings: GroupOptions) -> Self {
        let options = options.segment_bytes(4096).checkpoint_segment_bytes(4096);
        Self::sized(options.entries_per_file(8).mark_every_bytes(4096), settings)
    }

    /// A scene whose sizes are those of the options.
    pub fn sized(options: Options, settings: GroupOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(secs(1_000_000)));
        let options = options.clock(clock.clone());
        let path = dir.path().to_path_buf();
        let mut scene = Self { dir: Some(dir), path, clock, options, settings, store: None };
        scene.open();
        scene.store().create_group(GROUP, scene.settings.clone()).unwrap();
        scene
    }

    pub fn open(&mut self) {
        self.store = Some(self.options.clone().open(&self.path).unwrap());
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn group(&self) -> Group {
        self.store().group(GROUP).unwrap()
    }

    pub fn append(&self, body: &str) -> u64 {
        self.store().append(TOPIC, Message::new(body)).unwrap().index
    }

    pub fn pop_up_to(&self, messages: u32) -> Vec<Delivery> {
        self.group().pop(TOPIC, Pop::up_to(messages)).unwrap()
    }

    /// The one message that can be had.
    pub fn pop(&self) -> Delivery {
        let mut deliveries = self.pop_up_to(1);
        assert_eq!(deliveries.len(), 1, "nothing to pop");
        deliveries.remove(0)
    }

    pub fn expect_nothing(&self) {
        let deliveries = self.pop_up_to(1);
        assert!(deliveries.is_empty(), "{deliveries:?}");
    }

    pub fn ack(&self, receipt: Receipt) -> Settled {
        self.group().ack(receipt).unwrap()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.store().run_pending();
    }

    /// The bodies of the dead letters.
    pub fn letters(&self) -> Vec<String> {
        let letters = self.group().dead_letters().unwrap();
        letters.map(|letter| String::from_utf8(letter.unwrap().message().body().to_vec()).unwrap()).collect()
    }

    /// Closes in order and opens again.
    pub fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.open();
    }

    /// The process dies: what the operating system has is what the next one finds.
    pub fn kill(&mut self) {
        self.kill_and(|_| {});
    }

    /// The process dies, and something happens to the files before the next one opens them.
    pub fn kill_and(&mut self, change: impl FnOnce(&Path)) {
        self.die(change);
        self.open();
    }

    /// Like [`Scene::kill_and`], but nobody opens the store yet.
    pub fn die(&mut self, change: impl FnOnce(&Path)) {
        let after = tempfile::tempdir().unwrap();
        copy(&self.path, after.path());
        change(after.path());
        self.path = after.path().to_path_buf();
        self.store = None;
        self.dir = Some(after);
    }

    pub fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }

    /// Tries to open the store, which is not open, with other options.
    pub fn try_open(&self, options: &Options) -> popstore::Result<Store> {
        assert!(self.store.is_none());
        options.clone().open(&self.path)
    }

    /// Why the store, which is not open, cannot be opened.
    pub fn refusal(&self) -> popstore::Error {
        self.try_open(&self.options).expect_err("the store opened")
    }

    /// Appends messages named by a letter and their number.
    pub fn append_many(&self, letter: &str, messages: u32) {
        for at in 0..messages {
            self.append(&format!("{letter}{at}"));
        }
    }

    pub fn nack(&self, receipt: Receipt, delay: impl Into<popstore::Delay>) -> Settled {
        self.group().nack(receipt, delay).unwrap()
    }

    /// Changes the settings of the group.
    pub fn change_group(&self, settings: GroupOptions) {
        self.store().create_group(GROUP, settings).unwrap();
    }

    /// The bodies of all messages of the topic, without taking them from anyone.
    pub fn bodies(&self) -> Vec<String> {
        bodies(self.store())
    }

    pub fn voided(&self) -> u64 {
        self.store().recovery().records_voided
    }
}

/// The bodies of all messages of queue 0 of the topic.
pub fn bodies(store: &Store) -> Vec<String> {
    let (first, end) = store.topic_stats(TOPIC).unwrap().queues[0];
    let message = |index| store.message(TOPIC, 0, index).unwrap().unwrap();
    (first..end).map(|index| text(message(index).body())).collect()
}

pub fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

/// Copies a store's directory, as a crash at this moment would leave it.
pub fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), &target) {
                // An open store renames and removes files meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}
