//! commitlog: an append-only log with an index. Its `flush` syncs the index only, never the messages, so it runs buffered
//! only.

use std::sync::Mutex;

use commitlog::message::MessageBuf;
use commitlog::{CommitLog, LogOptions};

use super::{Class, Contender, Opened, Producer, Setup};
use crate::bodies::Batch;

/// A batch of a hundred bodies of 16 KiB fits.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

pub(crate) struct Commitlog;

impl Contender for Commitlog {
    fn name(&self) -> &'static str {
        "commitlog"
    }

    fn class(&self) -> Class {
        Class::AppendOnly
    }

    fn can_sync(&self) -> bool {
        false
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let mut options = LogOptions::new(setup.dir.join("log"));
        options.message_max_bytes(MESSAGE_BYTES_MAX);
        // A segment that is full is synced; none is.
        options.index_max_items(setup.messages_max as usize + 1);
        options.segment_max_bytes((setup.messages_max * (setup.body_bytes + 64)) as usize + MESSAGE_BYTES_MAX);
        Box::new(Log(Mutex::new(CommitLog::new(options).expect("commitlog opens"))))
    }
}

struct Log(Mutex<CommitLog>);

impl Opened for Log {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Writer { log: self, batches, messages: MessageBuf::default() })
    }
}

struct Writer<'a> {
    log: &'a Log,
    batches: &'a [Batch<'a>],
    messages: MessageBuf,
}

impl Producer for Writer<'_> {
    fn append(&mut self, batch: usize) {
        self.messages.clear();
        for body in &self.batches[batch % self.batches.len()] {
            self.messages.push(body).expect("serialized");
        }
        let mut log = self.log.0.lock().expect("no panic under the lock");
        log.append(&mut self.messages).expect("appended");
    }
}
