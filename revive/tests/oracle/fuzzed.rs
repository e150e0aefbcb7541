//! Histories from bytes: the body of the fuzz target `merge`, and its fixed slice.

use super::Flaw;
use super::arbitrary::{op, policy};
use super::scene::Scene;
use crate::bytes::{self, CHOICE};

/// How many steps a history has at most.
const STEPS_MAX: usize = 60;

/// Reads the bytes as a history, and plays it against the oracle.
pub(crate) fn merge(bytes: &[u8]) {
    play(bytes, Flaw::None).unwrap_or_else(|why| panic!("{why}"));
}

fn play(bytes: &[u8], flaw: Flaw) -> Result<(), String> {
    let (first, rest) = bytes.split_at(bytes.len().min(2 * CHOICE));
    let policies = [0, CHOICE].map(|at| bytes::one(&policy(), first.get(at..).unwrap_or_default()));
    let ops = bytes::each(&op(), &rest[..rest.len().min(STEPS_MAX * CHOICE)]);
    Scene::new(policies.clone(), flaw).run(&ops).map_err(|why| format!("{why}\n{policies:?}\n{ops:#?}"))
}

#[test]
fn histories_from_bytes_go_as_the_oracle_says() {
    bytes::slice("merge", 1500, 260, merge);
}

#[test]
fn a_flaw_of_the_oracle_is_found_by_the_bytes_too() {
    let found = std::cell::Cell::new(0);
    bytes::slice("merge", 300, 260, |bytes| {
        found.set(found.get() + u32::from(play(bytes, Flaw::LeaseEndsLate).is_err()))
    });
    assert!(found.get() > 0);
}
