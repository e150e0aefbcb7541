//! `popstore`: append, pop, ack and more on a store directory, for shells and scripts.

use std::process::ExitCode;

fn main() -> ExitCode {
    popstore_tools::process::run("popstore", popstore_tools::hands::run)
}
