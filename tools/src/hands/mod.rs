//! The command `popstore`: append, pop, ack, nack, extend, work, dead letters, and what is needed around them.
//!
//! A verb opens the store, does its work and closes it in order; meanwhile the store has no other owner. What a verb
//! reports as done is durable. The lists of topics and groups only look, also while another process has the store open.

mod ack;
mod append;
mod dead_letters;
mod extend;
mod group;
mod nack;
mod pop;
mod settings;
mod settled;
mod skip;
mod taking;
mod topic;
mod work;

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use popstore::Snapshot;

use crate::pages::{self, Page};
use crate::streams::{self, without_fail};
use crate::{Failure, Outcome, output};

/// A durable message store for shells and scripts.
///
/// Messages are appended to topics. Consumers of a group pop them under a lease, and ack, nack or extend them by the
/// receipt that pop prints. What is not acked in time is delivered again, and goes to the group's dead letters when it
/// has used up its deliveries. `popstore work` does all of that for a command that is run once per delivery.
///
/// Times are written as 250ms, 1.5s, 30s, 5m, 12h or 7d; a bare number is seconds.
///
/// Exit code 0: fine; 1: done, but something deserves a look; 2: could not do it. When the reader of its output goes
/// away, a verb that changes a store finishes and exits as it would have; only `pop` then exits with 2, since the
/// receipts are lost, and so does a list that stops.
#[derive(Debug, clap::Parser)]
#[command(name = "popstore", version, arg_required_else_help = true)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Append(append::Args),
    Pop(pop::Args),
    Ack(ack::Args),
    Nack(nack::Args),
    Extend(extend::Args),
    Work(work::Args),
    DeadLetters(dead_letters::Args),
    Skip(skip::Args),
    Topic(topic::Args),
    Group(group::Args),
    #[command(flatten)]
    Page(Page),
}

/// Where the store is, and how to print.
#[derive(Debug, clap::Args)]
struct On {
    /// The directory of the store
    dir: PathBuf,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// Does what the command says.
///
/// # Errors
/// Whatever keeps it from being done.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    // What changes a store does all of it, with or without a reader; a list without one stops.
    match &command.verb {
        Verb::Append(args) => without_fail(out, |out| append::run(args, out)),
        Verb::Pop(args) => pop::run(args, out),
        Verb::Ack(args) => without_fail(out, |out| ack::run(args, out)),
        Verb::Nack(args) => without_fail(out, |out| nack::run(args, out)),
        Verb::Extend(args) => without_fail(out, |out| extend::run(args, out)),
        Verb::Work(args) => without_fail(out, |out| work::run(args, out)),
        Verb::DeadLetters(args) => dead_letters::run(args, out),
        Verb::Skip(args) => without_fail(out, |out| skip::run(args, out)),
        Verb::Topic(args) => without_fail(out, |out| topic::run(args, out)),
        Verb::Group(args) => without_fail(out, |out| group::run(args, out)),
        Verb::Page(page) => pages::print(page, Command::command(), out),
    }
}

/// Says something beside the output.
fn say(text: impl std::fmt::Display) {
    streams::say("popstore", text);
}

/// A list of what lies in a damaged store is not the whole of it.
fn seen(snapshot: &Snapshot) -> Outcome {
    if let [first, ..] = snapshot.faults() {
        let count = output::counted(snapshot.faults().len() as u64, "damaged place");
        say(format_args!("{count}, the first in {:?} at byte {}: {}", first.path, first.offset, first.found));
    }
    Outcome::of(!snapshot.faults().is_empty())
}
