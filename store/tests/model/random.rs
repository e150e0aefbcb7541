//! Histories by chance, with crashes inside operations, inside recoveries, and again.

use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::op::{Op, Setup};
use crate::stage::Stage;
use crate::strategy;

const CASES: u32 = 300;

/// Plays a history and lets it come to its end.
pub fn survives(setup: Setup, ops: &[Op]) -> Result<Stage, String> {
    let mut stage = Stage::ready(setup);
    stage.play(ops)?;
    stage.drain().map_err(|why| format!("at the end: {why}"))?;
    Ok(stage)
}

#[test]
fn any_history_with_any_crashes_keeps_every_promise() {
    let config = Config { failure_persistence: Some(Box::new(FileFailurePersistence::Off)), ..Config::default() };
    // With `PROPTEST_CASES`, that many new histories; without it, the same ones each time, as many as fit into a few
    // seconds.
    let searches = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if searches { config.cases } else { CASES };
    let config = Config { cases, max_shrink_iters: 4000, ..config };
    let totals = std::cell::Cell::new((0, 0));
    let mut runner = match searches {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let result = runner.run(&strategy::history(), |(setup, ops)| {
        let stage = survives(setup, &ops).map_err(TestCaseError::fail)?;
        let (all, inside) = totals.get();
        totals.set((all + stage.crashed.0, inside + stage.crashed.1));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let (all, inside) = totals.get();
    println!("{all} crashes, {inside} of them inside a recovery");
}
