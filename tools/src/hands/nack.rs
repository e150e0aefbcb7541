//! `popstore nack`: give messages back.

use std::io::Write;
use std::time::Duration;

use popstore::Delay;

use super::settled::{self, Receipts};
use crate::{Failure, Outcome, duration};

/// Give messages back, to be delivered again at once, after a time, or after the group's backoff
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: Receipts,
    /// Hide them for this long first
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    after: Duration,
    /// Hide them for the group's backoff
    #[arg(long, conflicts_with = "after")]
    backoff: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let delay = if args.backoff { Delay::Backoff } else { Delay::After(args.after) };
    settled::run(&args.of, out, |group, receipts| group.nack_batch(receipts, delay))
}
