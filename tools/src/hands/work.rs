//! `popstore work`: run a command once per message; exit code 0 acks, anything else nacks.
//!
//! It may be killed at any moment: what it had is delivered again when the lease ends. Each job has its own lease, so
//! that a slow command holds up nobody else's message.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use popstore::{Delay, Delivery, Error, Group, GroupOptions, Pop, Settled, Store};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, duration, output};

/// How often a job that waits looks whether it is time to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Run a command once per message: the body on its input, exit code 0 acks, anything else gives the message back
///
/// The environment of the command tells the rest: POPSTORE_TOPIC, POPSTORE_QUEUE, POPSTORE_INDEX, POPSTORE_KEY,
/// POPSTORE_TAG, POPSTORE_ATTEMPT and POPSTORE_RECEIPT.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    /// The topic
    topic: String,
    /// The group; made here where it is missing
    #[arg(long)]
    group: String,
    /// How many commands run at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: u32,
    /// How long a message is hidden while its command runs; the group's own time if not given
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    invisible: Option<Duration>,
    /// How long a message that failed stays hidden; as the group's backoff says if not given
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    retry_after: Option<Duration>,
    /// For a group that is made here: how often a message is delivered again after its first delivery
    #[arg(long, value_name = "N")]
    max_reconsume_times: Option<u32>,
    /// Extend the lease as long as the command runs; needs --invisible
    #[arg(long, requires = "invisible")]
    extend: bool,
    /// Stop when the group has nothing left, not even a message that waits for its retry
    #[arg(long)]
    until_empty: bool,
    /// The command: a single word is for the shell, several are a program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What was done, as `--json` prints it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Done {
    /// Messages whose command succeeded and whose ack counted.
    acked: u64,
    /// Messages whose command failed.
    nacked: u64,
    /// Messages whose command was done after somebody else had the message.
    too_late: u64,
    /// Messages of the group that went to the dead letters meanwhile.
    dead_lettered: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    check_command(&args.command)?;
    let store = super::open(&args.on.dir)?;
    let group = group(&store, args)?;
    let before = group.stats()?.dead_lettered;
    let jobs = Jobs { args, group, done: Mutex::default(), stop: AtomicBool::new(false) };
    thread::scope(|threads| {
        let jobs: Vec<_> = (0..args.jobs).map(|_| threads.spawn(|| jobs.work())).collect();
        // All have ended before the first failure is told.
        let ended: Vec<_> = jobs.into_iter().map(|job| job.join().expect("a job does not panic")).collect();
        ended.into_iter().collect::<Result<(), Failure>>()
    })?;
    let dead_lettered = jobs.group.stats()?.dead_lettered - before;
    let done = Done { dead_lettered, ..*jobs.done.lock().expect("no panic under the lock") };
    drop(jobs);
    store.close()?;
    if args.on.json {
        output::json(out, &done)?;
    } else {
        // The output belongs to the commands.
        let Done { acked, nacked, too_late, dead_lettered } = done;
        eprintln!("popstore: {acked} acked, {nacked} nacked, {too_late} too late, {dead_lettered} dead-lettered");
    }
    Ok(Outcome::of(done.nacked + done.too_late + done.dead_lettered > 0))
}

/// Looks for the program before a message is popped for it: a missing one must not cost a delivery.
fn check_command(command: &[String]) -> Result<(), Failure> {
    let [program, _, ..] = command else { return Ok(()) };
    let is_there = |dir: PathBuf| dir.join(program).exists() || dir.join(format!("{program}.exe")).exists();
    let found = match program.contains(std::path::MAIN_SEPARATOR) {
        true => is_there(PathBuf::new()),
        false => std::env::var_os("PATH").is_none_or(|path| std::env::split_paths(&path).any(is_there)),
    };
    let missing = || Failure::Command { command: command.join(" "), source: io::ErrorKind::NotFound.into() };
    if found { Ok(()) } else { Err(missing()) }
}

fn group(store: &Store, args: &Args) -> Result<Group, Failure> {
    match store.group(&args.group) {
        Err(Error::Unknown { .. }) => {
            let default = GroupOptions::default();
            let options = args.max_reconsume_times.map_or(default.clone(), |times| default.max_reconsume_times(times));
            Ok(store.create_group(&args.group, options)?)
        }
        found => Ok(found?),
    }
}

struct Jobs<'a> {
    args: &'a Args,
    group: Group,
    done: Mutex<Done>,
    stop: AtomicBool,
}

impl Jobs<'_> {
    fn work(&self) -> Result<(), Failure> {
        let worked = self.work_on();
        if worked.is_err() {
            self.stop.store(true, Relaxed);
        }
        worked
    }

    fn work_on(&self) -> Result<(), Failure> {
        let one = Pop::up_to(1);
        let pop = self.args.invisible.map_or(one, |lease| one.invisible_for(lease));
        while !self.stop.load(Relaxed) {
            let deliveries = self.group.pop_wait(&self.args.topic, pop, LOOK_EVERY)?;
            deliveries.iter().try_for_each(|delivery| self.handle(delivery))?;
            if deliveries.is_empty() && self.args.until_empty {
                let stats = self.group.stats()?;
                if stats.in_flight + stats.waiting + stats.ending == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn handle(&self, delivery: &Delivery) -> Result<(), Failure> {
        let receipt = delivery.receipt();
        let succeeded = match self.run_command(delivery) {
            Ok(succeeded) => succeeded,
            Err(source) => {
                // It is not the message's fault that there is no such command.
                let _ = self.group.nack(receipt, Duration::ZERO)?;
                return Err(Failure::Command { command: self.args.command.join(" "), source });
            }
        };
        let delay = self.args.retry_after.map_or(Delay::Backoff, Delay::After);
        let settled = if succeeded { self.group.ack(receipt)? } else { self.group.nack(receipt, delay)? };
        let mut done = self.done.lock().expect("no panic under the lock");
        match settled {
            Settled::Done | Settled::Late if succeeded => done.acked += 1,
            Settled::Done => done.nacked += 1,
            _ => done.too_late += 1,
        }
        Ok(())
    }

    /// Runs the command on a message. Returns whether it succeeded.
    fn run_command(&self, delivery: &Delivery) -> io::Result<bool> {
        let mut child = self.command(delivery).stdin(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take();
        thread::scope(|threads| {
            let (ended, until) = mpsc::channel::<()>();
            if let Some(lease) = self.args.invisible.filter(|_| self.args.extend) {
                threads.spawn(move || {
                    // Half-way through the lease is early enough, also on a busy machine.
                    while until.recv_timeout(lease / 2) == Err(mpsc::RecvTimeoutError::Timeout) {
                        if !self.group.extend(delivery.receipt(), lease).is_ok_and(Settled::counted) {
                            break;
                        }
                    }
                });
            }
            let written = input.as_mut().map_or(Ok(()), |input| input.write_all(delivery.body()));
            drop(input);
            let status = child.wait();
            drop(ended);
            match written {
                // A command need not read its input.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(status?.success()),
            }
        })
    }

    fn command(&self, delivery: &Delivery) -> Command {
        let mut command = match self.args.command.as_slice() {
            [line] if cfg!(windows) => shell("cmd", "/C", line),
            [line] => shell("sh", "-c", line),
            words => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]);
                command
            }
        };
        let message = delivery.message();
        // A key is any bytes; what no environment can hold is left out.
        let key = String::from_utf8_lossy(message.key()).replace('\0', "");
        command.env("POPSTORE_TOPIC", message.topic()).env("POPSTORE_QUEUE", message.queue().to_string());
        command.env("POPSTORE_INDEX", message.index().to_string()).env("POPSTORE_KEY", key);
        command.env("POPSTORE_TAG", message.tag().replace('\0', ""));
        command.env("POPSTORE_ATTEMPT", delivery.attempt().to_string());
        command.env("POPSTORE_RECEIPT", delivery.receipt().to_string());
        command
    }
}

fn shell(program: &str, flag: &str, line: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(flag).arg(line);
    command
}
