//! Faults and torn tails, as the verbs report them.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use popstore::inspect::{Fault, Inspected, Snapshot};
use serde::Serialize;

use crate::{Failure, Outcome, output};

/// How many faults are reported in full where they are not what was asked for.
const REPORTED_MAX: u64 = 5;

/// A fault, for a machine.
#[derive(Serialize)]
pub(super) struct FaultRow<'a> {
    pub(super) path: String,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) rule: &'a str,
    pub(super) expected: &'a str,
    pub(super) found: &'a str,
}

impl<'a> FaultRow<'a> {
    pub(super) fn of(fault: &'a Fault) -> Self {
        let Fault { path, offset, len, rule, expected, found, .. } = fault;
        Self { path: path.display().to_string(), offset: *offset, len: *len, rule, expected, found }
    }
}

/// Prints a fault for a person, on two lines.
pub(super) fn show(fault: &Fault, out: &mut dyn Write) -> Result<(), Failure> {
    let Fault { path, offset, len, rule, expected, found, .. } = fault;
    let len = if *len > 0 { format!(", {}", output::counted(*len, "byte")) } else { String::new() };
    output::line(out, format_args!("{} at byte {offset}{len} (FORMAT.md {rule})", path.display()))?;
    output::line(out, format_args!("  expected {expected}"))?;
    output::line(out, format_args!("  found    {found}"))
}

/// Faults that a verb met beside its results: reported on the standard error, and in the exit code.
#[derive(Default)]
pub(super) struct Notes {
    faults: u64,
    reported: HashSet<(PathBuf, u64)>,
}

impl Notes {
    /// Begins with what opening the snapshot found.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut notes = Self::default();
        snapshot.faults().iter().for_each(|fault| notes.fault(fault));
        notes
    }

    /// The record, unless it is damage or the end.
    pub(super) fn record<R>(&mut self, met: Inspected<R>) -> Option<R> {
        match met {
            Inspected::Record(record) => return Some(record),
            Inspected::Fault(fault) => self.fault(&fault),
            Inspected::TornTail(tail) => super::say(format_args!("a torn tail, which opening would cut off: {tail}")),
        }
        None
    }

    pub(super) fn fault(&mut self, fault: &Fault) {
        // A reader that reads on meets again what opening the snapshot found.
        if !self.reported.insert((fault.path.clone(), fault.offset)) {
            return;
        }
        self.faults += 1;
        match self.faults.cmp(&(REPORTED_MAX + 1)) {
            std::cmp::Ordering::Less => super::say(format_args!("damaged: {fault}")),
            std::cmp::Ordering::Equal => super::say("and more; `store-inspect verify` lists all"),
            std::cmp::Ordering::Greater => {}
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome::of(self.faults > 0)
    }
}
