//! The common part of `ack`, `nack`, `extend` and `release`: receipts of any groups, settled group by group, and their
//! outcomes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::str::FromStr;

use popstore::{Group, Receipt, Settled};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, directory, output};

/// A line of receipts is read no further; none is half as long.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The receipts that a verb is about.
#[derive(Debug, clap::Args)]
pub(super) struct Receipts {
    #[command(flatten)]
    pub(super) on: On,
    /// The receipts, as pop printed them; they may be of different groups. `-` reads them from the standard input, one at
    /// the beginning of each line
    #[arg(required = true, value_name = "RECEIPT")]
    pub(super) receipts: Vec<Given>,
}

/// A receipt, or where there are more.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given {
    One(Receipt),
    Input,
}

impl FromStr for Given {
    type Err = <Receipt as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" { Ok(Self::Input) } else { text.parse().map(Self::One) }
    }
}

impl Receipts {
    /// All receipts, in the order in which they were given.
    fn all(&self) -> Result<Vec<Receipt>, Failure> {
        let mut all = Vec::new();
        for given in &self.receipts {
            match given {
                Given::One(receipt) => all.push(*receipt),
                Given::Input => read(&mut io::stdin().lock(), &mut all)?,
            }
        }
        Ok(all)
    }
}

/// Reads a receipt from each line that is not empty; what follows it there is for people.
fn read(input: &mut dyn BufRead, all: &mut Vec<Receipt>) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|source| Failure::Input { path: PathBuf::from("-"), source })? == 0 {
            return Ok(());
        }
        if let Some(receipt) = String::from_utf8_lossy(&line).split_whitespace().next() {
            all.push(receipt.parse()?);
        }
    }
}

#[derive(Serialize)]
struct Row {
    receipt: String,
    settled: &'static str,
    counted: bool,
}

/// Settles the receipts of each group together, and prints the outcomes in the order of the receipts.
pub(super) fn run(
    args: &Receipts,
    out: &mut dyn Write,
    settle: impl Fn(&Group, &[Receipt]) -> popstore::Result<Vec<Settled>>,
) -> Result<Outcome, Failure> {
    settle_all(&args.on, &args.all()?, out, settle)
}

fn settle_all(
    on: &On,
    all: &[Receipt],
    out: &mut dyn Write,
    settle: impl Fn(&Group, &[Receipt]) -> popstore::Result<Vec<Settled>>,
) -> Result<Outcome, Failure> {
    let store = directory::open(&on.dir)?;
    // All groups are found before anything is settled: a wrong receipt must not leave half of the work done.
    let mut by_group: BTreeMap<String, (Group, Vec<(usize, Receipt)>)> = BTreeMap::new();
    for (at, receipt) in all.iter().enumerate() {
        let group = store.group_of(receipt)?;
        let of_group = by_group.entry(group.name().to_string()).or_insert_with(|| (group, Vec::new()));
        of_group.1.push((at, *receipt));
    }
    let mut settled = vec![None; all.len()];
    let done = by_group.values().try_for_each(|(group, places)| {
        let receipts: Vec<Receipt> = places.iter().map(|(_, receipt)| *receipt).collect();
        let outcomes = settle(group, &receipts)?;
        places.iter().zip(outcomes).for_each(|((at, _), outcome)| settled[*at] = Some(outcome));
        Ok(())
    });
    drop(by_group);
    directory::close(store);
    let outcomes: Vec<_> = all.iter().zip(settled).filter_map(|(one, how)| Some((*one, how?))).collect();
    if done.is_ok() || !outcomes.is_empty() {
        show(&outcomes, on.json, out)?;
    }
    let (count, of) = (outcomes.len() as u64, output::counted(all.len() as u64, "receipt"));
    done.map_err(|error| Failure::Store(error).after(count, || format!("{count} of {of}, which are done as printed")))?;
    Ok(Outcome::of(!outcomes.iter().all(|(_, settled)| settled.counted())))
}

/// Prints the outcomes.
fn show(outcomes: &[(Receipt, Settled)], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        return outcomes.iter().try_for_each(|(receipt, settled)| {
            let row = Row { receipt: receipt.to_string(), settled: name(*settled), counted: settled.counted() };
            output::json(out, &row)
        });
    }
    let mut table = output::Table::new(["receipt", "settled", ""]);
    for (receipt, settled) in outcomes {
        table.row([receipt.to_string(), name(*settled).to_string(), meaning(*settled).to_string()]);
    }
    table.show(out)
}

fn name(settled: Settled) -> &'static str {
    match settled {
        Settled::Done => "done",
        Settled::Late => "late",
        Settled::LeaseOver => "lease_over",
        Settled::HandedOutAgain { .. } => "handed_out_again",
        Settled::DeadLettered => "dead_lettered",
        Settled::Discarded => "discarded",
        Settled::AlreadySettled => "already_settled",
        _ => "unknown",
    }
}

fn meaning(settled: Settled) -> &'static str {
    match settled {
        Settled::Done => "",
        Settled::Late => "the lease was over, but nobody else had the message: it is accepted",
        Settled::LeaseOver => "the lease is over, nothing changed; an ack would be accepted",
        Settled::HandedOutAgain { .. } => "somebody else has the message now, nothing changed",
        Settled::DeadLettered => "it was dead-lettered, nothing changed",
        Settled::Discarded => "it was dropped at its limit, nothing changed",
        Settled::AlreadySettled => "it was settled before, nothing changed",
        _ => "the store does not know that lease, nothing changed",
    }
}

#[cfg(test)]
mod tests {
    use popstore::{Error, GroupOptions, Message, Pop, Store};

    use super::*;

    #[test]
    fn outcomes_before_a_failure_are_printed() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        let store = Store::open(&dir).unwrap();
        store.append_batch("jobs", &[Message::new("x"), Message::new("y")]).unwrap();
        let groups = ["a", "b"].map(|name| store.create_group(name, GroupOptions::default()).unwrap());
        let popped = groups.iter().flat_map(|group| group.pop("jobs", Pop::up_to(2)).unwrap());
        let receipts: Vec<Receipt> = popped.map(|delivery| delivery.receipt()).collect();
        drop(groups);
        store.close().unwrap();

        let (on, mut out) = (On { dir: dir.clone(), json: true }, Vec::new());
        let done = settle_all(&on, &receipts, &mut out, |group, receipts| match group.name() {
            "b" => Err(Error::Closed),
            _ => group.ack_batch(receipts),
        });
        assert_eq!(String::from_utf8(out).unwrap().matches("\"settled\":\"done\"").count(), 2);
        let failure = done.unwrap_err().to_string();
        assert_eq!(failure, "stopped after 2 of 4 receipts, which are done as printed");
        let left = Store::open(&dir).unwrap().stats().unwrap().groups.iter().map(|group| group.in_flight).sum::<u64>();
        assert_eq!(left, 2);
    }

    #[test]
    fn receipts_are_read_from_the_beginnings_of_lines() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        store.append_batch("jobs", &[Message::new("x"), Message::new("y")]).unwrap();
        let group = store.create_group("g", GroupOptions::default()).unwrap();
        let given: Vec<Receipt> = group.pop("jobs", Pop::up_to(2)).unwrap().iter().map(|one| one.receipt()).collect();
        let text = format!("{} jobs/0/0 x\r\n\n  {}", given[0], given[1]);
        let mut found = Vec::new();
        read(&mut text.as_bytes(), &mut found).unwrap();
        assert_eq!(found, given);
        assert!(read(&mut &b"no receipt"[..], &mut found).is_err());
    }
}
