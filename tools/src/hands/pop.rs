//! `popstore pop`: take messages under a lease and print their receipts.

use std::io::Write;
use std::time::Duration;

use popstore::{Delivery, Pop};
use serde::Serialize;

use super::On;
use crate::{Failure, Outcome, duration, output};

/// Take messages of a topic under a lease, and print them with their receipts
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    /// The topic
    topic: String,
    /// The group that takes them
    #[arg(long)]
    group: String,
    /// How many at most, 1 to 4096
    #[arg(short, value_name = "N", default_value_t = 1)]
    n: u32,
    /// How long they are hidden from the group's others; the group's own time if not given
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    invisible: Option<Duration>,
    /// How long to wait for something to be had
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    wait: Duration,
    /// Only from this queue of the topic
    #[arg(long)]
    queue: Option<u32>,
}

#[derive(Serialize)]
struct Row<'a> {
    receipt: String,
    topic: &'a str,
    queue: u32,
    index: u64,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    tag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_hex: Option<String>,
}

impl<'a> Row<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        let message = delivery.message();
        let (key, key_hex) = output::text_or_hex(message.key());
        let (body, body_hex) = output::text_or_hex(message.body());
        let (receipt, attempt) = (delivery.receipt().to_string(), delivery.attempt());
        let (topic, queue, index, tag) = (message.topic(), message.queue(), message.index(), message.tag());
        Self { receipt, topic, queue, index, attempt, key, key_hex, tag, body, body_hex }
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = super::open(&args.on.dir)?;
    let mut pop = Pop::up_to(args.n);
    pop = args.invisible.map_or(pop, |lease| pop.invisible_for(lease));
    pop = args.queue.map_or(pop, |queue| pop.queue(queue));
    let deliveries = store.group(&args.group)?.pop_wait(&args.topic, pop, args.wait)?;
    if args.on.json {
        deliveries.iter().try_for_each(|delivery| output::json(out, &Row::of(delivery)))?;
    } else if deliveries.is_empty() {
        writeln!(out, "nothing to be had")?;
    } else {
        let mut table = output::table(["receipt", "place", "attempt", "body"]);
        for delivery in &deliveries {
            let message = delivery.message();
            let place = format!("{}/{}/{}", message.topic(), message.queue(), message.index());
            let attempt = delivery.attempt().to_string();
            table.add_row([delivery.receipt().to_string(), place, attempt, output::shown(message.body())]);
        }
        writeln!(out, "{table}")?;
    }
    drop(deliveries);
    store.close()?;
    Ok(Outcome::Fine)
}
