//! Popping: the core chooses -> one record -> read what was leased -> hand out. No message is read under the lock of the
//! consumers; what cannot be read is given back without counting.

use std::sync::Arc;
use std::time::Duration;

use popstore_revive::{Answer, Command, GroupId, Lease, QueueId, QueueIndex, Run, Span, Time};

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ledger::{GroupEntry, Locked, Receipt};
use crate::messages::{Reader, StoredMessage, Topic};
use crate::verbs::delivery::Delivery;

/// The most messages of one pop.
const MESSAGES_MAX: u32 = 4096;
const INVISIBLE_MIN: Duration = Duration::from_millis(1);
const INVISIBLE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What to pop: how many messages at most, for how long, from which queue.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let billing = store.create_group("billing", GroupOptions::default())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// use std::time::Duration;
/// store.create_topic("orders", 4)?;
/// let pop = Pop::up_to(32).invisible_for(Duration::from_secs(60)).queue(0);
/// assert_eq!(billing.pop("orders", pop)?.len(), 1);
/// assert!(billing.pop("orders", Pop::up_to(32))?.is_empty());
/// # Ok(()) }
/// ```
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
    Err(Error::invalid("invisible time", format!("{lease:?}"), "it must be 1 ms to 7 days"))
}

/// What a pop has leased.
struct Leased {
    /// With the attempt.
    runs: Vec<(Run, u32)>,
    due: Time,
}

impl Engine {
    pub(crate) fn pop(&self, group: &GroupEntry, topic: &str, pop: Pop) -> Result<Vec<Delivery>> {
        self.context().check()?;
        let topic = self.topic_to_pop_from(topic, pop)?;
        self.check_reserve()?;
        let (queues, limit) = (pop.queue.map_or(topic.count, |_| 1), self.messages().poppable());
        let span = |queue| {
            let queue = topic.used(pop.queue.unwrap_or(queue))?;
            let (first, end) = queue.visible(limit);
            Some(Span { queue: queue.id, first, end })
        };
        let mut consumers = self.consumers();
        // The settings of now, not those of when the handle was made.
        let settings = consumers.groups().get(&group.id).ok_or_else(|| Error::unknown("group", &group.name))?;
        let lease = pop.invisible_for.unwrap_or(settings.invisible_for);
        let (generation, at) = (self.context().identity.generation, self.context().time()?);
        // One record: a pop that is refused has handed out nothing.
        let (limit, runs_max) = (pop.messages_max, self.ledger().runs_max());
        let pop = popstore_revive::Pop { group: group.id, generation, lease, limit, runs_max, queues, span: &span };
        let (answer, written) = consumers.decide(&Command::Pop(pop), at, None)?;
        if answer == Answer::Nothing {
            self.begin_reading(consumers, group.id, &topic, at)?;
            return Ok(Vec::new());
        }
        let leased = Leased { runs: consumers.leased(group.id), due: at.after(lease) };
        drop(consumers);
        let (mut deliveries, mut end) = (Vec::new(), written.end);
        let (read, done) = self.read(group, &topic, &leased, &mut deliveries);
        if let Err(error) = done {
            let given_back = self.give_back(group, &leased, read);
            // Behind others it is the first of a later pop, which reports it.
            if deliveries.is_empty() {
                return Err(error);
            }
            // What could not be given back comes again when its lease ends.
            end = given_back.unwrap_or(end);
        }
        // Order matters: the attempt is as durable as promised before anyone sees the message.
        self.make_records_durable(end)?;
        Ok(deliveries)
    }

    /// The topic to pop from, if the rest of what is asked for is possible.
    fn topic_to_pop_from(&self, topic: &str, pop: Pop) -> Result<Arc<Topic>> {
        if !(1..=MESSAGES_MAX).contains(&pop.messages_max) {
            return Err(Error::invalid("number of messages", pop.messages_max.to_string(), "it must be 1 to 4096"));
        }
        pop.invisible_for.map_or(Ok(()), check_invisible)?;
        let topic = self.messages().topics().by_name(topic)?;
        match pop.queue.filter(|queue| topic.queue(*queue).is_none()) {
            Some(queue) => Err(Error::no_queue(queue, topic.count)),
            None => Ok(topic),
        }
    }

    /// A group that asks a topic for the first time is a reader of it from now on, for retention and lag.
    fn begin_reading(&self, mut consumers: Locked<'_>, group: GroupId, topic: &Topic, at: Time) -> Result<()> {
        let limit = self.messages().poppable();
        let firsts = (0..).zip(topic.of_each(|queue| queue.visible(limit).0));
        let queues = firsts.map(|(queue, first)| (QueueId { topic: topic.id, queue }, first));
        let from: Vec<_> = queues.filter(|(queue, _)| consumers.index().position(group, *queue).is_none()).collect();
        if from.is_empty() {
            return Ok(());
        }
        let (_, written) = consumers.decide(&Command::BeginReading { group, from: &from }, at, None)?;
        drop(consumers);
        self.ledger().estimate_live_state();
        self.make_records_durable(written.end)
    }

    /// Reads what was leased, up to the first message that cannot be read: nothing damaged is handed out, or skipped without
    /// a word. Returns how many were read.
    fn read(
        &self,
        group: &GroupEntry,
        topic: &Topic,
        leased: &Leased,
        deliveries: &mut Vec<Delivery>,
    ) -> (usize, Result<()>) {
        let Leased { runs, due } = leased;
        deliveries.reserve_exact(runs.iter().map(|(run, _)| run.len() as usize).sum());
        let (mut reader, mut entries) = (Reader::new(self.messages().log(), &topic.name), Vec::new());
        let mut read = 0;
        let done = runs.iter().try_for_each(|(run, attempt)| {
            let (attempt, due) = (*attempt, *due);
            entries.clear();
            if let Some(queue) = topic.queue(run.queue.queue) {
                queue.entries(self.messages().disk(), run, &mut entries)?;
            }
            for (at, index) in run.indexes().enumerate() {
                let lease = self.lease(run, index);
                let receipt = self.receipt(group, lease);
                if let Some(Some(entry)) = entries.get(at)
                    && let Ok(message) = reader.read(*entry, run.queue, index)
                {
                    deliveries.push(Delivery { message, receipt, attempt, due });
                } else if let Some(message) = self.read_one(group, topic, &lease)? {
                    deliveries.push(Delivery { message, receipt, attempt, due });
                }
                read += 1;
            }
            Ok(())
        });
        (read, done)
    }

    /// Gives all leases but the first ones back, which nobody was handed. Returns the end of the log.
    fn give_back(&self, group: &GroupEntry, leased: &Leased, handed_out: usize) -> Result<u64> {
        let leases = leased.runs.iter().flat_map(|(run, _)| run.indexes().map(|index| self.lease(run, index)));
        let leases: Vec<Lease> = leases.skip(handed_out).collect();
        let at = self.context().time()?;
        let release = Command::Release { group: group.id, leases: &leases, delay: Duration::ZERO };
        let (_, written) = self.consumers().decide(&release, at, None)?;
        self.messages().raise(written.poppable);
        Ok(written.end)
    }

    fn lease(&self, run: &Run, index: QueueIndex) -> Lease {
        let generation = self.context().identity.generation;
        Lease { queue: run.queue, index, delivery: run.delivery, generation }
    }

    fn receipt(&self, group: &GroupEntry, lease: Lease) -> Receipt {
        Receipt::of(self.context().identity.id, group.id, lease)
    }

    /// Repairs the queue, or names the damage. There is no message if the lease ended before it was read, and who was given
    /// it then has settled it: retention may have deleted it.
    fn read_one(&self, group: &GroupEntry, topic: &Topic, lease: &Lease) -> Result<Option<StoredMessage>> {
        let missing = || self.messages().missing(topic, lease.index);
        let queue = topic.queue(lease.queue.queue).ok_or_else(missing)?;
        let found = self.messages().fetch(topic, queue, lease.index)?;
        let is_held = || {
            let consumers = self.consumers();
            let held = consumers.index().held(group.id, lease.queue, lease.index);
            held.is_some_and(|held| held.delivery == lease.delivery)
        };
        if found.is_none() && is_held() { Err(missing()) } else { Ok(found) }
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
        let signal = Arc::clone(&self.messages().topics().by_name(topic)?.signal);
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
