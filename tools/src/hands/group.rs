//! `popstore group`: make groups, change them, and list them.

use std::io::Write;
use std::time::Duration;

use popstore::{AtLimit, Backoff, GroupOptions, GroupStats, StartAt, Store};

use super::{On, stats};
use crate::{Failure, Outcome, duration};

/// Make groups, change them, and list them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a group, or give it these settings if it is there; makes the store where it is missing
    Create {
        #[command(flatten)]
        on: On,
        /// Its name
        group: String,
        #[command(flatten)]
        settings: Settings,
        /// Begin behind the newest message instead of at the oldest
        #[arg(long)]
        newest: bool,
    },
    /// List the groups
    List {
        #[command(flatten)]
        on: On,
    },
}

/// The settings of a group.
#[derive(Debug, clap::Args)]
struct Settings {
    /// How often a message is delivered again after its first delivery, or `unlimited`
    #[arg(long, value_name = "N", value_parser = parse_limit, default_value = "16")]
    max_reconsume_times: Limit,
    /// How long a message is hidden by a pop that asks for no time
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
    invisible: Duration,
    /// The delay before a redelivery: none, a time, FIRST..CAP to double it, or a ladder: 1s,10s,1m
    #[arg(long, value_parser = duration::parse_backoff, default_value = "none")]
    backoff: Backoff,
    /// Drop messages at the limit instead of dead-lettering them
    #[arg(long)]
    discard: bool,
    /// Per queue, nothing behind an unsettled message is handed out
    #[arg(long)]
    ordered: bool,
}

/// A type of its own: clap takes a bare `Option` for an argument that may be missing.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<u32>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    match text {
        "unlimited" => Ok(Limit(None)),
        number => number.parse().map(|times| Limit(Some(times))).map_err(|_| "a number, or unlimited".to_string()),
    }
}

impl Settings {
    fn options(&self) -> GroupOptions {
        let options = match self.max_reconsume_times {
            Limit(Some(times)) => GroupOptions::default().max_reconsume_times(times),
            Limit(None) => GroupOptions::default().without_limit(),
        };
        let at_limit = if self.discard { AtLimit::Discard } else { AtLimit::DeadLetter };
        let options = options.invisible_for(self.invisible).backoff(self.backoff.clone());
        options.at_limit(at_limit).ordered(self.ordered)
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let (on, groups): (_, Vec<GroupStats>) = match &args.verb {
        Verb::Create { on, group, settings, newest } => {
            let store = Store::open(&on.dir)?;
            let start_at = if *newest { StartAt::Newest } else { StartAt::Oldest };
            let made = store.create_group(group, settings.options().start_at(start_at))?.stats()?;
            store.close()?;
            (on, vec![made])
        }
        Verb::List { on } => {
            let store = super::open(&on.dir)?;
            let groups = store.stats()?.groups;
            store.close()?;
            (on, groups)
        }
    };
    stats::show_groups(&groups, on.json, out)?;
    Ok(Outcome::Fine)
}
