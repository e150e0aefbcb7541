//! W1: buffered appends, one message and a hundred at a time, of several sizes, from several threads. The crates that
//! others wrote run with each size from one thread, and with the usual size from more; popstore and the limit run all.

use super::{BODY, LOOK_EVERY, Scene, append_all, entrants};
use crate::bodies::Bodies;
use crate::contenders::{Class, Contender, Setup, Sync};
use crate::measure::{Case, Metric};

const BODIES: [usize; 4] = [64, BODY, 1 << 10, 16 << 10];
const BATCHES: [usize; 2] = [1, 100];
const THREADS: [usize; 4] = [1, 2, 4, 8];

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for threads in THREADS {
        for body in BODIES {
            for batch in BATCHES {
                cases.extend(one(scene, body, batch, threads));
            }
        }
    }
    cases
}

pub(crate) fn name(body: usize, batch: usize, threads: usize) -> String {
    let size = if body < 1024 { format!("{body} B") } else { format!("{} KiB", body / 1024) };
    format!("{size}, batch {batch}, threads {threads}")
}

fn one(scene: &Scene, body: usize, batch: usize, threads: usize) -> Vec<Case> {
    let of_all = threads == 1 || body == BODY;
    let own = |one: &dyn Contender| matches!(one.class(), Class::Popstore | Class::Limit);
    let who = scene.who(|one| one.can_buffer() && one.producers_max() >= threads && (of_all || own(one)));
    let messages = scene.sizes.messages.min(scene.sizes.bytes_max / body as u64);
    let bodies = Bodies::of(body);
    let batches = bodies.batches(batch);
    let case = ("W1", name(body, batch, threads));
    scene.bench.compare((case.0, &case.1), &[Metric::RATE], &entrants(&who), |at, dir| {
        let setup = Setup {
            dir: dir.to_path_buf(),
            sync: Sync::Buffered,
            // Every thread rounds up to a whole batch.
            messages_max: messages + (threads * batch) as u64,
            body_bytes: body as u64,
            producers: threads as u64,
        };
        let opened = who[at].open(&setup);
        let (run_max, opened) = (scene.sizes.run_max, opened.as_ref());
        let (appended, took) = append_all(opened, &batches, threads, messages, run_max, LOOK_EVERY);
        vec![appended as f64 / took.as_secs_f64()]
    })
}
