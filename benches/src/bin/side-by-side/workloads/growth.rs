//! W7: does the time of an operation stay what it is, with more topics, more groups, a longer backlog, more leases in
//! flight? Only popstore; each case's first entrant is the smallest size, and the others are compared with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use popstore::{Delivery, Group, GroupOptions, Message, Pop, Receipt, Store};

use super::{BODY, LEASE, PRELOAD, Scene};
use crate::bodies::{Bodies, read};
use crate::clock::now;
use crate::contenders::{Class, Sync, TOPIC, durability};
use crate::disk;
use crate::figures::short;
use crate::measure::{Case, Entrant, Metric};

const TOPICS: [u64; 5] = [1, 10, 100, 1000, 10_000];
const GROUPS: [u64; 3] = [1, 10, 100];
const BACKLOGS: [u64; 5] = [10_000, 100_000, 1_000_000, 10_000_000, 50_000_000];
const LEASES: [u64; 5] = [1000, 10_000, 100_000, 1_000_000, 10_000_000];
const POP: u64 = 32;
/// Of the long series, so that they fit on the disk.
const SMALL_BODY: usize = 16;

const TIMES: [Metric; 2] = [Metric::cost("append", "ns/message"), Metric::cost("pop 32 and ack as one", "ns/message")];
const HELD: [Metric; 3] = [TIMES[0], TIMES[1], Metric::cost("memory", "bytes/lease")];

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    if !scene.contenders.iter().any(|one| one.class() == Class::Popstore) {
        return Vec::new();
    }
    let mut cases = series(scene, "topics", &TIMES, &TOPICS, 1, |count, dir| topics(scene, count, dir));
    cases.extend(series(scene, "groups", &TIMES, &GROUPS, 1, |count, dir| groups(scene, count, dir)));
    let divide_by = scene.sizes.divide_by;
    cases.extend(series(scene, "backlog", &TIMES, &BACKLOGS, divide_by, |count, dir| backlog(scene, count, dir)));
    cases.extend(series(scene, "leases", &HELD, &LEASES, divide_by, |count, dir| leases(scene, count, dir)));
    cases
}

fn series(
    scene: &Scene,
    of: &str,
    metrics: &[Metric],
    counts: &[u64],
    divide_by: u64,
    run: impl Fn(u64, &Path) -> Vec<f64>,
) -> Vec<Case> {
    let entrant = |count: &u64| Entrant { name: format!("{} {of}", short(*count as f64)), class: Class::Popstore };
    let entrants: Vec<Entrant> = counts.iter().map(entrant).collect();
    scene.bench.compare(("W7", of), metrics, &entrants, |at, dir| run((counts[at] / divide_by).max(1), dir))
}

fn open(dir: &Path) -> Store {
    Store::options().durability(durability(Sync::Buffered)).open(dir).expect("popstore opens")
}

fn group(store: &Store, number: u64) -> Group {
    store
        .create_group(&format!("group-{number}"), GroupOptions::default().without_limit())
        .expect("a group can be made")
}

fn topic(number: u64) -> String {
    format!("topic-{number}")
}

/// Pops, reads and acks; returns how many came.
fn cycle(group: &Group, topic: &str) -> u64 {
    let deliveries = group.pop(topic, Pop::up_to(POP as u32).invisible_for(LEASE)).expect("popped");
    let sum = deliveries.iter().fold(0_u64, |sum, delivery| sum.wrapping_add(read(delivery.body())));
    std::hint::black_box(sum);
    let receipts: Vec<Receipt> = deliveries.iter().map(Delivery::receipt).collect();
    if !receipts.is_empty() {
        assert!(group.ack_batch(&receipts).expect("acked").iter().all(|settled| settled.counted()));
    }
    receipts.len() as u64
}

/// Nanoseconds a message.
fn time(mut work: impl FnMut() -> u64) -> f64 {
    let begun = now();
    let messages = work();
    (now() - begun).as_secs_f64() * 1e9 / messages as f64
}

fn topics(scene: &Scene, count: u64, dir: &Path) -> Vec<f64> {
    let (store, names): (_, Vec<String>) = (open(dir), (0..count).map(topic).collect());
    let group = group(&store, 0);
    names.iter().for_each(|name| store.create_topic(name, 1).expect("a topic can be made"));
    let bodies = Bodies::of(BODY);
    let ring = bodies.batches(1);
    // A whole number of pops for each.
    let pops_each = (scene.sizes.messages / count).div_ceil(POP);
    let messages = pops_each * POP * count;
    let append = time(|| {
        for at in 0..messages as usize {
            let body = ring[at % ring.len()][0];
            store.append(&names[at % names.len()], Message::new(body)).expect("appended");
        }
        messages
    });
    disk::rest();
    let consume = time(|| {
        let consumed = (0..pops_each).flat_map(|_| &names).map(|name| cycle(&group, name)).sum();
        assert_eq!(consumed, messages, "lost or doubled");
        consumed
    });
    vec![append, consume]
}

fn groups(scene: &Scene, count: u64, dir: &Path) -> Vec<f64> {
    let store = open(dir);
    store.create_topic(TOPIC, 1).expect("a topic can be made");
    let groups: Vec<Group> = (0..count).map(|number| group(&store, number)).collect();
    let bodies = Bodies::of(BODY);
    let ring = bodies.batches(1);
    let messages = scene.sizes.messages;
    let append = time(|| {
        for at in 0..messages as usize {
            store.append(TOPIC, Message::new(ring[at % ring.len()][0])).expect("appended");
        }
        messages
    });
    disk::rest();
    // Each reads as much, in turns, and somewhere else than those before it.
    let pops = messages / POP / 10;
    for (behind, group) in groups.iter().enumerate() {
        for _ in 0..behind as u64 * pops / 50 {
            cycle(group, TOPIC);
        }
    }
    let consume = time(|| (0..pops).flat_map(|_| &groups).map(|group| cycle(group, TOPIC)).sum());
    vec![append, consume]
}

/// Appends small bodies, a thousand at a time.
fn fill(store: &Store, messages: u64) {
    let bodies = Bodies::of(SMALL_BODY);
    let ring = bodies.batches(PRELOAD);
    for (batch, _) in ring.iter().cycle().zip(0..messages.div_ceil(PRELOAD as u64)) {
        let batch: Vec<Message> = batch.iter().map(|body| Message::new(*body)).collect();
        store.append_batch(TOPIC, &batch).expect("appended");
    }
}

fn backlog(scene: &Scene, count: u64, dir: &Path) -> Vec<f64> {
    const STEPS: u64 = 60;
    let step = scene.sizes.scaled(10_000);
    let store = open(dir);
    let group = group(&store, 0);
    store.create_topic(TOPIC, 1).expect("a topic can be made");
    fill(&store, count);
    disk::rest();
    let body = [1; SMALL_BODY];
    let (mut append, mut consume) = (Duration::ZERO, Duration::ZERO);
    let mut consumed = 0;
    for _ in 0..STEPS {
        let begun = now();
        for _ in 0..step {
            store.append(TOPIC, Message::new(&body)).expect("appended");
        }
        let appended = now();
        for _ in 0..step / POP {
            consumed += cycle(&group, TOPIC);
        }
        append += appended - begun;
        consume += now() - appended;
    }
    let nanos = |took: Duration, messages: u64| took.as_secs_f64() * 1e9 / messages as f64;
    vec![nanos(append, STEPS * step), nanos(consume, consumed)]
}

/// In a process of its own that did not fill the store, so that the memory is that of these leases, and new: what the
/// entries of the queue took before they were in files would be used for them.
fn leases(scene: &Scene, count: u64, dir: &Path) -> Vec<f64> {
    let cycles = scene.sizes.scaled(200_000) / POP;
    let store = open(dir);
    store.create_topic(TOPIC, 1).expect("a topic can be made");
    fill(&store, count + (cycles + 1) * POP);
    store.close().expect("closed");
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg("hold").arg("--dir").arg(dir).args(["--leases", &count.to_string()]);
    command.args(["--cycles", &cycles.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().expect("this program starts");
    assert!(output.status.success(), "the child held its leases");
    let figures = String::from_utf8_lossy(&output.stdout);
    figures.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

/// What the child does with a store that has enough messages: pops this many leases, then times appends and cycles beside them.
/// Prints the nanoseconds a message of both, and the bytes of memory a lease.
pub(crate) fn hold(dir: &Path, count: u64, cycles: u64) {
    let store = open(dir);
    let group = group(&store, 0);
    // What a group holds once is not part of what a lease takes.
    assert_eq!(cycle(&group, TOPIC), POP);
    disk::rest();
    let before = disk::anonymous();
    let mut left = count;
    while left > 0 {
        left -= group.pop(TOPIC, Pop::up_to(left.min(POP) as u32).invisible_for(LEASE)).expect("popped").len() as u64;
    }
    let memory = disk::anonymous().saturating_sub(before);
    let body = [1; SMALL_BODY];
    let append = time(|| {
        for _ in 0..cycles * POP {
            store.append(TOPIC, Message::new(&body)).expect("appended");
        }
        cycles * POP
    });
    let consume = time(|| (0..cycles).map(|_| cycle(&group, TOPIC)).sum());
    println!("{append} {consume} {}", memory as f64 / count as f64);
}
