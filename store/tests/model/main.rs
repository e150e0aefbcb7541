//! The store against a plain model of itself, through crashes of every kind.
//!
//! A history (`op`) is played on a stage (`stage`) whose disk can tell what a crash at any moment may leave (`disk`).
//! What the store shows (`view`) must be what one of the possible states (`world`, `claims`) would show; the `oracle`
//! keeps those that are still possible. Histories are made by chance (`strategy`, `random`), or one is crashed at every
//! point (`every_point`). `canaries` shows that each check can fail, and `found` keeps what was found once.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod canaries;
mod claims;
mod disk;
mod every_point;
mod found;
mod op;
mod oracle;
mod random;
mod stage;
mod strategy;
mod tree;
mod view;
mod world;
