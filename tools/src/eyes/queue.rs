//! `store-inspect queue`: the entries of a consume queue against the messages that they lead to.

use std::io::Write;
use std::path::PathBuf;

use popstore::inspect::QueueEntry;
use serde::Serialize;

use super::faults::Notes;
use super::message::{Body, line};
use crate::{Failure, Outcome, directory, output};

/// List the entries of a consume queue, each with the message that it leads to
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The queue of the topic
    queue: u32,
    /// Only at this place or after it
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Only the last N
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    index: u64,
    offset: u64,
    size: u32,
    tag_hash: u32,
    file: Option<String>,
    file_offset: Option<u64>,
    sound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    appended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<&'a str>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let topics = snapshot.topics();
    let topic = topics.iter().find(|topic| topic.name == args.topic);
    let queue = topic.and_then(|topic| topic.queues.get(args.queue as usize));
    let Some((first, end)) = queue.copied() else {
        let name = format!("{}/{}", args.topic, args.queue);
        return Err(Failure::Missing { what: "queue", name });
    };
    let mut notes = Notes::default();
    let mut lookup = snapshot.lookup();
    let from = first.max(args.from).max(end.saturating_sub(args.last.unwrap_or(u64::MAX)));
    let moved_from = if args.last.is_none() { args.from } else { from };
    let wanted = |index: &u64| *index >= if *index < first { moved_from } else { from };
    for index in snapshot.places(&args.topic, args.queue).filter(wanted) {
        let Some(entry) = lookup.queue_entry(&args.topic, args.queue, index)? else { continue };
        if let Some(fault) = &entry.fault {
            notes.fault(fault);
        }
        match args.json {
            true => output::json(out, &row(&entry))?,
            false => output::line(out, format_args!("{}", description(&entry)))?,
        }
    }
    Ok(notes.outcome())
}

fn row(entry: &QueueEntry) -> Row<'_> {
    let QueueEntry { index, offset, size, tag_hash, .. } = *entry;
    Row {
        index,
        offset,
        size,
        tag_hash,
        file: entry.file.as_ref().map(|(path, _)| path.display().to_string()),
        file_offset: entry.file.as_ref().map(|(_, at)| *at),
        sound: entry.fault.is_none(),
        appended_at: entry.message.as_ref().map(|message| output::millisecond(message.appended_at)),
        found: entry.fault.as_ref().map(|fault| fault.found.as_str()),
    }
}

fn description(entry: &QueueEntry) -> String {
    let place = match &entry.file {
        Some((path, at)) => format!("{}+{at}", path.file_name().unwrap_or_default().to_string_lossy()),
        None => "in no file yet".to_string(),
    };
    let QueueEntry { index, offset, size, tag_hash, .. } = entry;
    let leads = match &entry.message {
        Some(message) => line(message, Body::Text),
        None => "NO SUCH MESSAGE THERE".to_string(),
    };
    format!("{index:>8}  {place:<28} @{offset} {size} B tag {tag_hash:08x}  ->  {leads}")
}
