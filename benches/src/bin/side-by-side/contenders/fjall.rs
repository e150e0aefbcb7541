//! fjall: commits reach the system's buffers when buffered, which loses nothing to a killed process, and are synced when
//! durable.

use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::keys::{Ids, Key, Keyed, KeyedQueue, Lowest, id, key, lower, visible_end};
use super::{Class, Contender, Opened, Popped, Setup, Sync};
use crate::bodies::Batch;
use crate::clock::wall_micros;

pub(crate) struct Fjall;

impl Contender for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn class(&self) -> Class {
        Class::LeaseStore
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let database = Database::builder(&setup.dir).open().expect("fjall opens");
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default).expect("a keyspace can be made");
        let (order, bodies) = (keyspace("order"), keyspace("bodies"));
        let last = bodies.last_key_value().map(|last| last.key().expect("a key"));
        let last = last.map(|last| u64::from_be_bytes(last[..8].try_into().expect("eight bytes")));
        let persist = if setup.sync == Sync::Each { PersistMode::SyncData } else { PersistMode::Buffer };
        Box::new(Keyed(Queue { database, order, bodies, persist, ids: Ids::after(last), lowest: Lowest::default() }))
    }
}

struct Queue {
    database: Database,
    order: Keyspace,
    bodies: Keyspace,
    persist: PersistMode,
    ids: Ids,
    lowest: Lowest,
}

impl Queue {
    fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(self.persist))
    }
}

impl KeyedQueue for Queue {
    fn append(&self, batch: &Batch<'_>) {
        let Queue { order, bodies, ids, lowest, .. } = self;
        let now = wall_micros();
        let mut write = self.batch();
        for body in batch {
            let id = ids.next();
            write.insert(order, key(now, id), 0_u32.to_be_bytes());
            write.insert(bodies, id.to_be_bytes(), *body);
        }
        write.commit().expect("committed");
        lower(lowest, key(now, 0));
    }

    fn pop(&self, messages_max: usize, lease: Duration, held: &mut Vec<Key>) -> Popped {
        let Queue { order, bodies, lowest, .. } = self;
        let mut lowest = lowest.lock().expect("no panic under the lock");
        let due = wall_micros() + lease.as_micros() as u64;
        let mut write = self.batch();
        let mut last = None;
        for entry in order.range(*lowest..visible_end()).take(messages_max) {
            let (old, attempt) = entry.into_inner().expect("an entry");
            let attempt = u32::from_be_bytes(attempt[..4].try_into().expect("four bytes"));
            let new = key(due, id(&old));
            write.remove(order, old.clone());
            write.insert(order, new, (attempt + 1).to_be_bytes());
            held.push(new);
            last = Some(old);
        }
        write.commit().expect("committed");
        if let Some(last) = last {
            *lowest = (u128::from_be_bytes(last[..16].try_into().expect("sixteen bytes")) + 1).to_be_bytes();
            *lowest = key(due, 0).min(*lowest);
        }
        drop(lowest);
        let mut popped = Popped::default();
        for key in held.iter() {
            popped.add(&bodies.get(id(key).to_be_bytes()).expect("looked").expect("there is a body"));
        }
        popped
    }

    fn ack(&self, held: &[Key]) {
        let mut write = self.batch();
        for key in held {
            write.remove(&self.order, *key);
            write.remove(&self.bodies, id(key).to_be_bytes());
        }
        write.commit().expect("committed");
    }
}
