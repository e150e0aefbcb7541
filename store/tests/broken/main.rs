//! The suite against stores that are broken on purpose: each mistake is caught by a test that says what broke.
//!
//! The sources of `revive` and `store` are copied, all mistakes are written into the copy at once, each behind a
//! switch, and the copy is built once (`workshop`). The tests that are to catch the mistakes pass as long as all
//! switches are off, and each fails, with the words that are expected, when its mistake is switched on (`trial`). What
//! can be done wrong is data: `durability`, `recovery`, `records`, `delivery`, `retention`.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod delivery;
mod durability;
mod mistake;
mod records;
mod recovery;
mod retention;
mod trial;
mod workshop;

use mistake::Mistake;

fn mistakes() -> Vec<&'static Mistake> {
    let of = [durability::MISTAKES, recovery::MISTAKES, records::MISTAKES, delivery::MISTAKES, retention::MISTAKES];
    of.into_iter().flatten().collect()
}

#[test]
fn every_mistake_is_caught() {
    let only = std::env::var("POPSTORE_MISTAKE").unwrap_or_default();
    let mistakes = mistakes();
    let tests = workshop::build(&mistakes);
    let tried: Vec<_> = mistakes.into_iter().filter(|mistake| mistake.name.contains(&only)).collect();
    assert!(!tried.is_empty(), "no mistake is called {only:?}");
    trial::expect_sound(&tests, &tried);
    let missed = trial::missed(&tests, &tried);
    println!("{} mistakes, {} caught", tried.len(), tried.len() - missed.len());
    assert!(missed.is_empty(), "{} mistakes were not caught:\n{}", missed.len(), missed.join("\n"));
}

/// Without a build: seconds after a change of a place or of a test, and not minutes.
#[test]
fn every_mistake_has_its_place_once_and_a_test_that_is_there() {
    workshop::expect_sound(&mistakes(), &workshop::originals());
}

#[test]
fn every_clause_of_the_oracle_is_broken_by_a_mistake() {
    let broken: String = mistakes().iter().map(|mistake| mistake.breaks).collect();
    for clause in 'a'..='h' {
        assert!(broken.contains(clause), "no mistake breaks {clause}");
    }
}
