//! RocksDB: its log is written but not synced when buffered, which loses nothing to a killed process, and synced when
//! durable.

use std::time::Duration;

use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::keys::{Ids, Key, Lowest, id, key, lower, visible_end};
use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;
use crate::clock::wall_micros;

pub(crate) struct RocksDb;

impl Contender for RocksDb {
    fn name(&self) -> &'static str {
        "RocksDB"
    }

    fn class(&self) -> Class {
        Class::LeaseStore
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let database = DB::open_cf(&options, &setup.dir, ["order", "bodies"]).expect("RocksDB opens");
        let bodies = database.cf_handle("bodies").expect("it was made");
        let last = database.iterator_cf(bodies, IteratorMode::End).next().map(|last| last.expect("a key").0);
        let last = last.map(|last| u64::from_be_bytes(last[..8].try_into().expect("eight bytes")));
        let durable = setup.sync == Sync::Each;
        Box::new(Queue { database, durable, ids: Ids::after(last), lowest: Lowest::default() })
    }
}

struct Queue {
    database: DB,
    durable: bool,
    ids: Ids,
    lowest: Lowest,
}

impl Queue {
    fn order(&self) -> &ColumnFamily {
        self.database.cf_handle("order").expect("it was made")
    }

    fn bodies(&self) -> &ColumnFamily {
        self.database.cf_handle("bodies").expect("it was made")
    }

    fn write(&self, batch: WriteBatch) {
        let mut options = WriteOptions::default();
        options.set_sync(self.durable);
        self.database.write_opt(batch, &options).expect("written");
    }
}

impl Opened for Queue {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Inserter { queue: self, batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Popper { queue: self, held: Vec::new() })
    }
}

struct Inserter<'a> {
    queue: &'a Queue,
    batches: &'a [Batch<'a>],
}

impl Producer for Inserter<'_> {
    fn append(&mut self, batch: usize) {
        let (order, bodies, now) = (self.queue.order(), self.queue.bodies(), wall_micros());
        let mut write = WriteBatch::default();
        for body in &self.batches[batch % self.batches.len()] {
            let id = self.queue.ids.next();
            write.put_cf(order, key(now, id), 0_u32.to_be_bytes());
            write.put_cf(bodies, id.to_be_bytes(), body);
        }
        self.queue.write(write);
        lower(&self.queue.lowest, key(now, 0));
    }
}

struct Popper<'a> {
    queue: &'a Queue,
    held: Vec<Key>,
}

impl Popper<'_> {
    fn ack(&self, held: &[Key]) {
        let mut write = WriteBatch::default();
        for key in held {
            write.delete_cf(self.queue.order(), key);
            write.delete_cf(self.queue.bodies(), id(key).to_be_bytes());
        }
        self.queue.write(write);
    }
}

impl Consumer for Popper<'_> {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let Queue { database, lowest, .. } = self.queue;
        let order = self.queue.order();
        let mut lowest = lowest.lock().expect("no panic under the lock");
        let (due, end) = (wall_micros() + lease.as_micros() as u64, visible_end());
        let mut write = WriteBatch::default();
        self.held.clear();
        let mut last: Option<Box<[u8]>> = None;
        let from = IteratorMode::From(&*lowest, Direction::Forward);
        let entries = database.iterator_cf(order, from).map(|entry| entry.expect("an entry"));
        for (old, attempt) in entries.take_while(|(old, _)| **old < end[..]).take(messages_max) {
            let attempt = u32::from_be_bytes(attempt[..4].try_into().expect("four bytes"));
            let new = key(due, id(&old));
            write.delete_cf(order, &old);
            write.put_cf(order, new, (attempt + 1).to_be_bytes());
            self.held.push(new);
            last = Some(old);
        }
        self.queue.write(write);
        if let Some(last) = last {
            *lowest = (u128::from_be_bytes(last[..16].try_into().expect("sixteen bytes")) + 1).to_be_bytes();
            *lowest = key(due, 0).min(*lowest);
        }
        drop(lowest);
        let mut popped = Popped::default();
        for key in &self.held {
            let body = database.get_pinned_cf(self.queue.bodies(), id(key).to_be_bytes());
            popped.add(&body.expect("looked").expect("there is a body"));
        }
        popped
    }

    fn ack_each(&mut self) {
        self.held.chunks(1).for_each(|one| self.ack(one));
    }

    fn ack_as_one(&mut self) {
        self.ack(&self.held);
    }
}
