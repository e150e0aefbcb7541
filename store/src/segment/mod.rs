//! Files: how they are made, written, synced, renamed and mapped. Nothing here knows what a record is.

mod disk;
mod map;
mod platform;
mod published;

pub(crate) use disk::{Disk, StoreFile, directory_above};
pub use disk::{Event, Hook};
pub(crate) use map::{Beside, ReadMap, WriteMap};
pub(crate) use platform::{GROWS_UNDER_MAP, SYNCS_MAPS};
