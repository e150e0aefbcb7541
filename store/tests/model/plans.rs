//! What `RecoveryPlan` says that opening would do, against what opening does, for every image that a history leaves.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use popstore::inspect::{PlannedStep, RecoveryPlan, Snapshot};
use popstore::stats::GroupStats;
use popstore::{Event, Hook, Options, Store};

/// What an open did to the files of the logs and queues.
#[derive(Default)]
struct Done(Mutex<Vec<(&'static str, PathBuf, u64, u64)>>);

impl Hook for Done {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let done = match *event {
            Event::Remove(path) => ("remove", path, 0, 0),
            Event::Rename { from, to } if name_of(to).starts_with("spare-cut-") => ("recycle", from, 0, 0),
            Event::Write { path, at, len } | Event::Room { path, at, len } => ("write", path, at, len as u64),
            _ => return Ok(()),
        };
        self.0.lock().unwrap().push((done.0, done.1.to_path_buf(), done.2, done.3));
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

/// Opens a store as it was planned.
///
/// # Errors
/// It was not.
pub fn open_as_planned(dir: &Path, options: &Options) -> Result<Store, String> {
    let plan = RecoveryPlan::read_for(dir, options).map_err(|error| format!("no plan: {error}"))?;
    let ends = Snapshot::open(dir).map_err(|error| format!("no snapshot: {error}"));
    let ends = ends.map(|found| [("checkpoint", found.checkpoint_extent().1), ("commit", found.commit_extent().1)]);
    let done = Arc::new(Done::default());
    let opened = options.clone().hook(done.clone()).open(dir);
    let store = match (opened, &plan.refused) {
        (Ok(store), None) => store,
        (Err(error), _) => return Err(format!("cannot open: {error}")),
        (Ok(_), Some(error)) => return Err(format!("opened, yet the plan says: {error}")),
    };
    let done = std::mem::take(&mut *done.0.lock().unwrap());
    if !plan.steps.iter().any(|step| step.action == "create" && step.path.as_deref() == Some(dir)) {
        compare(&plan, ends?, &store, &done)?;
    }
    Ok(store)
}

fn compare(
    plan: &RecoveryPlan,
    ends: [(&str, u64); 2],
    store: &Store,
    done: &[(&str, PathBuf, u64, u64)],
) -> Result<(), String> {
    let wrong = |what: &str, planned: &dyn std::fmt::Debug, happened: &dyn std::fmt::Debug| {
        Err(format!("{what}: planned {planned:?}, happened {happened:?}, in {:#?}", plan.steps))
    };
    let recovery = store.recovery();
    if (plan.generation, plan.clean) != (recovery.generation, recovery.clean) {
        return wrong("generation, clean", &(plan.generation, plan.clean), recovery);
    }
    let count =
        |action: &str| plan.steps.iter().filter(|step| step.action == action).map(|step| step.count).sum::<u64>();
    let steps = |action: &str| plan.steps.iter().filter(|step| step.action == action).count() as u64;
    let counts = [
        ("cut", count("cut"), recovery.tail_bytes_cut),
        ("void", count("void"), recovery.records_voided),
        ("rebuild", steps("rebuild"), recovery.queues_rebuilt),
        ("complete", count("complete"), recovery.dead_letters_completed),
        ("shorten", steps("shorten"), u64::from(recovery.clock_set_back)),
    ];
    for (what, planned, happened) in counts {
        if planned != happened {
            return wrong(what, &planned, &happened);
        }
    }
    for action in ["remove", "recycle"] {
        let planned: BTreeSet<_> =
            plan.steps.iter().filter(|step| step.action == action).map(|step| &step.path).collect();
        let happened: Vec<_> = done.iter().filter(|done| done.0 == action).map(|done| Some(done.1.clone())).collect();
        if planned != happened.iter().collect() {
            return wrong(action, &planned, &happened);
        }
    }
    for (log, end) in ends {
        let dir = store.dir().join(log);
        let of_log = |step: &&PlannedStep| step.action == "rewrite" && step.path.as_ref() == Some(&dir);
        let planned = plan.steps.iter().find(of_log).map_or(end..end, |step| step.offset..step.offset + step.count);
        let into = done.iter().filter(|done| done.0 == "write" && done.1.parent() == Some(&dir));
        // In its place, or in a new file with what was proven before it.
        let written = into.filter_map(|(_, path, at, len)| {
            let (name, is_new) = name_of(path).strip_suffix(".tmp").map_or((name_of(path), false), |name| (name, true));
            let from = name.parse::<u64>().ok()? + at;
            if is_new {
                let overlap = planned.start.max(from)..planned.end.min(from + len);
                return Some(overlap.end.saturating_sub(overlap.start));
            }
            (from < planned.end).then_some(*len)
        });
        let (again, planned) = (written.sum::<u64>(), planned.end - planned.start);
        // A lazy store writes its messages again later.
        if again != planned && (again != 0 || log != "commit") {
            return wrong("rewrite", &planned, &again);
        }
    }
    let before = stats(store);
    store.run_pending();
    let after = stats(store);
    let ended = |stats: &GroupStats| stats.in_flight + stats.ending;
    let happened = [
        after.dead_lettered - before.dead_lettered,
        after.discarded - before.discarded,
        ended(&before) - ended(&after),
    ];
    let (dead, dropped) = (count("dead_letter"), count("discard"));
    let planned = [dead, dropped, count("redeliver") + dead + dropped];
    if planned != happened { wrong("dead_letter, discard, all", &planned, &happened) } else { Ok(()) }
}

/// Of all groups together.
fn stats(store: &Store) -> GroupStats {
    let mut sum = GroupStats::default();
    for group in store.stats().unwrap().groups {
        sum.in_flight += group.in_flight;
        sum.ending += group.ending;
        sum.dead_lettered += group.dead_lettered;
        sum.discarded += group.discarded;
    }
    sum
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
