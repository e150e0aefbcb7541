//! Arguments that every store refuses, whatever it holds: found without a store, by a program that would have to make
//! one only to be refused by it.

use super::append::check_queue;
use super::groups::GroupOptions;
use crate::error::Result;
use crate::messages::{Message, check_name};
use crate::options::Options;

#[doc(hidden)]
impl Options {
    /// Refuses what an append that makes its topic would refuse.
    ///
    /// # Errors
    /// Those of the append.
    pub fn check_append(&self, topic: &str, message: &Message<'_>) -> Result<()> {
        message.check(self.body_bytes_max)?;
        self.check_topic(topic)?;
        message.chosen_queue().map_or(Ok(()), |queue| check_queue(queue, self.queues))
    }

    /// Refuses the name of a topic that cannot be made.
    ///
    /// # Errors
    /// Those of [`crate::Store::create_topic`].
    pub fn check_topic(&self, name: &str) -> Result<()> {
        check_name("topic", name)
    }

    /// Refuses a group that cannot be made.
    ///
    /// # Errors
    /// Those of [`crate::Store::create_group`].
    pub fn check_group(&self, name: &str, options: &GroupOptions) -> Result<()> {
        check_name("group", name)?;
        options.check()
    }
}
