//! W5: opening after kill -9. A child process fills a store, half of it acked, some of the rest leased, and is killed, at rest
//! or while it appends as fast as it can; what it leaves is copied for each round, so that every open finds the
//! same. The copies are synced and in the page cache. What popstore's recovery had to read is printed beside the time.

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
const METRICS: [Metric; 2] = [Metric::cost("open", "ms"), Metric::cost("records read", "records")];
/// How long a child appends before it is killed, or comes to rest.
const APPENDS_ON_FOR: Duration = Duration::from_millis(500);
const RESTS_FOR: Duration = Duration::from_secs(1);
const READY: &str = "READY";

pub(crate) fn run(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for messages in MESSAGES {
        // Half of them are acked, so that no more than the other half can be leased.
        for leased in LEASES.into_iter().filter(|leased| *leased <= messages / 2) {
            let others = messages == MESSAGES[0] && leased == 0;
            let of_popstore = |one: &dyn Contender| one.name() == DEFAULTS.name();
            let other = |one: &dyn Contender| leases(one) && one.in_process() && one.class() == Class::LeaseStore;
            let who = scene.who("W5", |one| of_popstore(one) || (others && other(one)));
            cases.extend(one(scene, &who, messages, leased, false));
        }
    }
    let popstore = scene.who("W5", |one| one.name() == DEFAULTS.name());
    cases.extend(one(scene, &popstore, 4 * LEASES[2], LEASES[2], false));
    cases.extend(one(scene, &popstore, MESSAGES[0], 0, true));
    cases
}

fn one(scene: &Scene, who: &[&dyn Contender], messages: u64, leased: u64, appends_on: bool) -> Vec<Case> {
    let name =
        format!("{messages} messages, {leased} leases{}", if appends_on { ", killed while appending" } else { "" });
    if who.is_empty() || !scene.bench.wants("W5", &name) {
        return Vec::new();
    }
    let left = tempfile::Builder::new().prefix("side-by-side.").tempdir_in(scene.bench.dir).expect("a directory");
    let (messages, leased) = (scene.sizes.preloaded(messages), scene.sizes.scaled(leased + 1) - 1);
    for contender in who {
        scene.bench.bar.set_message(format!("W5 {name}: filling {}", contender.name()));
        let dir = left.path().join(contender.name());
        std::fs::create_dir(&dir).expect("a directory can be made");
        fill_and_kill(contender.name(), &dir, (messages, leased), appends_on);
    }
    scene.bench.compare(("W5", &name), &METRICS, &entrants(who), |at, dir| {
        let mut copy = Command::new("cp");
        copy.args(["-r", "--reflink=auto", "-T"]).arg(left.path().join(who[at].name())).arg(dir);
        assert!(copy.status().is_ok_and(|status| status.success()), "copied");
        crate::measure::settle();
        let begun = now();
        let opened = who[at].open(&usual(dir, messages));
        let took = now() - begun;
        assert_eq!(opened.consumer().pop(1, LEASE).messages, 1, "the other half is still there");
        vec![took.as_secs_f64() * 1e3, opened.records_read().map_or(f64::NAN, |records| records as f64)]
    })
}

fn fill_and_kill(contender: &str, dir: &Path, (messages, leased): (u64, u64), appends_on: bool) {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.arg("fill").arg("--name").arg(contender).arg("--dir").arg(dir);
    command.args(["--messages", &messages.to_string(), "--leases", &leased.to_string()]);
    if appends_on {
        command.arg("--appends-on");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().expect("this program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("read");
    std::thread::sleep(if appends_on { APPENDS_ON_FOR } else { RESTS_FOR });
    child.kill().expect("killed");
    child.wait().expect("waited for");
    assert_eq!(line.trim_end(), READY, "the child has filled the store");
}

/// What the child does: fills the store, prints READY, and waits to be killed, or continues to append until then.
pub(crate) fn fill(contender: &dyn Contender, dir: &Path, messages: u64, leased: u64, appends_on: bool) -> ! {
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
    let batches = bodies.batches(1);
    let mut producer = opened.producer(&batches);
    for at in 0.. {
        match appends_on {
            true => producer.append(at),
            false => std::thread::sleep(Duration::from_secs(3600)),
        }
    }
    unreachable!("it is killed")
}
