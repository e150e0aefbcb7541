//! The fixed slices of the fuzz targets `open_damaged` and `cli`, and what the fuzzer found.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/bytes.rs"]
mod bytes;
mod ruin;

#[test]
fn any_damage_ends_with_an_answer_or_an_error() {
    bytes::slice("open_damaged", 1000, 80, ruin::hostile::open_damaged);
}

#[test]
fn any_arguments_and_receipts_are_taken_or_refused() {
    bytes::slice("cli", 3000, 49, ruin::words::cli);
}
