//! `store-inspect`: looks into a store directory, healthy, in use, damaged or half recovered.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use popstore_tools::eyes;

fn main() -> ExitCode {
    let command = eyes::Command::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let done = eyes::run(&command, &mut out).and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    popstore_tools::exit("store-inspect", done)
}
