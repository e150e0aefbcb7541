//! `popstore ack`: messages are done.

use std::io::Write;

use popstore::Group;

use super::settled::{self, Receipts};
use crate::{Failure, Outcome};

/// Ack messages: they are done and are never delivered again
///
/// Exit code 1 when one of the acks came too late.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    of: Receipts,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    settled::run(&args.of, out, Group::ack_batch)
}
