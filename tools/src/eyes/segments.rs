//! `store-inspect segments`: the files of both logs and of the queues.

use std::io::Write;
use std::path::PathBuf;

use popstore::inspect::{SegmentInfo, StoreLog};
use serde::Serialize;

use super::faults::Notes;
use super::when;
use crate::{Failure, Outcome, directory, output};

/// List the segments of both logs and the files of the queues, and which groups need them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    log: &'static str,
    path: String,
    base: u64,
    capacity: u64,
    bytes: u64,
    used: u64,
    created_at: Option<String>,
    first_record: Option<u64>,
    last_record: Option<u64>,
    first_at: Option<String>,
    last_at: Option<String>,
    pinned: Vec<PinnedRow<'a>>,
}

#[derive(Serialize)]
struct PinnedRow<'a> {
    group: &'a str,
    messages: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct QueueFileRow<'a> {
    log: &'static str,
    topic: &'a str,
    queue: u32,
    path: String,
    first_index: u64,
    bytes: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let notes = Notes::of(&snapshot);
    let now = when::now();
    for log in [StoreLog::Commit, StoreLog::Checkpoint] {
        let mut table =
            output::Table::new(["base", "size", "used", "created", "records from", "to", "span", "pinned by"]);
        for segment in snapshot.segments(log)? {
            if args.json {
                output::json(out, &row(log, &segment))?;
                continue;
            }
            let pinned = segment.pinned.iter().map(|pin| format!("{} {} B ({})", pin.group, pin.bytes, pin.messages));
            let (first, last) = segment.records.map_or_else(Default::default, |(a, b)| (a.to_string(), b.to_string()));
            let span = segment.written_at.map_or_else(String::new, |(first, last)| {
                format!("{} to {}", when::from_now(first, now), when::from_now(last, now))
            });
            let created = segment.created_at.map_or_else(|| "?".into(), output::second);
            let sizes = [segment.base, segment.bytes, segment.used].map(|number| number.to_string());
            let mut pinned = pinned.fuse();
            let facts = [created, first, last, span, pinned.next().unwrap_or_default()];
            table.row(sizes.into_iter().chain(facts));
            // The other groups stand below the first, in rows of their own.
            pinned.for_each(|pin| table.row(std::iter::repeat_n(String::new(), 7).chain([pin])));
        }
        if !args.json {
            output::line(out, format_args!("{} log", log.name()))?;
            table.show(out)?;
        }
    }
    let mut table = output::Table::new(["queue", "file from index", "size"]);
    for topic in snapshot.topics() {
        for queue in 0..topic.queues.len() as u32 {
            for (path, first_index, bytes) in snapshot.queue_files(&topic.name, queue)? {
                if args.json {
                    let path = path.display().to_string();
                    let row = QueueFileRow { log: "queue", topic: &topic.name, queue, path, first_index, bytes };
                    output::json(out, &row)?;
                } else {
                    table.row([format!("{}/{queue}", topic.name), first_index.to_string(), bytes.to_string()]);
                }
            }
        }
    }
    if !args.json {
        output::line(out, format_args!("queues"))?;
        table.show(out)?;
    }
    Ok(notes.outcome())
}

fn row(log: StoreLog, segment: &SegmentInfo) -> Row<'_> {
    let SegmentInfo { base, capacity, bytes, used, .. } = *segment;
    let pinned = segment.pinned.iter();
    Row {
        log: log.name(),
        path: segment.path.display().to_string(),
        base,
        capacity,
        bytes,
        used,
        created_at: segment.created_at.map(output::millisecond),
        first_record: segment.records.map(|(first, _)| first),
        last_record: segment.records.map(|(_, last)| last),
        first_at: segment.written_at.map(|(first, _)| output::millisecond(first)),
        last_at: segment.written_at.map(|(_, last)| output::millisecond(last)),
        pinned: pinned.map(|it| PinnedRow { group: &it.group, messages: it.messages, bytes: it.bytes }).collect(),
    }
}
