//! redb: `Durability::None` when buffered. Commits stay in the process's memory then, so a killed process loses them,
//! which is less than the others promise; `Immediate` when durable.

use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::keys::{Ids, Key, Keyed, KeyedQueue, id, key, visible_end};
use super::{Class, Contender, Opened, Popped, Setup, Sync};
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
        Box::new(Keyed(Queue { database, durability, ids: Ids::after(last) }))
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

impl KeyedQueue for Queue {
    fn append(&self, batch: &Batch<'_>) {
        let now = wall_micros();
        let write = self.write();
        let mut order = write.open_table(ORDER).expect("a table");
        let mut bodies = write.open_table(BODIES).expect("a table");
        for body in batch {
            let id = self.ids.next();
            order.insert(key(now, id), 0).expect("inserted");
            bodies.insert(id, *body).expect("inserted");
        }
        drop((order, bodies));
        write.commit().expect("committed");
    }

    fn pop(&self, messages_max: usize, lease: Duration, held: &mut Vec<Key>) -> Popped {
        let due = wall_micros() + lease.as_micros() as u64;
        let mut popped = Popped::default();
        let write = self.write();
        let mut order = write.open_table(ORDER).expect("a table");
        let bodies = write.open_table(BODIES).expect("a table");
        let first = order.range(..visible_end()).expect("a range").take(messages_max);
        let first = first.map(|entry| entry.map(|(key, attempt)| (key.value(), attempt.value())));
        let first: Vec<_> = first.collect::<Result<_, _>>().expect("entries");
        for (old, attempt) in first {
            let id = id(&old);
            order.remove(old).expect("removed");
            order.insert(key(due, id), attempt + 1).expect("inserted");
            popped.add(bodies.get(id).expect("looked").expect("there is a body").value());
            held.push(key(due, id));
        }
        drop((order, bodies));
        write.commit().expect("committed");
        popped
    }

    fn ack(&self, held: &[Key]) {
        let write = self.write();
        let mut order = write.open_table(ORDER).expect("a table");
        let mut bodies = write.open_table(BODIES).expect("a table");
        for key in held {
            assert!(order.remove(*key).expect("removed").is_some());
            assert!(bodies.remove(id(key)).expect("removed").is_some());
        }
        drop((order, bodies));
        write.commit().expect("committed");
    }

    fn settle(&self) {
        let write = self.database.begin_write().expect("a transaction");
        write.commit().expect("committed");
        drop(self.database.begin_read().expect("a transaction"));
    }
}
