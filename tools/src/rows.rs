//! Topics and groups as rows: what they hold and have done.

use std::io::Write;
use std::time::Duration;

use popstore::stats::{GroupStats, TopicStats};
use popstore::{AtLimit, Backoff, GroupOptions};
use serde::Serialize;

use crate::{Failure, output};

#[derive(Serialize)]
pub(crate) struct TopicRow<'a> {
    name: &'a str,
    messages: u64,
    queues: Vec<QueueRow>,
}

#[derive(Serialize)]
struct QueueRow {
    first: u64,
    end: u64,
}

#[derive(Serialize)]
pub(crate) struct GroupRow<'a> {
    pub(crate) name: &'a str,
    pub(crate) has_read: bool,
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
    pub(crate) waiting: u64,
    pub(crate) ending: u64,
    pub(crate) lag: u64,
    popped: u64,
    redelivered: u64,
    acked: u64,
    nacked: u64,
    released: u64,
    dead_lettered: u64,
    discarded: u64,
    max_reconsume_times: Option<u32>,
    invisible_ms: u128,
    backoff: String,
    at_limit: &'static str,
    ordered: bool,
}

/// Prints topics, a row for each queue; as JSON, an object for each topic.
pub(crate) fn show_topics(topics: &[TopicStats], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        return topics.iter().try_for_each(|topic| output::json(out, &topic_row(topic)));
    }
    let mut table = output::Table::new(["topic", "queue", "messages", "first", "end"]);
    for topic in topics {
        for (queue, (first, end)) in topic.queues.iter().enumerate() {
            let numbers = [queue as u64, end - first, *first, *end].map(|number| number.to_string());
            table.row(std::iter::once(topic.name.clone()).chain(numbers));
        }
    }
    table.show(out)
}

/// Prints groups with their settings, a row for each.
pub(crate) fn show_groups(
    groups: &[(GroupStats, GroupOptions)],
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if json {
        return groups.iter().try_for_each(|(group, options)| output::json(out, &group_row(group, options)));
    }
    let held = ["group", "lag", "ready", "in flight", "waiting"];
    let done = ["popped", "redelivered", "acked", "nacked", "dead-lettered", "discarded"];
    let mut table = output::Table::new(held.into_iter().chain(done).chain(["settings"]));
    for (it, options) in groups {
        let held = [it.lag, it.ready, it.in_flight, it.waiting + it.ending];
        let done = [it.popped, it.redelivered, it.acked, it.nacked, it.dead_lettered, it.discarded];
        let numbers = held.into_iter().chain(done).map(|number| number.to_string());
        table.row(std::iter::once(it.name.clone()).chain(numbers).chain([settings(options)]));
    }
    table.show(out)?;
    groups.iter().try_for_each(|(it, _)| explain_lag(&it.name, it.has_read, it.lag, out))
}

/// Says of which topics the lag of a group is that has not popped yet.
pub(crate) fn explain_lag(name: &str, has_read: bool, lag: u64, out: &mut dyn Write) -> Result<(), Failure> {
    if !has_read && lag > 0 {
        let text = format_args!("{name} has not popped yet: its lag is of every topic but dead-letter queues");
        output::line(out, text)?;
    }
    Ok(())
}

/// The settings of a group in a few words, those of every group first.
fn settings(options: &GroupOptions) -> String {
    let settings = options.settings();
    let times = match settings.max_reconsume_times {
        Some(times) => output::counted(u64::from(times), "redelivery"),
        None => "unlimited redeliveries".into(),
    };
    let backoff = (settings.backoff != Backoff::None).then(|| format!("backoff {}", backoff(&settings.backoff)));
    let discards = (settings.at_limit == AtLimit::Discard).then(|| "discards".into());
    let ordered = settings.ordered.then(|| "ordered".into());
    let all = [Some(times), Some(format!("lease {}", time(settings.invisible_for))), backoff, discards, ordered];
    all.into_iter().flatten().collect::<Vec<String>>().join(", ")
}

/// As the command line takes it.
fn backoff(backoff: &Backoff) -> String {
    match backoff {
        Backoff::None => "none".into(),
        Backoff::Fixed(delay) => time(*delay),
        Backoff::Exponential { first, cap } => format!("{}..{}", time(*first), time(*cap)),
        Backoff::Ladder(rungs) => rungs.iter().map(|rung| time(*rung)).collect::<Vec<String>>().join(","),
    }
}

/// As the command line takes it.
fn time(time: Duration) -> String {
    match (time.subsec_micros(), time.subsec_micros() % 1000) {
        (0, _) => format!("{}s", time.as_secs()),
        (_, 0) => format!("{}ms", time.as_millis()),
        (_, micros) => format!("{}.{micros:03}ms", time.as_millis()),
    }
}

pub(crate) fn topic_row(topic: &TopicStats) -> TopicRow<'_> {
    let queues = topic.queues.iter().map(|(first, end)| QueueRow { first: *first, end: *end }).collect();
    TopicRow { name: &topic.name, messages: topic.messages(), queues }
}

pub(crate) fn group_row<'a>(it: &'a GroupStats, options: &GroupOptions) -> GroupRow<'a> {
    let settings = options.settings();
    GroupRow {
        name: &it.name,
        has_read: it.has_read,
        ready: it.ready,
        in_flight: it.in_flight,
        waiting: it.waiting,
        ending: it.ending,
        lag: it.lag,
        popped: it.popped,
        redelivered: it.redelivered,
        acked: it.acked,
        nacked: it.nacked,
        released: it.released,
        dead_lettered: it.dead_lettered,
        discarded: it.discarded,
        max_reconsume_times: settings.max_reconsume_times,
        invisible_ms: settings.invisible_for.as_millis(),
        backoff: backoff(&settings.backoff),
        at_limit: if settings.at_limit == AtLimit::Discard { "discard" } else { "dead_letter" },
        ordered: settings.ordered,
    }
}
