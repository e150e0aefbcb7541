//! The store's directory, opened once: everything below it is reached through its handle.
//!
//! A path is only a name, and names change: the process changes its working directory, the directory is renamed,
//! another store is put in its place. The handle stays the directory that was opened. On the way to a file no symbolic
//! link is followed, so nothing outside is opened, changed or removed. `path` serves to describe a file, and to say
//! where below the directory it lies.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// An open directory.
pub(crate) struct Dir {
    handle: File,
    path: PathBuf,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To be read only.
    Read,
    /// To be read and written.
    Write,
    /// The same, and it is made if it is missing.
    MakeOrWrite,
    /// It must be missing, and is made.
    Make,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    /// A link, a pipe, a device.
    Other,
}

impl Dir {
    /// Opens a directory. The last part of its name may be a link: the user of a store chooses where it lies.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        Ok(Self { handle: imp::open_root(&path)?, path })
    }

    /// Where it lay when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn handle(&self) -> &File {
        &self.handle
    }

    /// Whether its path still leads to it.
    pub(crate) fn is_at_its_path(&self) -> io::Result<bool> {
        imp::is_at_its_path(self)
    }

    /// Opens a regular file.
    pub(crate) fn open_file(&self, path: &Path, access: Access, mode: u32) -> io::Result<File> {
        let file = imp::open_file(self, path, access, mode)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
    }

    /// Makes a directory.
    pub(crate) fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        imp::make_dir(self, path, mode)
    }

    /// What is at a path; `None` when nothing is.
    pub(crate) fn kind(&self, path: &Path) -> io::Result<Option<Kind>> {
        match imp::kind(self, path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Whether a path leads to that open file.
    pub(crate) fn is_same_file(&self, path: &Path, file: &File) -> io::Result<bool> {
        imp::is_same_file(self, path, file)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        imp::rename(self, from, to)
    }

    /// Removes a file, or a link, but never what a link leads to.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        imp::remove(self, path)
    }

    /// Makes the names in a directory durable: of this one, of one below it, or of the one that holds this one.
    pub(crate) fn sync(&self, path: &Path) -> io::Result<()> {
        imp::sync(self, path)
    }

    /// Where below the directory a path leads.
    fn below<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        let outside = |_| io::Error::new(io::ErrorKind::InvalidInput, "it does not lie in the store's directory");
        path.strip_prefix(&self.path).map_err(outside)
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(unix)]
mod imp {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io;
    use std::path::{Component, Path};

    use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

    use super::{Access, Dir, Kind};

    const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

    pub(super) fn open_root(path: &Path) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?))
    }

    pub(super) fn is_at_its_path(dir: &Dir) -> io::Result<bool> {
        let own = rustix::fs::fstat(dir.handle())?;
        match rustix::fs::stat(dir.path()) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what lies below the directory by one call, if the system can and it is there; if not, one call for each part
    /// of its path says why.
    #[cfg(target_os = "linux")]
    fn open_at_once(dir: &Dir, path: &Path, how: OFlags, mode: u32) -> Option<File> {
        use rustix::fs::ResolveFlags;
        let below = dir.below(path).ok()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let mode = if how.contains(OFlags::CREATE) { mode } else { 0 };
        rustix::fs::openat2(dir.handle(), below, how, Mode::from_raw_mode(mode), resolve).ok().map(File::from)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_at_once(_dir: &Dir, _path: &Path, _how: OFlags, _mode: u32) -> Option<File> {
        None
    }

    /// The directory that holds the name, and the name, of which no part may be a link or lead up.
    fn parent<'p>(dir: &Dir, path: &'p Path) -> io::Result<(Option<File>, &'p OsStr)> {
        let mut names = dir.below(path)?.components();
        let Some(Component::Normal(name)) = names.next_back() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut above: Option<File> = None;
        for part in names {
            let Component::Normal(part) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            let at = above.as_ref().unwrap_or(dir.handle());
            let opened = rustix::fs::openat(at, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            above = Some(File::from(opened));
        }
        Ok((above, name))
    }

    pub(super) fn open_file(dir: &Dir, path: &Path, access: Access, mode: u32) -> io::Result<File> {
        let how = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::RDWR,
            Access::MakeOrWrite => OFlags::RDWR | OFlags::CREATE,
            Access::Make => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        // Opening a pipe would wait for its other end.
        let how = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Some(opened) = open_at_once(dir, path, how, mode) {
            return Ok(opened);
        }
        let (above, name) = parent(dir, path)?;
        let at = above.as_ref().unwrap_or(dir.handle());
        Ok(File::from(rustix::io::retry_on_intr(|| rustix::fs::openat(at, name, how, Mode::from_raw_mode(mode)))?))
    }

    pub(super) fn make_dir(dir: &Dir, path: &Path, mode: u32) -> io::Result<()> {
        let (above, name) = parent(dir, path)?;
        Ok(rustix::fs::mkdirat(above.as_ref().unwrap_or(dir.handle()), name, Mode::from_raw_mode(mode))?)
    }

    pub(super) fn kind(dir: &Dir, path: &Path) -> io::Result<Kind> {
        let (above, name) = parent(dir, path)?;
        let at = above.as_ref().unwrap_or(dir.handle());
        let found = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            _ => Kind::Other,
        })
    }

    pub(super) fn is_same_file(dir: &Dir, path: &Path, file: &File) -> io::Result<bool> {
        let (above, name) = parent(dir, path)?;
        let at = above.as_ref().unwrap_or(dir.handle());
        let own = rustix::fs::fstat(file)?;
        match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn rename(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from), (to_dir, to)) = (parent(dir, from)?, parent(dir, to)?);
        let [from_dir, to_dir] = [&from_dir, &to_dir].map(|above| above.as_ref().unwrap_or(dir.handle()));
        Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?)
    }

    pub(super) fn remove(dir: &Dir, path: &Path) -> io::Result<()> {
        let (above, name) = parent(dir, path)?;
        Ok(rustix::fs::unlinkat(above.as_ref().unwrap_or(dir.handle()), name, AtFlags::empty())?)
    }

    pub(super) fn sync(dir: &Dir, path: &Path) -> io::Result<()> {
        if path == dir.path() {
            return dir.handle().sync_all();
        }
        let synced = if dir.path().starts_with(path) {
            rustix::fs::openat(dir.handle(), "..", DIRECTORY, Mode::empty())?
        } else {
            let (above, name) = parent(dir, path)?;
            let at = above.as_ref().unwrap_or(dir.handle());
            rustix::fs::openat(at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?
        };
        File::from(synced).sync_all()
    }
}

/// Without handles of directories only the path is fixed when the directory is opened.
#[cfg(not(unix))]
mod imp {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::path::Path;

    use super::{Access, Dir, Kind};

    pub(super) fn open_root(path: &Path) -> io::Result<File> {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)
    }

    pub(super) fn is_at_its_path(_dir: &Dir) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn open_file(dir: &Dir, path: &Path, access: Access, _mode: u32) -> io::Result<File> {
        dir.below(path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read);
        options.create(access == Access::MakeOrWrite).create_new(access == Access::Make).open(path)
    }

    pub(super) fn make_dir(dir: &Dir, path: &Path, _mode: u32) -> io::Result<()> {
        dir.below(path)?;
        fs::create_dir(path)
    }

    pub(super) fn kind(dir: &Dir, path: &Path) -> io::Result<Kind> {
        dir.below(path)?;
        let found = fs::symlink_metadata(path)?;
        Ok(if found.is_file() {
            Kind::File
        } else if found.is_dir() {
            Kind::Dir
        } else {
            Kind::Other
        })
    }

    /// An open file cannot be removed or replaced here.
    pub(super) fn is_same_file(dir: &Dir, path: &Path, _file: &File) -> io::Result<bool> {
        dir.below(path).map(|_| true)
    }

    pub(super) fn rename(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
        dir.below(from).and(dir.below(to))?;
        fs::rename(from, to)
    }

    pub(super) fn remove(dir: &Dir, path: &Path) -> io::Result<()> {
        dir.below(path)?;
        fs::remove_file(path)
    }

    /// The file system does it by itself.
    pub(super) fn sync(_dir: &Dir, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}
