//! A command as a process: from its arguments to its exit code.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use crate::{Failure, Outcome, signals, streams};

/// Exit code of a command that could not do what it was asked to.
const FAILED: u8 = 2;

/// Reads the arguments of this process, runs the command on them, and returns its exit code.
pub fn run<C: clap::Parser>(
    tool: &str,
    command: impl FnOnce(&C, &mut dyn Write) -> Result<Outcome, Failure>,
) -> ExitCode {
    signals::end_process_one();
    let args = match C::try_parse() {
        Ok(args) => args,
        Err(help) => return explain(tool, &help),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let done = command(&args, &mut out);
    let done = match (done, out.flush()) {
        // By now everything was done that could be done; its outcome does not depend on a reader.
        (done, Err(error)) if streams::is_closed(&error) => done,
        // An exit code of 1 has its reason; what cannot be written may be that.
        (Ok(Outcome::Fine), Err(error)) => Err(Failure::Output(error)),
        (done, _) => done,
    };
    exit(tool, done)
}

/// Prints a page of help, or why the arguments are none.
fn explain(tool: &str, help: &clap::Error) -> ExitCode {
    let code = if help.use_stderr() { FAILED } else { 0 };
    match help.print() {
        Err(error) if code == 0 && !streams::is_closed(&error) => exit(tool, Err(Failure::Output(error))),
        _ => ExitCode::from(code),
    }
}

/// Turns the end of a command into its exit code, and reports a failure with all its causes.
fn exit(tool: &str, done: Result<Outcome, Failure>) -> ExitCode {
    let failure = match done {
        Ok(Outcome::Fine) => return ExitCode::SUCCESS,
        Ok(Outcome::Faults) => return ExitCode::from(1),
        Err(failure) => failure,
    };
    streams::say(tool, streams::causes(&failure));
    ExitCode::from(FAILED)
}
