//! The lock of a store's directory: on the file `lock`, and on the directory itself.
//!
//! A file can be removed while its owner runs, as cleaners of temporary directories do with old empty ones, and a process
//! that then makes and locks another has locked nothing. So the directory is locked, too, where the file system can do
//! that, and the owner checks before it makes a file that the lock file is still the one it locked.
//!
//! The lock is given back explicitly, also when opening fails: a process that another thread is just starting holds a
//! copy of every open file for a moment, and closing ours would not be enough. For the same reason a forked child must
//! not give it back: it would take the lock away from its parent.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::dir::{Access, Dir};
use super::process::OwnerProcess;

/// A lock that was taken.
pub(crate) struct Lock {
    dir: Arc<Dir>,
    path: PathBuf,
    file: Mutex<File>,
    /// The directory is locked, too.
    locks_dir: bool,
    /// The file had been removed or replaced, and that was not reported yet.
    was_replaced: AtomicBool,
    owner: OwnerProcess,
}

impl Lock {
    /// Takes the lock. If somebody else holds it, returns the path of the locked file or directory.
    pub(super) fn take(dir: &Arc<Dir>, mode: u32) -> io::Result<Result<Self, PathBuf>> {
        let path = dir.path().join("lock");
        let file = dir.open_file(&path, Access::MakeOrWrite, mode)?;
        if !try_lock(&file)? {
            return Ok(Err(path));
        }
        let locks_dir = match try_lock(dir.handle()) {
            Ok(true) => true,
            Ok(false) => {
                let _ = fs2::FileExt::unlock(&file);
                return Ok(Err(dir.path().to_path_buf()));
            }
            // Some file systems lock nothing but files.
            Err(_) => false,
        };
        let (was_replaced, owner) = (AtomicBool::new(false), OwnerProcess::here());
        Ok(Ok(Self { dir: Arc::clone(dir), path, file: Mutex::new(file), locks_dir, was_replaced, owner }))
    }

    /// Whether the caller is in the process that took it.
    #[inline(always)]
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.is_here()
    }

    /// Ensures that nobody else can have the lock.
    ///
    /// # Errors
    /// The lock file was removed or replaced, and there may have been another owner since.
    pub(super) fn hold(&self) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.dir.is_same_file(&self.path, &file)? {
            return Ok(());
        }
        let lost = || io::Error::other("its lock file was removed or replaced, and another owner may have come in");
        if !self.locks_dir {
            return Err(lost());
        }
        let new = self.dir.open_file(&self.path, Access::MakeOrWrite, file_mode(&file)?)?;
        if !try_lock(&new)? {
            return Err(lost());
        }
        *file = new;
        self.was_replaced.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the lock file had to be made again since this was asked last.
    pub(crate) fn take_replaced(&self) -> bool {
        self.was_replaced.swap(false, Ordering::Relaxed)
    }

    /// Gives the lock back.
    pub(crate) fn give_back(&self) -> io::Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        if self.locks_dir {
            fs2::FileExt::unlock(self.dir.handle())?;
        }
        fs2::FileExt::unlock(&*self.file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The lock file.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.give_back();
    }
}

/// Returns whether the lock was free.
fn try_lock(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == fs2::lock_contended_error().kind() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn file_mode(file: &File) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn file_mode(_file: &File) -> io::Result<u32> {
    Ok(0)
}
