//! `popstore dead-letters`: messages that have used up their deliveries, listed and put back.

use std::io::Write;

use popstore::{DeadLetter, Group, Redriven};
use serde::Serialize;

use super::On;
use crate::eyes::list_dead_letters;
use crate::{Failure, Outcome, directory, output};

/// How many letters are put back at the price of one sync.
const BATCH: usize = 256;

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
struct LetterOriginRow<'a> {
    origin_topic: &'a str,
    origin_queue: u32,
    origin_index: u64,
    attempts: u32,
    reason: &'static str,
}

#[derive(Serialize)]
struct PutBack<'a> {
    #[serde(flatten)]
    origin: LetterOriginRow<'a>,
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
    let mut letters = group.dead_letters()?.take(of.n.unwrap_or(usize::MAX));
    let done = loop {
        let (batch, rest) = next_batch(&mut letters);
        let done = put_back(of.on.json, &group, &batch, &mut table, out, &mut count);
        if let Err(failure) = done.and(rest.map_err(Failure::from)) {
            break Err(failure);
        }
        if batch.is_empty() {
            break Ok(());
        }
    };
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

/// The letters that are put back together, up to the first that cannot be read.
fn next_batch(
    letters: &mut impl Iterator<Item = popstore::Result<DeadLetter>>,
) -> (Vec<DeadLetter>, popstore::Result<()>) {
    let mut batch = Vec::new();
    for letter in letters.take(BATCH) {
        match letter {
            Ok(letter) => batch.push(letter),
            Err(error) => return (batch, Err(error)),
        }
    }
    (batch, Ok(()))
}

fn put_back(
    json: bool,
    group: &Group,
    batch: &[DeadLetter],
    table: &mut output::Table,
    out: &mut dyn Write,
    count: &mut u64,
) -> Result<(), Failure> {
    for (letter, redriven) in batch.iter().zip(group.redrive_batch(batch)?) {
        let Redriven::Done { queue, index } = redriven? else { continue };
        *count += 1;
        if json {
            output::json(out, &PutBack { origin: origin(letter), queue, index })?;
        } else {
            let now = output::place(letter.origin_topic(), queue, index);
            table.row(history(letter).into_iter().chain([now, output::shown(letter.message().body())]));
        }
    }
    Ok(())
}

fn origin(letter: &DeadLetter) -> LetterOriginRow<'_> {
    LetterOriginRow {
        origin_topic: letter.origin_topic(),
        origin_queue: letter.origin_queue(),
        origin_index: letter.origin_index(),
        attempts: letter.attempts(),
        reason: output::reason(letter.reason()),
    }
}

/// The first columns of the table.
fn history(letter: &DeadLetter) -> [String; 3] {
    let LetterOriginRow { origin_topic, origin_queue, origin_index, attempts, reason } = origin(letter);
    [output::place(origin_topic, origin_queue, origin_index), attempts.to_string(), reason.to_string()]
}
