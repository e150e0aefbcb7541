//! `popstore extend`: give leases another end.

use std::io::Write;
use std::time::Duration;

use super::settled::{self, Receipts};
use crate::{Failure, Outcome, duration};

/// Make leases end a given time from now, earlier or later than before
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: Receipts,
    /// How long the messages stay hidden from now on
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    invisible: Duration,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    settled::run(&args.of, out, |group, receipts| group.extend_batch(receipts, args.invisible))
}
