//! Histories with crashes, against a model of the store: it keeps every promise.
#![no_main]
#![allow(dead_code, unused_imports)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[path = "../../store/tests/model/acts.rs"]
mod acts;
#[path = "../../store/tests/model/blocks.rs"]
mod blocks;
#[path = "../bytes.rs"]
mod bytes;
#[path = "../../store/tests/model/claims.rs"]
mod claims;
#[path = "../../store/tests/model/disk.rs"]
mod disk;
#[path = "../../store/tests/model/film.rs"]
mod film;
#[path = "../../store/tests/model/images.rs"]
mod images;
#[path = "../../store/tests/model/luck.rs"]
mod luck;
#[path = "../../store/tests/model/op.rs"]
mod op;
#[path = "../../store/tests/model/oracle.rs"]
mod oracle;
#[path = "../../store/tests/model/picture.rs"]
mod picture;
#[path = "../../store/tests/model/plans.rs"]
mod plans;
#[path = "../../store/tests/model/random.rs"]
mod random;
#[path = "../../store/tests/model/stage.rs"]
mod stage;
#[path = "../../store/tests/model/strategy.rs"]
mod strategy;
#[path = "../../store/tests/model/tree.rs"]
mod tree;
#[path = "../../store/tests/model/view.rs"]
mod view;
#[path = "../../store/tests/model/world.rs"]
mod world;

/// How often the rate is told.
const TELL_EVERY: u64 = 20_000;

/// Tells how many crash images there were, and how many a second.
fn tally(images: u64) {
    static IMAGES: AtomicU64 = AtomicU64::new(0);
    static SINCE: OnceLock<Instant> = OnceLock::new();
    let since = SINCE.get_or_init(Instant::now);
    let before = IMAGES.fetch_add(images, Ordering::Relaxed);
    let all = before + images;
    if before / TELL_EVERY != all / TELL_EVERY {
        eprintln!("{all} crash images, {:.0} a second", all as f64 / since.elapsed().as_secs_f64());
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tally(images::crash(bytes) as u64));
