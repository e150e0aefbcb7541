//! The pure core against its naive oracle: whatever happens, they agree.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../bytes.rs"]
mod bytes;
#[path = "../../revive/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::fuzzed::merge(bytes));
