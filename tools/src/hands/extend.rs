//! `popstore extend`: give leases another end.

use std::io::Write;
use std::time::Duration;

use super::settled::{self, Receipts};
use crate::{Failure, Outcome, duration};

/// Set the end of leases to so long from now, earlier or later than it was
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: Receipts,
    /// How long the messages stay hidden from now on
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    invisible: Duration,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = super::open(&args.of.on.dir)?;
    let group = store.group(&args.of.group)?;
    let receipts = args.of.receipts.iter();
    let settled = receipts.map(|receipt| group.extend(*receipt, args.invisible)).collect::<Result<Vec<_>, _>>()?;
    drop(group);
    store.close()?;
    settled::show(&args.of, &settled, out)
}
