//! `popstore topic`: make topics, and list them.

use std::io::Write;

use popstore::{Store, TopicStats};

use super::{On, stats};
use crate::{Failure, Outcome};

/// Make topics, and list them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a topic, or give it more queues; makes the store where it is missing
    Create {
        #[command(flatten)]
        on: On,
        /// Its name
        topic: String,
        /// How many queues, 1 to 1024
        #[arg(long, default_value_t = 1)]
        queues: u32,
    },
    /// List the topics, dead-letter queues included
    List {
        #[command(flatten)]
        on: On,
    },
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let (on, topics): (_, Vec<TopicStats>) = match &args.verb {
        Verb::Create { on, topic, queues } => {
            let store = Store::open(&on.dir)?;
            store.create_topic(topic, *queues)?;
            let made = store.topic_stats(topic)?;
            store.close()?;
            (on, vec![made])
        }
        Verb::List { on } => {
            let store = super::open(&on.dir)?;
            let topics = store.stats()?.topics;
            store.close()?;
            (on, topics)
        }
    };
    stats::show_topics(&topics, on.json, out)?;
    Ok(Outcome::Fine)
}
