//! `store-inspect export`: both logs as JSON lines, as they stand, in constant memory.

use std::io::Write;
use std::path::PathBuf;

use super::checkpoints;
use super::faults::Notes;
use super::message::{Body, MessageRow};
use super::messages::MessageFilter;
use crate::{Failure, Outcome, directory, output};

/// Print all messages, or all records of the checkpoint log, as JSON lines
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// What to print
    #[arg(value_enum)]
    what: What,
    /// The output is always JSON; accepted because every verb takes it
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    /// The messages of the commit log, as `messages --json` prints them
    Messages,
    /// The records of the checkpoint log, as `checkpoints --json` prints them
    Checkpoints,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let mut notes = Notes::of(&snapshot);
    match args.what {
        What::Messages => {
            let (all, mut reader) = (MessageFilter::default(), snapshot.commit_log(0)?);
            while let Some(message) = all.next(&mut reader, &mut notes)? {
                output::json(out, &MessageRow::of(&message, Body::Text))?;
            }
        }
        What::Checkpoints => {
            for met in snapshot.checkpoint_log(0)? {
                if let Some(entry) = notes.record(met?) {
                    output::json(out, &checkpoints::row(&entry))?;
                }
            }
        }
    }
    Ok(notes.outcome())
}
