//! okaywal: a write-ahead log that syncs every commit, and shares syncs between threads. It runs durable only. Its
//! segments are larger than the usual 1 MiB, so that its checkpoints, which do nothing here, stay out of the way; with
//! much larger ones it spends its time making them.

use okaywal::{Configuration, LogVoid, WriteAheadLog};

use super::{Class, Contender, Opened, Producer, Setup};
use crate::bodies::Batch;

const SEGMENT_BYTES: u32 = 16 << 20;

pub(crate) struct Okaywal;

impl Contender for Okaywal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn class(&self) -> Class {
        Class::AppendOnly
    }

    fn can_buffer(&self) -> bool {
        false
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let configuration = Configuration::default_for(setup.dir.join("wal")).preallocate_bytes(SEGMENT_BYTES);
        let configuration = configuration.checkpoint_after_bytes(u64::from(SEGMENT_BYTES) * 3 / 4);
        Box::new(Log(configuration.open(LogVoid).expect("okaywal opens")))
    }
}

struct Log(WriteAheadLog);

impl Drop for Log {
    fn drop(&mut self) {
        // Its thread would go on for the rest of the process.
        let _ = self.0.clone().shutdown();
    }
}

impl Opened for Log {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Writer { log: &self.0, batches })
    }
}

struct Writer<'a> {
    log: &'a WriteAheadLog,
    batches: &'a [Batch<'a>],
}

impl Producer for Writer<'_> {
    fn append(&mut self, batch: usize) {
        let mut entry = self.log.begin_entry().expect("begun");
        for body in &self.batches[batch % self.batches.len()] {
            entry.write_chunk(body).expect("written");
        }
        entry.commit().expect("committed");
    }
}
