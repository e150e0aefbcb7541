//! `popstore topic`: make topics, and list them.

use std::io::Write;

use super::On;
use crate::{Failure, Outcome, directory, rows};

/// Make topics, and list them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a topic, or give it more queues; makes the store where it is missing
    Create(Create),
    /// List the topics, dead-letter queues included; also while the store is open elsewhere
    List(On),
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    on: On,
    /// Its name
    topic: String,
    /// How many queues, 1 to 1024; an existing topic never gets fewer
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    queues: u32,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &args.verb {
        Verb::Create(args) => create(args, out),
        Verb::List(on) => list(on, out),
    }
}

fn create(args: &Create, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let store = directory::open_or_make(&args.on.dir, |options| options.check_topic(&args.topic))?;
    store.create_topic(&args.topic, args.queues)?;
    let made = store.topic_stats(&args.topic)?;
    directory::close(store);
    rows::show_topics(&[made], args.on.json, out)?;
    Ok(Outcome::Fine)
}

fn list(on: &On, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&on.dir)?;
    rows::show_topics(&snapshot.topics(), on.json, out)?;
    Ok(super::seen(&snapshot))
}
