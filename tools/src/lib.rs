//! The command-line tools of popstore, as a library: a tool is its arguments and a `run` that writes to a `Write`.
//!
//! [`eyes`] is the command `store-inspect`, which never writes: one module per verb. [`hands`] is the command
//! `popstore`: the engine for shells and scripts. [`pages`] prints the completions and the manual page of either,
//! [`process`] makes a process of them.

pub mod eyes;
pub mod hands;
pub mod pages;
pub mod process;

mod directory;
mod duration;
mod output;
mod place;
mod plain;
mod rows;
mod signals;
mod streams;

use std::io;
use std::path::{Path, PathBuf};

/// How a command ended that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// All is well: exit code 0.
    Fine,
    /// It was done, and something needs attention: exit code 1.
    Faults,
}

impl Outcome {
    /// `Faults` when there are any.
    pub fn of(faults: bool) -> Self {
        if faults { Self::Faults } else { Self::Fine }
    }
}

/// Why a command could not do its work: exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] popstore::Error),
    /// Only a part was done.
    #[error("stopped after {done}")]
    Partly {
        /// The part that was done, and stays done.
        done: String,
        /// Why the rest was not.
        source: Box<Failure>,
    },
    /// The output could not be written, so that not everything is listed.
    #[error("not everything is listed: could not write the output")]
    Output(#[from] io::Error),
    /// The receipts of messages could not be printed.
    #[error("{popped} popped, but could not print all receipts; those not acked come back when their leases end")]
    Unprinted {
        /// How many messages are under a lease.
        popped: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory could not be read.
    #[error("could not read {path:?}")]
    Input {
        /// Which one; `-` is the standard input.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A message of the input is longer than a body may be.
    #[error("{what} is longer than a body may be, {bytes_max} bytes")]
    TooLong {
        /// Which part of which input.
        what: String,
        /// How long it may be.
        bytes_max: u64,
    },
    /// A command could not be run.
    #[error("could not run {command:?}")]
    Command {
        /// The command.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no store in the directory, and this verb does not make one.
    #[error(
        "{dir:?} is not a store: it has no file \"store\"; `popstore append`, `topic create` and `group create` make one"
    )]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no such thing in the store.
    #[error("there is no {what} {name}")]
    Missing {
        /// A queue, a message or a group.
        what: &'static str,
        /// Which one was asked for.
        name: String,
    },
    /// A store is a directory, and this is none.
    #[error("{path:?} is not a directory, so it is not a store")]
    NoDirectory {
        /// The path that was given.
        path: PathBuf,
    },
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    /// A signal asked for it.
    #[error("a signal asked to stop")]
    Stopped,
    /// The system does not report signals.
    #[error("could not listen for signals")]
    Signals(#[source] io::Error),
}

impl Failure {
    /// This failure, after a part that was done; `count` is how much that was.
    fn after(self, count: u64, done: impl FnOnce() -> String) -> Self {
        if count == 0 { self } else { Self::Partly { done: done(), source: Box::new(self) } }
    }

    fn input(path: &Path, source: io::Error) -> Self {
        Self::Input { path: path.to_path_buf(), source }
    }
}
