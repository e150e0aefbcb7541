//! A handler that is slower than its lease: how often is its message delivered, and what does the late ack return?
//!
//! `cargo run --release --example slow_consumer`
//!
//! This is the case of apache/rocketmq #8332, which has been fixed there: an invisible time of 1 s, `max_reconsume_times` 0, and a handler that
//! takes 1.5 s. The message must be delivered exactly once. It is dead-lettered at the end of its lease, and
//! not before, and the ack that comes half a second later returns that outcome. The same is shown with limits of 1 and 3, and
//! for handlers that are not slow but die: each is a process that is killed with SIGKILL during its lease, and the
//! store is opened again. Each fact is checked; the exit code is 0 when all hold.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, thread};

use popstore::clock::{Clock, SystemClock, Time};
use popstore::{EndReason, Group, GroupOptions, Message, Pop, Receipt, Settled, Store};

const TOPIC: &str = "jobs";
const GROUP: &str = "handlers";
const INVISIBLE: Duration = Duration::from_secs(1);
const HANDLER_TAKES: Duration = Duration::from_millis(1500);
const KILLED_AFTER: Duration = Duration::from_millis(500);
/// How late something may be on a busy machine; on an idle one it is a few milliseconds.
const LATE_MAX: Duration = Duration::from_millis(450);
/// How early, by the store's own records: they hold milliseconds, and a new process has a new clock.
const JITTER: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    if let [flag, dir] = env::args_os().skip(1).collect::<Vec<_>>().as_slice()
        && flag == "--handler"
    {
        return handler_process(Path::new(dir));
    }
    let home = tempfile::Builder::new().prefix("popstore-slow-consumer-").tempdir()?;
    println!("invisible time {INVISIBLE:?}, a handler that takes {HANDLER_TAKES:?}; six cases at once, 5 seconds\n");
    let cases = [(0, false), (0, true), (1, false), (1, true), (3, false), (3, true)];
    let done = thread::scope(|threads| {
        let begin = |(limit, killed)| {
            let dir = home.path().join(format!("limit-{limit}{}", if killed { "-killed" } else { "" }));
            let case = Case {
                dir,
                limit,
                clock: SystemClock::start(),
                first_popped: OnceLock::new(),
                dues: Mutex::default(),
                timeline: Mutex::default(),
            };
            threads.spawn(move || (case.run(killed), case.timeline))
        };
        cases.map(begin).map(|case| case.join())
    });
    let mut failed = false;
    for ((limit, killed), done) in cases.into_iter().zip(done) {
        let (held, timeline) = done.map_err(|_| "a case panicked")?;
        println!(
            "max_reconsume_times {limit}{}",
            if killed { ", each handler is killed during its lease" } else { "" }
        );
        println!("{}", timeline.into_inner()?);
        if let Err(error) = held {
            println!("  FAILED: {error}\n");
            failed = true;
        }
    }
    if failed {
        return Err(format!("not every claim holds; the stores are left in {}", home.keep().display()).into());
    }
    println!(
        "all of it was checked: as many deliveries as allowed, none early, and each late ack returned the true outcome"
    );
    Ok(())
}

/// One message, one group, one limit.
struct Case {
    dir: PathBuf,
    limit: u32,
    clock: SystemClock,
    /// When the first lease began; the timeline begins there.
    first_popped: OnceLock<Time>,
    /// When each lease ends, in the order of the deliveries.
    dues: Mutex<Vec<SystemTime>>,
    timeline: Mutex<String>,
}

impl Case {
    fn run(&self, killed: bool) -> Result<()> {
        let store = Store::open(&self.dir)?;
        store.append(TOPIC, Message::new("a job that takes a second and a half"))?;
        let options = GroupOptions::default().max_reconsume_times(self.limit).invisible_for(INVISIBLE);
        store.create_group(GROUP, options)?;
        store.close()?;

        let store = if killed { self.handlers_that_die()? } else { self.handlers_that_dawdle()? };
        let group = store.group(GROUP)?;
        claim("nothing is delivered any more", group.pop(TOPIC, Pop::up_to(1))?.is_empty())?;
        let stats = group.stats()?;
        claim("the group counts as many deliveries as allowed", stats.popped == u64::from(self.limit) + 1)?;
        claim("the group counts the redeliveries", stats.redelivered == u64::from(self.limit))?;
        claim("the group counts one dead letter and no ack", (stats.dead_lettered, stats.acked) == (1, 0))?;
        claim("nothing is left", stats.lag == 0 && group.dead_letters()?.count() == 1)?;
        self.say(&format!("it is over: {} of {} deliveries, 1 dead letter", stats.popped, self.limit + 1));
        Ok(store.close()?)
    }

    /// As many handlers as there are deliveries, each in a thread of its own, each too slow.
    fn handlers_that_dawdle(&self) -> Result<Store> {
        let store = Store::open(&self.dir)?;
        let group = store.group(GROUP)?;
        thread::scope(|threads| {
            let mut handlers = Vec::new();
            for attempt in 1..=self.limit + 1 {
                let deliveries = group.pop_wait(TOPIC, Pop::up_to(1), PATIENCE)?;
                let [delivery] = &deliveries[..] else { return Err("the message was not delivered".into()) };
                self.delivered(attempt, delivery.receipt(), delivery.due_at())?;
                let (group, receipt) = (group.clone(), delivery.receipt());
                handlers.push(threads.spawn(move || {
                    thread::sleep(HANDLER_TAKES);
                    self.late_ack(&group, receipt)
                }));
            }
            self.dead_lettered(&group)?;
            handlers.into_iter().try_for_each(|handler| handler.join().map_err(|_| "a handler panicked")?)
        })?;
        Ok(store)
    }

    /// As many handlers as there are deliveries, each a process that has the store open until it is killed.
    fn handlers_that_die(&self) -> Result<Store> {
        let mut receipts = Vec::new();
        for attempt in 1..=self.limit + 1 {
            let mut command = Command::new(env::current_exe()?);
            let mut handler = command.arg("--handler").arg(&self.dir).stdout(Stdio::piped()).spawn()?;
            let mut lines = handler.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            let line = lines.next().ok_or("the handler was given no message")??;
            let (receipt, due) = line.split_once(' ').ok_or("the handler shows a receipt and a time")?;
            receipts.push(receipt.parse()?);
            self.delivered(attempt, receipt.parse()?, UNIX_EPOCH + Duration::from_micros(due.parse()?))?;
            thread::sleep(KILLED_AFTER);
            handler.kill()?;
            handler.wait()?;
            self.say("the handler is killed with SIGKILL; the store is opened again");
        }
        let store = Store::open(&self.dir)?;
        let group = store.group(GROUP)?;
        self.dead_lettered(&group)?;
        receipts.into_iter().try_for_each(|receipt| self.late_ack(&group, receipt))?;
        Ok(store)
    }

    fn delivered(&self, attempt: u32, receipt: Receipt, due_at: SystemTime) -> Result<()> {
        // A lease begins an invisible time before it ends.
        let popped_at = due_at.duration_since(UNIX_EPOCH)? - INVISIBLE;
        self.first_popped.get_or_init(|| Time::default().after(popped_at));
        self.say(&format!("delivered, attempt {attempt}"));
        claim("each delivery is the next attempt", receipt.delivery() == attempt)?;
        let mut dues = self.dues.lock().map_err(|_| "a thread panicked")?;
        let lease_before = dues.last().copied();
        dues.push(due_at);
        claim(
            "no delivery before the previous lease is over",
            lease_before.is_none_or(|end| due_at + JITTER >= end + INVISIBLE),
        )?;
        claim("each redelivery is in time", self.now() <= INVISIBLE * (attempt - 1) + LATE_MAX)
    }

    /// Waits for the letter: the lease of the last delivery allowed must end in it, and nothing else.
    fn dead_lettered(&self, group: &Group) -> Result<()> {
        let due = INVISIBLE * (self.limit + 1);
        let letter = loop {
            if let Some(letter) = group.dead_letters()?.next() {
                break letter?;
            }
            claim("the message is dead-lettered", self.now() < due + PATIENCE)?;
            thread::sleep(Duration::from_millis(1));
        };
        let (attempts, reason) = (letter.attempts(), letter.reason());
        self.say(&format!("dead-lettered: attempts {attempts}, reason {reason:?}"));
        claim("the letter names the number of deliveries", attempts == self.limit + 1)?;
        claim("the letter's reason is the end of the lease", reason == EndReason::Expired)?;
        claim("the letter names its origin", (letter.origin_topic(), letter.origin_index()) == (TOPIC, 0))?;
        let lease_end = letter.popped_at() + INVISIBLE;
        claim("the message is not dead-lettered before its lease is over", letter.buried_at() + JITTER >= lease_end)?;
        claim("the message is dead-lettered in time", self.now() <= due + LATE_MAX)
    }

    fn late_ack(&self, group: &Group, receipt: Receipt) -> Result<()> {
        let settled = group.ack(receipt)?;
        self.say(&format!("the handler of delivery {} acks and is told: {settled:?}", receipt.delivery()));
        let last = receipt.delivery() == self.limit + 1;
        let truth = match settled {
            Settled::DeadLettered => last,
            Settled::HandedOutAgain { attempt } => !last && attempt > receipt.delivery(),
            _ => false,
        };
        claim("a late ack returns what happened to its message", truth)
    }

    /// The time since the first lease began.
    fn now(&self) -> Duration {
        let now = self.clock.now();
        now.since(*self.first_popped.get().unwrap_or(&now))
    }

    fn say(&self, what: &str) {
        let line = format!("  {:>5} ms  {what}\n", self.now().as_millis());
        self.timeline.lock().expect("no thread panics with the timeline").push_str(&line);
    }
}

fn claim(what: &str, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("this should hold, and does not: {what}").into()) }
}

/// Opens the store, takes the message, shows receipt and end of lease, and is killed while it works.
fn handler_process(dir: &Path) -> Result<()> {
    let store = Store::open(dir)?;
    for delivery in store.group(GROUP)?.pop_wait(TOPIC, Pop::up_to(1), PATIENCE)? {
        println!("{} {}", delivery.receipt(), delivery.due_at().duration_since(UNIX_EPOCH)?.as_micros());
        thread::sleep(HANDLER_TAKES);
    }
    Ok(())
}
