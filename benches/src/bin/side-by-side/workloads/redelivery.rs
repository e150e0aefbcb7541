//! W4: many leases run out at one instant. How long after it is the first and the last poppable, how long after it has the
//! last been popped again by one consumer that pops 1000 at a time, and what does it write?

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{BODY, PRELOAD, Scene, entrants, leases, preload, usual};
use crate::bodies::Bodies;
use crate::clock::now;
use crate::contenders::{Class, Contender, DEFAULTS, Popped, Popstore};
use crate::disk;
use crate::measure::{Case, Entrant, Metric};

const LEASES: [u64; 2] = [100_000, 10_000_000];
const POP: usize = 1000;
const CHECK_EVERY: Duration = Duration::from_micros(100);

const DELIVERED: [Metric; 3] = [
    Metric::cost("first popped again", "ms after the lease"),
    Metric::cost("last popped again", "ms after the lease"),
    Metric { name: "popped again", unit: "messages/s", more_is_better: true },
];
const VISIBLE: [Metric; 4] = [
    Metric::cost("first poppable", "ms after the lease"),
    Metric::cost("last poppable", "ms after the lease"),
    Metric::cost("log growth", "bytes/message"),
    Metric::cost("written", "bytes/message"),
];

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for leases_count in LEASES {
        let count = scene.sizes.preloaded(leases_count);
        let small = leases_count == LEASES[0];
        let can = |one: &dyn Contender| leases(one) && one.in_process() && one.class() != Class::Limit;
        let who = scene.who("W4", |one| can(one) && (small || one.class() == Class::Popstore));
        let name = format!("{leases_count} leases");
        let run = |at: usize, dir: &Path| delivered(who[at], dir, count);
        cases.extend(scene.bench.compare(("W4", &name), &DELIVERED, &entrants(&who), run));
        if who.iter().any(|one| one.class() == Class::Popstore) {
            let entrants: Vec<Entrant> = entrants(&[&DEFAULTS as &dyn Contender]);
            let run = |at: usize, dir: &Path| visible([&DEFAULTS][at], dir, count);
            cases.extend(scene.bench.compare(("W4", &name), &VISIBLE, &entrants, run));
        }
    }
    cases
}

/// When the leases of this many messages can all end, if they are popped from now on.
fn instant(contender: &dyn Contender, count: u64) -> Instant {
    let pops_a_second = if contender.class() == Class::Popstore { 400_000 } else { 25_000 };
    now() + Duration::from_secs(1) + Duration::from_micros(count * 1_000_000 / pops_a_second)
}

fn millis_after(due: Instant) -> f64 {
    now().saturating_duration_since(due).as_secs_f64() * 1e3
}

fn delivered(contender: &dyn Contender, dir: &Path, count: u64) -> Vec<f64> {
    let opened = contender.open(&usual(dir, count));
    let bodies = Bodies::of(BODY);
    let expected = preload(opened.as_ref(), &bodies.batches(PRELOAD), count);
    disk::rest();
    let (mut consumer, due) = (opened.consumer(), instant(contender, count));
    let mut first_time = Popped::default();
    while first_time.messages < count {
        first_time = first_time.join(consumer.pop(POP, due.saturating_duration_since(now())));
    }
    assert!(first_time == expected && now() < due, "all are leased in time");
    thread::sleep(due.saturating_duration_since(now() + CHECK_EVERY));
    let (mut again, mut first_after) = (Popped::default(), None);
    while again.messages < count {
        let popped = consumer.pop(POP, super::LEASE);
        if popped.messages == 0 {
            thread::yield_now();
        } else {
            first_after.get_or_insert_with(|| millis_after(due));
        }
        again = again.join(popped);
    }
    let last_after = millis_after(due);
    assert_eq!(again, expected, "each is delivered again, once");
    vec![first_after.unwrap_or(f64::NAN), last_after, count as f64 / (last_after / 1e3)]
}

fn visible(popstore: &Popstore, dir: &Path, count: u64) -> Vec<f64> {
    let (store, group) = popstore.store(&usual(dir, count));
    let opened = popstore.opened(store.clone(), group.clone());
    let bodies = Bodies::of(BODY);
    preload(opened.as_ref(), &bodies.batches(PRELOAD), count);
    disk::rest();
    let (mut consumer, due) = (opened.consumer(), instant(popstore, count));
    let mut leased = 0;
    while leased < count {
        leased += consumer.pop(POP, due.saturating_duration_since(now())).messages;
    }
    let log_end = || disk::checkpoint_start(dir) + store.stats().expect("it is open").checkpoint_bytes;
    let (written, end) = (disk::written(), log_end());
    assert!(now() < due, "all are leased in time");
    thread::sleep(due.saturating_duration_since(now() + CHECK_EVERY));
    let mut first_after = None;
    let last_after = loop {
        let ready = group.stats().expect("it is open").ready;
        if ready > 0 {
            first_after.get_or_insert_with(|| millis_after(due));
        }
        if ready == count {
            break millis_after(due);
        }
        thread::sleep(CHECK_EVERY);
    };
    let a_message = |bytes: u64| bytes as f64 / count as f64;
    let (grown, written) = (log_end() - end, disk::written() - written);
    vec![first_after.unwrap_or(f64::NAN), last_after, a_message(grown), a_message(written)]
}
