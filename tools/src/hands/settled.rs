//! What became of receipts, as `ack`, `nack` and `extend` print it.

use std::io::Write;

use popstore::{Receipt, Settled};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, output};

/// The receipts that a verb is about.
#[derive(Debug, clap::Args)]
pub(super) struct Receipts {
    #[command(flatten)]
    pub(super) on: On,
    /// The group that popped
    #[arg(long)]
    pub(super) group: String,
    /// The receipts, as pop printed them
    #[arg(required = true, value_name = "RECEIPT")]
    pub(super) receipts: Vec<Receipt>,
}

#[derive(Serialize)]
struct Row {
    receipt: String,
    settled: &'static str,
    counted: bool,
}

/// Prints the outcomes; one that changed nothing is worth a look.
pub(super) fn show(args: &Receipts, settled: &[Settled], out: &mut dyn Write) -> Result<Outcome, Failure> {
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
