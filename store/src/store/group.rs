//! Groups: made, changed, removed, and the handle through which consumers work.

use std::sync::Arc;
use std::time::Duration;

use popstore_revive::{AtLimit, Backoff, Burial, Change, GroupId, Policy, QueueId, QueueIndex, Run};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::limits::RUNGS_MAX;
use crate::ledger::consumers::GroupEntry;
use crate::ledger::receipt::Receipt;
use crate::messages::topics::check_name;
use crate::store::Handle;
use crate::store::dead_letters::{DeadLetter, DeadLetters, Redriven};
use crate::verbs::delivery::{Delivery, Settled};
use crate::verbs::pop::{Pop, check_invisible};
use crate::verbs::settle::Delay;
use crate::verbs::stats::GroupStats;

/// Where a new group begins in the queues that exist when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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

    /// The rules for redelivery.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The lease of a pop that asks for none.
    pub fn lease(&self) -> Duration {
        self.invisible_for
    }

    fn check(&self) -> Result<()> {
        check_invisible(self.invisible_for)?;
        match &self.policy.backoff {
            Backoff::Ladder(rungs) if rungs.is_empty() || rungs.len() > RUNGS_MAX => {
                Err(Error::invalid("backoff ladder", format!("{} rungs", rungs.len()), "1 to 256 rungs"))
            }
            _ => Ok(()),
        }
    }
}

/// A group of competing consumers: each message goes to one of them at a time. Cheap to clone, and to be shared.
#[derive(Clone)]
pub struct Group {
    pub(crate) handle: Arc<Handle>,
    pub(crate) entry: Arc<GroupEntry>,
}

impl Group {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// Takes up to so many messages of a topic under a lease: redeliveries first, then new ones. An empty list means
    /// that there is nothing to be had now. The deliveries are durable, by the store's policy, before this returns, so
    /// that a message which kills its consumer is still counted.
    ///
    /// # Errors
    /// [`Error::Unknown`] topic or group, [`Error::Invalid`] numbers, [`Error::Corrupt`] when the next message is damaged
    /// (see [`Group::skip`]), [`Error::Poisoned`], [`Error::Closed`], [`Error::Full`].
    pub fn pop(&self, topic: &str, pop: Pop) -> Result<Vec<Delivery>> {
        self.handle.engine.pop(&self.entry, topic, pop)
    }

    /// Like [`Group::pop`], but waits for something to be had, at most so long. It is woken by appends, redeliveries
    /// and the store's end. On a clock that does not run by itself it looks once. The topic must have been made, by an
    /// append or by [`crate::Store::create_topic`].
    ///
    /// # Errors
    /// Those of [`Group::pop`].
    pub fn pop_wait(&self, topic: &str, pop: Pop, timeout: Duration) -> Result<Vec<Delivery>> {
        self.handle.engine.pop_wait(&self.entry, topic, pop, timeout)
    }

    /// The message is done. Durable, by the store's policy, on return.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a receipt of another store or group, [`Error::Poisoned`], [`Error::Closed`], [`Error::Full`]. A
    /// receipt that came too late is no error but an outcome.
    pub fn ack(&self, receipt: Receipt) -> Result<Settled> {
        self.handle.engine.ack(&self.entry, receipt)
    }

    /// Many acks at the price of one, with an outcome for each.
    ///
    /// # Errors
    /// Those of [`Group::ack`], and [`Error::Invalid`] for none at all. A batch over so many blocks of 64 neighbours that it
    /// needs several records, some 26,000 by default, may be acked in part after [`Error::Full`]: acking it again completes it.
    pub fn ack_batch(&self, receipts: &[Receipt]) -> Result<Vec<Settled>> {
        self.handle.engine.ack_batch(&self.entry, receipts)
    }

    /// Gives the message back, to be delivered again after the delay; at the group's limit it leaves the group instead.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    pub fn nack(&self, receipt: Receipt, delay: impl Into<Delay>) -> Result<Settled> {
        self.handle.engine.nack(&self.entry, receipt, delay.into())
    }

    /// Sets the end of the lease to so long from now, 1 ms to 7 days, earlier or later than it was.
    ///
    /// # Errors
    /// Those of [`Group::ack`].
    pub fn extend(&self, receipt: Receipt, lease: Duration) -> Result<Settled> {
        self.handle.engine.extend(&self.entry, receipt, lease)
    }

    /// The messages that have used up their deliveries, oldest first, without those that were put back and those that are
    /// finished with: a letter that a group has popped from the dead-letter queue and settled is off the list as soon as no
    /// other group that was given letters of that queue has it before it. A group that is deleted takes back what it said.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn dead_letters(&self) -> Result<DeadLetters> {
        DeadLetters::of(&self.handle, &self.entry)
    }

    /// Puts a dead letter back to the topic it came from, as a new message there, and takes it off the list; both
    /// happen or neither. A letter that is off the list already stays where it is. Every group that reads the topic sees the new message. Durable on return, in every mode.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a letter of another store or group, [`Error::Unknown`] when the topic it came from is
    /// gone, or retention let go of the letter since it was read, [`Error::Full`], [`Error::Poisoned`], [`Error::Closed`].
    pub fn redrive(&self, letter: &DeadLetter) -> Result<Redriven> {
        self.handle.engine.redrive(&self.entry, letter)
    }

    /// Gives up a message that cannot be delivered because it is damaged: it counts as discarded, and the group goes
    /// on behind it. Returns whether there was such a message to give up.
    ///
    /// # Errors
    /// [`Error::Unknown`] topic, [`Error::Invalid`] queue, [`Error::Poisoned`], [`Error::Closed`], [`Error::Full`].
    pub fn skip(&self, topic: &str, queue: u32, index: u64) -> Result<bool> {
        self.handle.engine.skip(&self.entry, topic, queue, index)
    }

    /// Its settings now, to change one and hand them to [`crate::Store::create_group`] again.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the group was removed, [`Error::Closed`].
    pub fn options(&self) -> Result<GroupOptions> {
        self.handle.engine.group_options(&self.entry)
    }

    /// What the group holds of the topics that it has popped from, and what it has done. Before its first pop it holds the
    /// messages of every topic: a lag of 0 means that nothing waits for it.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the group was removed, [`Error::Closed`].
    pub fn stats(&self) -> Result<GroupStats> {
        self.handle.engine.group_stats(&self.entry, None)
    }

    /// Like [`Group::stats`], but what it holds is counted of this topic only, popped from or not.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no such topic, and those of [`Group::stats`].
    pub fn stats_of(&self, topic: &str) -> Result<GroupStats> {
        self.handle.engine.group_stats(&self.entry, Some(topic))
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.entry.name)
    }
}

impl Engine {
    /// Makes a group or changes its settings. Durable on return, in every mode.
    pub(crate) fn create_group(&self, name: &str, options: &GroupOptions) -> Result<Arc<GroupEntry>> {
        self.check()?;
        check_name("group", name)?;
        options.check()?;
        self.check_reserve()?;
        let mut consumers = self.consumers();
        let known = consumers.by_name.get(name).copied();
        let group = known.unwrap_or(consumers.next_group);
        if group.0 == u32::MAX {
            return Err(Error::invalid("group", name, "all numbers of groups are used up"));
        }
        let counters = consumers.index.counters(group).unwrap_or_default();
        let change = Change::Group { group, policy: options.policy.clone(), counters };
        let record = CheckpointRecord::Group { name, invisible_for: options.invisible_for, change };
        if known.is_none() && options.start_at == StartAt::Newest {
            for topic in self.topics.all() {
                for (queue, position) in (0..).zip(topic.of_each(|queue| queue.visible(self.poppable()).1)) {
                    let queue = QueueId { topic: topic.id, queue };
                    self.change(&mut consumers, Change::Positioned { group, queue, position })?;
                }
            }
        }
        // Order matters: with this record it is made, wherever it begins.
        let (_, end) = self.record(&mut consumers, &record)?;
        let entry = consumers.group(name)?;
        drop(consumers);
        if options.start_at == StartAt::Newest {
            self.look_at_live_state();
        }
        self.checkpoint.sync_through(end)?;
        self.raise_all();
        Ok(entry)
    }

    fn group_options(&self, group: &GroupEntry) -> Result<GroupOptions> {
        self.check_open()?;
        let consumers = self.consumers();
        let unknown = || Error::unknown("group", &group.name);
        let policy = consumers.index.policy(group.id).cloned().ok_or_else(unknown)?;
        let invisible_for = consumers.groups.get(&group.id).ok_or_else(unknown)?.invisible_for;
        Ok(GroupOptions { policy, invisible_for, start_at: StartAt::default() })
    }

    pub(crate) fn delete_group(&self, name: &str) -> Result<()> {
        self.check()?;
        let mut consumers = self.consumers();
        let group: GroupId = consumers.group(name)?.id;
        let (_, end) = self.change(&mut consumers, Change::GroupRemoved { group })?;
        drop(consumers);
        self.raise_all();
        self.checkpoint.sync_through(end)
    }

    fn skip(&self, group: &GroupEntry, topic: &str, queue: u32, index: u64) -> Result<bool> {
        self.check()?;
        let topic = self.topics.by_name(topic)?;
        let invalid = || Error::invalid("queue", queue.to_string(), "it must be one of the topic's queues");
        let queue = topic.queue(queue).ok_or_else(invalid)?;
        let (id, index) = (queue.id, QueueIndex(index));
        let (first, end) = queue.visible(self.poppable());
        if index >= end {
            return Ok(false);
        }
        match self.fetch(&topic, queue, index) {
            Ok(Some(_)) => return Ok(false),
            Ok(None) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut consumers = self.consumers();
        let at = self.time()?;
        let attempt = match consumers.index.held(group.id, id, index) {
            Some(held) => held.attempt,
            // It is given up as it would be after a delivery, so that it is counted and can be told.
            None if index == consumers.index.position(group.id, id).unwrap_or_default().max(first) => {
                let (runs, generation) = ([Run::one(id, index, 1)], self.identity.generation);
                self.change(&mut consumers, Change::Popped { group: group.id, generation, at, due: at, runs: &runs })?;
                1
            }
            None => return Ok(false),
        };
        let runs = [Run::one(id, index, attempt)];
        let change = Change::Buried { group: group.id, at, burial: Burial::Discarded, runs: &runs };
        let (_, end) = self.change(&mut consumers, change)?;
        drop(consumers);
        self.settle_checkpoint(end)?;
        topic.signal.raise();
        Ok(true)
    }
}
