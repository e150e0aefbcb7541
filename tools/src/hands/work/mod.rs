//! `popstore work`: run a command once per delivery; exit code 0 acks, anything else nacks.
//!
//! It may be killed at any moment: what it had is delivered again when the lease ends. Asked to stop by SIGINT,
//! SIGTERM or SIGHUP, it ends in order, and nothing is left under a lease.

mod jobs;
mod leases;
mod progress;
mod running;
mod starting;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use popstore::{Error, Group, GroupOptions, Store};

use super::On;
use super::settings::{Limit, parse_limit};
use super::taking::Taking;
use crate::{Failure, Outcome, directory, duration, output, signals};
use jobs::Jobs;
use progress::Done;

const EXAMPLE: &str = "\
Example, where each line of a file names an image to be made smaller, four at a time:
  popstore append data images --file names.txt
  popstore work data images --group small --jobs 4 --until-empty -- \\
    'read name; convert \"$name\" -resize 50% \"small/$name\"'
  popstore dead-letters list data --group small";

/// Run a command once per delivery: the body on its input, exit code 0 acks, anything else gives the message back
///
/// The environment of the command has the rest: POPSTORE_TOPIC, POPSTORE_QUEUE, POPSTORE_INDEX, POPSTORE_KEY,
/// POPSTORE_TAG, POPSTORE_ATTEMPT and POPSTORE_RECEIPT. Each job takes one message at a time, when it is free to begin
/// with it, and extends its lease as long as the command runs; a command that may hang needs a limit of its own, such
/// as `timeout`. The group is made where it is missing. The body has no line end of its own: `read` in a shell sets its
/// variable and fails.
///
/// The store has one owner at a time: while this runs, other verbs that write are refused. --jobs runs more at once.
///
/// On SIGINT (Ctrl-C), SIGTERM and SIGHUP no more messages are taken; the commands that run are finished first. A second
/// signal kills them, and their messages are given back. Exit code 1 when a command failed or was done too late. A shell that
/// finds no such program, or cannot run it (its exit codes 127 and 126, so a command should not exit with them), ends
/// the work, since all other messages would fail in the same way. Where the system has no process, memory or descriptor
/// to start a command with, its message stays leased and it is tried again. A message whose command was not started
/// when the work ends is given back at once, and that delivery does not count.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    taking: Taking,
    /// How many commands run at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: u32,
    /// How long a message that failed stays hidden; the group's backoff if not given
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    retry_after: Option<Duration>,
    /// For a group that is made here: how often a message is delivered again after its first delivery, or `unlimited`
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    max_reconsume_times: Option<Limit>,
    /// Do not extend the lease while the command runs: a slower one has its message delivered again
    #[arg(long)]
    no_extend: bool,
    /// The default: the lease is extended while the command runs
    #[arg(long = "extend", hide = true, conflicts_with = "no_extend")]
    _extend: bool,
    /// Stop when the topic has nothing left for the group, not even a message that waits for its retry
    #[arg(long)]
    until_empty: bool,
    /// The command: a single word is for the shell, several are a program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    check_command(&args.command)?;
    let store = directory::open(&args.on.dir)?;
    // A misspelt topic must not make a group.
    store.topic_stats(&args.taking.topic)?;
    let group = group(&store, args)?;
    let before = group.stats()?.dead_lettered;
    let jobs = Jobs::new(args, group.clone())?;
    let worked = signals::during(|| jobs.stop(), || work(args.jobs, &jobs)).map_err(Failure::Signals)?;
    let done = jobs.into_done();
    let dead_lettered = group.stats().map_or(0, |stats| stats.dead_lettered - before);
    drop(group);
    directory::close(store);
    let done = Done { dead_lettered, ..done };
    if args.on.json {
        output::json(out, &done)?;
    } else {
        // The output belongs to the commands.
        let Done { acked, nacked, released, too_late, dead_lettered } = done;
        let released = if released > 0 { format!("{released} released, ") } else { String::new() };
        super::say(format_args!(
            "{acked} acked, {nacked} nacked, {released}{too_late} too late, {dead_lettered} dead-lettered"
        ));
    }
    // What was done is reported, also when something failed in the end.
    worked?;
    Ok(Outcome::of(done.nacked + done.too_late + done.dead_lettered > 0))
}

/// Works on several messages at once, until it is time to stop. All jobs end before the first failure is reported.
fn work(count: u32, jobs: &Jobs<'_>) -> Result<(), Failure> {
    thread::scope(|threads| {
        let start = |_| thread::Builder::new().spawn_scoped(threads, || jobs.work()).map_err(Failure::Thread);
        let (started, refused): (Vec<_>, Vec<_>) = (0..count).map(start).partition(Result::is_ok);
        if !refused.is_empty() {
            jobs.stop_all();
        }
        let ended = started.into_iter().map(|job| job?.join().expect("a job does not panic"));
        let ended: Vec<_> = ended.chain(refused.into_iter().map(|job| job.map(drop))).collect();
        ended.into_iter().collect()
    })
}

/// Checks that there is such a program before a message is popped for it: a missing one must not cost a delivery. Of a
/// line for the shell that is what it begins with, if that is a name or a path as it stands.
fn check_command(command: &[String]) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    let program = match command {
        // The line may say itself what to do then.
        [line] if line.contains(['|', '&', ';']) => None,
        [line] => line.split_whitespace().next().filter(|word| word.chars().all(is_plain)),
        words => words.first().map(String::as_str),
    };
    let Some(program) = program else { return Ok(()) };
    if command.len() == 1 && !program.contains('/') && knows(program) {
        return Ok(());
    }
    let dirs: Vec<PathBuf> = match (program.contains(std::path::MAIN_SEPARATOR), std::env::var_os("PATH")) {
        (true, _) => vec![PathBuf::new()],
        (false, Some(path)) => std::env::split_paths(&path).collect(),
        (false, None) => return Ok(()),
    };
    let names = dirs.iter().flat_map(|dir| [dir.join(program), dir.join(format!("{program}.exe"))]);
    let found: Vec<PathBuf> = names.filter(|name| name.exists()).collect();
    let source = match found.as_slice() {
        [] => io::Error::new(io::ErrorKind::NotFound, "there is no such program"),
        found if found.iter().any(|program| can_run(program)) => return Ok(()),
        _ => io::Error::new(io::ErrorKind::PermissionDenied, "it is not executable"),
    };
    Err(Failure::Command { command: command.join(" "), source })
}

/// Whether the shell has a word for something of its own, or finds a program of that name.
fn knows(word: &str) -> bool {
    let ask = || Command::new("sh").args(["-c", "command -v \"$1\"", "sh", word]).stdout(Stdio::null()).status();
    // A shell that cannot be asked now may know it.
    cfg!(windows) || ask().map_or(true, |answer| answer.success())
}

#[cfg(unix)]
fn can_run(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    program.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn can_run(program: &Path) -> bool {
    program.is_file()
}

fn group(store: &Store, args: &Args) -> Result<Group, Failure> {
    match store.group(&args.taking.group) {
        Err(Error::Unknown { .. }) => {
            let default = GroupOptions::default();
            let options = args.max_reconsume_times.map_or(default.clone(), |limit| limit.change(default));
            Ok(store.create_group(&args.taking.group, options)?)
        }
        found => Ok(found?),
    }
}
