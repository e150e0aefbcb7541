//! What can be asked of the index: a verb of a user, a duty of the store, or the passing of time.

use std::fmt;
use std::time::Duration;

use crate::{GroupId, Policy, QueueId, QueueIndex, Run, Standing, Time};

/// One lease of one message, as a receipt names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The queue.
    pub queue: QueueId,
    /// The place in it.
    pub index: QueueIndex,
    /// The delivery.
    pub delivery: u32,
    /// The generation in which it was given.
    pub generation: u32,
}

/// The messages of a queue that can be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The queue.
    pub queue: QueueId,
    /// The first message that exists.
    pub first: QueueIndex,
    /// The first that cannot be handed out yet.
    pub end: QueueIndex,
}

/// What is to be handed out to whom.
#[derive(Clone, Copy)]
pub struct Pop<'c> {
    /// To whom.
    pub group: GroupId,
    /// Named by the receipts.
    pub generation: u32,
    /// How long the lease lasts.
    pub lease: Duration,
    /// How many messages at most.
    pub limit: u32,
    /// How many runs at most: what fits into one record.
    pub runs_max: usize,
    /// How many queues there are to choose from.
    pub queues: u32,
    /// What can be handed out of each of them, if anything ever could. A topic may have a thousand, and most pops need one.
    pub span: &'c dyn Fn(u32) -> Option<Span>,
}

impl fmt::Debug for Pop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans: Vec<Span> = (0..self.queues).filter_map(self.span).collect();
        let Self { group, generation, lease, limit, runs_max, .. } = self;
        write!(f, "Pop({group:?}, {generation}, {lease:?}, {limit}, {runs_max}, {spans:?})")
    }
}

/// A command. What depends on one machine is an argument: which messages can be handed out, the generation, limits.
#[derive(Clone, Copy, Debug)]
pub enum Command<'c> {
    /// Messages are handed out, redeliveries first.
    Pop(Pop<'c>),
    /// Messages are done.
    Ack {
        /// Whose.
        group: GroupId,
        /// Which.
        leases: &'c [Lease],
    },
    /// Leases are given back without counting.
    Release {
        /// Whose.
        group: GroupId,
        /// Which.
        leases: &'c [Lease],
        /// How long the messages are hidden.
        delay: Duration,
    },
    /// Messages are given back.
    Nack {
        /// Whose.
        group: GroupId,
        /// Which.
        leases: &'c [Lease],
        /// How long they are hidden; without one, as long as the group's rules say.
        delay: Option<Duration>,
    },
    /// Leases end at another time.
    Extend {
        /// Whose.
        group: GroupId,
        /// Which.
        leases: &'c [Lease],
        /// How long from now.
        by: Duration,
    },
    /// A message that cannot be delivered is given up.
    Skip {
        /// Whose.
        group: GroupId,
        /// Named by the receipt that nobody gets.
        generation: u32,
        /// The queue, and its first message that exists.
        queue: (QueueId, QueueIndex),
        /// The message.
        index: QueueIndex,
    },
    /// A group is made, or its rules are changed.
    SetGroup {
        /// The group.
        group: GroupId,
        /// Its rules from now on.
        policy: &'c Policy,
        /// Where a new group begins in the queues.
        from: &'c [(QueueId, QueueIndex)],
    },
    /// A group goes.
    RemoveGroup {
        /// The group.
        group: GroupId,
    },
    /// A group is a reader of these queues from now on.
    BeginReading {
        /// Who.
        group: GroupId,
        /// Where it begins in those that it has not read from.
        from: &'c [(QueueId, QueueIndex)],
    },
    /// The dead letters of these messages are durable.
    Bury {
        /// Whose messages.
        group: GroupId,
        /// Which, at their last deliveries.
        runs: &'c [Run],
    },
    /// Copies of these dead letters are durable where they came from.
    Redrive {
        /// Which, in their dead-letter queue; the deliveries mean nothing.
        letters: &'c [Run],
    },
    /// Dead letters before `first` are deleted.
    Forget {
        /// Their dead-letter queue.
        queue: QueueId,
        /// The first letter that exists where it was written.
        first: QueueIndex,
        /// Those before it that exist elsewhere.
        moved: &'c [Run],
    },
    /// A queue ends here: what was known of messages behind is void.
    Truncate {
        /// The queue.
        queue: QueueId,
        /// The first place that does not exist.
        end: QueueIndex,
    },
    /// The clock may have been set back.
    Reanchor,
    /// Time has passed.
    Tick {
        /// How many blocks of messages at most.
        blocks_max: usize,
    },
}

/// What a command comes to, beside the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The changes say it all.
    Done,
    /// Nothing changes: there is no message to pop or to skip, no lease is over, or all is so already.
    Nothing,
    /// Each lease has an outcome.
    Settled,
    /// There is no such group.
    UnknownGroup,
}

/// What becomes of a lease that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it was good for.
    pub standing: Standing,
    /// Whether its message changes by it. Of a lease that is presented twice at once only the first is accepted.
    pub accepted: bool,
    /// The lease, if the group still held the message.
    pub lease: Option<Leased>,
}

/// A lease as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// When.
    pub popped_at: Time,
    /// When it ends, or ended.
    pub due: Time,
}
