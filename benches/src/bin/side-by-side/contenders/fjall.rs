//! fjall: commits reach the system's buffers when buffered, which loses nothing to a killed process, and are synced when
//! durable.

use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::keys::{Ids, Lowest, id, key, lower, visible_end};
use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
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
        Box::new(Queue { database, order, bodies, persist, ids: Ids::after(last), lowest: Lowest::default() })
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
        let Queue { order, bodies, ids, lowest, .. } = self.queue;
        let now = wall_micros();
        let mut write = self.queue.batch();
        for body in &self.batches[batch % self.batches.len()] {
            let id = ids.next();
            write.insert(order, key(now, id), 0_u32.to_be_bytes());
            write.insert(bodies, id.to_be_bytes(), *body);
        }
        write.commit().expect("committed");
        lower(lowest, key(now, 0));
    }
}

struct Popper<'a> {
    queue: &'a Queue,
    held: Vec<[u8; 16]>,
}

impl Popper<'_> {
    fn ack(&self, held: &[[u8; 16]]) {
        let mut write = self.queue.batch();
        for key in held {
            write.remove(&self.queue.order, *key);
            write.remove(&self.queue.bodies, id(key).to_be_bytes());
        }
        write.commit().expect("committed");
    }
}

impl Consumer for Popper<'_> {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let Queue { order, bodies, lowest, .. } = self.queue;
        let mut lowest = lowest.lock().expect("no panic under the lock");
        let due = wall_micros() + lease.as_micros() as u64;
        let mut write = self.queue.batch();
        self.held.clear();
        let mut last = None;
        for entry in order.range(*lowest..visible_end()).take(messages_max) {
            let (old, attempt) = entry.into_inner().expect("an entry");
            let attempt = u32::from_be_bytes(attempt[..4].try_into().expect("four bytes"));
            let new = key(due, id(&old));
            write.remove(order, old.clone());
            write.insert(order, new, (attempt + 1).to_be_bytes());
            self.held.push(new);
            last = Some(old);
        }
        write.commit().expect("committed");
        if let Some(last) = last {
            *lowest = (u128::from_be_bytes(last[..16].try_into().expect("sixteen bytes")) + 1).to_be_bytes();
            *lowest = key(due, 0).min(*lowest);
        }
        drop(lowest);
        let mut popped = Popped::default();
        for key in &self.held {
            popped.add(&bodies.get(id(key).to_be_bytes()).expect("looked").expect("there is a body"));
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
