//! The settings of a group as options of the command line, of which only the given ones take effect.

use std::time::Duration;

use popstore::{AtLimit, Backoff, GroupOptions};

use crate::duration;

/// The settings of a group.
#[derive(Debug, clap::Args)]
pub(super) struct Settings {
    /// How often a message is delivered again after its first delivery, or `unlimited`; 16 for a new group
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    max_reconsume_times: Option<Limit>,
    /// How long a pop hides a message if it names no time; 30s for a new group
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    invisible: Option<Duration>,
    /// The delay before a redelivery: none (as for a new group), a time, FIRST..CAP to double it, or a ladder:
    /// 1s,10s,1m
    #[arg(long, value_parser = duration::parse_backoff)]
    backoff: Option<Backoff>,
    /// Drop messages at the limit instead of dead-lettering them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    discard: Option<bool>,
    /// Per queue, nothing behind an unsettled message is handed out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ordered: Option<bool>,
}

impl Settings {
    /// Changes the settings that were given.
    pub(super) fn change(&self, mut options: GroupOptions) -> GroupOptions {
        if let Some(limit) = self.max_reconsume_times {
            options = limit.change(options);
        }
        if let Some(lease) = self.invisible {
            options = options.invisible_for(lease);
        }
        if let Some(backoff) = &self.backoff {
            options = options.backoff(backoff.clone());
        }
        if let Some(discard) = self.discard {
            options = options.at_limit(if discard { AtLimit::Discard } else { AtLimit::DeadLetter });
        }
        if let Some(ordered) = self.ordered {
            options = options.ordered(ordered);
        }
        options
    }
}

/// How often a message is delivered again. A type of its own: clap takes a bare `Option` for an argument that may be
/// missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(Option<u32>);

impl Limit {
    pub(super) fn change(self, options: GroupOptions) -> GroupOptions {
        match self.0 {
            Some(times) => options.max_reconsume_times(times),
            None => options.without_limit(),
        }
    }
}

pub(super) fn parse_limit(text: &str) -> Result<Limit, String> {
    match text {
        "unlimited" => Ok(Limit(None)),
        number => number.parse().map(|times| Limit(Some(times))).map_err(|_| "a number, or unlimited".to_string()),
    }
}
