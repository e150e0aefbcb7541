//! The store against a plain model of itself, through crashes of every kind.
//!
//! A history (`op`) is played on a `stage` (`acts`); its `disk` tells what a crash at any moment may leave (`picture`).
//! What the store shows (`view`) must be what one of the possible states (`world`, `claims`) would show; the `oracle`
//! keeps those that are still possible. Histories are made by chance (`strategy`, `random`), or one is crashed at every
//! point (`every_point`). `plans` holds the dry run against the open. `canaries` shows that each check can fail. `dead_letters`, `files` and
//! `policies` are short histories with a name.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod acts;
mod blocks;
#[path = "../../../fuzz/bytes.rs"]
mod bytes;
mod canaries;
mod claims;
mod dead_letters;
mod disk;
mod every_point;
mod failed_sync;
mod files;
mod film;
mod images;
mod luck;
mod op;
mod oracle;
mod picture;
mod plans;
mod policies;
mod random;
mod stage;
mod strategy;
mod subsets;
mod tree;
mod twice;
mod view;
mod world;
