//! The disk as a test sees it: the frames in the files, and a tap on every change with faults to order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::scene::Scene;
use popstore::{Durability, Event, GroupOptions, Hook, Options};

/// Where a segment's frames begin.
pub const HEADER: usize = 64;
/// The kinds of a message, of a Buried record and of a Redriven record.
pub const MESSAGE: u8 = 2;
pub const BURIED: u8 = 10;
pub const ENDED: u8 = 14;
pub const REDRIVEN: u8 = 11;
/// The kind of the record that ends a snapshot.
pub const SNAPSHOT_END: u8 = 21;

/// A frame in a file.
#[derive(Clone, Debug)]
pub struct FrameIn {
    pub path: PathBuf,
    pub at: usize,
    pub len: usize,
    pub kind: u8,
}

/// The segments of a log, oldest first.
pub fn segments(dir: &Path, log: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(dir.join(log)).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok();
    let mut paths: Vec<PathBuf> = names.filter(is_segment).collect();
    paths.sort();
    paths
}

/// The base of a segment: its name.
pub fn base(segment: &Path) -> u64 {
    segment.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// The frames of a log, by their lengths alone.
pub fn frames(dir: &Path, log: &str) -> Vec<FrameIn> {
    let mut found = Vec::new();
    for path in segments(dir, log) {
        let bytes = std::fs::read(&path).unwrap();
        let mut at = HEADER;
        while at + 21 <= bytes.len() {
            let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            if len < 21 {
                break;
            }
            found.push(FrameIn { path: path.clone(), at, len, kind: bytes[at + 20] });
            at += len;
        }
    }
    found
}

/// The frames of one kind.
pub fn frames_of(dir: &Path, log: &str, kind: u8) -> Vec<FrameIn> {
    frames(dir, log).into_iter().filter(|frame| frame.kind == kind).collect()
}

impl FrameIn {
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()[self.at..self.at + self.len].to_vec()
    }

    /// Turns a bit of the frame over.
    pub fn flip(&self, byte: usize) {
        change(&self.path, |bytes| bytes[self.at + byte] ^= 1 << (byte % 8));
    }

    /// Zeroes the frame and all that lies behind it in its file.
    pub fn cut(&self) {
        change(&self.path, |bytes| bytes[self.at..].fill(0));
    }
}

/// The last messages never reached the disk.
pub fn lose_messages(dir: &Path, messages: usize) {
    let all = frames_of(dir, "commit", MESSAGE);
    all[all.len() - messages].cut();
}

/// Changes the bytes of a file.
pub fn change(path: &Path, step: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    step(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Every file below a directory and what it holds.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

/// A change of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Create,
    Write,
    /// Space, or zeroes.
    Room,
    Sync,
    SyncDir,
    Rename,
    Remove,
}

type Fault = Box<dyn FnMut(What, &Path) -> io::Result<()> + Send>;

/// Sees every change of the disk and makes some of them fail.
#[derive(Default)]
pub struct Tap {
    seen: Mutex<Vec<(What, PathBuf)>>,
    fault: Mutex<Option<Fault>>,
}

impl Tap {
    /// From now on these changes fail; those before are forgotten.
    pub fn fail(&self, fault: impl FnMut(What, &Path) -> io::Result<()> + Send + 'static) {
        *self.fault.lock().unwrap() = Some(Box::new(fault));
        self.seen.lock().unwrap().clear();
    }

    /// From now on nothing fails; what was seen is forgotten.
    pub fn heal(&self) {
        *self.fault.lock().unwrap() = None;
        self.seen.lock().unwrap().clear();
    }

    /// What was tried under a directory of that name, in order.
    pub fn seen(&self, under: &str) -> Vec<What> {
        let below = |path: &Path| path.components().any(|part| part.as_os_str() == under);
        self.seen.lock().unwrap().iter().filter(|(_, path)| below(path)).map(|(what, _)| *what).collect()
    }
}

impl Hook for Tap {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let (what, path) = match event {
            Event::Create(path) => (What::Create, *path),
            Event::Write { path, .. } => (What::Write, *path),
            Event::Room { path, .. } | Event::Space { path, .. } => (What::Room, *path),
            Event::SyncFile(path) | Event::SyncRange { path, .. } => (What::Sync, *path),
            Event::SyncDir(path) => (What::SyncDir, *path),
            Event::Rename { to, .. } => (What::Rename, *to),
            Event::Remove(path) => (What::Remove, *path),
            _ => return Ok(()),
        };
        self.seen.lock().unwrap().push((what, path.to_path_buf()));
        self.fault.lock().unwrap().as_mut().map_or(Ok(()), |fault| fault(what, path))
    }

    fn after(&self, _event: &Event<'_>) {}
}

/// A scene whose disk is tapped.
pub fn tapped(durability: Durability) -> (Scene, Arc<Tap>) {
    let tap = Arc::new(Tap::default());
    let options = Options::default().durability(durability).hook(tap.clone());
    (Scene::with(options, GroupOptions::default()), tap)
}

/// Numbers that look random and are the same each time.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Holds back some calls of the disk while it is closed.
pub struct Gate {
    holds: fn(&Event<'_>) -> bool,
    closed: AtomicBool,
    held: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    /// An open gate for calls of that kind.
    pub fn at(holds: fn(&Event<'_>) -> bool) -> Arc<Self> {
        Arc::new(Self { holds, closed: AtomicBool::new(false), held: Mutex::new(false), changed: Condvar::new() })
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn wait_until_it_holds_one(&self) {
        let (held, limit) = (self.held.lock().unwrap(), Duration::from_secs(30));
        let (held, _) = self.changed.wait_timeout_while(held, limit, |held| !*held).unwrap();
        assert!(*held, "nothing of what the gate is for was done");
    }

    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        *self.held.lock().unwrap() = false;
        self.changed.notify_all();
    }
}

impl Hook for Gate {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        if self.closed.load(Ordering::SeqCst) && (self.holds)(event) {
            *self.held.lock().unwrap() = true;
            self.changed.notify_all();
            drop(self.changed.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
        }
        Ok(())
    }

    fn after(&self, _event: &Event<'_>) {}
}

/// Whether it is a segment of that log.
pub fn is_segment_of(path: &Path, log: &str) -> bool {
    path.extension().is_none() && path.to_string_lossy().contains(log)
}
