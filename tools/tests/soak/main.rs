//! A real worker process is killed at random moments, again and again, and its store must have lost nothing.
//!
//! The worker (this binary once more) appends, pops, acks, nacks, extends, forgets and redrives in several threads over
//! logs so small that they roll, are marked, told anew and retired all the time. It tells the supervisor through a pipe
//! what it is about to do and what was acknowledged; the pipe outlives it. After each kill `store-inspect verify` must
//! find no fault, and what a read-only look shows must agree with what was told; every 20 kills the store is opened, and
//! everything runs out.
//!
//! Claims checked: an acknowledged message is at its place with its body; a message that was acked is never delivered
//! again; the attempt never repeats or goes down, and rises by deliveries only; no group's limit is exceeded; a message
//! at its limit becomes one dead letter, and none that was acked does; a letter is put back once; nothing is lost.
//!
//! `POPSTORE_KILLS=5000` for more than 300, `POPSTORE_SEED` to choose the order of things; the moments are the machine's.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod actor;
mod canaries;
mod journal;
mod judge;
mod look;
mod oracle;
mod reckoning;
mod report;
mod supervisor;
mod worker;
mod world;

use supervisor::Supervisor;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text:?}")))
}

#[test]
fn a_store_whose_owner_is_killed_again_and_again_loses_nothing() {
    let kills = number("POPSTORE_KILLS").unwrap_or(300);
    let seed = number("POPSTORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    Supervisor::new(seed, kills).run();
}

/// Not a test: what the supervisor starts and kills.
#[test]
fn worker() {
    worker::run_if_asked();
}
