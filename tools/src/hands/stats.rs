//! `popstore stats`: what a store, its topics and its groups hold and have done.

use std::io::Write;

use popstore::{GroupStats, TopicStats};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, output};

/// Show what a store, its topics and its groups hold and have done
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
}

#[derive(Serialize)]
struct StoreRow<'a> {
    commit_bytes: u64,
    checkpoint_bytes: u64,
    topics: Vec<TopicRow<'a>>,
    groups: Vec<GroupRow<'a>>,
}

#[derive(Serialize)]
struct TopicRow<'a> {
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
struct GroupRow<'a> {
    name: &'a str,
    ready: u64,
    in_flight: u64,
    waiting: u64,
    ending: u64,
    lag: u64,
    oldest_lease_for_ms: Option<u128>,
    popped: u64,
    redelivered: u64,
    acked: u64,
    nacked: u64,
    dead_lettered: u64,
    discarded: u64,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = super::open(&args.on.dir)?;
    let stats = store.stats()?;
    store.close()?;
    if args.on.json {
        let topics = stats.topics.iter().map(topic_row).collect();
        let groups = stats.groups.iter().map(group_row).collect();
        let (commit_bytes, checkpoint_bytes) = (stats.commit_bytes, stats.checkpoint_bytes);
        output::json(out, &StoreRow { commit_bytes, checkpoint_bytes, topics, groups })?;
        return Ok(Outcome::Fine);
    }
    writeln!(out, "commit log {} bytes, checkpoint log {} bytes", stats.commit_bytes, stats.checkpoint_bytes)?;
    show_topics(&stats.topics, false, out)?;
    show_groups(&stats.groups, false, out)?;
    Ok(Outcome::Fine)
}

/// Prints topics, a row for each queue.
pub(super) fn show_topics(topics: &[TopicStats], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
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
pub(super) fn show_groups(groups: &[GroupStats], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        return groups.iter().try_for_each(|group| output::json(out, &group_row(group)));
    }
    let counts = ["lag", "ready", "in flight", "waiting", "popped", "redelivered", "acked", "nacked", "dead-lettered"];
    let mut table = output::table([""; 0]);
    table.set_header(std::iter::once("group").chain(counts));
    for it in groups {
        let held = [it.lag, it.ready, it.in_flight, it.waiting + it.ending];
        let done = [it.popped, it.redelivered, it.acked, it.nacked, it.dead_lettered];
        let numbers = held.into_iter().chain(done).map(|number| number.to_string());
        table.add_row(std::iter::once(it.name.clone()).chain(numbers));
    }
    Ok(writeln!(out, "{table}")?)
}

fn topic_row(topic: &TopicStats) -> TopicRow<'_> {
    let queues = topic.queues.iter().map(|(first, end)| QueueRow { first: *first, end: *end }).collect();
    TopicRow { name: &topic.name, messages: topic.messages(), queues }
}

fn group_row(it: &GroupStats) -> GroupRow<'_> {
    GroupRow {
        name: &it.name,
        ready: it.ready,
        in_flight: it.in_flight,
        waiting: it.waiting,
        ending: it.ending,
        lag: it.lag,
        oldest_lease_for_ms: it.oldest_lease_for.map(|time| time.as_millis()),
        popped: it.popped,
        redelivered: it.redelivered,
        acked: it.acked,
        nacked: it.nacked,
        dead_lettered: it.dead_lettered,
        discarded: it.discarded,
    }
}
