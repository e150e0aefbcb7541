//! The changes a POP index can go through: what happens live, and what the checkpoint log tells again.

use crate::{GroupId, Policy, QueueId, QueueImage, QueueIndex, Time, Verdict};

/// Some of the 64 neighbours of one block of a queue, all at the same delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The queue.
    pub queue: QueueId,
    /// The block: places `64 * block` to `64 * block + 63`.
    pub block: u64,
    /// Which of them; bit 0 is the first.
    pub mask: u64,
    /// The number of the delivery meant: 1 is the first.
    pub delivery: u32,
}

impl Run {
    /// The run that names one message.
    pub fn one(queue: QueueId, index: QueueIndex, delivery: u32) -> Self {
        Self { queue, block: index.block(), mask: index.bit(), delivery }
    }

    /// How many messages it names.
    pub fn len(&self) -> u32 {
        self.mask.count_ones()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// The places it names, in order.
    pub fn indexes(&self) -> impl Iterator<Item = QueueIndex> + use<> {
        let (first, mut rest) = (QueueIndex::of_block(self.block), self.mask);
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros();
            rest &= rest.checked_sub(1)?;
            Some(QueueIndex(first.0.saturating_add(u64::from(bit))))
        })
    }
}

/// Why a lease ended without an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndReason {
    /// The invisible time passed.
    Expired,
    /// The consumer gave the message back.
    Nacked,
}

/// How a message left its group without an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Burial {
    /// Copied to the dead-letter queue.
    DeadLettered,
    /// Dropped.
    Discarded,
}

/// What a group has done since it was created. Kept by [`crate::Index::apply`], carried by [`Change::Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// Deliveries, also those that do not count.
    pub popped: u64,
    /// Deliveries at attempt 2 and above.
    pub redelivered: u64,
    /// Messages acked.
    pub acked: u64,
    /// Messages given back by their consumer.
    pub nacked: u64,
    /// Messages sent to the dead-letter queue.
    pub dead_lettered: u64,
    /// Messages dropped at the limit.
    pub discarded: u64,
    /// Deliveries that do not count.
    pub released: u64,
}

/// One step of the POP index.
///
/// Changes that name messages touch only those which are where the change expects them: at the delivery the run names,
/// or, for [`Change::Popped`], before it; and in a state from which the change can come. A message that has used up its
/// deliveries can only be buried. The rest of a run is ignored. That makes every change idempotent, and one that was
/// overtaken harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A group exists with this policy, and has done this much.
    Group {
        /// The group.
        group: GroupId,
        /// Its rules from now on. Boxed: every change takes as much space as the largest.
        policy: Box<Policy>,
        /// What it had done at this point.
        counters: Box<Counters>,
    },
    /// A group and all it held is gone.
    GroupRemoved {
        /// The group.
        group: GroupId,
    },
    /// A group starts reading a queue, or jumps ahead in it: everything before `position` is settled that it does not hold,
    /// or that no delivery of counts. A position never moves back.
    Positioned {
        /// The group.
        group: GroupId,
        /// The queue.
        queue: QueueId,
        /// The next new message for the group.
        position: QueueIndex,
    },
    /// Messages were handed out, new ones or redeliveries.
    Popped {
        /// The group.
        group: GroupId,
        /// The store's generation, named by the receipts.
        generation: u32,
        /// When.
        at: Time,
        /// When the lease ends.
        due: Time,
        /// Which, and the number of this delivery.
        runs: &'a [Run],
    },
    /// Messages were acked.
    Acked {
        /// The group.
        group: GroupId,
        /// When; information only.
        at: Time,
        /// Which.
        runs: &'a [Run],
    },
    /// Leased messages were given back.
    Nacked {
        /// The group.
        group: GroupId,
        /// When.
        at: Time,
        /// What becomes of them.
        verdict: Verdict,
        /// Which.
        runs: &'a [Run],
    },
    /// Leased messages were given back, and that delivery does not count.
    Released {
        /// The group.
        group: GroupId,
        /// When.
        at: Time,
        /// When they become visible again.
        visible_at: Time,
        /// Which.
        runs: &'a [Run],
    },
    /// Running leases, or such as nobody has ended yet, were given another end.
    Extended {
        /// The group.
        group: GroupId,
        /// When.
        at: Time,
        /// When the lease ends now.
        due: Time,
        /// Which.
        runs: &'a [Run],
    },
    /// Leases that were over ended, and their messages will be delivered again.
    Revived {
        /// The group.
        group: GroupId,
        /// When: not before the ends of the leases.
        at: Time,
        /// When they become visible again.
        visible_at: Time,
        /// Which.
        runs: &'a [Run],
    },
    /// Leases that were over ended, and their messages have used up their deliveries: they belong into the dead-letter queue.
    Ended {
        /// The group.
        group: GroupId,
        /// When: not before the ends of the leases.
        at: Time,
        /// Which.
        runs: &'a [Run],
    },
    /// Messages left the group. They are dead-lettered only where their deliveries are used up, and discarded there or
    /// where their leases are over.
    Buried {
        /// The group.
        group: GroupId,
        /// When.
        at: Time,
        /// Where to.
        burial: Burial,
        /// Which.
        runs: &'a [Run],
    },
    /// Dead letters were put back to where they came from; the deliveries of the runs mean nothing.
    Redriven {
        /// Which, in their dead-letter queue.
        runs: &'a [Run],
    },
    /// Dead letters do not exist any more: it is forgotten which of them were put back.
    Forgotten {
        /// Their dead-letter queue.
        queue: QueueId,
        /// The first letter that exists where it was written.
        first: QueueIndex,
        /// Letters before it that exist elsewhere; the deliveries mean nothing.
        runs: &'a [Run],
    },
    /// The clock may have been set back: no wait lasts longer from now on than it was set to last.
    Reanchored {
        /// Now.
        at: Time,
    },
    /// The queue ends here: whatever the index holds about places from `end` on is void.
    Truncated {
        /// The queue.
        queue: QueueId,
        /// The first place that does not exist.
        end: QueueIndex,
    },
    /// The state of a part of a queue for a group, replacing what the index holds about it.
    Image(Box<QueueImage>),
}

impl Change<'_> {
    /// The same change, of these messages; of one that names none, the change as it is.
    #[inline(always)]
    pub fn with_runs<'r>(&self, runs: &'r [Run]) -> Change<'r> {
        match *self {
            Self::Popped { group, generation, at, due, .. } => Change::Popped { group, generation, at, due, runs },
            Self::Acked { group, at, .. } => Change::Acked { group, at, runs },
            Self::Nacked { group, at, verdict, .. } => Change::Nacked { group, at, verdict, runs },
            Self::Released { group, at, visible_at, .. } => Change::Released { group, at, visible_at, runs },
            Self::Extended { group, at, due, .. } => Change::Extended { group, at, due, runs },
            Self::Revived { group, at, visible_at, .. } => Change::Revived { group, at, visible_at, runs },
            Self::Ended { group, at, .. } => Change::Ended { group, at, runs },
            Self::Buried { group, at, burial, .. } => Change::Buried { group, at, burial, runs },
            Self::Redriven { .. } => Change::Redriven { runs },
            Self::Forgotten { queue, first, .. } => Change::Forgotten { queue, first, runs },
            Self::Group { group, ref policy, ref counters } => {
                Change::Group { group, policy: policy.clone(), counters: counters.clone() }
            }
            Self::GroupRemoved { group } => Change::GroupRemoved { group },
            Self::Positioned { group, queue, position } => Change::Positioned { group, queue, position },
            Self::Reanchored { at } => Change::Reanchored { at },
            Self::Truncated { queue, end } => Change::Truncated { queue, end },
            Self::Image(ref image) => Change::Image(image.clone()),
        }
    }

    /// When it happened, if it says so.
    pub fn at(&self) -> Option<Time> {
        match *self {
            Self::Popped { at, .. }
            | Self::Acked { at, .. }
            | Self::Nacked { at, .. }
            | Self::Released { at, .. }
            | Self::Extended { at, .. }
            | Self::Revived { at, .. }
            | Self::Ended { at, .. }
            | Self::Buried { at, .. }
            | Self::Reanchored { at } => Some(at),
            _ => None,
        }
    }

    /// The messages that it names.
    pub fn runs(&self) -> &[Run] {
        match self {
            Self::Popped { runs, .. }
            | Self::Acked { runs, .. }
            | Self::Nacked { runs, .. }
            | Self::Released { runs, .. }
            | Self::Extended { runs, .. }
            | Self::Revived { runs, .. }
            | Self::Ended { runs, .. }
            | Self::Buried { runs, .. }
            | Self::Redriven { runs }
            | Self::Forgotten { runs, .. } => runs,
            _ => &[],
        }
    }
}
