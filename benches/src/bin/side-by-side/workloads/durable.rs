//! W2: appends that are durable when they return: one message at a time from 1, 4, 16 and 64 threads, a hundred at a time
//! from one. The limit is one thread that writes and syncs what all of them together append at once.
//! Each run is cut into slices with a probe of bare syncs between them, and the rates are given as multiples of it too.

use std::time::Duration;

use super::{BODY, SLICES, Scene, append_all, entrants};
use crate::bodies::Bodies;
use crate::contenders::{Class, Setup, Sync};
use crate::disk::Probe;
use crate::measure::{Case, Metric};

const BATCH_AND_THREADS: [(usize, usize); 5] = [(1, 1), (1, 4), (1, 16), (1, 64), (100, 1)];

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    BATCH_AND_THREADS.into_iter().flat_map(|(batch, threads)| one(scene, batch, threads)).collect()
}

fn one(scene: &Scene, batch: usize, threads: usize) -> Vec<Case> {
    let who = scene.who("W2", |one| one.can_sync() && one.producers_max() >= threads);
    let bodies = Bodies::of(BODY);
    let batches = bodies.batches(batch);
    let name = format!("batch {batch}, threads {threads}");
    scene.bench.compare(("W2", &name), &[Metric::RATE, Metric::A_SYNC], &entrants(&who), |at, dir| {
        let setup = Setup {
            dir: dir.to_path_buf(),
            sync: Sync::Each,
            messages_max: 1024,
            body_bytes: BODY as u64,
            producers: threads as u64,
        };
        let opened = who[at].open(&setup);
        // The limit's one thread stands for all.
        let (threads, each) = if who[at].class() == Class::Limit { (1, threads) } else { (threads, 1) };
        let (mut probe, mut all) = (Probe::new(scene.bench.dir), (0, Duration::ZERO));
        for _ in 0..SLICES {
            probe.run();
            let (messages, run_max) = (scene.sizes.messages, scene.sizes.run_max / SLICES);
            let (appended, took) = append_all(opened.as_ref(), &batches, threads, messages, run_max, 1);
            all = (all.0 + appended * each as u64, all.1 + took);
        }
        let rate = all.0 as f64 / all.1.as_secs_f64();
        vec![rate, rate / probe.rate()]
    })
}
