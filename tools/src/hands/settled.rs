//! The common part of `ack`, `nack` and `extend`: receipts of any groups, settled group by group, and their
//! outcomes.

use std::collections::BTreeMap;
use std::io::Write;

use popstore::{Group, Receipt, Settled};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, directory, output};

/// The receipts that a verb is about.
#[derive(Debug, clap::Args)]
pub(super) struct Receipts {
    #[command(flatten)]
    pub(super) on: On,
    /// The receipts, as pop printed them; they may be of different groups
    #[arg(required = true, value_name = "RECEIPT")]
    pub(super) receipts: Vec<Receipt>,
}

#[derive(Serialize)]
struct Row {
    receipt: String,
    settled: &'static str,
    counted: bool,
}

/// Settles the receipts of each group together, and prints the outcomes in the order of the receipts. `settle` hands
/// over each outcome as it comes to be.
pub(super) fn run(
    args: &Receipts,
    out: &mut dyn Write,
    settle: impl Fn(&Group, &[Receipt], &mut dyn FnMut(Settled)) -> popstore::Result<()>,
) -> Result<Outcome, Failure> {
    let store = directory::open(&args.on.dir)?;
    // All groups are found before anything is settled: a wrong receipt must not leave half of the work done.
    let mut by_group: BTreeMap<String, (Group, Vec<(usize, Receipt)>)> = BTreeMap::new();
    for (at, receipt) in args.receipts.iter().enumerate() {
        let group = store.group_of(receipt)?;
        let of_group = by_group.entry(group.name().to_string()).or_insert_with(|| (group, Vec::new()));
        of_group.1.push((at, *receipt));
    }
    let mut settled = vec![None; args.receipts.len()];
    let done = by_group.values().try_for_each(|(group, places)| {
        let receipts: Vec<Receipt> = places.iter().map(|(_, receipt)| *receipt).collect();
        let mut places = places.iter();
        settle(group, &receipts, &mut |outcome| {
            if let Some((at, _)) = places.next() {
                settled[*at] = Some(outcome);
            }
        })
    });
    drop(by_group);
    directory::close(store);
    let outcomes: Vec<_> = args.receipts.iter().zip(settled).filter_map(|(one, how)| Some((*one, how?))).collect();
    if done.is_ok() || !outcomes.is_empty() {
        show(&outcomes, args.on.json, out)?;
    }
    let (count, of) = (outcomes.len() as u64, output::counted(args.receipts.len() as u64, "receipt"));
    done.map_err(|error| Failure::Store(error).after(count, || format!("{count} of {of}, which are done as printed")))?;
    Ok(Outcome::of(!outcomes.iter().all(|(_, settled)| settled.counted())))
}

/// Settles one receipt after the other.
pub(super) fn each(
    receipts: &[Receipt],
    outcome: &mut dyn FnMut(Settled),
    settle: impl Fn(Receipt) -> popstore::Result<Settled>,
) -> popstore::Result<()> {
    for receipt in receipts {
        outcome(settle(*receipt)?);
    }
    Ok(())
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
    use std::cell::Cell;

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

        let args = Receipts { on: On { dir: dir.clone(), json: true }, receipts };
        let (mut out, left) = (Vec::new(), Cell::new(3));
        let done = run(&args, &mut out, |group, receipts, outcome| {
            each(receipts, outcome, |receipt| match left.replace(left.get() - 1) {
                0 => Err(Error::Closed),
                _ => group.ack(receipt),
            })
        });
        assert_eq!(String::from_utf8(out).unwrap().matches("\"settled\":\"done\"").count(), 3);
        let failure = done.unwrap_err().to_string();
        assert_eq!(failure, "stopped after 3 of 4 receipts, which are done as printed");
        let left = Store::open(&dir).unwrap().stats().unwrap().groups.iter().map(|group| group.in_flight).sum::<u64>();
        assert_eq!(left, 1);
    }
}
