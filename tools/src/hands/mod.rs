//! The command `popstore`: append, pop, ack, nack, extend, release, work, dead letters, and topics and groups.
//!
//! A verb opens the store, does its work and closes it in order; meanwhile the store has no other owner. What a verb
//! reports as done is durable. The lists of topics and groups only read, also while another process has the store open.

mod ack;
mod append;
mod dead_letters;
mod extend;
mod group;
mod nack;
mod pop;
mod release;
mod settings;
mod settled;
mod skip;
mod taking;
mod topic;
mod work;

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use popstore::inspect::Snapshot;

use crate::pages::{self, Page};
use crate::{Failure, Outcome, output, streams};

/// A durable message store for shells and scripts.
///
/// Messages are appended to topics. Consumers of a group pop them under a lease, and ack, nack, extend or release
/// them by the receipt that pop prints. What is not acked in time is delivered again, and is dead-lettered when it
/// has used up its deliveries. `popstore work` does all of that for a command that is run once per delivery.
///
/// Times are written as 250ms, 1.5s, 30s, 5m, 12h or 7d; a bare number is seconds.
///
/// Exit code 0: fine; 1: done, but something needs attention; 2: could not do it. When the reader of its output goes
/// away, a verb that changes a store finishes and exits as it would have, and with 1 when its output cannot be written
/// for another reason; only `pop` then exits with 2, since the receipts are lost, and so does a list that stops.
#[derive(Debug, clap::Parser)]
#[command(name = "popstore", version, arg_required_else_help = true)]
pub struct Command {
    /// Print JSON, one object per line; also after the verb
    // Invariant: it has the id of each verb's own argument, which thereby gets its value.
    #[arg(long = "json", id = "json", global = true)]
    _json: bool,
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
    Release(release::Args),
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
/// Whatever prevents it.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    // What changes a store does all of it, with or without a reader; a list without one stops.
    match &command.verb {
        Verb::Append(args) => whole(out, |out| append::run(args, out)),
        Verb::Pop(args) => pop::run(args, out),
        Verb::Ack(args) => whole(out, |out| ack::run(args, out)),
        Verb::Nack(args) => whole(out, |out| nack::run(args, out)),
        Verb::Extend(args) => whole(out, |out| extend::run(args, out)),
        Verb::Release(args) => whole(out, |out| release::run(args, out)),
        Verb::Work(args) => whole(out, |out| work::run(args, out)),
        Verb::DeadLetters(args) => dead_letters::run(args, out),
        Verb::Skip(args) => whole(out, |out| skip::run(args, out)),
        Verb::Topic(args) => whole(out, |out| topic::run(args, out)),
        Verb::Group(args) => whole(out, |out| group::run(args, out)),
        Verb::Page(page) => pages::print(page, Command::command(), out),
    }
}

/// Runs a verb to its end, whatever becomes of its output: that is no reason to do it once more.
fn whole(
    out: &mut dyn Write,
    verb: impl FnOnce(&mut dyn Write) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    match streams::without_fail(out, verb) {
        Err(Failure::Output(error)) => {
            say(format_args!("warning: it is done, but the output could not be written: {error}"));
            Ok(Outcome::Faults)
        }
        done => done,
    }
}

/// Says something beside the output.
fn say(text: impl std::fmt::Display) {
    streams::say("popstore", text);
}

/// A list of the contents of a damaged store is not complete.
fn seen(snapshot: &Snapshot) -> Outcome {
    if let [first, ..] = snapshot.faults() {
        let count = output::counted(snapshot.faults().len() as u64, "damaged place");
        say(format_args!("{count}, the first in {:?} at byte {}: {}", first.path, first.offset, first.found));
    }
    Outcome::of(!snapshot.faults().is_empty())
}
