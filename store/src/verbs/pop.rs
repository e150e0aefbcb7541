//! Popping: ready redeliveries first, then new messages at the group's position -> one record -> hand out.

use std::time::Duration;

use popstore_revive::{Change, GroupId, Index, QueueId, QueueIndex, Run, Time};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::receipt::Lease;
use crate::ledger::{GroupEntry, Locked, Receipt};
use crate::messages::{Reader, StoredMessage, Topic};
use crate::verbs::delivery::Delivery;

/// The most messages of one pop.
const MESSAGES_MAX: u32 = 4096;
const INVISIBLE_MIN: Duration = Duration::from_millis(1);
const INVISIBLE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What to pop: how many messages at most, for how long, from which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pop {
    messages_max: u32,
    invisible_for: Option<Duration>,
    queue: Option<u32>,
}

impl Pop {
    /// At most so many messages, 1 to 4096, under the group's own invisible time.
    pub fn up_to(messages: u32) -> Self {
        Self { messages_max: messages, invisible_for: None, queue: None }
    }

    /// How long the messages are hidden from the group's other consumers: 1 ms to 7 days.
    #[must_use]
    pub fn invisible_for(mut self, lease: Duration) -> Self {
        self.invisible_for = Some(lease);
        self
    }

    /// Only from this queue of the topic.
    #[must_use]
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = Some(queue);
        self
    }
}

/// Refuses lease times out of range.
pub(crate) fn check_invisible(lease: Duration) -> Result<()> {
    if (INVISIBLE_MIN..=INVISIBLE_MAX).contains(&lease) {
        return Ok(());
    }
    Err(Error::invalid("invisible time", format!("{lease:?}"), "1 ms to 7 days"))
}

impl Engine {
    pub(crate) fn pop(&self, group: &GroupEntry, topic: &str, pop: Pop) -> Result<Vec<Delivery>> {
        self.context().check()?;
        if !(1..=MESSAGES_MAX).contains(&pop.messages_max) {
            return Err(Error::invalid("number of messages", pop.messages_max.to_string(), "1 to 4096"));
        }
        pop.invisible_for.map_or(Ok(()), check_invisible)?;
        let topic = self.messages().topics().by_name(topic)?;
        if let Some(queue) = pop.queue.filter(|queue| topic.queue(*queue).is_none()) {
            return Err(Error::invalid("queue", queue.to_string(), "it must be one of the topic's queues"));
        }
        self.check_reserve()?;
        let (deliveries, end) = self.lease_out(group, &topic, pop)?;
        if deliveries.is_empty() && end.is_some() {
            self.ledger().estimate_live_state();
        }
        if let Some(end) = end {
            // Order matters: the attempt is as durable as promised before anyone sees the message.
            self.make_records_durable(end)?;
        }
        Ok(deliveries)
    }

    fn lease_out(&self, group: &GroupEntry, topic: &Topic, pop: Pop) -> Result<(Vec<Delivery>, Option<u64>)> {
        let mut consumers = self.consumers();
        // The settings of now, not those of when the handle was made.
        let settings = consumers.groups().get(&group.id).ok_or_else(|| Error::unknown("group", &group.name))?;
        let lease = pop.invisible_for.unwrap_or(settings.invisible_for);
        let at = self.context().time()?;
        let mut runs = consumers.take_runs();
        self.pick(consumers.index(), group.id, topic, pop, at, &mut runs);
        // One record: a pop that is refused has handed out nothing.
        runs.truncate(self.ledger().runs_max());
        let end = match runs.is_empty() {
            true => self.begin_reading(&mut consumers, group.id, topic)?,
            false => None,
        };
        let due = at.after(lease);
        let found = self.read_runs(group.id, topic, &mut runs, due);
        let popped = match found {
            Ok(deliveries) if !runs.is_empty() => {
                let generation = self.context().identity.generation;
                let popped = |runs| Change::Popped { group: group.id, generation, at, due, runs };
                consumers.change_all(&runs, popped).map(|end| (deliveries, Some(end)))
            }
            Ok(deliveries) => Ok((deliveries, end)),
            Err(error) => Err(error),
        };
        consumers.return_runs(runs);
        popped
    }

    /// Chooses what to hand out, beginning with another queue each time.
    fn pick(&self, index: &Index, group: GroupId, topic: &Topic, pop: Pop, at: Time, runs: &mut Vec<Run>) {
        let limit = self.messages().poppable();
        let first = topic.next_turn() as usize;
        let queues = (0..topic.count).cycle().skip(first % topic.count as usize).take(topic.count as usize);
        let queues = queues.filter_map(|queue| topic.used(queue));
        let mut left = pop.messages_max;
        for queue in queues.filter(|queue| pop.queue.is_none_or(|only| only == queue.id.queue)) {
            let before = runs.len();
            index.pick(group, queue.id, left, queue.visible(limit), at, runs);
            left -= runs[before..].iter().map(Run::len).sum::<u32>();
            if left == 0 {
                break;
            }
        }
    }

    /// A group that asks a topic for the first time is a reader of it from now on, for retention and lag.
    fn begin_reading(&self, consumers: &mut Locked<'_>, group: GroupId, topic: &Topic) -> Result<Option<u64>> {
        let mut end = None;
        let limit = self.messages().poppable();
        for (queue, position) in (0..).zip(topic.of_each(|queue| queue.visible(limit).0)) {
            let queue = QueueId { topic: topic.id, queue };
            if consumers.index().position(group, queue).is_none() {
                end = Some(consumers.change(Change::Positioned { group, queue, position })?.end);
            }
        }
        Ok(end)
    }

    /// Reads what was chosen. A message that cannot be read ends the list before it; when it is the first, it is
    /// reported: nothing damaged is handed out, or skipped without a word.
    fn read_runs(&self, group: GroupId, topic: &Topic, runs: &mut Vec<Run>, due: Time) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::with_capacity(runs.iter().map(|run| run.len() as usize).sum());
        let (mut reader, mut entries) = (Reader::new(self.messages().log(), &topic.name), Vec::new());
        for at in 0..runs.len() {
            let run = runs[at];
            entries.clear();
            if let Some(queue) = topic.queue(run.queue.queue) {
                queue.entries(self.messages().disk(), &run, &mut entries)?;
            }
            for (at_entry, index) in run.indexes().enumerate() {
                let receipt = self.receipt(group, run.queue, index, run.attempt);
                if let Some(Some(entry)) = entries.get(at_entry)
                    && let Ok(message) = reader.read(entry.offset, entry.size)
                    && message.is_at(run.queue, index)
                {
                    deliveries.push(Delivery { message, receipt, due });
                    continue;
                }
                // Slow path: repairs the queue, or names the damage.
                match self.read_one(topic, run.queue, index) {
                    Ok(message) => deliveries.push(Delivery { message, receipt, due }),
                    Err(error) if deliveries.is_empty() => return Err(error),
                    Err(_) => {
                        runs[at].mask &= index.bit() - 1;
                        runs.truncate(at + usize::from(runs[at].mask != 0));
                        return Ok(deliveries);
                    }
                }
            }
        }
        Ok(deliveries)
    }

    fn read_one(&self, topic: &Topic, queue: QueueId, index: QueueIndex) -> Result<StoredMessage> {
        let missing = || self.messages().missing(topic, index);
        let queue = topic.queue(queue.queue).ok_or_else(missing)?;
        self.messages().fetch(topic, queue, index)?.ok_or_else(missing)
    }

    fn receipt(&self, group: GroupId, queue: QueueId, index: QueueIndex, attempt: u32) -> Receipt {
        let identity = &self.context().identity;
        Receipt { lease: Lease { store: identity.id, generation: identity.generation, group, queue, index, attempt } }
    }

    pub(crate) fn pop_wait(
        &self,
        group: &GroupEntry,
        topic: &str,
        pop: Pop,
        timeout: Duration,
    ) -> Result<Vec<Delivery>> {
        let context = self.context();
        context.check()?;
        let signal = std::sync::Arc::clone(&self.messages().topics().by_name(topic)?.signal);
        let deadline = context.now().after(timeout);
        loop {
            // Order matters: the count is read before the pop, so that nothing can become visible unseen between.
            let seen = signal.count();
            let deliveries = self.pop(group, topic, pop)?;
            let left = deadline.since(context.now());
            // A clock that does not run brings no deadline nearer: its owner moves it and pops again.
            if !deliveries.is_empty() || left.is_zero() || !context.clock.runs() {
                return Ok(deliveries);
            }
            signal.wait(seen, left);
        }
    }
}
