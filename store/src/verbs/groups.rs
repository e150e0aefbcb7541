//! Groups: made, changed, removed; and messages that a group gives up.

use std::sync::Arc;
use std::time::Duration;

use popstore_revive::{Answer, AtLimit, Backoff, Command, Policy, QueueId, QueueIndex};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::limits::RUNGS_MAX;
use crate::ledger::GroupEntry;
use crate::messages::check_name;
use crate::verbs::pop::check_invisible;

/// Where a new group begins in the queues that exist when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// At the oldest message that is kept.
    #[default]
    Oldest,
    /// Behind the newest.
    Newest,
}

/// The settings of a group.
///
/// ```
/// use popstore::{Backoff, GroupOptions};
/// use std::time::Duration;
/// let second = Duration::from_secs(1);
/// GroupOptions::default()
///     .max_reconsume_times(3)
///     .backoff(Backoff::Exponential { first: second, cap: 60 * second })
///     .invisible_for(30 * second);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    pub(crate) policy: Policy,
    pub(crate) invisible_for: Duration,
    pub(crate) start_at: StartAt,
}

impl Default for GroupOptions {
    fn default() -> Self {
        let invisible_for = Duration::from_secs(30);
        Self { policy: Policy::default(), invisible_for, start_at: StartAt::default() }
    }
}

impl GroupOptions {
    /// How often a message is delivered again after its first delivery before it leaves the group; 16 by default. A
    /// changed limit counts from the next end of a lease on.
    #[must_use]
    pub fn max_reconsume_times(mut self, times: u32) -> Self {
        self.policy.max_reconsume_times = Some(times);
        self
    }

    /// Messages are delivered again without end.
    #[must_use]
    pub fn without_limit(mut self) -> Self {
        self.policy.max_reconsume_times = None;
        self
    }

    /// The delay between the end of a lease and the next delivery; none by default.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// What becomes of a message at its limit; the dead-letter queue by default.
    #[must_use]
    pub fn at_limit(mut self, at_limit: AtLimit) -> Self {
        self.policy.at_limit = at_limit;
        self
    }

    /// Per queue, one message at a time: nothing behind an unsettled message is handed out, retries included.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.policy.ordered = ordered;
        self
    }

    /// The lease of a pop that asks for none: 1 ms to 7 days; 30 s by default.
    #[must_use]
    pub fn invisible_for(mut self, lease: Duration) -> Self {
        self.invisible_for = lease;
        self
    }

    /// Where the group begins when it is made; at the oldest message by default.
    #[must_use]
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// What is set, to be read.
    pub fn settings(&self) -> GroupSettings {
        let Policy { max_reconsume_times, backoff, at_limit, ordered } = self.policy.clone();
        GroupSettings { max_reconsume_times, backoff, at_limit, ordered, invisible_for: self.invisible_for }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_invisible(self.invisible_for)?;
        match &self.policy.backoff {
            Backoff::Ladder(rungs) if rungs.is_empty() || rungs.len() > RUNGS_MAX => {
                Err(Error::invalid("backoff ladder", format!("{} rungs", rungs.len()), "it must have 1 to 256"))
            }
            _ => Ok(()),
        }
    }
}

/// The settings of a group, each by the name of the option that sets it.
///
/// ```
/// let settings = popstore::GroupOptions::default().max_reconsume_times(3).settings();
/// assert_eq!(settings.max_reconsume_times, Some(3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSettings {
    /// How often a message is delivered again after its first delivery; `None` is without end.
    pub max_reconsume_times: Option<u32>,
    /// The delay between the end of a lease and the next delivery.
    pub backoff: Backoff,
    /// What becomes of a message at its limit.
    pub at_limit: AtLimit,
    /// Whether nothing behind an unsettled message of a queue is handed out.
    pub ordered: bool,
    /// The lease of a pop that asks for none.
    pub invisible_for: Duration,
}

impl Engine {
    /// Makes a group or changes its settings. Durable on return, in every mode.
    pub(crate) fn create_group(&self, name: &str, options: &GroupOptions) -> Result<Arc<GroupEntry>> {
        self.context().check()?;
        check_name("group", name)?;
        options.check()?;
        self.check_reserve()?;
        let mut consumers = self.consumers();
        let known = consumers.id_of(name);
        let group = known.unwrap_or(consumers.next_group());
        if group.0 == u32::MAX {
            return Err(Error::invalid("group", name, "all numbers of groups are used up"));
        }
        let from = match (known, options.start_at) {
            (None, StartAt::Newest) => self.ends_of_all(),
            _ => Vec::new(),
        };
        let command = Command::SetGroup { group, policy: &options.policy, from: &from };
        let (_, written) = consumers.decide(&command, self.context().time()?, Some((name, options.invisible_for)))?;
        let entry = consumers.group(name)?;
        drop(consumers);
        if options.start_at == StartAt::Newest {
            self.ledger().estimate_live_state();
        }
        self.ledger().log().sync_through(written.end)?;
        self.messages().raise_all();
        Ok(entry)
    }

    /// The first place of each queue that no message has yet.
    fn ends_of_all(&self) -> Vec<(QueueId, QueueIndex)> {
        let limit = self.messages().poppable();
        let mut ends = Vec::new();
        for topic in self.messages().topics().all() {
            let of_topic = (0..).zip(topic.of_each(|queue| queue.visible(limit).1));
            ends.extend(of_topic.map(|(queue, end)| (QueueId { topic: topic.id, queue }, end)));
        }
        ends
    }

    pub(crate) fn group_options(&self, group: &GroupEntry) -> Result<GroupOptions> {
        self.context().check_open()?;
        let consumers = self.consumers();
        let unknown = || Error::unknown("group", &group.name);
        let policy = consumers.index().policy(group.id).cloned().ok_or_else(unknown)?;
        let invisible_for = consumers.groups().get(&group.id).ok_or_else(unknown)?.invisible_for;
        Ok(GroupOptions { policy, invisible_for, start_at: StartAt::default() })
    }

    pub(crate) fn delete_group(&self, name: &str) -> Result<()> {
        self.context().check()?;
        let mut consumers = self.consumers();
        let group = consumers.group(name)?.id;
        let (_, written) = consumers.decide(&Command::RemoveGroup { group }, self.context().time()?, None)?;
        drop(consumers);
        self.messages().raise_all();
        self.ledger().log().sync_through(written.end)
    }

    pub(crate) fn skip(&self, group: &GroupEntry, topic: &str, queue: u32, index: u64) -> Result<bool> {
        self.context().check()?;
        let topic = self.messages().topics().by_name(topic)?;
        let queue = topic.queue(queue).ok_or_else(|| Error::no_queue(queue, topic.count))?;
        let (id, index) = (queue.id, QueueIndex(index));
        let (first, end) = queue.visible(self.messages().poppable());
        if index >= end {
            return Ok(false);
        }
        match self.messages().fetch(&topic, queue, index) {
            Ok(Some(_)) => return Ok(false),
            Ok(None) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut consumers = self.consumers();
        let generation = self.context().identity.generation;
        let command = Command::Skip { group: group.id, generation, queue: (id, first), index };
        let (answer, written) = consumers.decide(&command, self.context().time()?, None)?;
        drop(consumers);
        match answer {
            Answer::Nothing => return Ok(false),
            Answer::UnknownGroup => return Err(Error::unknown("group", &group.name)),
            _ => {}
        }
        self.make_records_durable(written.end)?;
        topic.signal.raise();
        Ok(true)
    }
}
