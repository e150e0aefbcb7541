//! yaque: a queue of one sender and one receiver in files. It never syncs, so it runs buffered only.

use std::sync::Mutex;

use yaque::Sender;

use super::{Class, Contender, Opened, Producer, Setup};
use crate::bodies::Batch;

pub(crate) struct Yaque;

impl Contender for Yaque {
    fn name(&self) -> &'static str {
        "yaque"
    }

    fn class(&self) -> Class {
        Class::AppendOnly
    }

    fn producers_max(&self) -> usize {
        1
    }

    fn can_sync(&self) -> bool {
        false
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        Box::new(Queue(Mutex::new(Sender::open(setup.dir.join("queue")).expect("yaque opens"))))
    }
}

struct Queue(Mutex<Sender>);

impl Opened for Queue {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Sending { queue: &self.0, batches })
    }
}

struct Sending<'a> {
    queue: &'a Mutex<Sender>,
    batches: &'a [Batch<'a>],
}

impl Producer for Sending<'_> {
    fn append(&mut self, batch: usize) {
        let mut sender = self.queue.lock().expect("no panic under the lock");
        let sent = match self.batches[batch % self.batches.len()].as_slice() {
            [one] => sender.try_send(one).is_ok(),
            batch => sender.try_send_batch(batch).is_ok(),
        };
        assert!(sent, "yaque's queue has no limit");
    }
}
