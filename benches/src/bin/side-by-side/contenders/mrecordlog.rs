//! mrecordlog: several logs in one file, all of it in memory too. It flushes its buffer once a second, so a killed process
//! loses up to that, which is less than the others promise. Version 0.4 never syncs, so it runs buffered only.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mrecordlog::{MultiRecordLog, SyncPolicy};
use tokio::runtime::{Builder, Runtime};

use super::{Class, Contender, Opened, Producer, Setup};
use crate::bodies::Batch;

const QUEUE: &str = "bench";

pub(crate) struct Mrecordlog;

impl Contender for Mrecordlog {
    fn name(&self) -> &'static str {
        "mrecordlog"
    }

    fn class(&self) -> Class {
        Class::AppendOnly
    }

    fn can_sync(&self) -> bool {
        false
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let policy = SyncPolicy::OnDelay(Duration::from_secs(1));
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let mut log = runtime.block_on(MultiRecordLog::open_with_prefs(&setup.dir, policy)).expect("mrecordlog opens");
        runtime.block_on(log.create_queue(QUEUE)).expect("a queue can be made");
        Box::new(Log(Mutex::new((runtime, log))))
    }
}

struct Log(Mutex<(Runtime, MultiRecordLog)>);

impl Opened for Log {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Recorder { log: self, batches })
    }
}

struct Recorder<'a> {
    log: &'a Log,
    batches: &'a [Batch<'a>],
}

impl Producer for Recorder<'_> {
    fn append(&mut self, batch: usize) {
        let (runtime, log) = &mut *self.log.0.lock().expect("no panic under the lock");
        let bodies = self.batches[batch % self.batches.len()].iter().copied();
        let _entered = runtime.enter();
        let mut appending = pin!(log.append_records(QUEUE, None, bodies));
        // Mostly nothing has to be waited for, and then the runtime need not run.
        let appended = match appending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(appended) => appended,
            Poll::Pending => runtime.block_on(appending),
        };
        appended.expect("appended");
    }
}
