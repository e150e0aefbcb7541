//! The ledger: the checkpoint log and the POP index, which is everything that is known about consumers.

pub(crate) mod consumers;
pub(crate) mod receipt;
pub(crate) mod reserve;
pub(crate) mod runs;
