//! redb: `Durability::None` when buffered. That keeps commits in the process's memory, so a killed process loses them,
//! which is less than the others promise; `Immediate` when durable.

use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::keys::{Ids, id, key, visible_end};
use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;
use crate::clock::wall_micros;

const ORDER: TableDefinition<[u8; 16], u32> = TableDefinition::new("order");
const BODIES: TableDefinition<u64, &[u8]> = TableDefinition::new("bodies");

pub(crate) struct Redb;

impl Contender for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn class(&self) -> Class {
        Class::LeaseStore
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let database = Database::create(setup.dir.join("queue.redb")).expect("redb opens");
        let write = database.begin_write().expect("a transaction");
        write.open_table(ORDER).expect("a table can be made");
        let bodies = write.open_table(BODIES).expect("a table can be made");
        let last = bodies.last().expect("looked").map(|(id, _)| id.value());
        drop(bodies);
        write.commit().expect("committed");
        let durability = if setup.sync == Sync::Each { Durability::Immediate } else { Durability::None };
        Box::new(Queue { database, durability, ids: Ids::after(last) })
    }
}

struct Queue {
    database: Database,
    durability: Durability,
    ids: Ids,
}

impl Queue {
    fn write(&self) -> WriteTransaction {
        let mut write = self.database.begin_write().expect("a transaction");
        write.set_durability(self.durability).expect("set");
        write
    }
}

impl Opened for Queue {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Inserter { queue: self, batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Popper { queue: self, held: Vec::new() })
    }

    fn settle(&self) {
        let write = self.database.begin_write().expect("a transaction");
        write.commit().expect("committed");
        drop(self.database.begin_read().expect("a transaction"));
    }
}

struct Inserter<'a> {
    queue: &'a Queue,
    batches: &'a [Batch<'a>],
}

impl Producer for Inserter<'_> {
    fn append(&mut self, batch: usize) {
        let now = wall_micros();
        let write = self.queue.write();
        let mut order = write.open_table(ORDER).expect("a table");
        let mut bodies = write.open_table(BODIES).expect("a table");
        for body in &self.batches[batch % self.batches.len()] {
            let id = self.queue.ids.next();
            order.insert(key(now, id), 0).expect("inserted");
            bodies.insert(id, *body).expect("inserted");
        }
        drop((order, bodies));
        write.commit().expect("committed");
    }
}

struct Popper<'a> {
    queue: &'a Queue,
    held: Vec<[u8; 16]>,
}

impl Popper<'_> {
    fn ack(&self, held: &[[u8; 16]]) {
        let write = self.queue.write();
        let mut order = write.open_table(ORDER).expect("a table");
        let mut bodies = write.open_table(BODIES).expect("a table");
        for key in held {
            assert!(order.remove(*key).expect("removed").is_some());
            assert!(bodies.remove(id(key)).expect("removed").is_some());
        }
        drop((order, bodies));
        write.commit().expect("committed");
    }
}

impl Consumer for Popper<'_> {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let due = wall_micros() + lease.as_micros() as u64;
        let mut popped = Popped::default();
        let write = self.queue.write();
        let mut order = write.open_table(ORDER).expect("a table");
        let bodies = write.open_table(BODIES).expect("a table");
        let first = order.range(..visible_end()).expect("a range").take(messages_max);
        let first = first.map(|entry| entry.map(|(key, attempt)| (key.value(), attempt.value())));
        let first: Vec<_> = first.collect::<Result<_, _>>().expect("entries");
        self.held.clear();
        for (old, attempt) in first {
            let id = id(&old);
            order.remove(old).expect("removed");
            order.insert(key(due, id), attempt + 1).expect("inserted");
            popped.add(bodies.get(id).expect("looked").expect("there is a body").value());
            self.held.push(key(due, id));
        }
        drop((order, bodies));
        write.commit().expect("committed");
        popped
    }

    fn ack_each(&mut self) {
        self.held.chunks(1).for_each(|one| self.ack(one));
    }

    fn ack_as_one(&mut self) {
        self.ack(&self.held);
    }
}
