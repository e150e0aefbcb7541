//! `store-inspect summary`: a store on one screen.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use popstore::inspect::{FORMAT_VERSION, Snapshot, StoreLog};
use popstore::stats::{GroupStats, TopicStats};
use serde::Serialize;

use super::dead_letters::DEAD_LETTERS;
use super::faults::FaultRow;
use super::leases::is_overdue;
use super::when;
use crate::{Failure, Outcome, directory, output, rows};

/// Show a store on one screen: sizes, watermarks, topics, groups, leases, damage
///
/// It reads what opening the store would read; `verify` reads everything. The counts of a group are of the topics that
/// it has popped from; before its first pop, of every topic but dead-letter queues.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    dir: String,
    format: u32,
    store_id: String,
    generation: u32,
    opened_at: Option<String>,
    closed: bool,
    commit: LogRow,
    checkpoint: LogRow,
    mark: u64,
    topics: Vec<rows::TopicRow<'a>>,
    groups: Vec<GroupSummary<'a>>,
    faults: Vec<FaultRow<'a>>,
    torn_tails: Vec<FaultRow<'a>>,
}

/// A log: where it begins and ends, how far it is known to be durable, and what it takes on the disk.
#[derive(Serialize)]
struct LogRow {
    start: u64,
    end: u64,
    durable_through: u64,
    files: usize,
    file_bytes: u64,
}

#[derive(Serialize)]
struct GroupSummary<'a> {
    #[serde(flatten)]
    stats: rows::GroupRow<'a>,
    overdue: u64,
    dead_letters: u64,
    oldest_lease_ms: Option<u128>,
    #[serde(skip)]
    oldest_lease_for: Option<Duration>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let (topics, groups) = (snapshot.topics(), snapshot.groups());
    let summary = summary(&snapshot, &topics, &groups)?;
    match args.json {
        true => output::json(out, &summary)?,
        false => show(&snapshot, &topics, &summary, out)?,
    }
    Ok(Outcome::of(!snapshot.faults().is_empty()))
}

fn summary<'a>(
    snapshot: &'a Snapshot,
    topics: &'a [TopicStats],
    groups: &'a [GroupStats],
) -> Result<Summary<'a>, Failure> {
    let now = when::now();
    let mut overdue: std::collections::HashMap<std::sync::Arc<str>, u64> = Default::default();
    for held in snapshot.leases().filter(|held| is_overdue(held, now)) {
        *overdue.entry(held.group).or_default() += 1;
    }
    let group = |stats: &'a GroupStats| GroupSummary {
        overdue: overdue.get(stats.name.as_str()).copied().unwrap_or(0),
        dead_letters: dead_letters(snapshot, &stats.name),
        oldest_lease_ms: stats.oldest_lease_for.map(|lease| lease.as_millis()),
        oldest_lease_for: stats.oldest_lease_for,
        stats: rows::group_row(stats, &snapshot.group_options(&stats.name).unwrap_or_default()),
    };
    Ok(Summary {
        dir: snapshot.dir().display().to_string(),
        format: FORMAT_VERSION,
        store_id: format!("{:032x}", snapshot.store_id()),
        generation: snapshot.generation(),
        opened_at: snapshot.opened_at().map(output::millisecond),
        closed: snapshot.is_closed(),
        commit: log_row(snapshot, StoreLog::Commit)?,
        checkpoint: log_row(snapshot, StoreLog::Checkpoint)?,
        mark: snapshot.mark(),
        topics: topics.iter().map(rows::topic_row).collect(),
        groups: groups.iter().map(group).collect(),
        faults: snapshot.faults().iter().map(FaultRow::of).collect(),
        torn_tails: snapshot.torn_tails().iter().map(FaultRow::of).collect(),
    })
}

fn log_row(snapshot: &Snapshot, log: StoreLog) -> Result<LogRow, Failure> {
    let (start, end, durable_through) = match log {
        StoreLog::Commit => snapshot.commit_extent(),
        StoreLog::Checkpoint => snapshot.checkpoint_extent(),
    };
    let (files, file_bytes) = snapshot.log_files(log)?;
    Ok(LogRow { start, end, durable_through, files, file_bytes })
}

/// The letters of a group that are there, and neither put back nor finished with.
fn dead_letters(snapshot: &Snapshot, group: &str) -> u64 {
    let name = format!("{DEAD_LETTERS}{group}");
    snapshot
        .places(&name, 0)
        .filter(|index| !snapshot.is_redriven(&name, *index) && !snapshot.is_finished(&name, *index))
        .count() as u64
}

fn show(snapshot: &Snapshot, topics: &[TopicStats], it: &Summary<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let now = when::now();
    // After a snapshot the checkpoint log does not have it any more.
    let last = snapshot.opened_at().map(|at| format!(", the last time {}", when::from_now(at, now)));
    let last = last.unwrap_or_default();
    let closed = if it.closed { "closed in order" } else { "in use, or not closed in order" };
    output::line(out, format_args!("{}: store {}, format {}", it.dir, it.store_id, it.format))?;
    output::line(out, format_args!("opened {}{last}; {closed}", output::counted(u64::from(it.generation), "time")))?;
    for (name, log) in [("commit", &it.commit), ("checkpoint", &it.checkpoint)] {
        let LogRow { start, end, durable_through, files, file_bytes } = log;
        let files = output::counted(*files as u64, "file");
        output::line(
            out,
            format_args!(
                "{name:<10} {start} to {end}, known durable to {durable_through}; {files}, {file_bytes} bytes"
            ),
        )?;
    }
    output::line(out, format_args!("queues     marked to {} of the commit log", it.mark))?;
    rows::show_topics(topics, false, out)?;
    let mut table = output::Table::new([
        "group",
        "lag",
        "ready",
        "in flight",
        "overdue",
        "waiting",
        "dead letters",
        "oldest lease",
    ]);
    for group in &it.groups {
        let stats = &group.stats;
        let counts = [stats.lag, stats.ready, stats.in_flight, group.overdue, stats.waiting + stats.ending];
        let oldest = group.oldest_lease_for.map_or_else(String::new, when::short);
        let counts = counts.into_iter().chain([group.dead_letters]).map(|count| count.to_string());
        table.row(std::iter::once(stats.name.to_string()).chain(counts).chain([oldest]));
    }
    table.show(out)?;
    for GroupSummary { stats, .. } in &it.groups {
        rows::explain_lag(stats.name, stats.has_read, stats.lag, out)?;
    }
    for tail in snapshot.torn_tails() {
        output::line(out, format_args!("torn tail, no fault: opening cuts it off: {tail}"))?;
    }
    match snapshot.faults() {
        [] => output::line(
            out,
            format_args!("no damage where opening would read; `store-inspect verify` reads everything"),
        )?,
        faults => {
            output::line(out, format_args!("{}:", output::counted(faults.len() as u64, "fault")))?;
            faults.iter().try_for_each(|fault| super::faults::show(fault, out))?;
        }
    }
    Ok(())
}
