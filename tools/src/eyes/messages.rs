//! `store-inspect messages`: the records of the commit log.

use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use popstore::inspect::{CommitEntry, CommitReader, CommitRecordKind, Snapshot, SnapshotMessage, StoreLog};

use super::faults::Notes;
use super::message::{Body, MessageRow, line};
use super::when;
use crate::{Failure, Outcome, directory, output};

/// How often `--follow` checks for more.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// List the messages of the commit log, in the order they were appended
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    #[command(flatten)]
    pub(super) filter: MessageFilter,
    /// Only the last N that match
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    last: Option<usize>,
    /// The newest first
    #[arg(long, conflicts_with = "follow")]
    reverse: bool,
    /// Wait for more, until interrupted
    #[arg(long)]
    follow: bool,
    /// How bodies are printed
    #[arg(long, value_enum, default_value_t)]
    body: Body,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// Which messages.
#[derive(Debug, Default, clap::Args)]
pub(super) struct MessageFilter {
    /// Only this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only this queue
    #[arg(long)]
    queue: Option<u32>,
    /// Only with this key
    #[arg(long)]
    key: Option<String>,
    /// Only with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only with a body that this regular expression matches
    #[arg(long, value_name = "REGEX")]
    grep: Option<regex::bytes::Regex>,
    /// Only appended at this time or later
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<SystemTime>,
    /// Only appended before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<SystemTime>,
    /// Only at this commit offset or after it
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
}

impl MessageFilter {
    pub(super) fn of_key(key: &str) -> Self {
        Self { key: Some(key.to_string()), ..Self::default() }
    }

    pub(super) fn matches(&self, message: &SnapshotMessage) -> bool {
        self.topic.as_ref().is_none_or(|topic| **topic == *message.topic)
            && self.queue.is_none_or(|queue| queue == message.queue)
            && self.key.as_ref().is_none_or(|key| key.as_bytes() == message.key)
            && self.tag.as_ref().is_none_or(|tag| *tag == message.tag)
            && self.since.is_none_or(|since| message.appended_at >= since)
            && self.until.is_none_or(|until| message.appended_at < until)
            && self.grep.as_ref().is_none_or(|grep| grep.is_match(&message.body))
    }

    /// The next message that passes the filter.
    pub(super) fn next(
        &self,
        reader: &mut CommitReader,
        notes: &mut Notes,
    ) -> Result<Option<SnapshotMessage>, Failure> {
        self.next_before(u64::MAX, reader, notes)
    }

    /// The same, of those that lie before a position of the log; records behind it are not read.
    fn next_before(
        &self,
        end: u64,
        reader: &mut CommitReader,
        notes: &mut Notes,
    ) -> Result<Option<SnapshotMessage>, Failure> {
        for met in reader {
            match notes.record(met?) {
                Some(CommitEntry { at, .. }) if at.position >= end => break,
                Some(CommitEntry { is: CommitRecordKind::Message(message), .. }) if self.matches(&message) => {
                    return Ok(Some(message));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    if !args.follow {
        directory::check_names(&snapshot, args.filter.topic.as_deref(), None)?;
    }
    let mut notes = Notes::of(&snapshot);
    if args.last.is_some() || args.reverse {
        show_backwards(args, &snapshot, &mut notes, out)?;
        return Ok(notes.outcome());
    }
    let mut reader = snapshot.commit_log(args.filter.from)?;
    loop {
        while let Some(message) = args.filter.next(&mut reader, &mut notes)? {
            show(args, &message, out)?;
        }
        if !args.follow {
            return Ok(notes.outcome());
        }
        out.flush()?;
        thread::sleep(POLL_EVERY);
        reader.poll()?;
    }
}

/// Reads the log in stretches from the newest to the oldest; of each, only offsets are held in memory. Each stretch has
/// twice the segments of the one before, since each lists all segments of the log.
fn show_backwards(args: &Args, snapshot: &Snapshot, notes: &mut Notes, out: &mut dyn Write) -> Result<(), Failure> {
    let mut left = args.last.unwrap_or(usize::MAX);
    let mut matching = Vec::new();
    let mut lookup = snapshot.lookup();
    let mut bases = snapshot.segment_bases(StoreLog::Commit);
    let (mut end, mut segments) = (u64::MAX, 1);
    while let Some(base) = bases.split_off(bases.len().saturating_sub(segments)).first().copied() {
        let mut offsets = Vec::new();
        let mut reader = snapshot.commit_log(base.max(args.filter.from))?;
        while let Some(message) = args.filter.next_before(end, &mut reader, notes)? {
            offsets.push(message.offset);
        }
        (end, segments) = (base, segments * 2);
        let newest = offsets.split_off(offsets.len().saturating_sub(left));
        left -= newest.len();
        if args.reverse {
            for offset in newest.into_iter().rev() {
                if let Some(message) = lookup.message_at(offset)? {
                    show(args, &message, out)?;
                }
            }
        } else {
            matching.push(newest);
        }
        if left == 0 || base <= args.filter.from {
            break;
        }
    }
    for offset in matching.into_iter().rev().flatten() {
        if let Some(message) = lookup.message_at(offset)? {
            show(args, &message, out)?;
        }
    }
    Ok(())
}

fn show(args: &Args, message: &SnapshotMessage, out: &mut dyn Write) -> Result<(), Failure> {
    match args.json {
        true => output::json(out, &MessageRow::of(message, args.body)),
        false => output::line(out, format_args!("{}", line(message, args.body))),
    }
}
