//! What the benches share: a store in a temporary directory, filled or empty, and a loop that times only what counts.
//!
//! `cargo bench -p popstore-benches` runs them all. The directory is made where `TMPDIR` says, so that is the disk that
//! the durable benches measure.

use std::time::Duration;

use criterion::Criterion;
use popstore::clock::{Clock, SystemClock};
use popstore::{Durability, Message, Store};
use tempfile::TempDir;

/// The topic of all benches.
pub const TOPIC: &str = "bench";
/// The body of all messages.
pub const BODY: [u8; 256] = [b'x'; 256];
const PRELOAD_BATCH: usize = 1000;

/// Short runs: a second to warm up, two to measure.
pub fn criterion() -> Criterion {
    let criterion = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    criterion.sample_size(20).configure_from_args()
}

/// A store that is gone when it is dropped.
pub struct Scratch {
    /// The store.
    pub store: Store,
    _dir: TempDir,
}

impl Scratch {
    /// An empty store, but for the topic.
    pub fn empty(durability: Durability) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::options().durability(durability).open(dir.path()).expect("a new store opens");
        store.create_topic(TOPIC, 1).expect("a topic can be made");
        Self { store, _dir: dir }
    }

    /// A store with this many messages in the topic.
    pub fn filled(durability: Durability, messages: usize) -> Self {
        let scratch = Self::empty(durability);
        let batch = vec![Message::new(&BODY); PRELOAD_BATCH];
        for _ in 0..messages.div_ceil(PRELOAD_BATCH) {
            scratch.store.append_batch(TOPIC, &batch).expect("the disk has space");
        }
        scratch
    }
}

/// Times `iterations` steps, `steps_max` at a time, each time on something fresh; making that is not timed.
pub fn time_on_fresh<T>(
    iterations: u64,
    steps_max: u64,
    mut fresh: impl FnMut() -> T,
    mut step: impl FnMut(&mut T),
) -> Duration {
    let clock = SystemClock::start();
    let (mut left, mut spent) = (iterations, Duration::ZERO);
    while left > 0 {
        let steps = left.min(steps_max);
        let mut on = fresh();
        let begun = clock.now();
        (0..steps).for_each(|_| step(&mut on));
        spent += clock.now().since(begun);
        left -= steps;
    }
    spent
}
