//! `popstore pop`: take messages under a lease and print their receipts.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use popstore::clock::{Clock, SystemClock};
use popstore::{Delivery, Group, Pop};
use serde::Serialize;

use super::On;
use super::taking::Taking;
use crate::{Failure, Outcome, directory, duration, output, signals};

/// How long a signal may go unnoticed by a pop that waits.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Take messages of a topic under a lease, and print them with their receipts
///
/// Each is hidden from the group's other consumers until its lease ends; before that, hand its receipt to ack, nack or
/// extend. What is not acked in time is delivered again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    taking: Taking,
    /// How many at most, 1 to 4096
    #[arg(short, value_name = "N", default_value_t = 1)]
    n: u32,
    /// How long to wait for a message; SIGINT, SIGTERM and SIGHUP end the wait
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "0s")]
    wait: Duration,
    /// Only this queue of the topic
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
    #[serde(flatten)]
    carried: output::Carried<'a>,
}

impl<'a> Row<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        let message = delivery.message();
        let (receipt, attempt) = (delivery.receipt().to_string(), delivery.attempt());
        let (topic, queue, index) = (message.topic(), message.queue(), message.index());
        Self { receipt, topic, queue, index, attempt, carried: output::Carried::by(message) }
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let Taking { topic, group, .. } = &args.taking;
    let store = directory::open(&args.on.dir)?;
    let pop = args.taking.up_to(args.n);
    let pop = args.queue.map_or(pop, |queue| pop.queue(queue));
    let deliveries = wait(&store.group(group)?, topic, pop, args.wait)?;
    let shown = show(&deliveries, args.on.json, out);
    let popped = output::counted(deliveries.len() as u64, "message");
    drop(deliveries);
    directory::close(store);
    match shown {
        // The receipts are what a pop is for.
        Err(Failure::Output(source)) => Err(Failure::Unprinted { popped, source }),
        shown => shown.map(|()| Outcome::Fine),
    }
}

/// Pops, and waits for a message up to the timeout or until a signal asks to stop.
fn wait(group: &Group, topic: &str, pop: Pop, timeout: Duration) -> Result<Vec<Delivery>, Failure> {
    if timeout.is_zero() {
        return Ok(group.pop(topic, pop)?);
    }
    let stop = AtomicBool::new(false);
    let (clock, asked) = (SystemClock::start(), || stop.store(true, SeqCst));
    let deadline = clock.now().after(timeout);
    let popped = signals::during(asked, || {
        loop {
            let left = deadline.since(clock.now());
            let deliveries = group.pop_wait(topic, pop, left.min(POLL_EVERY))?;
            // Order matters: what was popped is printed, also when a signal comes at the same time.
            if !deliveries.is_empty() || left.is_zero() {
                return Ok(deliveries);
            }
            if stop.load(SeqCst) {
                return Err(Failure::Stopped);
            }
        }
    });
    popped.map_err(Failure::Signals)?
}

fn show(deliveries: &[Delivery], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        deliveries.iter().try_for_each(|delivery| output::json(out, &Row::of(delivery)))?;
    } else if deliveries.is_empty() {
        output::line(out, format_args!("no message available"))?;
    } else {
        let mut table = output::Table::new(["receipt", "place", "attempt", "body"]);
        for delivery in deliveries {
            let message = delivery.message();
            let place = output::place_of(message);
            let attempt = delivery.attempt().to_string();
            table.row([delivery.receipt().to_string(), place, attempt, output::shown(message.body())]);
        }
        table.show(out)?;
    }
    Ok(out.flush()?)
}
