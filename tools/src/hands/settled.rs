//! What `ack`, `nack` and `extend` have in common: receipts of any groups, settled group by group, and what became of
//! them.

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

/// Settles the receipts of each group together, and prints the outcomes in the order of the receipts.
pub(super) fn run(
    args: &Receipts,
    out: &mut dyn Write,
    settle: impl Fn(&Group, &[Receipt]) -> popstore::Result<Vec<Settled>>,
) -> Result<Outcome, Failure> {
    let store = directory::open(&args.on.dir)?;
    // All groups are found before anything is settled: a wrong receipt must not leave half of the work done.
    let mut by_group: BTreeMap<String, (Group, Vec<(usize, Receipt)>)> = BTreeMap::new();
    for (at, receipt) in args.receipts.iter().enumerate() {
        let group = store.group_of(receipt)?;
        let of_group = by_group.entry(group.name().to_string()).or_insert_with(|| (group, Vec::new()));
        of_group.1.push((at, *receipt));
    }
    let mut settled = vec![Settled::Unknown; args.receipts.len()];
    for (group, places) in by_group.values() {
        let receipts: Vec<Receipt> = places.iter().map(|(_, receipt)| *receipt).collect();
        for ((at, _), outcome) in places.iter().zip(settle(group, &receipts)?) {
            settled[*at] = outcome;
        }
    }
    drop(by_group);
    store.close()?;
    show(args, &settled, out)
}

/// Prints the outcomes; one that changed nothing is worth a look.
fn show(args: &Receipts, settled: &[Settled], out: &mut dyn Write) -> Result<Outcome, Failure> {
    let of_each = || args.receipts.iter().zip(settled);
    if args.on.json {
        for (receipt, settled) in of_each() {
            let row = Row { receipt: receipt.to_string(), settled: name(*settled), counted: settled.counted() };
            output::json(out, &row)?;
        }
    } else {
        let mut table = output::table(["receipt", "settled", ""]);
        for (receipt, settled) in of_each() {
            table.add_row([receipt.to_string(), name(*settled).to_string(), meaning(*settled).to_string()]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(Outcome::of(!settled.iter().all(|settled| settled.counted())))
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
        Settled::Unknown => "unknown",
    }
}

fn meaning(settled: Settled) -> &'static str {
    match settled {
        Settled::Done => "",
        Settled::Late => "the lease was over, but nobody else had the message: it counts",
        Settled::LeaseOver => "the lease is over, nothing changed; an ack would count",
        Settled::HandedOutAgain { .. } => "somebody else has the message now, nothing changed",
        Settled::DeadLettered => "it went to the dead letters, nothing changed",
        Settled::Discarded => "it was dropped at its limit, nothing changed",
        Settled::AlreadySettled => "it was settled before, nothing changed",
        Settled::Unknown => "the store does not know of that lease, nothing changed",
    }
}
