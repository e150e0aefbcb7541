//! The dead letters of a group, read one after the other.

use std::sync::Arc;

use popstore_revive::{QueueId, QueueIndex};

use super::handle::Handle;
use crate::error::Result;
use crate::ledger::GroupEntry;
use crate::messages::{Topic, dead_letters_of};
use crate::verbs::redrive::DeadLetter;

/// The dead letters of a group, oldest first, without those that were redriven or finished with. Reads each on demand.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let once = GroupOptions::default().max_reconsume_times(0);
/// # let billing = store.create_group("billing", once)?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # let popped = billing.pop("orders", Pop::up_to(1))?;
/// # let _ = billing.nack(popped[0].receipt(), std::time::Duration::ZERO)?;
/// # while billing.dead_letters()?.next().is_none() { std::thread::yield_now(); }
/// let letter = billing.dead_letters()?.next().unwrap()?;
/// assert_eq!((letter.origin_topic(), letter.origin_index(), letter.attempts()), ("orders", 0, 1));
/// assert_eq!(letter.message().body(), b"12.50 EUR");
/// # Ok(()) }
/// ```
pub struct DeadLetters {
    handle: Arc<Handle>,
    topic: Option<Arc<Topic>>,
    /// Letters that retention has moved on; they come before the others.
    moved: std::vec::IntoIter<QueueIndex>,
    next: QueueIndex,
    end: QueueIndex,
    /// The last block that was asked for, and which of its letters are finished with.
    finished: Option<(u64, u64)>,
}

impl DeadLetters {
    pub(crate) fn of(handle: &Arc<Handle>, group: &GroupEntry) -> Result<Self> {
        handle.engine.context().check_open()?;
        let topic = handle.engine.messages().topics().find(&dead_letters_of(&group.name));
        let queue = topic.as_ref().and_then(|topic| topic.queue(0));
        let (next, end) =
            queue.map_or_else(Default::default, |queue| queue.visible(handle.engine.messages().poppable()));
        let moved = queue.map_or_else(Vec::new, |queue| queue.relocated());
        let moved: Vec<_> = moved.into_iter().map(|(index, _)| index).filter(|index| *index < next).collect();
        Ok(Self { handle: Arc::clone(handle), topic, moved: moved.into_iter(), next, end, finished: None })
    }

    /// Whether some group has not finished with a letter. A block is asked for once, since that asks every group.
    fn is_listed(&mut self, queue: QueueId, index: QueueIndex) -> bool {
        let consumers = self.handle.engine.consumers();
        let known = self.finished.filter(|(block, _)| *block == index.block());
        let (block, finished) =
            known.unwrap_or_else(|| (index.block(), consumers.index().finished(queue, index.block())));
        self.finished = Some((block, finished));
        finished & index.bit() == 0 && !consumers.index().is_redriven(queue, index)
    }

    fn read(&mut self, topic: &Topic, index: QueueIndex) -> Result<Option<DeadLetter>> {
        self.handle.engine.context().check_open()?;
        let Some(queue) = topic.queue(0) else { return Ok(None) };
        if !self.is_listed(queue.id, index) {
            return Ok(None);
        }
        let engine = &self.handle.engine;
        Ok(engine.messages().fetch(topic, queue, index)?.and_then(|message| DeadLetter::of(engine, message)))
    }
}

impl Iterator for DeadLetters {
    type Item = Result<DeadLetter>;

    fn next(&mut self) -> Option<Self::Item> {
        let topic = Arc::clone(self.topic.as_ref()?);
        loop {
            let index = match self.moved.next() {
                Some(index) => index,
                None if self.next < self.end => {
                    let index = self.next;
                    self.next = index.next();
                    index
                }
                None => return None,
            };
            if let Some(found) = self.read(&topic, index).transpose() {
                return Some(found);
            }
        }
    }
}
