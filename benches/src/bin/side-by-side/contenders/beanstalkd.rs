//! beanstalkd with its log: never synced when buffered, synced at each write when durable. What a batch appends, pops or
//! acks goes to the server in one piece.

use std::process::Command;
use std::time::Duration;

use super::server::{Line, Server, missing};
use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;

const PROGRAM: &str = "beanstalkd";

pub(crate) struct Beanstalkd;

impl Contender for Beanstalkd {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn class(&self) -> Class {
        Class::LeaseStore
    }

    fn missing(&self) -> Option<String> {
        missing(PROGRAM)
    }

    fn in_process(&self) -> bool {
        false
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let mut command = Command::new(PROGRAM);
        command.arg("-b").arg(&setup.dir);
        match setup.sync {
            Sync::Each => command.args(["-f", "0"]),
            Sync::Buffered | Sync::Every10Ms => command.arg("-F"),
        };
        let server = Server::start(command, "-p");
        Box::new(Queue { server, lease_max: Duration::from_secs(3600) })
    }
}

struct Queue {
    server: Server,
    /// The protocol fixes the lease when a job is put.
    lease_max: Duration,
}

impl Opened for Queue {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        Box::new(Putter { line: self.server.connect(), lease: self.lease_max, batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        Box::new(Reserver { line: self.server.connect(), held: Vec::new() })
    }
}

struct Putter<'a> {
    line: Line,
    lease: Duration,
    batches: &'a [Batch<'a>],
}

impl Producer for Putter<'_> {
    fn append(&mut self, batch: usize) {
        let batch = &self.batches[batch % self.batches.len()];
        for body in batch {
            let command = format!("put 0 0 {} {}\r\n", self.lease.as_secs(), body.len());
            self.line.out.extend_from_slice(command.as_bytes());
            self.line.out.extend_from_slice(body);
            self.line.out.extend_from_slice(b"\r\n");
        }
        self.line.send();
        batch.iter().for_each(|_| assert!(self.line.line().starts_with("INSERTED")));
    }
}

struct Reserver {
    line: Line,
    held: Vec<u64>,
}

impl Reserver {
    fn delete(&mut self, ids: &[u64]) {
        ids.iter().for_each(|id| self.line.out.extend_from_slice(format!("delete {id}\r\n").as_bytes()));
        self.line.send();
        ids.iter().for_each(|_| assert_eq!(self.line.line(), "DELETED"));
    }
}

impl Consumer for Reserver {
    fn pop(&mut self, messages_max: usize, _: Duration) -> Popped {
        self.line.out.extend_from_slice("reserve-with-timeout 0\r\n".repeat(messages_max).as_bytes());
        self.line.send();
        self.held.clear();
        let mut popped = Popped::default();
        for _ in 0..messages_max {
            let line = self.line.line();
            let mut words = line.split(' ').skip_while(|word| *word == "RESERVED");
            if line.starts_with("RESERVED") {
                let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
                self.held.push(number());
                let bytes = number() as usize;
                popped.add(&self.line.bytes(bytes));
            }
        }
        popped
    }

    fn ack_each(&mut self) {
        let held = std::mem::take(&mut self.held);
        held.chunks(1).for_each(|one| self.delete(one));
    }

    fn ack_as_one(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.delete(&held);
    }
}
