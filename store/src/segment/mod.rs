//! Files: how they are made, written, synced, renamed and mapped. Nothing here knows what a record is.

mod dir;
mod disk;
pub(crate) mod holes;
mod lock;
mod map;
mod platform;
mod process;
mod published;

pub(crate) use disk::{Disk, StoreFile, directory_above};
pub use disk::{Event, Hook};
pub(crate) use lock::Lock;
pub(crate) use map::{Beside, ReadMap, WriteMap, may_map_more};
pub(crate) use platform::{GROWS_UNDER_MAP, SYNCS_MAPS};
