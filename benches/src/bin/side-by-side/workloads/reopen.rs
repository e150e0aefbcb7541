//! W5: opening after kill -9. A child process fills a store, half of it acked, some of the rest leased, and is killed; what
//! it leaves is copied for each round, so that every open finds the same. The copies are synced and in the page cache.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{BODY, LEASE, PRELOAD, Scene, entrants, leases, preload, usual};
use crate::bodies::Bodies;
use crate::clock::now;
use crate::contenders::{Class, Contender, DEFAULTS};
use crate::measure::{Case, Metric};

const MESSAGES: [u64; 2] = [1_000_000, 20_000_000];
const LEASES: [u64; 3] = [0, 100_000, 1_000_000];
const METRIC: Metric = Metric::cost("open", "ms");
const READY: &str = "READY";

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for messages in MESSAGES {
        // Half of them are acked, so that no more than the other half can be leased.
        for leased in LEASES.into_iter().filter(|leased| *leased <= messages / 2) {
            let others = messages == MESSAGES[0] && leased == 0;
            let of_popstore = |one: &dyn Contender| one.name() == DEFAULTS.name();
            let other = |one: &dyn Contender| leases(one) && one.in_process() && one.class() == Class::LeaseStore;
            let who = scene.who(|one| of_popstore(one) || (others && other(one)));
            cases.extend(one(scene, &who, messages, leased));
        }
    }
    let a_million_leased = one(scene, &scene.who(|one| one.name() == DEFAULTS.name()), 4 * LEASES[2], LEASES[2]);
    cases.extend(a_million_leased);
    cases
}

fn one(scene: &Scene, who: &[&dyn Contender], messages: u64, leased: u64) -> Vec<Case> {
    let name = format!("{messages} messages, {leased} leases");
    if !scene.bench.wants("W5", &name) {
        return Vec::new();
    }
    let left = tempfile::Builder::new().prefix("side-by-side.").tempdir_in(scene.bench.dir).expect("a directory");
    let (messages, leased) = (scene.sizes.preloaded(messages), scene.sizes.scaled(leased + 1) - 1);
    for contender in who {
        scene.bench.bar.set_message(format!("W5 {name}: filling {}", contender.name()));
        let dir = left.path().join(contender.name());
        std::fs::create_dir(&dir).expect("a directory can be made");
        fill_and_kill(contender.name(), &dir, messages, leased);
    }
    scene.bench.compare(("W5", &name), &[METRIC], &entrants(who), |at, dir| {
        let mut copy = Command::new("cp");
        copy.args(["-r", "--reflink=auto", "-T"]).arg(left.path().join(who[at].name())).arg(dir);
        assert!(copy.status().is_ok_and(|status| status.success()), "copied");
        crate::measure::settle();
        let begun = now();
        let opened = who[at].open(&usual(dir, messages));
        let took = now() - begun;
        assert_eq!(opened.consumer().pop(1, LEASE).messages, 1, "the other half is still there");
        vec![took.as_secs_f64() * 1e3]
    })
}

fn fill_and_kill(contender: &str, dir: &Path, messages: u64, leased: u64) {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg("fill").arg("--name").arg(contender).arg("--dir").arg(dir);
    command.args(["--messages", &messages.to_string(), "--leases", &leased.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("this program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("read");
    child.kill().expect("killed");
    child.wait().expect("waited for");
    assert_eq!(line.trim_end(), READY, "the child has filled the store");
}

/// What the child does: fills the store, tells so, and waits to be killed.
pub(crate) fn fill(contender: &dyn Contender, dir: &Path, messages: u64, leased: u64) -> ! {
    let opened = contender.open(&usual(dir, messages));
    let bodies = Bodies::of(BODY);
    preload(opened.as_ref(), &bodies.batches(PRELOAD), messages);
    let mut consumer = opened.consumer();
    let mut take = |mut left: u64, ack: bool| {
        while left > 0 {
            let popped = consumer.pop(left.min(PRELOAD as u64) as usize, LEASE).messages;
            assert!(popped > 0, "there are messages left");
            if ack {
                consumer.ack_as_one();
            }
            left -= popped;
        }
    };
    take(messages / 2, true);
    take(leased, false);
    opened.settle();
    println!("{READY}");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
