//! Histories from bytes, and crash images by the thousand: the body of the fuzz target `crash`, and its fixed slice.

use std::collections::HashSet;

use popstore::clock::{Clock, SystemClock};

use crate::bytes::{self, CHOICE};
use crate::film::Film;
use crate::op::{Crash, Op, Sectors, Setup};
use crate::random::survives;
use crate::stage::Stage;
use crate::strategy;

/// How many steps a history has at most.
const OPS_MAX: usize = 60;
/// How many of them are filmed.
const STEPS_MAX: usize = 16;

/// Reads the bytes as a history, and plays it with its crashes or crashes it everywhere, as the first byte says. Returns
/// how many crash images there were.
pub fn crash(bytes: &[u8]) -> usize {
    let Some((how, bytes)) = bytes.split_first() else { return 0 };
    let (first, rest) = bytes.split_at(bytes.len().min(CHOICE));
    let setup = bytes::one(&strategy::setup(), first);
    let rest = &rest[..rest.len().min(OPS_MAX * CHOICE)];
    let ops = bytes::each(&strategy::op(how & 2 > 0), rest);
    let images = match how & 1 {
        0 => survives(setup, &ops).map(|stage| stage.crashed.0 as usize),
        _ => crash_everywhere(setup, &ops, u64::from(how / 4)),
    };
    images.unwrap_or_else(|why| panic!("{why}\n{setup:?}\n{ops:#?}"))
}

/// Opens what a crash at any seam call of the history may leave: different images, spread over all calls; the
/// seed says how many.
fn crash_everywhere(setup: Setup, ops: &[Op], seed: u64) -> Result<usize, String> {
    let calm = ops.iter().filter(|op| !matches!(op, Op::Kill { .. } | Op::PowerCut { .. })).take(STEPS_MAX);
    let calm: Vec<_> = calm.map(|op| (true, op.clone())).collect();
    let film = Film::shoot(setup, false, &calm);
    let desk = Stage::new(setup);
    let mut known = HashSet::new();
    let images_max = 16 << (seed % 6);
    let rounds = usize::div_ceil(images_max, film.pictures.len().max(1)) as u64;
    let skip = film.pictures.len().div_ceil(images_max).max(1);
    for (step, picture) in film.pictures.iter().skip(seed as usize % skip).step_by(skip) {
        for round in 0..rounds {
            let sectors = match round {
                1 => Sectors::Old,
                2 => Sectors::New,
                _ => Sectors::Mixed(seed << 32 | round),
            };
            let tree = picture.tree(sectors);
            if !known.insert((*step, tree.fingerprint())) {
                continue;
            }
            let crash = Crash::PowerCut(sectors);
            film.recovers(&desk, *step, &tree, crash).map_err(|why| format!("step {step}, {sectors:?}: {why}"))?;
        }
    }
    Ok(known.len())
}

/// The slice of the target that is of one kind. Returns how many crash images there were.
fn images(kind: u8, cases: u32) -> usize {
    let images = std::cell::Cell::new(0);
    let clock = SystemClock::start();
    let begun = clock.now();
    let of_kind = |bytes: &[u8]| [&[bytes[0] & !3 | kind], &bytes[1..]].concat();
    bytes::chance("crash", cases, CHOICE * OPS_MAX, |bytes| images.set(images.get() + crash(&of_kind(bytes))));
    let took = clock.now().since(begun).as_secs_f64();
    println!("{} crash images, {:.0} a second", images.get(), images.get() as f64 / took);
    images.get()
}

#[test]
fn the_seeds_of_the_fuzzer_keep_every_promise() {
    bytes::seeds("crash", |bytes| println!("{} crash images", crash(bytes)));
}

#[test]
fn histories_from_bytes_keep_every_promise() {
    assert!(images(0, 600) > 300);
}

#[test]
fn any_image_of_a_history_recovers() {
    assert!(images(1, 2300) > 85_000);
}

#[test]
fn any_image_of_a_history_of_whole_sectors_recovers() {
    assert!(images(3, 2300) > 85_000);
}
