//! SQLite with a write-ahead log: `synchronous` is OFF when buffered, which loses nothing to a killed process, and FULL
//! when every commit must be durable. One connection that the threads share: with one each they would sleep until the
//! other's lock is gone.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;
use crate::clock::wall_micros;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY, body BLOB NOT NULL, visible_at INTEGER NOT NULL, attempt INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS by_time ON messages (visible_at, id);";
const APPEND: &str = "INSERT INTO messages (body, visible_at, attempt) VALUES (?1, ?2, 0)";
const POP: &str = "
    UPDATE messages SET visible_at = ?1, attempt = attempt + 1
    WHERE id IN (SELECT id FROM messages WHERE visible_at <= ?2 ORDER BY visible_at, id LIMIT ?3)
    RETURNING id, body";
const ACK: &str = "DELETE FROM messages WHERE id = ?1";

pub(crate) struct Sqlite;

impl Contender for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn class(&self) -> Class {
        Class::LeaseStore
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let connection = Connection::open(setup.dir.join("queue.db")).expect("SQLite opens");
        let synchronous = if setup.sync == Sync::Each { "FULL" } else { "OFF" };
        for (name, value) in [("locking_mode", "EXCLUSIVE"), ("journal_mode", "WAL"), ("synchronous", synchronous)] {
            connection.pragma_update(None, name, value).expect("set");
        }
        // 64 MiB of the file in memory.
        connection.pragma_update(None, "cache_size", -65_536).expect("set");
        connection.execute_batch(TABLE).expect("the table can be made");
        Box::new(Database(Mutex::new(connection)))
    }
}

struct Database(Mutex<Connection>);

impl Database {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().expect("no panic under the lock")
    }
}

impl Opened for Database {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Inserter { database: self, batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Popper { database: self, held: Vec::new() })
    }
}

fn run(connection: &Connection, sql: &str) {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).expect("executed");
}

fn ack(connection: &Connection, id: i64) {
    let acked = connection.prepare_cached(ACK).and_then(|mut statement| statement.execute([id]));
    assert_eq!(acked.expect("acked"), 1);
}

struct Inserter<'a> {
    database: &'a Database,
    batches: &'a [Batch<'a>],
}

impl Producer for Inserter<'_> {
    fn append(&mut self, batch: usize) {
        let batch = &self.batches[batch % self.batches.len()];
        let now = wall_micros() as i64;
        let connection = self.database.connection();
        if batch.len() > 1 {
            run(&connection, "BEGIN IMMEDIATE");
        }
        let mut insert = connection.prepare_cached(APPEND).expect("prepared");
        for body in batch {
            insert.execute(params![body, now]).expect("inserted");
        }
        drop(insert);
        if batch.len() > 1 {
            run(&connection, "COMMIT");
        }
    }
}

struct Popper<'a> {
    database: &'a Database,
    held: Vec<i64>,
}

impl Consumer for Popper<'_> {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let now = wall_micros();
        let due = now + lease.as_micros() as u64;
        let (mut popped, held) = (Popped::default(), &mut self.held);
        held.clear();
        let connection = self.database.connection();
        let mut pop = connection.prepare_cached(POP).expect("prepared");
        let mut rows = pop.query(params![due as i64, now as i64, messages_max as i64]).expect("popped");
        while let Some(row) = rows.next().expect("a row") {
            held.push(row.get(0).expect("an id"));
            popped.add(row.get_ref(1).and_then(|body| Ok(body.as_blob()?)).expect("a body"));
        }
        popped
    }

    fn ack_each(&mut self) {
        self.held.iter().for_each(|id| ack(&self.database.connection(), *id));
    }

    fn ack_as_one(&mut self) {
        let connection = self.database.connection();
        run(&connection, "BEGIN IMMEDIATE");
        self.held.iter().for_each(|id| ack(&connection, *id));
        run(&connection, "COMMIT");
    }
}
