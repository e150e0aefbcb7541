//! SQLite with a write-ahead log: `synchronous` is OFF when buffered, which loses nothing to a killed process, and FULL
//! when every commit must be durable. One connection a thread.

use std::path::Path;
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
        let connect = Connect { path: setup.dir.join("queue.db").into(), sync: setup.sync };
        let first = connect.connection();
        first.execute_batch(TABLE).expect("the table can be made");
        Box::new(Database { connect, _first: std::sync::Mutex::new(first) })
    }
}

struct Connect {
    path: Box<Path>,
    sync: Sync,
}

impl Connect {
    fn connection(&self) -> Connection {
        let connection = Connection::open(&self.path).expect("SQLite opens");
        connection.busy_timeout(Duration::from_secs(60)).expect("set");
        connection.pragma_update(None, "journal_mode", "WAL").expect("set");
        let synchronous = if self.sync == Sync::Each { "FULL" } else { "OFF" };
        connection.pragma_update(None, "synchronous", synchronous).expect("set");
        connection
    }
}

struct Database {
    connect: Connect,
    /// Open as long as the database is, so that the log is not folded in between.
    _first: std::sync::Mutex<Connection>,
}

impl Opened for Database {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Inserter { connection: self.connect.connection(), batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Popper { connection: self.connect.connection(), held: Vec::new() })
    }
}

fn run(connection: &Connection, sql: &str) {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).expect("executed");
}

struct Inserter<'a> {
    connection: Connection,
    batches: &'a [Batch<'a>],
}

impl Producer for Inserter<'_> {
    fn append(&mut self, batch: usize) {
        let batch = &self.batches[batch % self.batches.len()];
        let now = wall_micros() as i64;
        if batch.len() > 1 {
            run(&self.connection, "BEGIN IMMEDIATE");
        }
        let mut insert = self.connection.prepare_cached(APPEND).expect("prepared");
        for body in batch {
            insert.execute(params![body, now]).expect("inserted");
        }
        drop(insert);
        if batch.len() > 1 {
            run(&self.connection, "COMMIT");
        }
    }
}

struct Popper {
    connection: Connection,
    held: Vec<i64>,
}

impl Consumer for Popper {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let now = wall_micros();
        let due = now + lease.as_micros() as u64;
        let (mut popped, held) = (Popped::default(), &mut self.held);
        held.clear();
        let mut pop = self.connection.prepare_cached(POP).expect("prepared");
        let mut rows = pop.query(params![due as i64, now as i64, messages_max as i64]).expect("popped");
        while let Some(row) = rows.next().expect("a row") {
            held.push(row.get(0).expect("an id"));
            popped.add(row.get_ref(1).and_then(|body| Ok(body.as_blob()?)).expect("a body"));
        }
        popped
    }

    fn ack_each(&mut self) {
        let mut ack = self.connection.prepare_cached(ACK).expect("prepared");
        for id in &self.held {
            assert_eq!(ack.execute([id]).expect("acked"), 1);
        }
    }

    fn ack_as_one(&mut self) {
        run(&self.connection, "BEGIN IMMEDIATE");
        self.ack_each();
        run(&self.connection, "COMMIT");
    }
}
