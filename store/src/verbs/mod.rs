//! The verbs of an open store, a file for each.

mod append;
mod arguments;
pub(crate) mod delivery;
pub(crate) mod groups;
pub(crate) mod pop;
pub(crate) mod redrive;
pub(crate) mod settle;
pub(crate) mod stats;
pub(crate) mod status;
