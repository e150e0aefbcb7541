//! The device: one file, served by FUSE from memory, that can fail writes and remembers what was flushed.
//!
//! It has a process of its own and takes orders from a socket, one a line. A process that waits for a disk must not be the
//! one that the disk waits for: the kernel holds locks of a process while it waits.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, WriteFlags,
};

use crate::machine::run;

/// Only writes with these bytes fail: the stores' data has them, and the journal of the file system does not.
pub const MARKER: &[u8] = b"device-fails-here";

const DISK_BYTES: u64 = 32 << 20;
const BLOCK: usize = 4096;
const FILE: INodeNo = INodeNo(2);
const NAME: &str = "device";
const ALWAYS: Duration = Duration::from_secs(3600);

/// The file that is the device.
pub fn file(dir: &Path) -> PathBuf {
    dir.join("fuse").join(NAME)
}

/// Where it takes orders.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("orders")
}

pub fn is_served(dir: &Path) -> bool {
    file(dir).exists()
}

pub struct Device {
    state: Arc<Mutex<Platter>>,
    orders: UnixListener,
    /// Unmounted when it is dropped.
    _session: BackgroundSession,
}

impl Device {
    /// Makes the file system and serves the device that holds it.
    ///
    /// # Errors
    /// What of that cannot be done here.
    pub fn start(dir: &Path) -> Result<Self, String> {
        let image = dir.join("image");
        std::fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        // Blocks of 4 KiB, as on disks of every usual size, and an inode table that is written at once.
        let settings = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096", "-E", settings]).arg(&image))?;
        let bytes = std::fs::read(&image).unwrap();
        let state = Platter { flushed: bytes.clone(), now: bytes, unflushed: BTreeSet::new(), to_fail: 0, failed: 0 };
        let state = Arc::new(Mutex::new(state));
        let orders = UnixListener::bind(socket(dir)).unwrap();
        let at = dir.join("fuse");
        std::fs::create_dir(&at).unwrap();
        let session = fuser::spawn_mount(Served(Arc::clone(&state)), at, &Config::default());
        let _session = session.map_err(|error| format!("cannot mount by FUSE: {error}"))?;
        Ok(Self { state, orders, _session })
    }

    /// Obeys one who connects, for as long as the machine runs.
    pub fn serve<T>(self, machine: impl FnOnce() -> T) -> T {
        let (state, orders) = (Arc::clone(&self.state), self.orders.try_clone().unwrap());
        // It ends with the process: a machine that cannot start does not connect.
        std::thread::spawn(move || obey(&state, orders.accept().unwrap().0));
        machine()
    }
}

fn obey(state: &Mutex<Platter>, mut who: UnixStream) {
    for order in BufReader::new(who.try_clone().unwrap()).lines() {
        let answer = state.lock().unwrap().obey(&order.unwrap());
        writeln!(who, "{answer}").unwrap();
    }
}

struct Platter {
    now: Vec<u8>,
    flushed: Vec<u8>,
    /// Blocks in which the two differ.
    unflushed: BTreeSet<usize>,
    to_fail: u32,
    failed: u32,
}

impl Platter {
    fn obey(&mut self, order: &str) -> String {
        match order.split_once(' ') {
            Some(("fail", writes)) => (self.to_fail, self.failed) = (writes.parse().unwrap(), 0),
            Some(("cut", path)) => self.write_flushed(Path::new(path)).unwrap(),
            _ => return self.failed.to_string(),
        }
        "done".into()
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Errno> {
        let end = at.checked_add(bytes.len()).filter(|end| *end <= self.now.len()).ok_or(Errno::ENOSPC)?;
        if self.to_fail > 0 && bytes.windows(MARKER.len()).any(|window| window == MARKER) {
            self.to_fail -= 1;
            self.failed += 1;
            return Err(Errno::EIO);
        }
        self.now[at..end].copy_from_slice(bytes);
        self.unflushed.extend(at / BLOCK..end.div_ceil(BLOCK));
        Ok(())
    }

    fn flush(&mut self) {
        for block in std::mem::take(&mut self.unflushed) {
            let range = block * BLOCK..((block + 1) * BLOCK).min(self.now.len());
            self.flushed[range.clone()].copy_from_slice(&self.now[range]);
        }
    }

    /// Writes what was on the device at its last flush into a sparse file.
    fn write_flushed(&self, path: &Path) -> std::io::Result<()> {
        let file = std::fs::File::create(path)?;
        file.set_len(self.flushed.len() as u64)?;
        for (number, block) in self.flushed.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, (number * BLOCK) as u64)?;
            }
        }
        Ok(())
    }
}

struct Served(Arc<Mutex<Platter>>);

impl Served {
    fn state(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let (kind, size) = match inode {
            FILE => (FileType::RegularFile, self.state().now.len() as u64),
            _ => (FileType::Directory, 0),
        };
        FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK as u32,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&ALWAYS, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ALWAYS, &self.attributes(inode));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.state();
        let at = (offset as usize).min(state.now.len());
        let end = (at + size as usize).min(state.now.len());
        reply.data(&state.now[at..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().write(offset as usize, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.state().flush();
        reply.ok();
    }

    /// A descriptor was closed, which flushes nothing.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
}
