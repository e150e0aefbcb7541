//! Topics and groups as rows: what they hold and have done.

use std::io::Write;

use popstore::{GroupStats, TopicStats};
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
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
    pub(crate) waiting: u64,
    pub(crate) ending: u64,
    pub(crate) lag: u64,
    popped: u64,
    redelivered: u64,
    acked: u64,
    nacked: u64,
    dead_lettered: u64,
    discarded: u64,
}

/// Prints topics, a row for each queue; as JSON, an object for each topic.
pub(crate) fn show_topics(topics: &[TopicStats], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        return topics.iter().try_for_each(|topic| output::json(out, &topic_row(topic)));
    }
    let mut table = output::table(["topic", "queue", "messages", "first", "end"]);
    for topic in topics {
        for (queue, (first, end)) in topic.queues.iter().enumerate() {
            let numbers = [queue as u64, end - first, *first, *end].map(|number| number.to_string());
            table.add_row(std::iter::once(topic.name.clone()).chain(numbers));
        }
    }
    Ok(writeln!(out, "{table}")?)
}

/// Prints groups, a row for each.
pub(crate) fn show_groups(groups: &[GroupStats], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        return groups.iter().try_for_each(|group| output::json(out, &group_row(group)));
    }
    let held = ["group", "lag", "ready", "in flight", "waiting"];
    let done = ["popped", "redelivered", "acked", "nacked", "dead-lettered", "discarded"];
    let mut table = output::table([""; 0]);
    table.set_header(held.into_iter().chain(done));
    for it in groups {
        let held = [it.lag, it.ready, it.in_flight, it.waiting + it.ending];
        let done = [it.popped, it.redelivered, it.acked, it.nacked, it.dead_lettered, it.discarded];
        let numbers = held.into_iter().chain(done).map(|number| number.to_string());
        table.add_row(std::iter::once(it.name.clone()).chain(numbers));
    }
    Ok(writeln!(out, "{table}")?)
}

pub(crate) fn topic_row(topic: &TopicStats) -> TopicRow<'_> {
    let queues = topic.queues.iter().map(|(first, end)| QueueRow { first: *first, end: *end }).collect();
    TopicRow { name: &topic.name, messages: topic.messages(), queues }
}

pub(crate) fn group_row(it: &GroupStats) -> GroupRow<'_> {
    GroupRow {
        name: &it.name,
        ready: it.ready,
        in_flight: it.in_flight,
        waiting: it.waiting,
        ending: it.ending,
        lag: it.lag,
        popped: it.popped,
        redelivered: it.redelivered,
        acked: it.acked,
        nacked: it.nacked,
        dead_lettered: it.dead_lettered,
        discarded: it.discarded,
    }
}
