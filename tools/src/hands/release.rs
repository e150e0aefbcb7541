//! `popstore release`: give messages back without counting their deliveries.

use std::io::Write;
use std::time::Duration;

use super::settled::{self, Receipts};
use crate::{Failure, Outcome, duration};

/// Give messages back as if they had not been delivered: the deliveries do not count towards the limit
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: Receipts,
    /// Hide them for this long first
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    after: Duration,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    settled::run(&args.of, out, |group, receipts| group.release_batch(receipts, args.after))
}
