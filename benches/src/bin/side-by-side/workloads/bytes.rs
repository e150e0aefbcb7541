//! W6: what W1 and W3 leave on the disk and write to it, for each message: everything but the body.

use std::path::Path;

use super::{Ack, BODY, LEASE, SLOWER, Scene, consume, entrants, preload, usual};
use crate::bodies::Bodies;
use crate::contenders::{Class, Contender, DEFAULTS, Popstore};
use crate::disk;
use crate::measure::{Bench, Case, Metric};

const BATCH: usize = 100;
const POP: usize = 32;

const APPEND: [Metric; 3] = [
    Metric::cost("used beyond the body", "bytes/message"),
    Metric::cost("allocated", "bytes/message"),
    Metric::cost("written by appending", "bytes/message"),
];
const CYCLE: [Metric; 3] = [
    Metric::cost("written by the lease cycle", "bytes/message"),
    Metric::cost("used beyond the body after it", "bytes/message"),
    Metric::cost("allocated after it", "bytes/message"),
];
const GROWTH: [Metric; 1] = [Metric::cost("checkpoint log growth by the lease cycle", "bytes/message")];

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    // Bytes do not vary from round to round.
    let Bench { dir, bar, only, .. } = scene.bench;
    let once = Bench { rounds: 1, dir, bar, only };
    let in_process = |one: &dyn Contender| one.in_process() && one.class() != Class::Limit && one.can_buffer();
    let who = scene.who("W6", in_process);
    let leasing = scene.who("W6", |one| in_process(one) && one.class() != Class::AppendOnly);
    let mut cases = once.compare(("W6", "append"), &APPEND, &entrants(&who), |at, dir| appended(scene, who[at], dir));
    for (name, ack) in [("pop 32, ack each", Ack::Each), ("pop 32, ack as one", Ack::AsOne)] {
        let run = |at: usize, dir: &Path| cycled(scene, leasing[at], dir, ack);
        cases.extend(once.compare(("W6", name), &CYCLE, &entrants(&leasing), run));
        if who.iter().any(|one| one.class() == Class::Popstore) {
            let variants = [&DEFAULTS as &dyn Contender];
            let run = |at: usize, dir: &Path| grown(scene, [&DEFAULTS][at], dir, ack);
            cases.extend(once.compare(("W6", name), &GROWTH, &entrants(&variants), run));
        }
    }
    cases
}

fn messages_for(scene: &Scene, contender: &dyn Contender) -> u64 {
    let slower = if contender.class() == Class::Popstore { 1 } else { SLOWER };
    (scene.sizes.messages / slower).next_multiple_of(BATCH as u64)
}

fn appended(scene: &Scene, contender: &dyn Contender, dir: &Path) -> Vec<f64> {
    let messages = messages_for(scene, contender);
    let bodies = Bodies::of(BODY);
    let before = disk::written();
    let opened = contender.open(&usual(dir, messages));
    preload(opened.as_ref(), &bodies.batches(BATCH), messages);
    opened.settle();
    disk::rest();
    let (taken, written) = (disk::taken(dir), disk::written() - before);
    let a_message = |bytes: u64| bytes as f64 / messages as f64;
    vec![a_message(taken.used) - BODY as f64, a_message(taken.allocated), a_message(written)]
}

fn cycled(scene: &Scene, contender: &dyn Contender, dir: &Path, ack: Ack) -> Vec<f64> {
    let messages = messages_for(scene, contender);
    let bodies = Bodies::of(BODY);
    let opened = contender.open(&usual(dir, messages));
    preload(opened.as_ref(), &bodies.batches(BATCH), messages);
    opened.settle();
    disk::rest();
    let before = disk::written();
    let came = consume(opened.consumer().as_mut(), POP, ack, LEASE);
    assert_eq!(came.messages, messages);
    opened.settle();
    disk::rest();
    let (taken, written) = (disk::taken(dir), disk::written() - before);
    let a_message = |bytes: u64| bytes as f64 / messages as f64;
    vec![a_message(written), a_message(taken.used) - BODY as f64, a_message(taken.allocated)]
}

fn grown(scene: &Scene, popstore: &Popstore, dir: &Path, ack: Ack) -> Vec<f64> {
    let messages = messages_for(scene, popstore);
    let bodies = Bodies::of(BODY);
    let (store, group) = popstore.store(&usual(dir, messages));
    let opened = popstore.opened(store.clone(), group);
    preload(opened.as_ref(), &bodies.batches(BATCH), messages);
    let log_end = || disk::checkpoint_start(dir) + store.stats().expect("it is open").checkpoint_bytes;
    let before = log_end();
    consume(opened.consumer().as_mut(), POP, ack, LEASE);
    vec![(log_end() - before) as f64 / messages as f64]
}
