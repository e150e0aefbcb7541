//! Every message that a group holds: in flight, waiting for its next delivery, or about to be buried.

use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{EndReason, State};

use super::Snapshot;
use crate::clock;

/// A message that a group was given and that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldMessage {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue: u32,
    /// Its place in the queue.
    pub index: u64,
    /// Its state.
    pub state: HeldState,
    /// The attempt of its last delivery.
    pub attempt: u32,
    /// When it was delivered last.
    pub popped_at: SystemTime,
    /// When `due_at` was set.
    pub since: SystemTime,
    /// When its lease ends, or when it becomes visible.
    pub due_at: SystemTime,
}

/// The state of an unsettled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldState {
    /// A consumer has it until its lease ends.
    InFlight,
    /// It is hidden until `due_at`; from then on it can be delivered again.
    Waiting,
    /// It used up its deliveries and is about to leave the group.
    Ending(EndReason),
}

impl Snapshot {
    /// The messages that groups hold, by group, queue and place: as the records left them, so that a lease that ended
    /// since is still in flight here.
    pub fn leases(&self) -> impl Iterator<Item = HeldMessage> + '_ {
        let index = self.contents.consumers.index();
        let queues = index.groups().flat_map(|group| index.positions(group).map(move |(queue, _)| (group, queue)));
        queues.flat_map(|(group, queue)| {
            let (whose, topic) = (self.contents.group_name(group), self.contents.topic_name(queue.topic));
            index.unsettled(group, queue).flat_map(move |(block, cohort)| {
                let (group, topic) = (Arc::clone(&whose), Arc::clone(&topic));
                cohort.indexes(block).map(move |index| HeldMessage {
                    group: Arc::clone(&group),
                    topic: Arc::clone(&topic),
                    queue: queue.queue,
                    index: index.0,
                    state: match cohort.state {
                        State::InFlight => HeldState::InFlight,
                        State::Waiting => HeldState::Waiting,
                        State::Ended(reason) => HeldState::Ending(reason),
                    },
                    attempt: cohort.attempt(),
                    popped_at: clock::wall(cohort.popped_at),
                    since: clock::wall(cohort.since),
                    due_at: clock::wall(cohort.due),
                })
            })
        })
    }
}
