//! `store-inspect verify`: everything is checked, and every fault is reported.

use std::io::Write;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::faults::{FaultRow, show};
use crate::{Failure, Outcome, directory, output};

/// Check every record of both logs and every entry of the queues, and report all faults
///
/// Each fault is reported with its file, byte, the rule of FORMAT.md, what should be there and what is. Reading continues
/// behind it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Print JSON: an object for each fault, and one that sums up
    #[arg(long)]
    json: bool,
}

/// The summary, for a machine.
#[derive(Serialize)]
struct Sum<'a> {
    faults: u64,
    commit_records: u64,
    messages: u64,
    checkpoint_records: u64,
    queue_entries: u64,
    bytes: u64,
    torn_tails: Vec<FaultRow<'a>>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let bar = progress_bar();
    let mut written = Ok(());
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let verified = snapshot.verify(progress, |fault| {
        if written.is_ok() {
            written = bar.suspend(|| match args.json {
                true => output::json(out, &FaultRow::of(fault)),
                false => show(fault, out),
            });
        }
    });
    bar.finish_and_clear();
    written?;
    let verified = verified?;
    if args.json {
        let torn_tails = verified.torn_tails.iter().map(FaultRow::of).collect();
        let sum = Sum {
            faults: verified.faults,
            commit_records: verified.commit_records,
            messages: verified.messages,
            checkpoint_records: verified.checkpoint_records,
            queue_entries: verified.queue_entries,
            bytes: verified.bytes,
            torn_tails,
        };
        output::json(out, &sum)?;
        return Ok(Outcome::of(verified.faults > 0));
    }
    for tail in &verified.torn_tails {
        output::line(out, format_args!("torn tail, no fault: opening cuts it off: {tail}"))?;
    }
    let records = [(verified.messages, "message"), (verified.checkpoint_records, "checkpoint record")];
    let [messages, checkpoints] = records.map(|(count, what)| output::counted(count, what));
    let entries = verified.queue_entries;
    output::line(out, format_args!("{messages}, {checkpoints}, {entries} queue entries, {} bytes", verified.bytes))?;
    match verified.faults {
        0 => output::line(out, format_args!("sound"))?,
        faults => output::line(out, format_args!("{}", output::counted(faults, "fault")))?,
    }
    Ok(Outcome::of(verified.faults > 0))
}

/// A bar of bytes; it is shown on a terminal only.
pub(super) fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
