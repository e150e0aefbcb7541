//! The queues of a topic, made when they are first used: a record of 30 bytes can say that a topic has 1024 of them.

use std::sync::{Arc, OnceLock};

use super::ConsumeQueue;

/// Room for queues is made in blocks, up to the number of queues that a topic can have.
const BLOCK: usize = 32;

/// One place for each queue that a topic can have. All versions of a topic share them.
#[derive(Default)]
pub(crate) struct Slots {
    /// Most topics have one queue.
    first: OnceLock<Arc<ConsumeQueue>>,
    rest: OnceLock<Box<[OnceLock<SlotBlock>; BLOCK]>>,
}

type SlotBlock = Box<[OnceLock<Arc<ConsumeQueue>>; BLOCK]>;

impl Slots {
    /// The queue of that number, if it was used.
    #[inline]
    pub(crate) fn get(&self, queue: u32) -> Option<&Arc<ConsumeQueue>> {
        if queue == 0 {
            return self.first.get();
        }
        let queue = queue as usize;
        self.rest.get()?.get(queue / BLOCK)?.get()?.get(queue % BLOCK)?.get()
    }

    /// The queue of that number, made if it was not; none beyond those that a topic can have.
    #[inline]
    pub(crate) fn get_or_make(&self, queue: u32, make: impl FnOnce() -> ConsumeQueue) -> Option<&Arc<ConsumeQueue>> {
        if queue == 0 {
            return Some(self.first.get_or_init(|| Arc::new(make())));
        }
        let queue = queue as usize;
        let blocks = self.rest.get_or_init(|| Box::new([const { OnceLock::new() }; BLOCK]));
        let block = blocks.get(queue / BLOCK)?.get_or_init(|| Box::new([const { OnceLock::new() }; BLOCK]));
        Some(block.get(queue % BLOCK)?.get_or_init(|| Arc::new(make())))
    }

    /// Those that were used, in order.
    pub(crate) fn used(&self) -> impl Iterator<Item = &Arc<ConsumeQueue>> {
        let blocks = self.rest.get().into_iter().flat_map(|blocks| blocks.iter());
        let rest = blocks.filter_map(OnceLock::get).flat_map(|block| block.iter());
        self.first.get().into_iter().chain(rest.filter_map(OnceLock::get))
    }
}
