//! W3: pop 32, read every body, ack each or all as one, until everything that was preloaded is done. What came must be
//! what was put in, byte for byte.

use std::time::Duration;

use super::{Ack, BODY, PRELOAD, SLICES, SLOWER, Scene, consume, entrants, leases, preload};
use crate::bodies::Bodies;
use crate::contenders::{Class, Consumer, Popped, Setup, Sync};
use crate::disk::{self, Probe};
use crate::measure::{Case, Metric, together};

const POP: usize = 32;
const CONSUMERS: [usize; 2] = [1, 4];

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for sync in [Sync::Buffered, Sync::Each] {
        for ack in [Ack::Each, Ack::AsOne] {
            for consumers in CONSUMERS {
                cases.extend(one(scene, sync, ack, consumers));
            }
        }
    }
    cases
}

fn one(scene: &Scene, sync: Sync, ack: Ack, consumers: usize) -> Vec<Case> {
    let who = scene.who("W3", |one| leases(one) && (sync == Sync::Buffered || one.can_sync()));
    let bodies = Bodies::of(BODY);
    let batches = bodies.batches(PRELOAD);
    let durable = if sync == Sync::Each { "durable" } else { "buffered" };
    let acked = if ack == Ack::Each { "ack each" } else { "ack as one" };
    let name = format!("{durable}, {acked}, consumers {consumers}");
    let metrics: &[Metric] = if sync == Sync::Each { &[Metric::RATE, Metric::A_SYNC] } else { &[Metric::RATE] };
    scene.bench.compare(("W3", &name), metrics, &entrants(&who), |at, dir| {
        let fewer = who[at].class() == Class::LeaseStore || sync == Sync::Each;
        let messages = scene.sizes.messages / if fewer { SLOWER } else { 1 };
        let messages = messages.next_multiple_of(PRELOAD as u64);
        let (dir, body_bytes) = (dir.to_path_buf(), BODY as u64);
        let opened = who[at].open(&Setup { dir, sync, messages_max: messages, body_bytes, producers: 1 });
        let expected = preload(opened.as_ref(), &batches, messages);
        // What preloading left to do is not part of the cycle.
        disk::rest();
        let mut probe = (sync == Sync::Each).then(|| Probe::new(scene.bench.dir));
        let slices = if probe.is_some() { SLICES } else { 1 };
        let (mut all, run_max) = ((Popped::default(), Duration::ZERO), scene.sizes.run_max / slices);
        for _ in 0..slices {
            // What comes when all is done is no part of it, and neither are the syncs of that time.
            if all.0 == expected {
                break;
            }
            probe.iter_mut().for_each(Probe::run);
            let work = |consumer: &mut Box<dyn Consumer + '_>, _| consume(consumer.as_mut(), POP, ack, run_max);
            let (came, took) = together(consumers, |_| opened.consumer(), work);
            all = (came.into_iter().fold(all.0, Popped::join), all.1 + took);
        }
        let (came, took) = all;
        assert!(came == expected || (took >= run_max * slices && came.messages < expected.messages), "lost or doubled");
        let rate = came.messages as f64 / took.as_secs_f64();
        [rate].into_iter().chain(probe.map(|probe| rate / probe.rate())).collect()
    })
}
