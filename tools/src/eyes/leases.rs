//! `store-inspect leases`: every message that a group holds.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use popstore::inspect::{HeldMessage, HeldState};
use serde::Serialize;

use super::faults::Notes;
use super::when;
use crate::output::{place, reason};
use crate::{Failure, Outcome, directory, output};

/// List every message in flight or waiting for its next delivery, by group and place
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory of the store
    dir: PathBuf,
    /// Only this group
    #[arg(long)]
    group: Option<String>,
    /// Only leases that are over and that the store's owner has not ended yet
    #[arg(long)]
    overdue: bool,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    topic: &'a str,
    queue: u32,
    index: u64,
    state: &'static str,
    overdue: bool,
    attempt: u32,
    popped_at: String,
    since: String,
    due_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let snapshot = directory::inspect(&args.dir)?;
    if let Some(group) = &args.group
        && snapshot.group_options(group).is_none()
    {
        return Err(Failure::Missing { what: "group", name: group.clone() });
    }
    let notes = Notes::of(&snapshot);
    let (now, mut lookup) = (when::now(), snapshot.lookup());
    let wanted = |held: &HeldMessage| {
        args.group.as_ref().is_none_or(|group| **group == *held.group) && (!args.overdue || is_overdue(held, now))
    };
    let mut listed = 0;
    for held in snapshot.leases().filter(wanted) {
        let message = lookup.message(&held.topic, held.queue, held.index)?;
        let key = message.map(|message| message.key).unwrap_or_default();
        match args.json {
            true => output::json(out, &row(&held, &key, now))?,
            false => output::line(out, format_args!("{}", line(&held, &key, now)))?,
        }
        listed += 1;
    }
    if !args.json {
        output::line(out, format_args!("{}", output::counted(listed, "held message")))?;
    }
    Ok(notes.outcome())
}

/// Whether its time is over, and the store's owner has not ended it yet.
pub(super) fn is_overdue(held: &HeldMessage, now: SystemTime) -> bool {
    matches!(held.state, HeldState::InFlight | HeldState::Ending(_)) && held.due_at <= now
}

/// The state of a held message, as a word.
pub(super) fn state(held: &HeldMessage, now: SystemTime) -> &'static str {
    match held.state {
        HeldState::InFlight => "in_flight",
        HeldState::Waiting if held.due_at > now => "waiting",
        HeldState::Ending(_) => "ending",
        _ => "ready",
    }
}

fn row<'a>(held: &'a HeldMessage, key: &'a [u8], now: SystemTime) -> Row<'a> {
    let (key, key_hex) = output::text_or_hex(key);
    Row {
        group: &held.group,
        topic: &held.topic,
        queue: held.queue,
        index: held.index,
        state: state(held, now),
        overdue: is_overdue(held, now),
        attempt: held.attempt,
        popped_at: output::millisecond(held.popped_at),
        since: output::millisecond(held.since),
        due_at: output::millisecond(held.due_at),
        reason: match held.state {
            HeldState::Ending(why) => Some(reason(why)),
            _ => None,
        },
        key,
        key_hex,
    }
}

fn line(held: &HeldMessage, key: &[u8], now: SystemTime) -> String {
    let place = place(&held.topic, held.queue, held.index);
    let mut line = format!("{:<12} {place:<24} attempt {:<3} {}", held.group, held.attempt, description(held, now));
    if !key.is_empty() {
        line.push_str(&format!("  key={}", output::shown(key)));
    }
    line
}

/// The state of a held message, in words.
pub(super) fn description(held: &HeldMessage, now: SystemTime) -> String {
    let (popped, due) = (when::from_now(held.popped_at, now), when::from_now(held.due_at, now));
    match (state(held, now), held.state) {
        ("in_flight", _) if is_overdue(held, now) => format!("popped {popped}, its lease was over {due}"),
        ("in_flight", _) => format!("in flight: popped {popped}, visible again {due}"),
        ("waiting", _) => format!("waiting for retry: popped {popped}, visible again {due}"),
        (_, HeldState::Ending(why)) => {
            format!("at its limit ({}): popped {popped}, about to leave the group", reason(why))
        }
        _ => format!("ready for redelivery: popped {popped}, visible since {due}"),
    }
}
