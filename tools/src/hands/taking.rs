//! The arguments that `pop` and `work` share: topic, group and lease.

use std::time::Duration;

use popstore::Pop;

use crate::duration;

/// The messages to take, for whom and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct Taking {
    /// The topic
    pub(super) topic: String,
    /// The group that takes messages
    #[arg(long)]
    pub(super) group: String,
    /// How long a message is hidden from the group's others; the group's own time if not given
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(super) invisible: Option<Duration>,
}

impl Taking {
    /// A pop of at most this number of messages.
    pub(super) fn up_to(&self, messages: u32) -> Pop {
        let pop = Pop::up_to(messages);
        self.invisible.map_or(pop, |lease| pop.invisible_for(lease))
    }
}
