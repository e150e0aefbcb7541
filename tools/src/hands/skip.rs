//! `popstore skip`: give up a damaged message.

use std::io::Write;

use serde::Serialize;

use super::On;
use crate::place::Place;
use crate::{Failure, Outcome, directory, output};

/// Give up a message that is damaged: the group discards it and continues behind it
///
/// The error of the pop and `store-inspect verify` name its place. A message that can be read, or is not
/// the group's next one, stays: exit code 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    /// The place of the message: topic, queue and index
    #[arg(value_name = "TOPIC/QUEUE/INDEX")]
    at: Place,
    /// The group that gives it up
    #[arg(long)]
    group: String,
}

#[derive(Serialize)]
struct Skipped {
    skipped: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let Args { on, at, group } = args;
    let store = directory::open(&on.dir)?;
    let skipped = store.group(group)?.skip(&at.topic, at.queue, at.index)?;
    directory::close(store);
    match (on.json, skipped) {
        (true, _) => output::json(out, &Skipped { skipped })?,
        (false, true) => output::line(out, format_args!("{group} has given up {at}"))?,
        (false, false) => output::line(
            out,
            format_args!("{at} can be read, or is not the next message of {group}: nothing is given up"),
        )?,
    }
    Ok(Outcome::of(!skipped))
}
