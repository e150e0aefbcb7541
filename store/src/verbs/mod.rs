//! The verbs of an open store, a file for each.

pub(crate) mod append;
pub(crate) mod delivery;
pub(crate) mod pop;
pub(crate) mod settle;
pub(crate) mod stats;
