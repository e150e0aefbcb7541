//! The fixed slice of the fuzz target `decode`.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/bytes.rs"]
mod bytes;

#[test]
fn any_bytes_are_decoded_or_refused() {
    bytes::slice("decode", 20_000, 300, popstore::fuzzing::decode);
}

/// A seed with any byte changed gets much further than bytes by chance.
#[test]
fn a_record_with_any_byte_changed_is_decoded_or_refused() {
    bytes::seeds("decode", |seed| {
        for (at, value) in (0..seed.len()).flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|value| (at, value))) {
            let mut changed = seed.to_vec();
            changed[at] = value;
            popstore::fuzzing::decode(&changed);
        }
    });
}
