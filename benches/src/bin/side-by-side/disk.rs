//! What a directory takes of the disk, what this process has written and holds, and how fast the disk syncs right now.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::now;

/// What the probe writes before each sync, and where it begins again.
const PROBE_PAGE: [u8; 4096] = [1; 4096];
const PROBE_PAGES: u64 = 256;
const PROBE_FOR: Duration = Duration::from_millis(40);
/// A store has come to rest when it dirtied nothing for this long; checked at most this often.
const REST: Duration = Duration::from_millis(300);
const CHECKS_MAX: u32 = 20;

/// What the files of a directory take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Up to the last byte of each file that is not zero: without the room that is prepared ahead.
    pub(crate) used: u64,
    /// The blocks of the file system.
    pub(crate) allocated: u64,
}

/// All files under a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What the files under a directory take.
pub(crate) fn taken(dir: &Path) -> Taken {
    let mut taken = Taken::default();
    for path in files(dir) {
        // Files come and go while a store is open.
        let Ok(bytes) = fs::read(&path) else { continue };
        let Ok(found) = fs::metadata(&path) else { continue };
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        taken.used += (bytes.len() - zeros) as u64;
        taken.allocated += found.blocks() * 512;
    }
    taken
}

/// The number behind a name in a file of `/proc/self`; nothing where the system has no such file.
fn proc_self(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes this process has caused to be written to the disk, ever: pages it dirtied, once each time.
pub(crate) fn written() -> u64 {
    proc_self("io", "write_bytes").unwrap_or_default()
}

/// Waits until what was begun is done and has reached the disk, so that it counts for what caused it and is not in the way
/// of what follows.
pub(crate) fn rest() {
    let mut before = written();
    for _ in 0..CHECKS_MAX {
        rustix::fs::sync();
        std::thread::sleep(REST);
        let now = written();
        if now == before {
            break;
        }
        before = now;
    }
}

/// Bytes of memory of this process that no file is behind.
pub(crate) fn anonymous() -> u64 {
    proc_self("status", "RssAnon").unwrap_or_default() * 1024
}

/// A bare loop of pwrite and fdatasync in a file of zeros. The disk has windows in which every sync takes many times as
/// long, so what is durable runs in slices, and is compared with what the probe found between them.
pub(crate) struct Probe {
    file: File,
    syncs: u64,
    took: Duration,
}

impl Probe {
    /// Prepares its file in this directory.
    pub(crate) fn new(dir: &Path) -> Self {
        let file = tempfile::tempfile_in(dir).expect("a file can be made");
        (0..PROBE_PAGES).for_each(|page| file.write_all_at(&[0; 4096], page * 4096).expect("written"));
        file.sync_all().expect("synced");
        Self { file, syncs: 0, took: Duration::ZERO }
    }

    /// Syncs for a while.
    pub(crate) fn run(&mut self) {
        let begun = now();
        while now() - begun < PROBE_FOR {
            self.file.write_all_at(&PROBE_PAGE, self.syncs % PROBE_PAGES * 4096).expect("written");
            self.file.sync_data().expect("synced");
            self.syncs += 1;
        }
        self.took += now() - begun;
    }

    /// The syncs a second of all its runs.
    pub(crate) fn rate(&self) -> f64 {
        self.syncs as f64 / self.took.as_secs_f64()
    }
}

/// Where the checkpoint log of a popstore begins: the name of its oldest segment.
pub(crate) fn checkpoint_start(store: &Path) -> u64 {
    let names = files(&store.join("checkpoint")).into_iter();
    let bases = names.filter_map(|path| path.file_name()?.to_str().filter(|name| name.len() == 20)?.parse().ok());
    bases.min().unwrap_or_default()
}
