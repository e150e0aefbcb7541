//! `store-inspect stats`: how large, how old, how often, how long, drawn in the terminal.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use popstore::inspect::{CheckpointEntry, CommitEntry, CommitRecordKind, Snapshot};
use serde::Serialize;

use super::faults::Notes;
use super::when;
use crate::{Failure, Outcome, directory, output};

/// The longest bar, in characters.
const BAR: u64 = 50;
/// An ack that takes this part of the invisible time is close to a second delivery.
const NEAR_PERCENT: u128 = 80;
const HOUR: u64 = 3600;

/// Draw histograms: sizes, ages, attempts, pop-to-ack times, redeliveries by hour
///
/// Times and attempts are those of the records that the checkpoint log still has: snapshots of the index replace older ones.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Print JSON: an object for each bar, and one for each group
    #[arg(long)]
    json: bool,
}

/// Counts by the upper end of a bucket.
type Histogram = BTreeMap<u64, u64>;

#[derive(Default)]
struct Counted {
    /// By bytes.
    sizes: Histogram,
    /// By seconds.
    ages: Histogram,
    /// By attempt.
    attempts: Histogram,
    /// By hours since the epoch.
    redeliveries: Histogram,
    groups: BTreeMap<Arc<str>, GroupTimes>,
}

/// From pop to ack.
#[derive(Default)]
struct GroupTimes {
    /// By microseconds.
    took: Histogram,
    max: Duration,
    /// The messages in flight, with the times of their pops.
    popped: HashMap<(Arc<str>, u32, u64), SystemTime>,
}

#[derive(Serialize)]
struct BarRow<'a> {
    histogram: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    upto: u64,
    unit: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct AckTimesRow<'a> {
    group: &'a str,
    invisible_ms: u128,
    acks: u64,
    pop_to_ack_p50_us: u64,
    pop_to_ack_p99_us: u64,
    pop_to_ack_max_us: u128,
    near_invisible_time: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    let mut notes = Notes::of(&snapshot);
    let counted = count(&snapshot, &mut notes)?;
    draw(args, "sizes", None, "bytes", &counted.sizes, out)?;
    draw(args, "ages", None, "seconds", &counted.ages, out)?;
    draw(args, "attempts", None, "deliveries", &counted.attempts, out)?;
    draw(args, "redeliveries", None, "hour", &counted.redeliveries, out)?;
    for (group, times) in &counted.groups {
        draw(args, "pop_to_ack", Some(group), "us", &times.took, out)?;
        show_group(args, &snapshot, group, times, out)?;
    }
    Ok(notes.outcome())
}

fn count(snapshot: &Snapshot, notes: &mut Notes) -> Result<Counted, Failure> {
    let mut counted = Counted::default();
    let now = when::now();
    for met in snapshot.commit_log(0)? {
        if let Some(CommitEntry { is: CommitRecordKind::Message(message), .. }) = notes.record(met?) {
            let age = now.duration_since(message.appended_at).unwrap_or_default();
            add(&mut counted.sizes, bucket(message.body.len() as u64));
            add(&mut counted.ages, bucket(age.as_secs()));
        }
    }
    for met in snapshot.checkpoint_log(0)? {
        if let Some(entry) = notes.record(met?) {
            counted.take(&entry);
        }
    }
    Ok(counted)
}

impl Counted {
    fn take(&mut self, entry: &CheckpointEntry) {
        let (Some(group), Some(at)) = (&entry.group, entry.happened_at) else { return };
        let popped = entry.kind == "popped";
        if !popped && !matches!(entry.kind, "acked" | "nacked" | "revived" | "buried") {
            return;
        }
        let hour = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / HOUR;
        let times = self.groups.entry(Arc::clone(group)).or_default();
        for places in &entry.places {
            for index in &places.indexes {
                let place = (Arc::clone(&places.topic), places.queue, *index);
                if popped {
                    add(&mut self.attempts, u64::from(places.delivery));
                    if places.delivery > 1 {
                        add(&mut self.redeliveries, hour);
                    }
                    times.popped.insert(place, at);
                } else if entry.kind == "acked" {
                    if let Some(popped_at) = times.popped.remove(&place) {
                        times.took(at.duration_since(popped_at).unwrap_or_default());
                    }
                } else if entry.kind == "buried" {
                    times.popped.remove(&place);
                }
            }
        }
    }
}

impl GroupTimes {
    fn took(&mut self, took: Duration) {
        add(&mut self.took, bucket(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)));
        self.max = self.max.max(took);
    }

    /// The upper end of the bucket that this percentage does not exceed.
    fn quantile(&self, percent: u64) -> u64 {
        let wanted = (self.count() * percent).div_ceil(100);
        let mut seen = 0;
        let found = self.took.iter().find(|(_, count)| {
            seen += **count;
            seen >= wanted
        });
        let upper = found.map_or(0, |(upper, _)| *upper);
        upper.min(u64::try_from(self.max.as_micros()).unwrap_or(u64::MAX))
    }

    fn count(&self) -> u64 {
        self.took.values().sum()
    }
}

fn add(histogram: &mut Histogram, bucket: u64) {
    *histogram.entry(bucket).or_default() += 1;
}

/// The upper end of the bucket of a number: the next power of two, less one.
fn bucket(number: u64) -> u64 {
    number.checked_add(1).and_then(u64::checked_next_power_of_two).map_or(u64::MAX, |power| power - 1)
}

fn draw(
    args: &Args,
    name: &str,
    group: Option<&str>,
    unit: &str,
    histogram: &Histogram,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.json {
        let mut bars = histogram.iter();
        return bars.try_for_each(|(upto, count)| {
            output::json(out, &BarRow { histogram: name, group, upto: *upto, unit, count: *count })
        });
    }
    let most = histogram.values().copied().max().unwrap_or(0);
    let of = group.map_or_else(String::new, |group| format!(" of group {group}"));
    output::line(out, format_args!("{}{of}", name.replace('_', " ")))?;
    for (upto, count) in histogram {
        let label = match unit {
            "us" => format!("to {}", when::short(Duration::from_micros(*upto))),
            "seconds" => format!("to {}", when::short(Duration::from_secs(*upto))),
            "hour" => output::second(SystemTime::UNIX_EPOCH + Duration::from_secs(upto.saturating_mul(HOUR))),
            "bytes" => format!("to {upto} B"),
            _ => upto.to_string(),
        };
        let bar = "#".repeat((count * BAR).div_ceil(most.max(1)) as usize);
        output::line(out, format_args!("  {label:>20} {count:>10} {bar}"))?;
    }
    if histogram.is_empty() {
        output::line(out, format_args!("  none"))?;
    }
    Ok(())
}

fn show_group(
    args: &Args,
    snapshot: &Snapshot,
    group: &str,
    times: &GroupTimes,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Some(options) = snapshot.group_options(group) else { return Ok(()) };
    let (lease, p99) = (options.settings().invisible_for, times.quantile(99));
    let near_invisible_time = times.count() > 0 && u128::from(p99) * 100 >= lease.as_micros() * NEAR_PERCENT;
    if args.json {
        let row = AckTimesRow {
            group,
            invisible_ms: lease.as_millis(),
            acks: times.count(),
            pop_to_ack_p50_us: times.quantile(50),
            pop_to_ack_p99_us: p99,
            pop_to_ack_max_us: times.max.as_micros(),
            near_invisible_time,
        };
        return output::json(out, &row);
    }
    let [p50, p99] = [times.quantile(50), p99].map(|micros| when::short(Duration::from_micros(micros)));
    let (max, lease) = (when::short(times.max), when::short(lease));
    output::line(
        out,
        format_args!("  half within {p50}, 99 of 100 within {p99}, the slowest {max}; the invisible time is {lease}"),
    )?;
    if near_invisible_time {
        output::line(
            out,
            format_args!(
                "  WARNING: handlers come close to the invisible time: messages are about to be delivered twice"
            ),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_reaches_to_the_next_power_of_two() {
        assert_eq!([0, 1, 2, 3, 4, 255, 256].map(bucket), [0, 1, 3, 3, 7, 255, 511]);
        assert_eq!(bucket(u64::MAX), u64::MAX);
    }

    #[test]
    fn quantiles_are_of_the_buckets_and_never_above_the_slowest() {
        let mut times = GroupTimes::default();
        (1..=100).for_each(|millis| times.took(Duration::from_millis(millis)));
        assert_eq!((times.quantile(50), times.quantile(99)), (65_535, 100_000));
        assert_eq!(GroupTimes::default().quantile(99), 0);
    }
}
