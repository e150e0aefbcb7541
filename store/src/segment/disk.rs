//! The narrow seam between the store and the file system: every change of a file or directory is made here.
//!
//! The calls are create, open, map, write, room, sync file, sync range, sync directory, rename and remove. A [`Hook`]
//! sees each before and after it happens and may refuse it: that is how tests take the disk's picture at every point
//! and inject its faults. What is stored through a map is not seen as a call, only in the files; what recovery and
//! `Snapshot` only read is not seen at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::dir::{Access, Dir, Kind};
use super::lock::Lock;
use super::{Beside, platform};

/// A call that changes the disk or may run out of something, about to happen or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file or directory is made.
    Create(&'a Path),
    /// A file that is there is opened; nothing changes.
    Open(&'a Path),
    /// A file is mapped; nothing changes.
    Map(&'a Path),
    /// Bytes are written at a place of a file.
    Write {
        /// The file.
        path: &'a Path,
        /// Where.
        at: u64,
        /// How many.
        len: usize,
    },
    /// Zeroes are written at a place of a file, and so have their space.
    Room {
        /// The file.
        path: &'a Path,
        /// Where.
        at: u64,
        /// How many bytes.
        len: usize,
    },
    /// A range of a file gets its space without being written.
    Space {
        /// The file.
        path: &'a Path,
        /// Where.
        at: u64,
        /// How many bytes.
        len: usize,
        /// All of it counts as never written, and reads as zeroes from here on.
        afresh: bool,
    },
    /// The bytes written to a file become durable.
    SyncFile(&'a Path),
    /// Bytes at a place of a mapped file become durable, and those beside them may.
    SyncRange {
        /// The file.
        path: &'a Path,
        /// Where.
        at: u64,
        /// How many.
        len: usize,
    },
    /// The names in a directory become durable.
    SyncDir(&'a Path),
    /// A file gets another name in its directory.
    Rename {
        /// Its old name.
        from: &'a Path,
        /// Its new name.
        to: &'a Path,
    },
    /// A file is removed.
    Remove(&'a Path),
}

/// Sees every call of the seam; for tests of crashes and faults.
pub trait Hook: Send + Sync {
    /// Before the call; an error stands for the system's own.
    ///
    /// # Errors
    /// Any that the call is to fail with.
    fn before(&self, event: &Event<'_>) -> io::Result<()>;

    /// After the call was done.
    fn after(&self, event: &Event<'_>);
}

/// The file system below the store's directory, as the store uses it.
#[derive(Clone)]
pub(crate) struct Disk {
    dir: Arc<Dir>,
    /// The permissions of files that are made.
    mode: u32,
    hook: Option<Arc<dyn Hook>>,
    /// Held by the owner of the store.
    lock: Option<Arc<Lock>>,
}

/// An open file and its path.
#[derive(Debug)]
pub(crate) struct StoreFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Disk {
    /// Opens a directory.
    pub(crate) fn open_dir(dir: &Path, mode: u32, hook: Option<Arc<dyn Hook>>) -> io::Result<Self> {
        Ok(Self { dir: Arc::new(Dir::open(dir)?), mode, hook, lock: None })
    }

    /// The same; if it is missing it is made, and those above it, and the names of all that were made are durable.
    pub(crate) fn make_root(dir: &Path, mode: u32, hook: Option<Arc<dyn Hook>>) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.is_dir()).collect();
        for missing in missing.into_iter().rev() {
            seen(hook.as_deref(), Event::Create(missing), || match platform::make_dir(missing, dir_mode(mode)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match missing.is_dir() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::NotADirectory.into()),
                },
                made => made,
            })?;
            let above = directory_above(missing);
            seen(hook.as_deref(), Event::SyncDir(above), || platform::sync_dir(above))?;
        }
        Self::open_dir(&dir, mode, hook)
    }

    /// The directory; the paths of all files begin with it.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Takes the lock of the directory. If somebody else holds it, returns the path of the locked file or directory.
    pub(crate) fn lock(&mut self) -> io::Result<Result<Arc<Lock>, PathBuf>> {
        let taken = Lock::take(&self.dir, self.mode)?.map(Arc::new);
        self.lock = taken.as_ref().ok().map(Arc::clone);
        Ok(taken)
    }

    /// Ensures that nobody else can own the directory.
    pub(crate) fn hold_lock(&self) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.hold())
    }

    /// Whether the path the directory was opened by still leads to it.
    pub(crate) fn is_where_it_was(&self) -> io::Result<bool> {
        self.dir.is_at_its_path()
    }

    /// Makes a directory unless it is there, and those above it, and the names of all that were made durable.
    pub(crate) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if self.is_dir(dir)? {
            return Ok(());
        }
        let parent = directory_above(dir);
        self.make_dir(parent)?;
        self.seen(Event::Create(dir), || match self.dir.make_dir(dir, dir_mode(self.mode)) {
            // Another thread was first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_dir(dir)? => Ok(()),
            made => made,
        })?;
        self.sync_dir(parent)
    }

    fn is_dir(&self, dir: &Path) -> io::Result<bool> {
        Ok(dir == self.root() || self.dir.kind(dir)? == Some(Kind::Dir))
    }

    /// Whether there is anything at a path.
    pub(crate) fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.dir.kind(path)?.is_some())
    }

    /// Makes an empty file, in place of one of that name.
    pub(crate) fn create(&self, path: PathBuf) -> io::Result<StoreFile> {
        // Order matters: a process that is not the owner any more makes nothing.
        self.hold_lock()?;
        if self.exists(&path)? {
            self.remove(&path)?;
        }
        let file = self.seen(Event::Create(&path), || self.dir.open_file(&path, Access::Make, self.mode))?;
        Ok(StoreFile { file, path })
    }

    /// Opens a file to be written.
    pub(crate) fn open(&self, path: PathBuf) -> io::Result<StoreFile> {
        let file = self.seen(Event::Open(&path), || self.dir.open_file(&path, Access::Write, 0))?;
        Ok(StoreFile { file, path })
    }

    /// Opens a file that will not be changed.
    pub(crate) fn open_to_read(&self, path: PathBuf) -> io::Result<StoreFile> {
        let file = self.seen(Event::Open(&path), || self.dir.open_file(&path, Access::Read, 0))?;
        Ok(StoreFile { file, path })
    }

    pub(crate) fn write_at(&self, file: &StoreFile, at: u64, bytes: &[u8]) -> io::Result<()> {
        let event = Event::Write { path: &file.path, at, len: bytes.len() };
        self.seen(event, || platform::write_all_at(&file.file, at, bytes))
    }

    /// Makes room: writes zeroes. To ask for the space first is less work for the file system.
    pub(crate) fn write_zeroes(&self, file: &StoreFile, at: u64, zeroes: &[u8]) -> io::Result<()> {
        self.seen(Event::Room { path: &file.path, at, len: zeroes.len() }, || {
            // If there is none, the write returns the error.
            let _ = platform::allocate(&file.file, at, zeroes.len() as u64);
            platform::write_all_at(&file.file, at, zeroes)
        })
    }

    /// Ensures that a range of a file has its space. No byte changes; a shorter file grows by zeroes. Returns
    /// whether it could.
    pub(crate) fn take_space(&self, file: &StoreFile, at: u64, len: u64) -> bool {
        let event = Event::Space { path: &file.path, at, len: len as usize, afresh: false };
        self.seen(event, || platform::allocate(&file.file, at, len)).is_ok()
    }

    /// Ensures that a range of a file has its space, which reads as zeroes then, without writing it. Returns whether
    /// it could.
    pub(crate) fn take_zeroes(&self, file: &StoreFile, at: u64, len: u64) -> bool {
        let event = Event::Space { path: &file.path, at, len: len as usize, afresh: true };
        self.seen(event, || platform::take_zeroes(&file.file, at, len)).is_ok()
    }

    /// Whether a part of a file has no space: it was copied so, or is not what it seems.
    pub(crate) fn has_holes(&self, file: &StoreFile) -> io::Result<bool> {
        Ok(platform::allocated(&file.file)? < file.len()?)
    }

    /// Takes the space of a file's holes where reading them through a map would take it, and end the process where
    /// there is none.
    pub(crate) fn fill_holes(&self, file: &StoreFile) -> io::Result<()> {
        if !self.has_holes(file)? || !platform::reads_take_space(&file.file)? {
            return Ok(());
        }
        let file = self.open(file.path.clone())?;
        let len = file.len()?;
        let event = Event::Space { path: &file.path, at: 0, len: len as usize, afresh: false };
        self.seen(event, || platform::allocate(&file.file, 0, len))
    }

    /// Makes a file's bytes durable, and the metadata that is needed to read them.
    pub(crate) fn sync_file(&self, file: &StoreFile) -> io::Result<()> {
        self.seen(Event::SyncFile(&file.path), || file.file.sync_data())
    }

    /// The same for a range of a file, through its appender's map.
    pub(crate) fn sync_range(&self, path: &Path, map: &Beside, at: usize, len: usize) -> io::Result<()> {
        self.seen(Event::SyncRange { path, at: at as u64, len }, || map.sync(at, len))
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.seen(Event::SyncDir(dir), || self.dir.sync(dir))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.seen(Event::Rename { from, to }, || self.dir.rename(from, to))
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.seen(Event::Remove(path), || self.dir.remove(path))
    }

    pub(super) fn seen<T>(&self, event: Event<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        seen(self.hook.as_deref(), event, act)
    }
}

fn seen<T>(hook: Option<&dyn Hook>, event: Event<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(hook) = hook else { return act() };
    hook.before(&event)?;
    let done = act()?;
    hook.after(&event);
    Ok(done)
}

/// The permissions of a directory whose files have these: whoever may read them may search it.
fn dir_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}

/// The directory that holds the name of this one.
pub(crate) fn directory_above(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl StoreFile {
    /// Opens a file only to read it, without a [`Disk`]. To open a pipe would wait for its writer.
    pub(crate) fn read_only(path: PathBuf) -> io::Result<Self> {
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self { file: File::open(&path)?, path })
    }

    /// The same beside an owner, who may have deleted the file since it was listed.
    pub(crate) fn read_only_if_there(path: PathBuf) -> io::Result<Option<Self>> {
        match Self::read_only(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads what there is at a place; less than asked for only at the end of the file.
    pub(crate) fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        platform::read_at(&self.file, at, bytes)
    }
}
