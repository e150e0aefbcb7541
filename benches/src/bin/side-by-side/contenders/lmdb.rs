//! LMDB through heed: MDB_NOSYNC and MDB_WRITEMAP when buffered, which lose nothing to a killed process, its default when
//! durable. Ids only grow, so bodies are put at the end.

use std::ops::Bound;
use std::time::Duration;

use heed::byteorder::BE;
use heed::types::{Bytes, U32, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use super::keys::{Ids, Key, Keyed, KeyedQueue, id, key, visible_end};
use super::{Class, Contender, Opened, Popped, Setup, Sync};
use crate::bodies::Batch;
use crate::clock::wall_micros;

/// For durable runs, which end by time.
const MAP_BYTES: u64 = 64 << 30;

pub(crate) struct Lmdb;

impl Contender for Lmdb {
    fn name(&self) -> &'static str {
        "LMDB"
    }

    fn class(&self) -> Class {
        Class::LeaseStore
    }

    #[allow(unsafe_code, reason = "heed can open an environment in no other way")]
    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let mut options = EnvOpenOptions::new();
        // With MDB_WRITEMAP the file is as long as the map: twice what is to come.
        let bytes = setup.messages_max * (2 * setup.body_bytes + 512) + (64 << 20);
        let bytes = if setup.sync == Sync::Each { MAP_BYTES } else { bytes.next_multiple_of(1 << 20) };
        options.map_size(bytes as usize).max_dbs(2);
        if setup.sync != Sync::Each {
            // SAFETY: a power cut may damage the environment; it is only ever measured.
            unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP) };
        }
        // SAFETY: the directory is this run's own; nobody else opens, truncates or maps what is in it.
        let env = unsafe { options.open(&setup.dir) }.expect("LMDB opens");
        let mut write = env.write_txn().expect("a transaction");
        let order: Order = env.create_database(&mut write, Some("order")).expect("a database can be made");
        let bodies: Bodies = env.create_database(&mut write, Some("bodies")).expect("a database can be made");
        let last = bodies.last(&write).expect("looked").map(|(id, _)| id);
        write.commit().expect("committed");
        Box::new(Keyed(Queue { env, order, bodies, ids: Ids::after(last) }))
    }
}

type Order = Database<Bytes, U32<BE>>;
type Bodies = Database<U64<BE>, Bytes>;

struct Queue {
    env: Env,
    order: Order,
    bodies: Bodies,
    ids: Ids,
}

impl KeyedQueue for Queue {
    fn append(&self, batch: &Batch<'_>) {
        let Queue { env, order, bodies, ids } = self;
        let now = wall_micros();
        let mut write = env.write_txn().expect("a transaction");
        for body in batch {
            let id = ids.next();
            order.put(&mut write, &key(now, id), &0).expect("put");
            bodies.put_with_flags(&mut write, PutFlags::APPEND, &id, body).expect("put");
        }
        write.commit().expect("committed");
    }

    fn pop(&self, messages_max: usize, lease: Duration, held: &mut Vec<Key>) -> Popped {
        let Queue { env, order, bodies, .. } = self;
        let due = wall_micros() + lease.as_micros() as u64;
        let (mut popped, end) = (Popped::default(), visible_end());
        let visible = (Bound::Unbounded, Bound::Excluded(&end[..]));
        let mut write = env.write_txn().expect("a transaction");
        let first = order.range(&write, &visible).expect("a range").take(messages_max);
        let first = first.map(|entry| entry.map(|(key, attempt)| (key.to_vec(), attempt)));
        let first: Vec<(Vec<u8>, u32)> = first.collect::<Result<_, _>>().expect("entries");
        for (old, attempt) in first {
            let id = id(&old);
            order.delete(&mut write, &old).expect("deleted");
            order.put(&mut write, &key(due, id), &(attempt + 1)).expect("put");
            popped.add(bodies.get(&write, &id).expect("looked").expect("there is a body"));
            held.push(key(due, id));
        }
        write.commit().expect("committed");
        popped
    }

    fn ack(&self, held: &[Key]) {
        let Queue { env, order, bodies, .. } = self;
        let mut write = env.write_txn().expect("a transaction");
        for key in held {
            assert!(order.delete(&mut write, key).expect("deleted"));
            assert!(bodies.delete(&mut write, &id(key)).expect("deleted"));
        }
        write.commit().expect("committed");
    }
}
