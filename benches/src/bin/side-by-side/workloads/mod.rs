//! The workloads, a file each, and the loops they share.

mod append;
mod bytes;
mod durable;
pub(crate) mod growth;
mod latency;
mod lease_cycle;
mod redelivery;
pub(crate) mod reopen;

use std::path::Path;
use std::time::Duration;

use crate::bodies::{Batch, read};
use crate::clock::now;
use crate::contenders::{Class, Consumer, Contender, Opened, Popped, Setup, Sync};
use crate::measure::{Bench, Case, Entrant, together};

/// The body of all workloads that do not say otherwise.
pub(crate) const BODY: usize = 256;
/// Messages are preloaded in batches of this many.
pub(crate) const PRELOAD: usize = 1000;
/// A lease that no run outlives.
pub(crate) const LEASE: Duration = Duration::from_secs(3600);
/// Lease stores are slower; their work is divided by this.
pub(crate) const SLOWER: u64 = 4;
/// A buffered append is too fast to read the clock after each.
pub(crate) const CHECK_EVERY: usize = 64;
/// Durable runs are cut into this many slices, with a probe of the disk between them.
pub(crate) const SLICES: u32 = 10;

/// The sizes of the runs.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) messages: u64,
    /// No run appends more bytes of bodies, but for those that are said to be longer.
    pub(crate) bytes_max: u64,
    /// No run lasts longer, its preparation not counted.
    pub(crate) run_max: Duration,
    /// All fixed sizes are divided by this.
    pub(crate) divide_by: u64,
}

impl Sizes {
    /// One of the sizes that count.
    pub(crate) fn scaled(&self, size: u64) -> u64 {
        (size / self.divide_by).max(1)
    }

    /// A whole number of preload batches.
    pub(crate) fn preloaded(&self, size: u64) -> u64 {
        self.scaled(size).next_multiple_of(PRELOAD as u64)
    }
}

/// What a workload runs with.
pub(crate) struct Scene<'a> {
    pub(crate) bench: Bench<'a>,
    pub(crate) contenders: &'a [Box<dyn Contender>],
    pub(crate) sizes: Sizes,
}

/// Runs one workload.
type Run = fn(&Scene) -> Vec<Case>;

/// All workloads, in order: the name each is chosen by, and what runs it.
pub(crate) const ALL: [(&str, Run); 8] = [
    ("W1", append::run),
    ("W2", durable::run),
    ("W3", lease_cycle::run),
    ("W4", redelivery::run),
    ("W5", reopen::run),
    ("W6", bytes::run),
    ("W7", growth::run),
    ("L", latency::run),
];

impl Scene<'_> {
    /// The contenders that take part in a workload and can do something.
    pub(crate) fn who(&self, workload: &str, can: impl Fn(&dyn Contender) -> bool) -> Vec<&dyn Contender> {
        let all = self.contenders.iter().map(Box::as_ref);
        all.filter(|contender| contender.takes_part(workload) && can(*contender)).collect()
    }
}

pub(crate) fn entrants(contenders: &[&dyn Contender]) -> Vec<Entrant> {
    contenders.iter().map(|one| Entrant { name: one.name().to_string(), class: one.class() }).collect()
}

/// Has leases, if only in outline.
pub(crate) fn leases(contender: &dyn Contender) -> bool {
    contender.class() != Class::AppendOnly
}

/// Buffered, with bodies of the usual size and one producer.
pub(crate) fn usual(dir: &Path, messages_max: u64) -> Setup {
    Setup { dir: dir.to_path_buf(), sync: Sync::Buffered, messages_max, body_bytes: BODY as u64, producers: 1 }
}

/// Appends until this many messages are through or the time is up; returns how many were, and how long it took.
pub(crate) fn append_all(
    opened: &dyn Opened,
    batches: &[Batch],
    threads: usize,
    messages: u64,
    run_max: Duration,
    check_every: usize,
) -> (u64, Duration) {
    let batch = batches[0].len();
    let appends = (messages as usize).div_ceil(threads * batch);
    let prepare = |_| opened.producer(batches);
    let (appended, took) = together(threads, prepare, |producer, begun| {
        for at in 0..appends {
            producer.append(at);
            if at % check_every == check_every - 1 && now() - begun > run_max {
                return at + 1;
            }
        }
        appends
    });
    ((appended.iter().sum::<usize>() * batch) as u64, took)
}

/// Appends this many messages; returns what popping them all must bring.
pub(crate) fn preload(opened: &dyn Opened, batches: &[Batch], messages: u64) -> Popped {
    let mut producer = opened.producer(batches);
    let mut expected = Popped::default();
    for at in 0..(messages as usize).div_ceil(batches[0].len()) {
        producer.append(at);
        for body in &batches[at % batches.len()] {
            expected = expected.join(Popped { messages: 1, sum: read(body) });
        }
    }
    expected
}

/// How a consumer acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    Each,
    AsOne,
}

/// Pops and acks until nothing is left or the time is up; returns what came.
pub(crate) fn consume(consumer: &mut dyn Consumer, pop: usize, ack: Ack, run_max: Duration) -> Popped {
    let (begun, mut all) = (now(), Popped::default());
    loop {
        let popped = consumer.pop(pop, LEASE);
        match ack {
            Ack::Each => consumer.ack_each(),
            Ack::AsOne => consumer.ack_as_one(),
        }
        all = all.join(popped);
        if popped.messages == 0 || now() - begun > run_max {
            return all;
        }
    }
}
