//! The command `store-inspect`: what is in a store, why a message is where it is, what is wrong, and what opening the
//! store would do.
//!
//! No verb writes to the store, locks it, or raises its generation; all of them work while its owner runs, and on
//! damaged stores. Every verb prints JSON with `--json`; `JSON.md` lists the fields.

mod checkpoints;
mod dead_letters;
mod export;
mod faults;
mod leases;
mod life;
mod message;
mod messages;
mod queue;
mod recover;
mod salvage;
mod segments;
mod stats;
mod summary;
mod verify;
mod when;
mod why;

use std::io::Write;

use clap::CommandFactory;

use crate::pages::{self, Page};
use crate::streams::{self, without_fail};
use crate::{Failure, Outcome};

pub(crate) use dead_letters::list as list_dead_letters;

/// Inspect a popstore store: what is in it, why a message is where it is, and what is wrong.
///
/// It never writes to the store and never locks it: it works beside the process that has the store open, and on a store
/// that is damaged or was not closed in order.
///
/// Times are ages, such as 2h or 7d, or dates, such as 2026-01-31T12:00:00Z.
///
/// Exit code 0: sound; 1: faults were found; 2: could not do it. Writes that were under way when a process died are
/// reported as a torn tail, which opening the store cuts off; they are no fault. When the reader of its output goes
/// away, a list stops with exit code 2; every other verb finishes and exits as it would have.
#[derive(Debug, clap::Parser)]
#[command(name = "store-inspect", version, arg_required_else_help = true)]
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
    Summary(summary::Args),
    Segments(segments::Args),
    Messages(messages::Args),
    Queue(queue::Args),
    Checkpoints(checkpoints::Args),
    Leases(leases::Args),
    DeadLetters(dead_letters::Args),
    Why(why::Args),
    Stats(stats::Args),
    Verify(verify::Args),
    Recover(recover::Args),
    Salvage(salvage::Args),
    Export(export::Args),
    #[command(flatten)]
    Page(Page),
}

/// Does what the command says.
///
/// # Errors
/// Whatever prevents it.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    // What ends with a verdict comes to it without a reader, too; a list without one stops.
    match &command.verb {
        Verb::Summary(args) => without_fail(out, |out| summary::run(args, out)),
        Verb::Segments(args) => segments::run(args, out),
        Verb::Messages(args) => messages::run(args, out),
        Verb::Queue(args) => queue::run(args, out),
        Verb::Checkpoints(args) => checkpoints::run(args, out),
        Verb::Leases(args) => leases::run(args, out),
        Verb::DeadLetters(args) => dead_letters::run(args, out),
        Verb::Why(args) => without_fail(out, |out| why::run(args, out)),
        Verb::Stats(args) => without_fail(out, |out| stats::run(args, out)),
        Verb::Verify(args) => without_fail(out, |out| verify::run(args, out)),
        Verb::Recover(args) => without_fail(out, |out| recover::run(args, out)),
        Verb::Salvage(args) => without_fail(out, |out| salvage::run(args, out)),
        Verb::Export(args) => export::run(args, out),
        Verb::Page(page) => pages::print(page, Command::command(), out),
    }
}

/// Says something beside the output.
fn say(text: impl std::fmt::Display) {
    streams::say("store-inspect", text);
}
