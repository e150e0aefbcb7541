//! `store-inspect salvage`: a fresh store from the readable part of a damaged one.

use std::io::Write;
use std::path::PathBuf;

use popstore::salvage::Salvaged;
use serde::Serialize;

use super::faults::{FaultRow, show};
use super::verify::progress_bar;
use crate::{Failure, Outcome, directory, output};

/// Copy every message that can be read, and the groups' state, into a fresh store
///
/// The store itself is not touched. Messages stay in their queues and their order; behind a lost one they move up by one
/// place, and so do the places that groups hold. The fresh store does not accept receipts of the old one. Damage to the
/// checkpoint log is reported as faults: those acts of consumers are lost, and messages may be delivered again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// The directory of the fresh store; it must be empty or missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Print JSON: an object for each fault and each range of lost messages, and one that sums up
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct LostRow<'a> {
    topic: &'a str,
    queue: u32,
    first: u64,
    end: u64,
}

#[derive(Serialize)]
struct Sum<'a> {
    to: String,
    messages: u64,
    topics: u64,
    groups: u64,
    held: u64,
    lost: u64,
    lost_held: u64,
    faults: usize,
    moved: Vec<MovedRow<'a>>,
}

#[derive(Serialize)]
struct MovedRow<'a> {
    topic: &'a str,
    queue: u32,
    by: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let bar = progress_bar();
    let done = snapshot.salvage(&args.to, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let done = done?;
    let lost: u64 = done.lost.iter().map(|(_, _, places)| places.end - places.start).sum();
    let outcome = Outcome::of(lost > 0 || !snapshot.faults().is_empty() || !done.faults.is_empty());
    for fault in snapshot.faults().iter().chain(&done.faults) {
        match args.json {
            true => output::json(out, &FaultRow::of(fault))?,
            false => show(fault, out)?,
        }
    }
    for (topic, queue, places) in &done.lost {
        if args.json {
            output::json(out, &LostRow { topic, queue: *queue, first: places.start, end: places.end })?;
        } else {
            let through = if places.end - places.start > 1 { format!(" to {}", places.end - 1) } else { String::new() };
            output::line(out, format_args!("lost: {topic}/{queue}/{}{through}", places.start))?;
        }
    }
    match args.json {
        true => sum_up_json(args, &done, lost, snapshot.faults().len() + done.faults.len(), out)?,
        false => sum_up(args, &done, lost, out)?,
    }
    Ok(outcome)
}

fn sum_up_json(args: &Args, done: &Salvaged, lost: u64, faults: usize, out: &mut dyn Write) -> Result<(), Failure> {
    let moved = done.renumbered.iter().map(|(topic, queue, by)| MovedRow { topic, queue: *queue, by: *by });
    let sum = Sum {
        to: args.to.display().to_string(),
        messages: done.messages,
        topics: done.topics,
        groups: done.groups,
        held: done.held,
        lost,
        lost_held: done.lost_held,
        faults,
        moved: moved.collect(),
    };
    output::json(out, &sum)
}

fn sum_up(args: &Args, done: &Salvaged, lost: u64, out: &mut dyn Write) -> Result<(), Failure> {
    for (topic, queue, by) in &done.renumbered {
        let by = output::counted(*by, "place");
        output::line(out, format_args!("renumbered: {topic}/{queue}: its messages moved up, the last one by {by}"))?;
    }
    let [messages, topics, groups] = [(done.messages, "message"), (done.topics, "topic"), (done.groups, "group")]
        .map(|(count, what)| output::counted(count, what));
    let (to, held) = (args.to.display(), done.held);
    output::line(out, format_args!("{to}: {messages}, {topics}, {groups}, {held} held"))?;
    if lost > 0 {
        let (lost, held) = (output::counted(lost, "message"), done.lost_held);
        output::line(out, format_args!("{lost} could not be saved, {held} of them held by groups"))?;
    }
    Ok(())
}
