//! `popstore ack`: messages are done.

use std::io::Write;

use super::settled::{self, Receipts};
use crate::{Failure, Outcome};

/// Say that messages are done; exit code 1 when one of the acks came too late
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: Receipts,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = super::open(&args.of.on.dir)?;
    let settled = store.group(&args.of.group)?.ack_batch(&args.of.receipts)?;
    store.close()?;
    settled::show(&args.of, &settled, out)
}
