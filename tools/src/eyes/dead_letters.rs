//! `store-inspect dead-letters`: each letter with its origin and history.

use std::io::Write;
use std::path::{Path, PathBuf};

use popstore::inspect::{Origin, Snapshot, SnapshotMessage};
use serde::Serialize;

use super::faults::Notes;
use super::message::{Body, MessageRow};
use crate::output::{place, reason};
use crate::{Failure, Outcome, directory, output};

/// What the name of a dead-letter queue begins with.
pub(super) const DEAD_LETTERS: &str = "%DLQ%";

/// List the dead letters, each with its origin, attempts, reason and times
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Only this group
    #[arg(long)]
    group: Option<String>,
    /// Also those that were put back, and those that the readers of the dead-letter queue have finished with
    #[arg(long)]
    all: bool,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    origin_topic: &'a str,
    origin_queue: u32,
    origin_index: u64,
    attempts: u32,
    reason: &'a str,
    appended_at: String,
    popped_at: String,
    buried_at: String,
    redriven: bool,
    finished: bool,
    letter: MessageRow<'a>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    list(&args.dir, args.group.as_deref(), args.all, None, args.json, out)
}

/// Lists the letters of a group or of all, up to `n`.
pub(crate) fn list(
    dir: &Path,
    group: Option<&str>,
    all: bool,
    n: Option<usize>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(dir)?;
    if let Some(group) = group.filter(|group| snapshot.group_options(group).is_none()) {
        return Err(Failure::Missing { what: "group", name: group.to_string() });
    }
    let mut notes = Notes::of(&snapshot);
    let (mut left, mut listed) = (n.unwrap_or(usize::MAX), 0);
    for_each(&snapshot, group, &mut notes, |letter, origin| {
        let redriven = snapshot.is_redriven(&letter.topic, letter.index);
        let finished = snapshot.is_finished(&letter.topic, letter.index);
        if left == 0 || (redriven || finished) && !all {
            return Ok(());
        }
        left -= 1;
        listed += 1;
        match json {
            true => output::json(out, &row(letter, origin, redriven, finished)),
            false => output::line(out, format_args!("{}", line(letter, origin, redriven, finished))),
        }
    })?;
    if !json {
        output::line(out, format_args!("{}", output::counted(listed, "dead letter")))?;
    }
    Ok(notes.outcome())
}

/// Visits every letter that can be read, with its origin.
pub(super) fn for_each(
    snapshot: &Snapshot,
    group: Option<&str>,
    notes: &mut Notes,
    mut then: impl FnMut(&SnapshotMessage, &Origin) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut lookup = snapshot.lookup();
    for topic in snapshot.topics() {
        let Some(of) = topic.name.strip_prefix(DEAD_LETTERS) else { continue };
        if group.is_some_and(|group| group != of) {
            continue;
        }
        for queue in 0..topic.queues.len() as u32 {
            for index in snapshot.places(&topic.name, queue) {
                match lookup.message(&topic.name, queue, index)? {
                    Some(letter) => {
                        if let Some(origin) = &letter.origin {
                            then(&letter, origin)?;
                        }
                    }
                    None => {
                        if let Some(fault) = lookup.queue_entry(&topic.name, queue, index)?.and_then(|it| it.fault) {
                            notes.fault(&fault);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn row<'a>(letter: &'a SnapshotMessage, origin: &'a Origin, redriven: bool, finished: bool) -> Row<'a> {
    Row {
        group: &origin.group,
        origin_topic: &origin.topic,
        origin_queue: origin.queue,
        origin_index: origin.index,
        attempts: origin.attempts,
        reason: origin.reason.map_or("redriven", reason),
        appended_at: output::millisecond(origin.appended_at),
        popped_at: output::millisecond(origin.popped_at),
        buried_at: output::millisecond(letter.appended_at),
        redriven,
        finished,
        letter: MessageRow::of(letter, Body::Text),
    }
}

fn line(letter: &SnapshotMessage, origin: &Origin, redriven: bool, finished: bool) -> String {
    let from = place(&origin.topic, origin.queue, origin.index);
    let (here, why) = (place(&letter.topic, letter.queue, letter.index), origin.reason.map_or("redriven", reason));
    let times = [origin.appended_at, origin.popped_at, letter.appended_at].map(output::second);
    let mut line = format!("{here:<24} from {from:<20} {why:<8} attempts {:<3}", origin.attempts);
    line.push_str(&format!(" appended {} popped {} buried {}", times[0], times[1], times[2]));
    if !letter.key.is_empty() {
        line.push_str(&format!("  key={}", output::shown(&letter.key)));
    }
    line.push_str(&format!("  {}", output::shown(&letter.body)));
    if redriven {
        line.push_str("  (put back)");
    } else if finished {
        line.push_str("  (finished with)");
    }
    line
}
