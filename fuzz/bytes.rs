//! From bytes to what is tested, for the fuzzer and for plain `cargo test` alike.
//!
//! A fuzz target is a function of bytes that lies among the tests. Four bytes choose a value
//! of the strategies that those tests have anyway, so there is one vocabulary for all.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// So many bytes choose one value.
pub(crate) const CHOICE: usize = 4;

/// What a strategy makes of each four bytes: a change of a byte changes one value, and none beside it.
pub(crate) fn each<S: Strategy>(strategy: &S, bytes: &[u8]) -> Vec<S::Value> {
    bytes.chunks(CHOICE).map(|choice| one(strategy, choice)).collect()
}

/// What a strategy makes of these bytes, the first four of them.
pub(crate) fn one<S: Strategy>(strategy: &S, bytes: &[u8]) -> S::Value {
    let mut seed = [0; 32];
    let len = bytes.len().min(CHOICE);
    seed[..len].copy_from_slice(&bytes[..len]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    strategy.new_tree(&mut runner).unwrap().current()
}

/// The seeds of a target, then so many inputs by chance.
pub(crate) fn slice(target: &str, cases: u32, bytes_max: usize, body: impl Fn(&[u8])) {
    seeds(target, &body);
    chance(target, cases, bytes_max, body);
}

/// The seeds of a target.
pub(crate) fn seeds(target: &str, body: impl Fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for seed in &seeds {
        println!("{}", seed.display());
        body(&std::fs::read(seed).unwrap());
    }
    println!("{target}: {} seeds", seeds.len());
}

/// So many inputs by chance, the same ones each time.
pub(crate) fn chance(target: &str, cases: u32, bytes_max: usize, body: impl Fn(&[u8])) {
    let config =
        ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&vec(any::<u8>(), 1..=bytes_max), |bytes| {
        body(&bytes);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{target}: {error}");
    }
    println!("{target}: {cases} inputs by chance");
}
