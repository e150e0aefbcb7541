//! State of a topic's queues, of which most may be empty: those take no memory.

use std::collections::BTreeMap;

/// A value for each queue of a topic; one that was never changed is not there.
#[derive(Clone, Debug)]
pub(crate) struct Sparse<T> {
    count: u32,
    used: BTreeMap<u32, T>,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { count: 0, used: BTreeMap::new() }
    }
}

impl<T: Default> Sparse<T> {
    /// How many queues there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Raises the number of queues to at least this.
    pub(crate) fn grow(&mut self, count: u32) {
        self.count = self.count.max(count);
    }

    /// The value of a queue that is not empty.
    pub(crate) fn get(&self, queue: u32) -> Option<&T> {
        self.used.get(&queue)
    }

    /// The value of a queue, if there is such a queue.
    pub(crate) fn get_mut(&mut self, queue: u32) -> Option<&mut T> {
        (queue < self.count).then(|| self.used.entry(queue).or_default())
    }

    /// The queues that are not empty, with their numbers.
    pub(crate) fn used(&self) -> impl Iterator<Item = (u32, &T)> {
        self.used.iter().map(|(queue, value)| (*queue, value))
    }

    pub(crate) fn used_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.used.iter_mut().map(|(queue, value)| (*queue, value))
    }
}
