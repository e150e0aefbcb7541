//! Who runs: popstore, the limit of the machine, and what a user would pick instead, each behind the same three traits.
//!
//! The stores with leases all have the usual table: messages in the order of (visible at, id) and bodies by id. A pop is
//! one transaction that takes the first visible ones, moves them to where their lease ends, and reads the bodies; an ack
//! deletes. A lease that is over is visible again by itself, so that redelivery costs them nothing but the next pop.

#[cfg(feature = "contenders")]
mod commitlog;
#[cfg(feature = "contenders")]
mod fjall;
#[cfg(any(feature = "contenders", feature = "rocksdb"))]
mod keys;
#[cfg(feature = "contenders")]
mod lmdb;
#[cfg(feature = "contenders")]
mod mrecordlog;
#[cfg(feature = "contenders")]
mod okaywal;
#[cfg(feature = "contenders")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "contenders")]
mod sqlite;
#[cfg(feature = "contenders")]
mod yaque;

mod beanstalkd;
mod limit;
mod popstore;
mod redis;
mod server;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use popstore::{DEFAULTS, Popstore, TOPIC, VARIANTS, durability};
use serde::{Deserialize, Serialize};

use crate::bodies::Batch;

/// What kind of thing is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Class {
    /// The engine itself.
    Popstore,
    /// A bare loop that does what cannot be avoided.
    Limit,
    /// Appends and reads, without leases.
    AppendOnly,
    /// Has leases, or a table that makes them.
    LeaseStore,
}

/// When what is acknowledged must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Never waited for; a killed process loses nothing.
    Buffered,
    /// In the background, every ten milliseconds; only popstore has this.
    Every10Ms,
    /// Before each call returns.
    Each,
}

/// What is to be opened, where and for how much.
pub(crate) struct Setup {
    pub(crate) dir: PathBuf,
    pub(crate) sync: Sync,
    /// No more messages than this will be appended.
    pub(crate) messages_max: u64,
    pub(crate) body_bytes: u64,
    /// How many threads append.
    pub(crate) producers: u64,
}

/// Somebody who can do the work.
pub(crate) trait Contender {
    fn name(&self) -> &'static str;
    fn class(&self) -> Class;
    /// Why it cannot run at all here.
    fn missing(&self) -> Option<String> {
        None
    }
    /// Whether it differs from the others of its kind in this workload.
    fn takes_part(&self, _workload: &str) -> bool {
        true
    }
    /// The most threads that can append.
    fn producers_max(&self) -> usize {
        usize::MAX
    }
    fn can_sync(&self) -> bool {
        true
    }
    fn can_buffer(&self) -> bool {
        true
    }
    /// Whether the work is done in this process, so that its bytes can be counted and it can be killed.
    fn in_process(&self) -> bool {
        true
    }
    /// Opens what is in the directory, or makes it.
    fn open(&self, setup: &Setup) -> Box<dyn Opened>;
}

/// A contender at work. Dropping it closes it.
pub(crate) trait Opened: std::marker::Sync {
    /// Someone who appends these batches, in turn. Is made on the thread that uses it.
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a>;
    /// Someone who pops and acks.
    fn consumer(&self) -> Box<dyn Consumer + '_> {
        panic!("there are no leases")
    }
    /// Makes sure that a killed process would lose nothing of what was appended.
    fn settle(&self) {}
    /// How many records opening it had to read, if it reports that.
    fn records_read(&self) -> Option<u64> {
        None
    }
}

/// One thread that appends.
pub(crate) trait Producer {
    /// Appends the batch with this number, modulo how many there are, as a whole.
    fn append(&mut self, batch: usize);
}

/// What one pop brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Popped {
    pub(crate) messages: u64,
    /// Of all bytes of all bodies: the proof that they were read, and once.
    pub(crate) sum: u64,
}

impl Popped {
    pub(crate) fn add(&mut self, body: &[u8]) {
        self.messages += 1;
        self.sum = self.sum.wrapping_add(crate::bodies::read(body));
    }

    pub(crate) fn join(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, sum: self.sum.wrapping_add(other.sum) }
    }
}

/// One thread that consumes.
pub(crate) trait Consumer {
    /// Pops as many as are there, up to `messages_max`, and reads every body. What was popped before is left to its lease.
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped;
    /// Acks what the last pop brought, one by one.
    fn ack_each(&mut self);
    /// Acks what the last pop brought, all at once.
    fn ack_as_one(&mut self);
}

/// Everyone this build knows.
pub(crate) fn all() -> Vec<Box<dyn Contender>> {
    let mut all: Vec<Box<dyn Contender>> = Vec::new();
    all.extend(VARIANTS.iter().map(|variant| Box::new(*variant) as Box<dyn Contender>));
    all.push(Box::new(limit::Limit));
    #[cfg(feature = "contenders")]
    all.extend([
        Box::new(sqlite::Sqlite) as Box<dyn Contender>,
        Box::new(lmdb::Lmdb),
        Box::new(redb::Redb),
        Box::new(fjall::Fjall),
        Box::new(yaque::Yaque),
        Box::new(mrecordlog::Mrecordlog),
        Box::new(commitlog::Commitlog),
        Box::new(okaywal::Okaywal),
    ]);
    #[cfg(feature = "rocksdb")]
    all.push(Box::new(rocksdb::RocksDb));
    all.extend([Box::new(beanstalkd::Beanstalkd) as Box<dyn Contender>, Box::new(redis::Redis)]);
    all
}
