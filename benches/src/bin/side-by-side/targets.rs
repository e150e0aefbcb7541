//! What is wanted, as data, and whether it was seen. A target whose case was not measured, or
//! nobody to compare with, is not judged.

use serde::Serialize;

use crate::contenders::Class;
use crate::figures::short;
use crate::measure::{Case, Shown};

/// What is wanted of popstore in one metric of one case.
struct Target {
    workload: &'static str,
    case: &'static str,
    metric: &'static str,
    wanted: Wanted,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// So much of the limit.
    OfLimit(f64),
    /// So many times the best of a kind.
    TimesBest(Class, f64),
    /// So many times the best of all contenders.
    TimesAnyone(f64),
    /// At least this much, or this many times the best lease store, whichever is more.
    AtLeastOrTimesLeaseStores(f64, f64),
    /// So many times this one.
    TimesOne(&'static str, f64),
    /// No size costs more than this many times the smallest.
    FlatWithin(f64),
    /// In no round more.
    Never(f64),
}

use Class::{AppendOnly, LeaseStore};
use Wanted::{
    AtLeast, AtLeastOrTimesLeaseStores, AtMost, FlatWithin, Never, OfLimit, TimesAnyone, TimesBest, TimesOne,
};

const fn target(workload: &'static str, case: &'static str, metric: &'static str, wanted: Wanted) -> Target {
    Target { workload, case, metric, wanted }
}

const W1_ONE: &str = "256 B, batch 1, threads 1";
const W1_HUNDRED: &str = "256 B, batch 100, threads 1";
const SMALL_W4: &str = "100000 leases";
const LARGE_W4: &str = "10000000 leases";
const CYCLE: &str = "pop 32 and ack as one";
/// The disk syncs at many speeds; what is durable is judged by the probe around each run.
const SYNC: &str = "rate / bare syncs";
/// Of the syncs that a cycle can do at most: one for the pop and one for each ack, or one for all.
const ACK_EACH: f64 = 0.8 * 32.0 / 33.0;
const ACK_AS_ONE: f64 = 0.8 * 32.0 / 2.0;
const CYCLE_LOG: &str = "checkpoint log growth by the lease cycle";

const TARGETS: [Target; 47] = [
    target("W1", W1_ONE, "rate", OfLimit(0.7)),
    target("W1", W1_ONE, "rate", TimesBest(AppendOnly, 2.5)),
    target("W1", W1_ONE, "rate", TimesBest(LeaseStore, 12.0)),
    target("W1", W1_HUNDRED, "rate", OfLimit(0.7)),
    target("W1", W1_HUNDRED, "rate", TimesBest(AppendOnly, 1.4)),
    target("W1", W1_HUNDRED, "rate", TimesBest(LeaseStore, 6.0)),
    target("W2", "batch 1, threads 1", SYNC, AtLeast(0.9)),
    target("W2", "batch 1, threads 1", SYNC, TimesAnyone(1.0)),
    target("W2", "batch 1, threads 16", SYNC, TimesAnyone(1.25)),
    target("W2", "batch 1, threads 64", SYNC, TimesAnyone(1.25)),
    target("W2", "batch 100, threads 1", SYNC, TimesAnyone(1.0)),
    target("W2", "batch 100, threads 1", SYNC, TimesOne("SQLite", 2.0)),
    target("W3", "buffered, ack each, consumers 1", "rate", AtLeastOrTimesLeaseStores(4e6, 20.0)),
    target("W3", "buffered, ack as one, consumers 1", "rate", AtLeastOrTimesLeaseStores(8e6, 20.0)),
    target("W3", "durable, ack each, consumers 1", SYNC, AtLeast(ACK_EACH)),
    target("W3", "durable, ack each, consumers 1", SYNC, TimesBest(LeaseStore, 5.0)),
    target("W3", "durable, ack as one, consumers 1", SYNC, AtLeast(ACK_AS_ONE)),
    target("W3", "durable, ack as one, consumers 1", SYNC, TimesBest(LeaseStore, 5.0)),
    target("W4", SMALL_W4, "last poppable", AtMost(5.0)),
    target("W4", LARGE_W4, "last poppable", AtMost(1000.0)),
    target("W4", SMALL_W4, "popped again", AtLeast(4e6)),
    target("W4", LARGE_W4, "popped again", AtLeast(4e6)),
    target("W4", SMALL_W4, "log growth", AtMost(1.0)),
    target("W4", LARGE_W4, "log growth", AtMost(1.0)),
    target("W5", "1000000 messages, 0 leases", "open", AtMost(10.0)),
    target("W5", "1000000 messages, 0 leases, killed while appending", "open", AtMost(10.0)),
    target("W5", "20000000 messages, 0 leases", "open", AtMost(30.0)),
    target("W5", "20000000 messages, 1000000 leases", "open", AtMost(130.0)),
    target("W6", "append", "used beyond the body", AtMost(60.0)),
    target("W6", "pop 32, ack as one", "used beyond the body after it", AtMost(60.0)),
    target("W6", "pop 32, ack as one", CYCLE_LOG, AtMost(12.0)),
    target("W6", "pop 32, ack each", CYCLE_LOG, AtMost(42.0)),
    target("W6", "pop 32, ack as one", "written by the lease cycle", AtMost(12.0)),
    target("W6", "pop 32, ack each", "written by the lease cycle", AtMost(42.0)),
    target("W7", "topics", "append", FlatWithin(1.5)),
    target("W7", "topics", CYCLE, FlatWithin(1.5)),
    target("W7", "groups", "append", FlatWithin(1.5)),
    target("W7", "groups", CYCLE, FlatWithin(1.5)),
    target("W7", "backlog", "append", FlatWithin(1.5)),
    target("W7", "backlog", CYCLE, FlatWithin(1.5)),
    target("W7", "leases", "append", FlatWithin(1.5)),
    target("W7", "leases", CYCLE, FlatWithin(1.5)),
    target("W7", "leases", "memory", AtMost(4.0)),
    target("L", "append, alone", "p99.9", AtMost(5.0)),
    target("L", "append, flusher", "p99.9", AtMost(20.0)),
    target("L", "append, alone", "slowest", Never(5000.0)),
    target("L", "append, flusher", "slowest", Never(5000.0)),
];

/// A target that was judged.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judged {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) seen: String,
    pub(crate) met: bool,
}

/// Judges what can be judged: others are compared with only when the crates took part, which is all that need no server.
pub(crate) fn judge(cases: &[Case], all_took_part: bool) -> Vec<Judged> {
    let compares = |wanted| matches!(wanted, TimesBest(..) | TimesAnyone(_) | AtLeastOrTimesLeaseStores(..));
    let judged = TARGETS.iter().filter(|target| all_took_part || !compares(target.wanted));
    judged.filter_map(|target| target.judge(cases)).collect()
}

impl Target {
    fn judge(&self, cases: &[Case]) -> Option<Judged> {
        let is_it = |case: &&Case| {
            (case.workload, case.name.as_str(), case.metric.name) == (self.workload, self.case, self.metric)
        };
        let case = cases.iter().find(is_it)?;
        let (wanted, seen, met) = self.wanted.against(case)?;
        let what = format!("{} {}: {}, {}", self.workload, self.case, self.metric, case.metric.unit);
        Some(Judged { what, wanted, seen, met })
    }
}

/// The one that popstore is the least ahead of.
fn best(case: &Case, of: impl Fn(&Shown) -> bool) -> Option<&Shown> {
    let others = case.shown.iter().filter(|shown| of(shown));
    others.min_by(|a, b| a.first_is_ahead.total_cmp(&b.first_is_ahead))
}

fn against(other: Option<&Shown>, times: f64) -> Option<(String, String, bool)> {
    let other = other?;
    let seen = other.first_is_ahead;
    Some((format!("at least {times}x {}", other.name), format!("{seen:.2}x"), seen >= times))
}

impl Wanted {
    /// What is wanted, what was seen, and whether that is enough.
    fn against(self, case: &Case) -> Option<(String, String, bool)> {
        let first = case.shown.first().filter(|first| first.class == Class::Popstore && first.name == case.first)?;
        let median = first.median;
        match self {
            AtLeast(least) => Some((format!("at least {}", short(least)), short(median), median >= least)),
            // Where sizes are compared, the largest counts.
            AtMost(most) => {
                let last = case.shown.iter().rfind(|_| case.workload == "W7").map_or(median, |last| last.median);
                Some((format!("at most {}", short(most)), short(last), last <= most))
            }
            Never(most) => Some((format!("never more than {}", short(most)), short(first.max), first.max <= most)),
            OfLimit(part) => against(best(case, |shown| shown.class == Class::Limit), part),
            TimesBest(class, times) => against(best(case, |shown| shown.class == class), times),
            TimesAnyone(times) => against(best(case, |shown| matches!(shown.class, AppendOnly | LeaseStore)), times),
            TimesOne(name, times) => against(case.of(name), times),
            AtLeastOrTimesLeaseStores(least, times) => {
                let other = best(case, |shown| shown.class == LeaseStore)?;
                let ahead = other.first_is_ahead;
                let wanted = format!("at least {} and {times}x {}", short(least), other.name);
                let seen = format!("{}, {ahead:.2}x", short(median));
                Some((wanted, seen, median >= least && ahead >= times))
            }
            FlatWithin(times) => {
                // The first is the smallest size; it is ahead by what the others cost more.
                let worst = case.shown.iter().map(|shown| shown.first_is_ahead).fold(1.0, f64::max);
                let all = case.failed.is_empty();
                Some((format!("at most {times}x the smallest"), format!("{worst:.2}x"), worst <= times && all))
            }
        }
    }
}
