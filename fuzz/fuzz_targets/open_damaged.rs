//! A valid store, damaged at will: to open it and to look into it ends, with an answer or an error.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../bytes.rs"]
mod bytes;
#[path = "../../tools/tests/ruin/mod.rs"]
mod ruin;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruin::hostile::open_damaged(bytes));
