//! Decoding is total: whatever the bytes are, every decoder returns, and allocates no more than they could fill.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| popstore::fuzzing::decode(bytes));
