//! `store-inspect`: reads a store directory, sound, in use, damaged or half recovered.

use std::process::ExitCode;

fn main() -> ExitCode {
    popstore_tools::process::run("store-inspect", popstore_tools::eyes::run)
}
