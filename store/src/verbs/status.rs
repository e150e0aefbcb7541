//! What a message is doing for a group, by its place: one look-up in the index, and no message is read.

use std::time::SystemTime;

use popstore_revive::{Burial, Buried, Cohort, QueueIndex, State, Time};

use crate::clock;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ledger::GroupEntry;

/// What a message is doing for a group: [`Group::status`](crate::Group::status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageStatus {
    /// The next pop may be given it.
    Ready {
        /// How many deliveries have counted so far.
        attempts: u32,
    },
    /// It is hidden from pops.
    Waiting {
        /// How many deliveries have counted so far.
        attempts: u32,
        /// When the next pop may be given it.
        until: SystemTime,
    },
    /// A consumer has it under a lease.
    InFlight {
        /// The attempt of this delivery.
        attempt: u32,
        /// When the lease ends, unless it is extended.
        until: SystemTime,
    },
    /// It has used up its deliveries; its dead letter is about to be written.
    Ending {
        /// How many deliveries have counted.
        attempts: u32,
    },
    /// It is acked, or lies before the place where the group began, or left the group so long ago that the group does not
    /// remember how: of each queue it remembers the last 256 messages that were dead-lettered or discarded.
    Done,
    /// It is in the group's dead-letter queue.
    DeadLettered {
        /// How many deliveries have counted.
        attempts: u32,
    },
    /// The group has dropped it: at its limit, or it was skipped.
    Discarded {
        /// How many deliveries have counted.
        attempts: u32,
    },
    /// Retention has deleted it before the group was given it.
    Deleted,
}

impl Engine {
    /// What the message at a place is doing for a group; nothing if there is no such message yet.
    pub(crate) fn status(
        &self,
        group: &GroupEntry,
        topic: &str,
        queue: u32,
        index: u64,
    ) -> Result<Option<MessageStatus>> {
        self.context().check_open()?;
        let topic = self.messages().topics().by_name(topic)?;
        let Some(queue) = topic.queue(queue) else { return Ok(None) };
        let (first, end) = queue.visible(self.messages().poppable());
        let at = QueueIndex(index);
        if at >= end {
            return Ok(None);
        }
        let now = self.context().time()?;
        let consumers = self.consumers();
        if !consumers.groups().contains_key(&group.id) {
            return Err(Error::unknown("group", &group.name));
        }
        let index = consumers.index();
        let status = match index.held(group.id, queue.id, at) {
            Some(held) => of_held(held, now),
            None => match index.burial(group.id, queue.id, at) {
                Some(buried) => of_buried(buried),
                None if at < index.position(group.id, queue.id).unwrap_or_default() => MessageStatus::Done,
                None if at < first => MessageStatus::Deleted,
                None => MessageStatus::Ready { attempts: 0 },
            },
        };
        Ok(Some(status))
    }
}

fn of_buried(buried: &Buried) -> MessageStatus {
    let attempts = buried.attempt();
    match buried.burial {
        Burial::DeadLettered => MessageStatus::DeadLettered { attempts },
        Burial::Discarded => MessageStatus::Discarded { attempts },
    }
}

fn of_held(held: &Cohort, now: Time) -> MessageStatus {
    let (attempts, until) = (held.attempt(), clock::wall(held.due));
    match held.state {
        State::InFlight => MessageStatus::InFlight { attempt: attempts, until },
        State::Waiting if held.due > now => MessageStatus::Waiting { attempts, until },
        State::Waiting => MessageStatus::Ready { attempts },
        State::Ended(_) => MessageStatus::Ending { attempts },
    }
}
