//! The narrow seam between the store and the file system: every change of a file or directory goes through here.
//!
//! The calls are create, open, map, write, room, sync file, sync range, sync directory, rename and remove. A [`Hook`] sees
//! each before and after it happens and may refuse it: that is how tests take the disk's picture at every point and
//! inject its faults. What is stored through a map is not seen as a call, only in the files; what recovery and
//! `Snapshot` only look at is not seen at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Room is made at a place of a file: space for it, and zeroes.
    Room {
        /// The file.
        path: &'a Path,
        /// Where.
        at: u64,
        /// How many bytes.
        len: usize,
    },
    /// What was written to a file becomes durable.
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
    /// Whatever the test wants the call to fail with.
    fn before(&self, event: &Event<'_>) -> io::Result<()>;

    /// After the call was done.
    fn after(&self, event: &Event<'_>);
}

/// The file system, as the store uses it.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    hook: Option<Arc<dyn Hook>>,
}

/// An open file and its path.
#[derive(Debug)]
pub(crate) struct StoreFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

impl Disk {
    pub(crate) fn new(hook: Option<Arc<dyn Hook>>) -> Self {
        Self { hook }
    }

    /// Makes a directory unless it is there, and those above it, and the names of all that were made durable.
    pub(crate) fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let parent = directory_above(dir);
        self.make_dir(parent)?;
        self.seen(Event::Create(dir), || fs::create_dir_all(dir))?;
        self.sync_dir(parent)
    }

    /// Makes an empty file, in place of one of that name.
    pub(crate) fn create(&self, path: PathBuf) -> io::Result<StoreFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = self.seen(Event::Create(&path), || options.open(&path))?;
        Ok(StoreFile { file, path })
    }

    pub(crate) fn open(&self, path: PathBuf) -> io::Result<StoreFile> {
        let file = self.seen(Event::Open(&path), || OpenOptions::new().read(true).write(true).open(&path))?;
        Ok(StoreFile { file, path })
    }

    /// Opens a file that will not be changed.
    pub(crate) fn open_to_read(&self, path: PathBuf) -> io::Result<StoreFile> {
        let file = self.seen(Event::Open(&path), || File::open(&path))?;
        Ok(StoreFile { file, path })
    }

    pub(crate) fn write_at(&self, file: &StoreFile, at: u64, bytes: &[u8]) -> io::Result<()> {
        let event = Event::Write { path: &file.path, at, len: bytes.len() };
        self.seen(event, || platform::write_all_at(&file.file, at, bytes))
    }

    /// Makes room: writes zeroes. To ask for the space first is less work for the file system.
    pub(crate) fn write_zeroes(&self, file: &StoreFile, at: u64, zeroes: &[u8]) -> io::Result<()> {
        self.seen(Event::Room { path: &file.path, at, len: zeroes.len() }, || {
            // If it cannot be had, the write says so.
            let _ = platform::allocate(&file.file, at, zeroes.len() as u64);
            platform::write_all_at(&file.file, at, zeroes)
        })
    }

    /// Makes sure that a range of a file has its space. No byte changes; a shorter file grows by zeroes. Returns whether it
    /// could.
    pub(crate) fn take_space(&self, file: &StoreFile, at: u64, len: u64) -> bool {
        let event = Event::Room { path: &file.path, at, len: len as usize };
        self.seen(event, || platform::allocate(&file.file, at, len)).is_ok()
    }

    /// Takes the space of a file's first bytes, which read as zeroes then, without writing them. Returns whether it could.
    pub(crate) fn take_zeroes(&self, file: &StoreFile, len: u64) -> bool {
        let event = Event::Room { path: &file.path, at: 0, len: len as usize };
        self.seen(event, || platform::take_zeroes(&file.file, len)).is_ok()
    }

    /// Makes a file's bytes durable, and of its metadata what is needed to read them.
    pub(crate) fn sync_file(&self, file: &StoreFile) -> io::Result<()> {
        self.seen(Event::SyncFile(&file.path), || file.file.sync_data())
    }

    /// The same for a range of a file, through its appender's map.
    pub(crate) fn sync_range(&self, path: &Path, map: &Beside, at: usize, len: usize) -> io::Result<()> {
        self.seen(Event::SyncRange { path, at: at as u64, len }, || map.sync(at, len))
    }

    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.seen(Event::SyncDir(dir), || platform::sync_dir(dir))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.seen(Event::Rename { from, to }, || fs::rename(from, to))
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.seen(Event::Remove(path), || fs::remove_file(path))
    }

    pub(super) fn seen<T>(&self, event: Event<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(hook) = &self.hook else { return act() };
        hook.before(&event)?;
        let done = act()?;
        hook.after(&event);
        Ok(done)
    }
}

/// The directory that holds the name of this one.
pub(crate) fn directory_above(dir: &Path) -> &Path {
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl StoreFile {
    /// Opens a file that is only looked at, by who has no [`Disk`]. To open a pipe would wait for who writes to it.
    pub(crate) fn read_only(path: PathBuf) -> io::Result<Self> {
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Self { file: File::open(&path)?, path })
    }

    /// The same beside an owner, who may have let go of the file since it was listed.
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
