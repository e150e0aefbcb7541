//! What runs behind a store, a file for each task: the threads, the reviver, dead letters, marks, snapshots, retention.

pub(crate) mod age;
pub(crate) mod bury;
pub(crate) mod keeper;
pub(crate) mod marks;
pub(crate) mod retention;
mod reviver;
pub(crate) mod threads;
