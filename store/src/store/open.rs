//! Opening a store.

use std::path::Path;

use super::Store;
use super::handle::Handle;
use crate::error::Result;
use crate::options::Options;

impl Options {
    /// Opens the store in `dir`, or makes one there if the directory is empty or missing: recovers what a crash left,
    /// and starts the background threads. [`Store::recovery`] reports what was done.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) when it is open elsewhere, [`Error::Format`](crate::Error::Format) when
    /// the directory is no store or of another format, [`Error::Corrupt`](crate::Error::Corrupt) when something durable
    /// is damaged (nothing is changed then), [`Error::Invalid`](crate::Error::Invalid) for an option out of range,
    /// [`Error::Full`](crate::Error::Full) and [`Error::Io`](crate::Error::Io) from the system.
    ///
    /// ```
    /// # fn main() -> popstore::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use popstore::{Error, Options};
    /// let store = Options::default().open(dir.path())?;
    /// assert!(matches!(Options::default().open(dir.path()), Err(Error::Locked { .. })));
    /// # Ok(()) }
    /// ```
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        Ok(Store { handle: Handle::open(dir.as_ref(), self)? })
    }
}
