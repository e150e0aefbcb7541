//! The command `popstore`: append, pop, ack, nack, extend, work, redrive, and what is needed around them.
//!
//! A verb opens the store, does its work and closes it in order; meanwhile the store has no other owner. What a verb
//! reports as done is durable.

mod ack;
mod append;
mod extend;
mod group;
mod nack;
mod pop;
mod redrive;
mod settled;
mod stats;
mod topic;
mod work;

use std::io::Write;
use std::path::{Path, PathBuf};

use popstore::Store;

use crate::{Failure, Outcome};

/// A durable message store for shells and scripts.
///
/// Messages are appended to topics. Consumers of a group pop them under a lease, and ack, nack or extend them by the
/// receipt that pop prints. What is not acked in time is delivered again, and goes to the group's dead letters when it
/// has used up its deliveries.
///
/// Exit code 0: fine; 1: done, but something deserves a look; 2: could not do it.
#[derive(Debug, clap::Parser)]
#[command(name = "popstore", version)]
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
    Redrive(redrive::Args),
    Topic(topic::Args),
    Group(group::Args),
    Stats(stats::Args),
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
    match &command.verb {
        Verb::Append(args) => append::run(args, out),
        Verb::Pop(args) => pop::run(args, out),
        Verb::Ack(args) => ack::run(args, out),
        Verb::Nack(args) => nack::run(args, out),
        Verb::Extend(args) => extend::run(args, out),
        Verb::Work(args) => work::run(args, out),
        Verb::Redrive(args) => redrive::run(args, out),
        Verb::Topic(args) => topic::run(args, out),
        Verb::Group(args) => group::run(args, out),
        Verb::Stats(args) => stats::run(args, out),
    }
}

/// Opens a store that is there. A misspelt name must not make a new one.
fn open(dir: &Path) -> Result<Store, Failure> {
    let nothing_there = dir.read_dir().map_or(!dir.exists(), |mut files| files.next().is_none());
    if nothing_there {
        return Err(Failure::NoStore { dir: dir.to_path_buf() });
    }
    Ok(Store::open(dir)?)
}
