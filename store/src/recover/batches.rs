//! Messages of the commit log, put together to the batches that they were appended in: a batch that is not whole never
//! happened.

use std::vec::Drain;

/// The messages of a batch that is not whole yet.
#[derive(Clone)]
pub(crate) struct Batches<T> {
    messages: Vec<T>,
    begin: u64,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self { messages: Vec::new(), begin: 0 }
    }
}

impl<T> Batches<T> {
    /// Adds the message at this position, behind which `rest` of its batch follow. Returns the batch if it is whole now.
    pub(crate) fn add(&mut self, position: u64, rest: u32, message: T) -> Option<Drain<'_, T>> {
        if self.messages.is_empty() {
            self.begin = position;
        }
        self.messages.push(message);
        if rest == 0 { Some(self.messages.drain(..)) } else { None }
    }

    /// The log continues behind something that cannot be read: the messages of the batch that are whole were acknowledged.
    pub(crate) fn interrupt(&mut self) -> Drain<'_, T> {
        self.messages.drain(..)
    }

    /// Where the batch begins that is not whole, and how many messages of it there are.
    pub(crate) fn unfinished(&self) -> Option<(u64, u64)> {
        (!self.messages.is_empty()).then_some((self.begin, self.messages.len() as u64))
    }
}
