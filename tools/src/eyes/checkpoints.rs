//! `store-inspect checkpoints`: the records of the checkpoint log.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use popstore::inspect::{CheckpointEntry, Places};
use serde::Serialize;

use super::faults::Notes;
use crate::{Failure, Outcome, directory, output};

/// The kinds of records, as FORMAT.md names them, in lower case.
const KINDS: [&str; 23] = [
    "group",
    "group_removed",
    "positioned",
    "popped",
    "acked",
    "nacked",
    "extended",
    "revived",
    "buried",
    "redriven",
    "truncated",
    "image",
    "ended",
    "reanchored",
    "forgotten",
    "released",
    "snapshot_begin",
    "snapshot_end",
    "mark_topic",
    "mark",
    "opened",
    "closed",
    "commit_start",
];
const POLL_EVERY: Duration = Duration::from_millis(200);

/// List the records of the checkpoint log: what consumers did
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    #[command(flatten)]
    filter: RecordFilter,
    /// Only at this position of the log or after it
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
    /// Only the last N that match
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    last: Option<usize>,
    /// Wait for more, until interrupted
    #[arg(long)]
    follow: bool,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// Which records.
#[derive(Debug, clap::Args)]
struct RecordFilter {
    /// Only this group
    #[arg(long)]
    group: Option<String>,
    /// Only about messages of this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only this kind, as FORMAT.md names it
    #[arg(long, value_parser = KINDS)]
    kind: Option<String>,
}

/// A record of the checkpoint log, for a machine.
#[derive(Serialize)]
pub(super) struct CheckpointRow<'a> {
    position: u64,
    generation: u32,
    durable_through: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    happened_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<PlacesRow<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<&'static str, &'a str>,
}

#[derive(Serialize)]
struct PlacesRow<'a> {
    topic: &'a str,
    queue: u32,
    delivery: u32,
    indexes: &'a [u64],
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

impl RecordFilter {
    fn matches(&self, entry: &CheckpointEntry) -> bool {
        self.group.as_ref().is_none_or(|group| entry.group.as_deref() == Some(group))
            && self.kind.as_ref().is_none_or(|kind| entry.kind == kind)
            && self.topic.as_ref().is_none_or(|topic| entry.places.iter().any(|places| *places.topic == **topic))
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    if !args.follow {
        directory::check_names(&snapshot, args.filter.topic.as_deref(), args.filter.group.as_deref())?;
    }
    let mut notes = Notes::of(&snapshot);
    let mut reader = snapshot.checkpoint_log(args.from)?;
    let mut last = VecDeque::new();
    loop {
        for met in &mut reader {
            let Some(entry) = notes.record(met?).filter(|entry| args.filter.matches(entry)) else { continue };
            match args.last {
                None => show(args, &entry, out)?,
                Some(n) => {
                    last.push_back(entry);
                    if last.len() > n {
                        last.pop_front();
                    }
                }
            }
        }
        last.drain(..).try_for_each(|entry| show(args, &entry, out))?;
        if !args.follow {
            return Ok(notes.outcome());
        }
        out.flush()?;
        thread::sleep(POLL_EVERY);
        reader.poll()?;
    }
}

fn show(args: &Args, entry: &CheckpointEntry, out: &mut dyn Write) -> Result<(), Failure> {
    match args.json {
        true => output::json(out, &row(entry)),
        false => output::line(out, format_args!("{}", line(entry))),
    }
}

pub(super) fn row(entry: &CheckpointEntry) -> CheckpointRow<'_> {
    let places = entry.places.iter().map(|places| PlacesRow {
        topic: &places.topic,
        queue: places.queue,
        delivery: places.delivery,
        indexes: &places.indexes,
        state: places.state.map(|(state, ..)| state),
    });
    CheckpointRow {
        position: entry.at.position,
        generation: entry.at.generation,
        durable_through: entry.at.durable_through,
        kind: entry.kind,
        group: entry.group.as_deref(),
        happened_at: entry.happened_at.map(output::millisecond),
        until: entry.until.map(output::millisecond),
        places: places.collect(),
        fields: entry.fields.iter().map(|(name, value)| (*name, value.as_str())).collect(),
    }
}

fn line(entry: &CheckpointEntry) -> String {
    let at = entry.happened_at.map_or_else(|| " ".repeat(24), output::millisecond);
    let mut line = format!("@{:<10} {at}  {:<14}", entry.at.position, entry.kind);
    if let Some(group) = &entry.group {
        line.push_str(&format!(" {group}"));
    }
    for places in &entry.places {
        line.push_str(&format!("  {}", description(places)));
    }
    if let Some(until) = entry.until {
        line.push_str(&format!("  until {}", output::millisecond(until)));
    }
    for (name, value) in &entry.fields {
        line.push_str(&format!("  {name}={value}"));
    }
    line
}

/// Places as ranges: `orders/0/3-7,9 delivery 2`.
fn description(places: &Places) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for index in &places.indexes {
        match ranges.last_mut().filter(|(_, last)| last.checked_add(1) == Some(*index)) {
            Some((_, last)) => *last = *index,
            None => ranges.push((*index, *index)),
        }
    }
    if ranges.is_empty() {
        return format!("{}/{}", places.topic, places.queue);
    }
    let ranges = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let ranges = ranges.collect::<Vec<_>>().join(",");
    let mut text = format!("{}/{}/{ranges}", places.topic, places.queue);
    if places.delivery > 0 {
        text.push_str(&format!(" delivery {}", places.delivery));
    }
    if let Some((state, ..)) = places.state {
        text.push_str(&format!(" {state}"));
    }
    text
}
