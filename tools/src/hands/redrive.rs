//! `popstore redrive`: put dead letters back to where they came from.

use std::io::Write;

use popstore::{DeadLetter, EndReason, Redriven};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, output};

/// Put a group's dead letters back to the topics they came from, oldest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    /// The group
    #[arg(long)]
    group: String,
    /// How many at most; all if not given
    #[arg(short, value_name = "N")]
    n: Option<usize>,
    /// Only show them
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    origin_topic: &'a str,
    origin_queue: u32,
    origin_index: u64,
    attempts: u32,
    reason: &'static str,
    /// Where it is now; nothing in a dry run.
    queue: Option<u32>,
    index: Option<u64>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = super::open(&args.on.dir)?;
    let group = store.group(&args.group)?;
    let mut table = output::table(["origin", "attempts", "reason", "now at", "body"]);
    let mut count = 0;
    for letter in group.dead_letters()?.take(args.n.unwrap_or(usize::MAX)) {
        let letter = letter?;
        let place = match args.dry_run {
            true => None,
            false => match group.redrive(&letter)? {
                Redriven::Done { queue, index } => Some((queue, index)),
                Redriven::AlreadyRedriven => continue,
            },
        };
        count += 1;
        let row = row(&letter, place);
        if args.on.json {
            output::json(out, &row)?;
        } else {
            let origin = format!("{}/{}/{}", row.origin_topic, row.origin_queue, row.origin_index);
            let now = place.map_or_else(String::new, |(queue, index)| format!("{}/{queue}/{index}", row.origin_topic));
            let (attempts, body) = (row.attempts.to_string(), output::shown(letter.message().body()));
            table.add_row([origin, attempts, row.reason.to_string(), now, body]);
        }
    }
    drop(group);
    store.close()?;
    if !args.on.json && count > 0 {
        writeln!(out, "{table}")?;
    }
    if !args.on.json {
        let done = if args.dry_run { "can be put back" } else { "put back" };
        writeln!(out, "{count} dead letter{} {done}", if count == 1 { "" } else { "s" })?;
    }
    Ok(Outcome::Fine)
}

fn row(letter: &DeadLetter, place: Option<(u32, u64)>) -> Row<'_> {
    Row {
        origin_topic: letter.origin_topic(),
        origin_queue: letter.origin_queue(),
        origin_index: letter.origin_index(),
        attempts: letter.attempts(),
        reason: match letter.reason() {
            EndReason::Expired => "expired",
            EndReason::Nacked => "nacked",
        },
        queue: place.map(|(queue, _)| queue),
        index: place.map(|(_, index)| index),
    }
}
