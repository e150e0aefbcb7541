//! RocksDB: its log is written but not synced when buffered, which loses nothing to a killed process, and synced when
//! durable.

use std::time::Duration;

use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::keys::{Ids, Key, Keyed, KeyedQueue, Lowest, id, key, lower, visible_end};
use super::{Class, Contender, Opened, Popped, Setup, Sync};
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
        // A sync over blocks that were written before is cheaper.
        options.set_recycle_log_file_num(4);
        let database = DB::open_cf(&options, &setup.dir, ["order", "bodies"]).expect("RocksDB opens");
        let bodies = database.cf_handle("bodies").expect("it was made");
        let last = database.iterator_cf(bodies, IteratorMode::End).next().map(|last| last.expect("a key").0);
        let last = last.map(|last| u64::from_be_bytes(last[..8].try_into().expect("eight bytes")));
        let durable = setup.sync == Sync::Each;
        Box::new(Keyed(Queue { database, durable, ids: Ids::after(last), lowest: Lowest::default() }))
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

impl KeyedQueue for Queue {
    fn append(&self, batch: &Batch<'_>) {
        let (order, bodies, now) = (self.order(), self.bodies(), wall_micros());
        let mut write = WriteBatch::default();
        for body in batch {
            let id = self.ids.next();
            write.put_cf(order, key(now, id), 0_u32.to_be_bytes());
            write.put_cf(bodies, id.to_be_bytes(), body);
        }
        self.write(write);
        lower(&self.lowest, key(now, 0));
    }

    fn pop(&self, messages_max: usize, lease: Duration, held: &mut Vec<Key>) -> Popped {
        let Queue { database, lowest, .. } = self;
        let order = self.order();
        let mut lowest = lowest.lock().expect("no panic under the lock");
        let (due, end) = (wall_micros() + lease.as_micros() as u64, visible_end());
        let mut write = WriteBatch::default();
        let mut last: Option<Box<[u8]>> = None;
        let from = IteratorMode::From(&*lowest, Direction::Forward);
        let entries = database.iterator_cf(order, from).map(|entry| entry.expect("an entry"));
        for (old, attempt) in entries.take_while(|(old, _)| **old < end[..]).take(messages_max) {
            let attempt = u32::from_be_bytes(attempt[..4].try_into().expect("four bytes"));
            let new = key(due, id(&old));
            write.delete_cf(order, &old);
            write.put_cf(order, new, (attempt + 1).to_be_bytes());
            held.push(new);
            last = Some(old);
        }
        self.write(write);
        if let Some(last) = last {
            *lowest = (u128::from_be_bytes(last[..16].try_into().expect("sixteen bytes")) + 1).to_be_bytes();
            *lowest = key(due, 0).min(*lowest);
        }
        drop(lowest);
        let mut popped = Popped::default();
        let ids = held.iter().map(|key| id(key).to_be_bytes());
        for body in database.batched_multi_get_cf(self.bodies(), &ids.collect::<Vec<_>>(), false) {
            popped.add(&body.expect("looked").expect("there is a body"));
        }
        popped
    }

    fn ack(&self, held: &[Key]) {
        let mut write = WriteBatch::default();
        for key in held {
            write.delete_cf(self.order(), key);
            write.delete_cf(self.bodies(), id(key).to_be_bytes());
        }
        self.write(write);
    }
}
