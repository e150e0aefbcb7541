//! `store-inspect why`: the life of one message, joined from both logs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use popstore::inspect::{Fault, Inspected, Snapshot, SnapshotMessage};

use super::faults::Notes;
use super::life::{self, Life};
use super::messages::MessageFilter;
use crate::place::Place;
use crate::{Failure, Outcome, directory};

/// How many messages of one key are listed.
const MESSAGES_MAX: usize = 100;

/// Show the life of a message: appended, popped, extended, acked, nacked, revived, dead-lettered, per group
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["at", "topic", "offset", "key"])))]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// The place of the message, as it is printed: topic, queue and index
    #[arg(long, value_name = "TOPIC/QUEUE/INDEX")]
    at: Option<Place>,
    /// The topic of the message
    #[arg(long, requires = "index")]
    topic: Option<String>,
    /// Its queue
    #[arg(long, default_value_t = 0, requires = "topic")]
    queue: u32,
    /// Its place in the queue
    #[arg(long, requires = "topic")]
    index: Option<u64>,
    /// The offset of its record in the commit log
    #[arg(long)]
    offset: Option<u64>,
    /// Its key; all messages of that key are listed, the first 100
    #[arg(long)]
    key: Option<String>,
    /// Only for this group
    #[arg(long)]
    group: Option<String>,
    /// Print JSON, an object for each event
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The place that is asked for, if it is one.
    fn place(&self) -> Option<(&str, u32, u64)> {
        match (&self.at, &self.topic, self.index) {
            (Some(at), ..) => Some((&at.topic, at.queue, at.index)),
            (None, Some(topic), Some(index)) => Some((topic, self.queue, index)),
            _ => None,
        }
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let mut notes = Notes::of(&snapshot);
    directory::check_names(&snapshot, args.place().map(|(topic, ..)| topic), args.group.as_deref())?;
    let messages = find(args, &snapshot, &mut notes)?;
    if messages.is_empty() {
        damaged(args, &snapshot, &mut notes)?;
        if notes.outcome() == Outcome::Faults {
            super::say(format_args!("there is no message {} that can be read", wanted(args)));
            return Ok(notes.outcome());
        }
        return Err(Failure::Missing { what: "message", name: wanted(args) });
    }
    let lives = messages.into_iter().map(Life::of).map(|life| (life.place(), life));
    let mut lives: BTreeMap<_, _> = lives.collect();
    life::trace(&snapshot, &mut lives, args.group.as_deref(), &mut notes)?;
    for life in lives.values() {
        match args.json {
            true => life.show_json(out)?,
            false => life.show(out)?,
        }
    }
    Ok(notes.outcome())
}

fn wanted(args: &Args) -> String {
    match (args.place(), args.offset, &args.key) {
        (Some((topic, queue, index)), ..) => crate::output::place(topic, queue, index),
        (_, Some(offset), _) => format!("at offset {offset}"),
        (_, _, key) => format!("with key {:?}", key.as_deref().unwrap_or_default()),
    }
}

/// Reports the fault where the message should be: of the record there, or else of the queue's entry.
fn damaged(args: &Args, snapshot: &Snapshot, notes: &mut Notes) -> Result<(), Failure> {
    let entry = match args.place() {
        Some((topic, queue, index)) => snapshot.lookup().queue_entry(topic, queue, index)?,
        None => None,
    };
    if let Some(offset) = args.offset.or_else(|| entry.as_ref().map(|entry| entry.offset)) {
        for met in snapshot.commit_log(offset)? {
            match met? {
                Inspected::Fault(fault) if place_of(&fault) == Some(offset) => {
                    notes.fault(&fault);
                    return Ok(());
                }
                Inspected::Record(record) if record.at.position > offset => break,
                _ => {}
            }
        }
    }
    entry.and_then(|entry| entry.fault).iter().for_each(|fault| notes.fault(fault));
    Ok(())
}

/// Where a fault is in its log: segments are named by where they begin.
fn place_of(fault: &Fault) -> Option<u64> {
    let base: u64 = fault.path.file_name()?.to_str()?.parse().ok()?;
    base.checked_add(fault.offset)
}

fn find(args: &Args, snapshot: &Snapshot, notes: &mut Notes) -> Result<Vec<SnapshotMessage>, Failure> {
    let mut lookup = snapshot.lookup();
    if let Some((topic, queue, index)) = args.place() {
        return Ok(lookup.message(topic, queue, index)?.into_iter().collect());
    }
    if let Some(offset) = args.offset {
        return Ok(lookup.message_at(offset)?.into_iter().collect());
    }
    let filter = MessageFilter::of_key(args.key.as_deref().unwrap_or_default());
    let mut reader = snapshot.commit_log(0)?;
    let mut found = Vec::new();
    while let Some(message) = filter.next(&mut reader, notes)? {
        // A copy that retention made is the same message; a letter is one of its own.
        if message.relocated {
            continue;
        }
        if found.len() == MESSAGES_MAX {
            super::say(format_args!("there are more messages of that key; these are the first {MESSAGES_MAX}"));
            break;
        }
        found.push(message);
    }
    Ok(found)
}
