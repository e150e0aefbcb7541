//! W1: buffered appends, one message and a hundred at a time, of several sizes, from several threads, and for a longer time
//! than the disk's cache can hide. The crates that others wrote run with each size from one thread, and with the usual size
//! from more; the servers with the usual size from one; popstore and the limit run all.

use super::{BODY, CHECK_EVERY, Scene, append_all, entrants};
use crate::bodies::Bodies;
use crate::contenders::{Class, Contender, Setup, Sync};
use crate::measure::{Case, Metric};

const BODIES: [usize; 4] = [64, BODY, 1 << 10, 16 << 10];
const BATCHES: [usize; 2] = [1, 100];
const THREADS: [usize; 4] = [1, 2, 4, 8];
const LONGER: u32 = 8;

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for threads in THREADS {
        for body in BODIES {
            for batch in BATCHES {
                cases.extend(one(scene, (body, batch, threads), 1));
            }
        }
    }
    cases.extend(one(scene, (BODY, BATCHES[1], 1), LONGER));
    cases
}

fn name((body, batch, threads): (usize, usize, usize), longer: u32) -> String {
    let size = if body < 1024 { format!("{body} B") } else { format!("{} KiB", body / 1024) };
    let longer = if longer > 1 { format!(", {longer} times as long") } else { String::new() };
    format!("{size}, batch {batch}, threads {threads}{longer}")
}

fn one(scene: &Scene, (body, batch, threads): (usize, usize, usize), longer: u32) -> Vec<Case> {
    let of_all = threads == 1 || body == BODY;
    let usual = threads == 1 && body == BODY && longer == 1;
    let own = |one: &dyn Contender| matches!(one.class(), Class::Popstore | Class::Limit);
    let takes_part = |one: &dyn Contender| own(one) || (of_all && (one.in_process() || usual));
    let who = scene.who("W1", |one| one.can_buffer() && one.producers_max() >= threads && takes_part(one));
    let messages = scene.sizes.messages.min(scene.sizes.bytes_max / body as u64) * u64::from(longer);
    let bodies = Bodies::of(body);
    let batches = bodies.batches(batch);
    let name = name((body, batch, threads), longer);
    scene.bench.compare(("W1", &name), &[Metric::RATE], &entrants(&who), |at, dir| {
        let setup = Setup {
            dir: dir.to_path_buf(),
            sync: Sync::Buffered,
            // Every thread rounds up to a whole batch.
            messages_max: messages + (threads * batch) as u64,
            body_bytes: body as u64,
            producers: threads as u64,
        };
        let opened = who[at].open(&setup);
        let (run_max, opened) = (scene.sizes.run_max * longer, opened.as_ref());
        let (appended, took) = append_all(opened, &batches, threads, messages, run_max, CHECK_EVERY);
        vec![appended as f64 / took.as_secs_f64()]
    })
}
