//! Arguments of both commands, and the text of receipts: whatever they are, they are taken or refused.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../bytes.rs"]
mod bytes;
#[path = "../../tools/tests/ruin/mod.rs"]
mod ruin;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruin::words::cli(bytes));
