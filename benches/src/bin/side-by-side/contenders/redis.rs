//! redis with its append-only file: `appendfsync` is `no` when buffered, `always` when durable. The order is a sorted set
//! by the time of visibility, the bodies and attempts are hashes; a pop is a script, which redis runs as one step.

use std::process::Command;
use std::time::Duration;

use super::server::{Line, Server, missing};
use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;
use crate::clock::wall_micros;

const PROGRAM: &str = "redis-server";
/// ARGV: now, when the lease ends, how many.
const POP: &str = "
    local ids = redis.call('ZRANGEBYSCORE', 'order', '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
    if #ids == 0 then return ids end
    local bodies = redis.call('HMGET', 'bodies', unpack(ids))
    local order, out = {}, {}
    for at, id in ipairs(ids) do
        order[2 * at - 1], order[2 * at] = ARGV[2], id
        out[2 * at - 1], out[2 * at] = id, bodies[at]
        redis.call('HINCRBY', 'attempts', id, 1)
    end
    redis.call('ZADD', 'order', unpack(order))
    return out";
/// ARGV: now, then the bodies.
const APPEND: &str = "
    local last = redis.call('INCRBY', 'last', #ARGV - 1)
    local order, bodies = {}, {}
    for at = 2, #ARGV do
        local id = last - #ARGV + at
        order[#order + 1], bodies[#bodies + 1] = ARGV[1], id
        order[#order + 1], bodies[#bodies + 1] = id, ARGV[at]
        if #order == 2000 or at == #ARGV then
            redis.call('ZADD', 'order', unpack(order))
            redis.call('HSET', 'bodies', unpack(bodies))
            order, bodies = {}, {}
        end
    end
    return #ARGV - 1";
/// ARGV: the ids.
const ACK: &str = "
    redis.call('HDEL', 'bodies', unpack(ARGV))
    redis.call('HDEL', 'attempts', unpack(ARGV))
    return redis.call('ZREM', 'order', unpack(ARGV))";

pub(crate) struct Redis;

impl Contender for Redis {
    fn name(&self) -> &'static str {
        "redis"
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
        command.arg("--dir").arg(&setup.dir).args(["--save", "", "--auto-aof-rewrite-percentage", "0"]);
        command.args(["--appendonly", "yes", "--appendfsync"]);
        command.arg(if setup.sync == Sync::Each { "always" } else { "no" });
        Box::new(Queue(Server::start(command, "--port")))
    }
}

struct Queue(Server);

impl Opened for Queue {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        let mut line = self.0.connect();
        let script = load(&mut line, APPEND);
        Box::new(Adder { line, script, batches })
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        let mut line = self.0.connect();
        let (pop, ack) = (load(&mut line, POP), load(&mut line, ACK));
        Box::new(Popper { line, pop, ack, held: Vec::new() })
    }
}

/// One command, as an array of strings.
fn command(line: &mut Line, words: &[&[u8]]) {
    line.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        line.out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        line.out.extend_from_slice(word);
        line.out.extend_from_slice(b"\r\n");
    }
}

/// The number behind the kind of the next line: a length or an integer.
fn number(line: &mut Line) -> i64 {
    let answer = line.line();
    answer[1..].parse().unwrap_or_else(|_| panic!("redis says {answer}"))
}

fn string(line: &mut Line) -> Vec<u8> {
    let bytes = number(line);
    line.bytes(usize::try_from(bytes).expect("there is a value"))
}

/// Loads a script and returns its name.
fn load(line: &mut Line, script: &str) -> Vec<u8> {
    command(line, &[b"SCRIPT", b"LOAD", script.as_bytes()]);
    line.send();
    string(line)
}

fn evaluate(line: &mut Line, script: &[u8], arguments: &[&[u8]]) -> i64 {
    let words: Vec<&[u8]> = [&b"EVALSHA"[..], script, b"0"].into_iter().chain(arguments.iter().copied()).collect();
    command(line, &words);
    line.send();
    number(line)
}

struct Adder<'a> {
    line: Line,
    script: Vec<u8>,
    batches: &'a [Batch<'a>],
}

impl Producer for Adder<'_> {
    fn append(&mut self, batch: usize) {
        let batch = &self.batches[batch % self.batches.len()];
        let now = wall_micros().to_string();
        let arguments: Vec<&[u8]> = std::iter::once(now.as_bytes()).chain(batch.iter().copied()).collect();
        assert_eq!(evaluate(&mut self.line, &self.script, &arguments), batch.len() as i64);
    }
}

struct Popper {
    line: Line,
    pop: Vec<u8>,
    ack: Vec<u8>,
    held: Vec<Vec<u8>>,
}

impl Popper {
    fn ack(&mut self, held: &[Vec<u8>]) {
        if !held.is_empty() {
            let ids: Vec<&[u8]> = held.iter().map(Vec::as_slice).collect();
            assert_eq!(evaluate(&mut self.line, &self.ack, &ids), held.len() as i64);
        }
    }
}

impl Consumer for Popper {
    fn pop(&mut self, messages_max: usize, lease: Duration) -> Popped {
        let now = wall_micros();
        let due = now + lease.as_micros() as u64;
        let arguments = [now.to_string(), due.to_string(), messages_max.to_string()];
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let count = evaluate(&mut self.line, &self.pop, &arguments);
        self.held.clear();
        let mut popped = Popped::default();
        for _ in 0..count / 2 {
            self.held.push(string(&mut self.line));
            popped.add(&string(&mut self.line));
        }
        popped
    }

    fn ack_each(&mut self) {
        let held = std::mem::take(&mut self.held);
        held.chunks(1).for_each(|one| self.ack(one));
    }

    fn ack_as_one(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.ack(&held);
    }
}
