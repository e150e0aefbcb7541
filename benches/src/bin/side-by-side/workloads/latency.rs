//! L: how long one buffered append takes at full speed, alone, and with the flusher syncing every ten milliseconds; for as
//! long as a run may last, so that the disk writes back meanwhile.

use std::path::Path;

use hdrhistogram::Histogram;

use super::{BODY, Scene, entrants, usual};
use crate::bodies::Bodies;
use crate::clock::now;
use crate::contenders::{Class, Contender, Setup, Sync};
use crate::measure::{Case, Metric};

const METRICS: [Metric; 4] =
    [Metric::cost("p50", "us"), Metric::cost("p99", "us"), Metric::cost("p99.9", "us"), Metric::cost("slowest", "us")];

/// More messages than a run has time for, but for the limit.
const LONGER: u64 = 8;

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let all = scene.who("L", |one| one.can_buffer());
    let popstore = scene.who("L", |one| one.class() == Class::Popstore);
    let alone = |at: usize, dir: &Path| quantiles(scene, all[at], Sync::Buffered, dir);
    let flushed = |at: usize, dir: &Path| quantiles(scene, popstore[at], Sync::Every10Ms, dir);
    let mut cases = scene.bench.compare(("L", "append, alone"), &METRICS, &entrants(&all), alone);
    cases.extend(scene.bench.compare(("L", "append, flusher"), &METRICS, &entrants(&popstore), flushed));
    cases
}

fn quantiles(scene: &Scene, contender: &dyn Contender, sync: Sync, dir: &Path) -> Vec<f64> {
    let messages = scene.sizes.messages * LONGER;
    let opened = contender.open(&Setup { sync, ..usual(dir, messages) });
    let bodies = Bodies::of(BODY);
    let batches = bodies.batches(1);
    let mut producer = opened.producer(&batches);
    let mut nanos = Histogram::<u64>::new(3).expect("three digits are possible");
    let begun = now();
    let mut before = begun;
    for at in 0..messages as usize {
        producer.append(at);
        let after = now();
        nanos.record((after - before).as_nanos() as u64).expect("the histogram grows");
        if after - begun > scene.sizes.run_max {
            break;
        }
        // What the histogram took is not part of the next append.
        before = now();
    }
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let at = |quantile| micros(nanos.value_at_quantile(quantile));
    vec![at(0.5), at(0.99), at(0.999), micros(nanos.max())]
}
