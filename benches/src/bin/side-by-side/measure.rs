//! Interleaved measuring: each round runs all contenders once, beginning with another one each time, each in a fresh
//! directory; and what comes out: median, least, most, and the median over the rounds of popstore's ratio to each.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::now;
use crate::contenders::Class;

/// For the disk to come to rest after a sync.
const SETTLE_FOR: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
}

impl Metric {
    pub(crate) const RATE: Self = Self { name: "rate", unit: "messages/s", more_is_better: true };

    /// The rate of something durable, divided by that of bare syncs between its slices.
    pub(crate) const A_SYNC: Self = Self { name: "rate / bare syncs", unit: "messages", more_is_better: true };

    /// Something of which less is better.
    pub(crate) const fn cost(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, more_is_better: false }
    }
}

/// Who is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) class: Class,
}

/// One metric of one case: what all entrants showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) name: String,
    pub(crate) metric: Metric,
    /// The one that the others are compared with.
    pub(crate) first: String,
    pub(crate) shown: Vec<Shown>,
    /// Who failed, and in how many of the rounds.
    pub(crate) failed: Vec<(String, usize)>,
}

/// What one entrant showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) class: Class,
    #[serde(deserialize_with = "or_none")]
    pub(crate) median: f64,
    #[serde(deserialize_with = "or_none")]
    pub(crate) min: f64,
    #[serde(deserialize_with = "or_none")]
    pub(crate) max: f64,
    /// By how much the first is ahead: the median over the rounds. Above 1 it is better, whichever way that is. No number
    /// when this one shows nothing at all.
    #[serde(deserialize_with = "or_none")]
    pub(crate) first_is_ahead: f64,
    #[serde(deserialize_with = "or_nones")]
    pub(crate) rounds: Vec<f64>,
}

/// A number that is none is written as nothing.
fn or_none<'de, D: Deserializer<'de>>(number: D) -> Result<f64, D::Error> {
    Option::deserialize(number).map(|number| number.unwrap_or(f64::NAN))
}

fn or_nones<'de, D: Deserializer<'de>>(numbers: D) -> Result<Vec<f64>, D::Error> {
    let numbers = Vec::<Option<f64>>::deserialize(numbers)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)).collect())
}

impl Case {
    pub(crate) fn of(&self, name: &str) -> Option<&Shown> {
        self.shown.iter().find(|shown| shown.name == name)
    }
}

/// How to measure, and where.
pub(crate) struct Bench<'a> {
    pub(crate) rounds: usize,
    pub(crate) dir: &'a Path,
    pub(crate) bar: &'a ProgressBar,
    /// Only cases with this in their workload and name.
    pub(crate) only: &'a str,
}

impl Bench<'_> {
    /// Whether a case was asked for: its name has the given text, and no digit follows that.
    pub(crate) fn wants(&self, workload: &str, name: &str) -> bool {
        let name = format!("{workload} {name}");
        let digit = |byte: char| byte.is_ascii_digit();
        let ends = |at: usize| !(self.only.ends_with(digit) && name[at + self.only.len()..].starts_with(digit));
        name.match_indices(self.only).any(|(at, _)| ends(at))
    }

    /// Runs every entrant once a round. `run` gets the entrant's number and an empty directory, and returns one value for
    /// each metric; one that panics has failed and is left out, as is a value that is no number.
    pub(crate) fn compare(
        &self,
        (workload, name): (&'static str, &str),
        metrics: &[Metric],
        entrants: &[Entrant],
        run: impl Fn(usize, &Path) -> Vec<f64>,
    ) -> Vec<Case> {
        if !self.wants(workload, name) {
            return Vec::new();
        }
        let mut seen = vec![vec![Vec::new(); entrants.len()]; metrics.len()];
        let mut failures = vec![0; entrants.len()];
        for round in 0..self.rounds {
            for turn in 0..entrants.len() {
                let at = (turn + round) % entrants.len();
                let state = format!("{workload} {name}: round {}/{}, {}", round + 1, self.rounds, entrants[at].name);
                self.bar.set_message(state);
                self.bar.tick();
                let values = self.run_fresh(|dir| run(at, dir));
                failures[at] += usize::from(values.is_none());
                for (metric, values_of) in seen.iter_mut().enumerate() {
                    let value = values.as_ref().and_then(|values| values.get(metric));
                    values_of[at].push(value.copied().unwrap_or(f64::NAN));
                }
            }
        }
        let failed = entrants.iter().zip(failures).filter(|(_, failures)| *failures > 0);
        let failed: Vec<(String, usize)> = failed.map(|(one, failures)| (one.name.clone(), failures)).collect();
        let case = |(metric, rounds): (&Metric, Vec<Vec<f64>>)| Case {
            workload,
            name: name.to_string(),
            metric: *metric,
            first: entrants.first().map_or_else(String::new, |first| first.name.clone()),
            shown: show(*metric, entrants, rounds),
            failed: failed.clone(),
        };
        metrics.iter().zip(seen).map(case).collect()
    }

    fn run_fresh<T>(&self, run: impl FnOnce(&Path) -> T) -> Option<T> {
        let scratch = tempfile::Builder::new().prefix("side-by-side.").tempdir_in(self.dir).expect("a directory");
        let done = catch_unwind(AssertUnwindSafe(|| run(scratch.path())));
        // A file that a contender's thread still makes does not end the measuring.
        if let Err(error) = scratch.close() {
            eprintln!("side-by-side: {error}");
        }
        settle();
        done.ok()
    }
}

/// Lets the disk finish what one run left to it before the next begins.
pub(crate) fn settle() {
    rustix::fs::sync();
    thread::sleep(SETTLE_FOR);
}

fn show(metric: Metric, entrants: &[Entrant], rounds: Vec<Vec<f64>>) -> Vec<Shown> {
    let first = rounds.first().cloned().unwrap_or_default();
    let shown = entrants.iter().zip(rounds).map(|(entrant, rounds)| {
        let ahead = |(first, other): (&f64, &f64)| if metric.more_is_better { first / other } else { other / first };
        let ratios = first.iter().zip(&rounds).map(ahead);
        let ratios: Vec<f64> = ratios.map(|ratio| if ratio.is_finite() { ratio } else { f64::NAN }).collect();
        let numbers = rounds.iter().copied().filter(|value| !value.is_nan());
        Shown {
            name: entrant.name.clone(),
            class: entrant.class,
            median: median(&rounds),
            min: numbers.clone().fold(f64::NAN, f64::min),
            max: numbers.fold(f64::NAN, f64::max),
            first_is_ahead: median(&ratios),
            rounds,
        }
    });
    shown.filter(|shown| !shown.median.is_nan()).collect()
}

/// The middle of those that are numbers; the mean of the two middle ones of an even count.
fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count => (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0,
    }
}

/// Threads that begin at the same moment. What each prepares, and dropping that, is not timed. Returns what they did, and
/// the time from the first one's begin to the last one's end.
pub(crate) fn together<P, T: Send>(
    threads: usize,
    prepare: impl Fn(usize) -> P + Sync,
    work: impl Fn(&mut P, Instant) -> T + Sync,
) -> (Vec<T>, Duration) {
    let barrier = Barrier::new(threads);
    let one = |thread| {
        let prepared = catch_unwind(AssertUnwindSafe(|| prepare(thread)));
        // Also when it failed: the others wait here.
        barrier.wait();
        let mut prepared = prepared.unwrap_or_else(|panic| resume_unwind(panic));
        let begun = now();
        let done = work(&mut prepared, begun);
        (done, begun, now())
    };
    let done: Vec<(T, Instant, Instant)> = thread::scope(|scope| {
        let one = &one;
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        handles.into_iter().map(|handle| handle.join().expect("a thread that works")).collect()
    });
    let begun = done.iter().map(|(_, begun, _)| *begun).min().expect("there is a thread");
    let ended = done.iter().map(|(_, _, ended)| *ended).max().expect("there is a thread");
    (done.into_iter().map(|(done, ..)| done).collect(), ended - begun)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_failed_round_does_not_count() {
        assert_eq!(median(&[3.0, f64::NAN, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }
}
