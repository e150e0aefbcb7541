//! Every line of a file passes through a store; its workers are slow, fail, and are killed. Nothing is lost.
//!
//! `cargo run --release --example quickstart -- FILE`
//!
//! 1. Every line of FILE (the README when none is given) is appended to the topic `lines`.
//! 2. Three workers pop the lines: two good ones ack, a slow one outlives its leases. Some lines are poisonous: nobody
//!    can handle them. The workers are a process of their own, which is killed with SIGKILL half-way and started again.
//! 3. The counts are checked against the file and against a journal in which the workers noted what they did.
//!
//! A store has one owner at a time: this process has it open before and after, the workers' process in between.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use std::{env, thread};

use popstore::clock::{Clock, SystemClock};
use popstore::{Delivery, Group, GroupOptions, Message, Pop, Receipt, Settled, Store};

const TOPIC: &str = "lines";
const GROUP: &str = "workers";
/// A line is delivered once, and then at most this many times again.
const MAX_RECONSUME_TIMES: u32 = 3;
const LEASE: Duration = Duration::from_secs(1);
const HANDLER: Duration = Duration::from_millis(2);
const SLOW_LEASE: Duration = Duration::from_millis(150);
const SLOW_HANDLER: Duration = Duration::from_millis(250);
/// Longer lines are cut; a line of a file without line ends could be as long as the file.
const LINE_BYTES_MAX: u64 = 1 << 20;
const BATCH_LINES: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    match env::args_os().skip(1).collect::<Vec<_>>().as_slice() {
        [flag, dir, lines] if flag == "--worker" => worker_process(Path::new(dir), &lines.to_string_lossy()),
        [] => run(&default_file()),
        [file] => run(Path::new(file)),
        _ => Err("usage: quickstart [FILE]".into()),
    }
}

/// The repository's README, or this program's own source where there is none.
fn default_file() -> PathBuf {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    if readme.is_file() { readme } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart.rs") }
}

fn run(file: &Path) -> Result<()> {
    let clock = SystemClock::start();
    let begun = clock.now();
    let reader = open(file)?;
    let dir = tempfile::Builder::new().prefix("popstore-quickstart-").tempdir()?.keep();

    println!("appending every line of {} to the topic {TOPIC:?}", file.display());
    let store = Store::open(dir.join("store"))?;
    store.create_topic(TOPIC, 1)?;
    store.create_group(GROUP, GroupOptions::default().max_reconsume_times(MAX_RECONSUME_TIMES).invisible_for(LEASE))?;
    let lines = append_lines(&store, reader)?;
    store.close()?;

    println!("the workers begin{}", if lines > 0 { "; they will be killed half-way" } else { "" });
    run_workers(&dir, lines, true)?;
    println!("the workers begin again");
    run_workers(&dir, lines, false)?;

    let store = Store::open(dir.join("store"))?;
    let most = check(&store, file, lines, &fs::read_to_string(dir.join("journal"))?)?;
    let stats = store.group(GROUP)?.stats()?;
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(["", "count"]);
    let counts = [
        ("appended", lines),
        ("acked", stats.acked),
        ("redelivered", stats.redelivered),
        ("dead-lettered", stats.dead_lettered),
        ("most deliveries of one message", most),
    ];
    for (what, count) in counts {
        table.add_row([what, &count.to_string()]);
    }
    table.add_row(["time", &format!("{:.2} s", clock.now().since(begun).as_secs_f64())]);
    println!("{table}");
    println!("it adds up: {lines} appended = {} acked + {} dead-lettered", stats.acked, stats.dead_lettered);
    println!("the store is left in {}", store.dir().display());
    Ok(store.close()?)
}

/// Every line becomes a message. A batch is durable, as a whole, when its call returns. Returns how many lines.
fn append_lines(store: &Store, mut reader: impl BufRead) -> Result<u64> {
    let (mut lines, mut batch, mut bytes) = (0, Vec::new(), 0);
    loop {
        let line = next_line(&mut reader)?;
        let at_end = line.is_none();
        bytes += line.as_ref().map_or(0, Vec::len);
        batch.extend(line);
        if !batch.is_empty() && (at_end || batch.len() == BATCH_LINES || bytes >= BATCH_BYTES) {
            let messages: Vec<_> = batch.iter().map(Message::new).collect();
            lines += store.append_batch(TOPIC, &messages)?.len() as u64;
            batch.clear();
            bytes = 0;
        }
        if at_end {
            return Ok(lines);
        }
    }
}

fn open(file: &Path) -> Result<BufReader<File>> {
    if file.is_dir() {
        return Err(format!("{} is a directory, not a file", file.display()).into());
    }
    Ok(BufReader::new(File::open(file).map_err(|error| format!("could not open {}: {error}", file.display()))?))
}

/// The next line without its end, whatever its bytes are.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    line.pop_if(|last| *last == b'\n');
    Ok(Some(line))
}

/// Lets the workers' process run to its end, or kills it when half of the lines are done.
fn run_workers(dir: &Path, lines: u64, kill_half_way: bool) -> Result<()> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("--worker").arg(dir).arg(lines.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut output = BufReader::new(child.stdout.take().ok_or("the workers have no output")?).lines();
    // The workers print one line, when they are half-way.
    let half_way = output.next().transpose()?.is_some();
    if half_way && kill_half_way {
        child.kill()?;
        child.wait()?;
        println!("killed half-way, with whatever the workers had under lease");
        return Ok(());
    }
    match child.wait()? {
        status if status.success() => Ok(()),
        status => Err(format!("the workers failed: {status}").into()),
    }
}

// The workers, in a process of their own.

fn worker_process(dir: &Path, lines: &str) -> Result<()> {
    let store = Store::open(dir.join("store"))?;
    let lines: u64 = lines.parse()?;
    let worker = Worker { group: store.group(GROUP)?, lines, acked: AtomicU64::new(0), journal: Journal::open(dir)? };
    thread::scope(|threads| {
        let worker = &worker;
        let workers = [false, false, true].map(|slow| threads.spawn(move || worker.work(slow)));
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(store.close()?)
}

struct Worker {
    group: Group,
    lines: u64,
    acked: AtomicU64,
    journal: Journal,
}

impl Worker {
    fn work(&self, slow: bool) -> Result<()> {
        let many = (self.lines / 64).clamp(1, 1024) as u32;
        let pop = Pop::up_to(many).invisible_for(if slow { SLOW_LEASE } else { LEASE });
        loop {
            let deliveries = self.group.pop_wait(TOPIC, pop, Duration::from_millis(20))?;
            // No line is available now; and none is left when no other worker holds one, either.
            if deliveries.is_empty() && self.group.stats()?.lag == 0 {
                return Ok(());
            }
            self.journal.note("popped", &deliveries)?;
            let first_time = deliveries.iter().any(|delivery| delivery.attempt() == 1);
            thread::sleep(if slow && first_time { SLOW_HANDLER } else { HANDLER });
            self.settle(deliveries)?;
        }
    }

    fn settle(&self, deliveries: Vec<Delivery>) -> Result<()> {
        let (poisonous, good): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|delivery| is_poisonous(delivery.message().index(), self.lines));
        for delivery in poisonous {
            // Given back to be tried again at once. At its limit the store dead-letters it instead.
            let _ = self.group.nack(delivery.receipt(), Duration::ZERO)?;
        }
        if good.is_empty() {
            return Ok(());
        }
        let receipts: Vec<Receipt> = good.iter().map(Delivery::receipt).collect();
        let settled = self.group.ack_batch(&receipts)?;
        // A slow worker learns which of its acks came too late; those lines are with another worker now.
        let counted = good.into_iter().zip(settled).filter(|(_, settled)| settled.counted());
        let acked: Vec<Delivery> = counted.map(|(delivery, _): (_, Settled)| delivery).collect();
        self.journal.note("acked", &acked)?;
        let (n, half) = (acked.len() as u64, self.lines.div_ceil(2));
        let before = self.acked.fetch_add(n, Relaxed);
        if before < half && before + n >= half {
            println!("half-way");
        }
        Ok(())
    }
}

/// Some twenty lines of a file, spread over it.
fn is_poisonous(line: u64, lines: u64) -> bool {
    let every = (lines / 20).max(10);
    line % every == every / 2
}

/// The workers' own notes, for the check. A note that was written survives a SIGKILL.
struct Journal(File);

impl Journal {
    fn open(dir: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).append(true).open(dir.join("journal"))?;
        // The last note of a killed process may have no end.
        file.write_all(b"\n")?;
        Ok(Self(file))
    }

    fn note(&self, what: &str, deliveries: &[Delivery]) -> io::Result<()> {
        let note = |it: &Delivery| format!("{what} {} {}\n", it.message().index(), it.attempt());
        (&self.0).write_all(deliveries.iter().map(note).collect::<String>().as_bytes())
    }
}

// The check.

/// Checks the store against the file and the journal. Returns the most deliveries of one line.
fn check(store: &Store, file: &Path, lines: u64, journal: &str) -> Result<u64> {
    let (group, deliveries_max) = (store.group(GROUP)?, MAX_RECONSUME_TIMES + 1);
    // A pipe cannot be read a second time.
    let mut reader = if file.is_file() { Some(open(file)?) } else { None };
    for index in 0..lines {
        let message = store.message(TOPIC, 0, index)?.ok_or("every line should be in the store")?;
        let line = reader.as_mut().map(next_line).transpose()?.flatten();
        claim(
            "every line is in the store as it is in the file",
            reader.is_none() || line.is_some_and(|it| it == message.body()),
        )?;
    }

    // Per line: a bit for each delivery that was noted, and the one that was acked.
    let (mut popped, mut acked) = (vec![0_u64; lines as usize], vec![0_u32; lines as usize]);
    for note in journal.lines() {
        let [what, line, attempt] = note.split(' ').collect::<Vec<_>>()[..] else { continue };
        let (Ok(line), Ok(attempt)) = (line.parse::<usize>(), attempt.parse::<u32>()) else { continue };
        claim("no line is delivered more often than the limit allows", (1..=deliveries_max).contains(&attempt))?;
        if what == "popped" {
            claim("no delivery happens twice", popped[line] & 1 << attempt == 0)?;
            popped[line] |= 1 << attempt;
        } else {
            claim("no line is acked twice", acked[line] == 0)?;
            acked[line] = attempt;
        }
    }
    let last = |line: usize| popped[line].checked_ilog2().unwrap_or(0);
    let again = (0..lines as usize).any(|line| acked[line] != 0 && last(line) > acked[line]);
    claim("no acked line is delivered again", !again)?;

    let mut dead = HashSet::new();
    for letter in group.dead_letters()? {
        let letter = letter?;
        let line = letter.origin_index();
        let original = store.message(TOPIC, 0, line)?.ok_or("each dead letter should have an original")?;
        claim("each dead letter was delivered as often as allowed", letter.attempts() == deliveries_max)?;
        claim("each dead letter is its line", original.body() == letter.message().body())?;
        claim("no line is dead-lettered twice", dead.insert(line))?;
        claim("no line is both acked and dead-lettered", acked[line as usize] == 0)?;
    }
    let all_dead = (0..lines).filter(|line| is_poisonous(*line, lines)).all(|line| dead.contains(&line));
    claim("every poisonous line is dead-lettered", all_dead)?;

    let stats = group.stats()?;
    claim("every line is acked or dead-lettered", stats.acked + stats.dead_lettered == lines)?;
    claim("every dead letter is counted", stats.dead_lettered == dead.len() as u64)?;
    claim("every line is delivered a first time once", stats.popped - stats.redelivered == lines)?;
    claim("nothing is left", stats.lag == 0 && stats.in_flight == 0 && stats.discarded == 0)?;
    let most = (0..lines as usize).map(last).max().unwrap_or(0);
    Ok(u64::from(if dead.is_empty() { most } else { most.max(deliveries_max) }))
}

fn claim(what: &str, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("this should hold, and does not: {what}").into()) }
}
