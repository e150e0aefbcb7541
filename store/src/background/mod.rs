//! What runs behind a store, a file for each task: the threads, the reviver, dead letters, marks, retention. A task owns
//! what it remembers between its steps.

mod ages;
mod bury;
pub(crate) mod maintenance;
pub(crate) mod marks;
mod relocation;
pub(crate) mod retention;
mod reviver;
pub(crate) mod threads;
