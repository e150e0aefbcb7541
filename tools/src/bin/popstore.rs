//! `popstore`: append, pop, ack and more on a store directory, for shells and scripts.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use popstore_tools::hands;

fn main() -> ExitCode {
    let command = hands::Command::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let done = hands::run(&command, &mut out).and_then(|outcome| Ok(out.flush().map(|()| outcome)?));
    popstore_tools::exit("popstore", done)
}
