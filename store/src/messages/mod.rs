//! Messages: the commit log, the topics and their consume queues.

mod chunks;
pub(crate) mod message;
pub(crate) mod queue;
pub(crate) mod topics;
pub(crate) mod wait;
