//! `popstore dead-letters`: messages that have used up their deliveries, listed and put back.

use std::io::Write;

use popstore::{DeadLetter, Redriven};
use serde::Serialize;

use super::On;
use crate::eyes::list_dead_letters;
use crate::{Failure, Outcome, directory, output};

/// List the messages that have used up their deliveries, and put them back
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List a group's dead letters with their history, oldest first; changes nothing, also beside a running owner
    List(Of),
    /// Put a group's dead letters back to the topics they came from, oldest first
    ///
    /// Each becomes a new message there, which every group that reads the topic sees, and leaves the list.
    Redrive(Of),
}

#[derive(Debug, clap::Args)]
struct Of {
    #[command(flatten)]
    on: On,
    /// The group
    #[arg(long)]
    group: String,
    /// How many at most; all if not given
    #[arg(short, value_name = "N")]
    n: Option<usize>,
}

/// Where a letter came from.
#[derive(Serialize)]
struct Origin<'a> {
    origin_topic: &'a str,
    origin_queue: u32,
    origin_index: u64,
    attempts: u32,
    reason: &'static str,
}

#[derive(Serialize)]
struct PutBack<'a> {
    #[serde(flatten)]
    origin: Origin<'a>,
    /// Where it is now, in the topic it came from.
    queue: u32,
    index: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &args.verb {
        Verb::List(of) => list_dead_letters(&of.on.dir, Some(&of.group), false, of.n, of.on.json, out),
        Verb::Redrive(of) => super::whole(out, |out| redrive(of, out)),
    }
}

fn redrive(of: &Of, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = directory::open(&of.on.dir)?;
    let group = store.group(&of.group)?;
    let mut table = output::Table::new(["origin", "attempts", "reason", "now at", "body"]);
    let mut count = 0;
    let done = group.dead_letters()?.take(of.n.unwrap_or(usize::MAX)).try_for_each(|letter| {
        let letter = letter?;
        let Redriven::Done { queue, index } = group.redrive(&letter)? else { return Ok(()) };
        count += 1;
        if of.on.json {
            return output::json(out, &PutBack { origin: origin(&letter), queue, index });
        }
        let now = output::place(letter.origin_topic(), queue, index);
        table.row(told(&letter).into_iter().chain([now, output::shown(letter.message().body())]));
        Ok(())
    });
    drop(group);
    directory::close(store);
    let put_back = || format!("{} put back", output::counted(count, "dead letter"));
    if !of.on.json && count > 0 {
        table.show(out)?;
    }
    done.map_err(|failure: Failure| failure.after(count, put_back))?;
    if !of.on.json {
        output::line(out, format_args!("{}", put_back()))?;
    }
    Ok(Outcome::Fine)
}

fn origin(letter: &DeadLetter) -> Origin<'_> {
    Origin {
        origin_topic: letter.origin_topic(),
        origin_queue: letter.origin_queue(),
        origin_index: letter.origin_index(),
        attempts: letter.attempts(),
        reason: output::reason(letter.reason()),
    }
}

/// The first columns of the table.
fn told(letter: &DeadLetter) -> [String; 3] {
    let Origin { origin_topic, origin_queue, origin_index, attempts, reason } = origin(letter);
    [output::place(origin_topic, origin_queue, origin_index), attempts.to_string(), reason.to_string()]
}
