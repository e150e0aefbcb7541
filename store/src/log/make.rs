//! Segment files: the ones that come next, those of the past, and spares for a full disk.
//!
//! A new segment is made under another name, synced, renamed and the directory synced before the log rolls into it: a
//! segment that has its name has its header and the space for its first room. Most of that is waiting for the disk, behind
//! whatever else is being written to it, so room in the segments that are there is made meanwhile, by another thread.
//!
//! Where appends are durable, that room is zeroes on the disk before the segment has its name. Where they are not, it is
//! zeroed behind that, like all other room, and frames that are appended soon reach the disk in one write with the zeroes.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::prepare::{FILL, take_zeroed, zero};
use super::{Head, Log, Next, Segment};
use crate::error::{At, Error, Result};
use crate::format::frame::LogKind;
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};
use crate::primitives::{Hold, unpoisoned};
use crate::segment::{Disk, GROWS_UNDER_MAP, ReadMap, StoreFile, WriteMap, may_map_more};

/// Long segments are made this many steps of room before they are needed, but at most this many of them: a disk that is
/// busy takes its time to name one. A short one has space for all its room, so it comes with the step that needs it.
const STEPS_BEFORE: u64 = 4;
const MADE_BEFORE: u64 = 2;
const LONG: u64 = 8 * FILL;

/// Files of former segments that become later ones: they need no space when the disk is full.
#[derive(Default)]
pub(super) struct Spares {
    paths: Vec<PathBuf>,
    /// How many there should be; missing ones are made in time.
    wanted: usize,
}

impl Spares {
    pub(super) fn found(paths: Vec<PathBuf>) -> Self {
        let wanted = paths.len();
        Self { paths, wanted }
    }
}

/// The name of a segment file.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:020}")
}

/// What the names of spare files begin with, and what follows in those that the end of a log was cut from.
pub(crate) const SPARE: &str = "spare-";
pub(super) const CUT: &str = "cut-";
/// The end of the names of files under construction.
pub(crate) const UNDER_CONSTRUCTION: &str = ".tmp";

/// What a log gives a name to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Segment(u64),
    Spare,
    UnderConstruction,
}

impl Name {
    /// What a file is by its name, unless it is not ours.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let made = name.strip_suffix(UNDER_CONSTRUCTION).unwrap_or(name);
        let of_spare = made.strip_prefix(SPARE);
        let number = of_spare.map_or(made, |rest| rest.strip_prefix(CUT).unwrap_or(rest));
        let base = number.parse().ok().filter(|base| segment_name(*base) == number)?;
        Some(match of_spare {
            _ if made != name => Self::UnderConstruction,
            Some(_) => Self::Spare,
            None => Self::Segment(base),
        })
    }
}

impl Log {
    /// Makes the segment that comes next, or a spare, if there should be one. Returns whether there is more to do.
    pub(crate) fn make_ahead(&self) -> Result<bool> {
        let one_at_a_time = self.making.hold();
        let (base, asked) = {
            let head = self.head.hold();
            if self.is_done(&head) {
                return Ok(false);
            }
            (self.next_base(&head), head.asked)
        };
        let Some(base) = base else {
            let more = self.stock_spares()?;
            // Order matters: an append that wanted a segment meanwhile took this for its making.
            drop(one_at_a_time);
            return Ok(more || self.next_base(&self.head.hold()).is_some());
        };
        let made = self.note_space(self.make(base));
        // There is a new file to make room in.
        self.wake_preparer();
        self.answer_waiting(made, asked, |head| head.end + head.wanted.bytes + head.wanted.left > head.segment.end())
    }

    /// Where the segment begins that should be made now.
    pub(super) fn next_base(&self, head: &Head) -> Option<u64> {
        let last = head.ahead.back().map_or(head.segment.end(), |last| last.segment.end());
        // The checkpoint log always has the next one, since a full disk must not stop consumers, and no more: snapshots shorten it.
        if self.shape.kind == LogKind::Checkpoint {
            return head.ahead.is_empty().then_some(last);
        }
        let step = self.step(head);
        let before = match self.shape.segment_bytes {
            ..LONG => step,
            long => (STEPS_BEFORE * step).min(step + MADE_BEFORE * long),
        };
        (last < self.wanted_end(head).max(head.end + before)).then_some(last)
    }

    fn make(&self, base: u64) -> Result<()> {
        may_map_more().at("add a segment to", &self.shape.dir)?;
        let spare = {
            let mut spares = self.spares.hold();
            let spare = spares.paths.pop();
            self.lacks_space.fetch_or(spares.paths.len() < spares.wanted, Ordering::Relaxed);
            spare
        };
        let next = match spare {
            Some(path) => self.recycle(base, path.clone()).inspect_err(|_| {
                if self.disk.exists(&path).unwrap_or(true) {
                    self.spares.hold().paths.push(path);
                }
            })?,
            None => self.create(base, self.shape.segment_bytes)?,
        };
        if let Some(map) = &next.map {
            map.beside().populate(0, (next.ready - base) as usize);
        }
        self.head.hold().ahead.push_back(next);
        Ok(())
    }

    /// Makes a new segment with space for a first step.
    fn create(&self, base: u64, capacity: u64) -> Result<Next> {
        let grows = GROWS_UNDER_MAP && self.shape.kind == LogKind::Commit;
        let space = if grows { FILL.min(capacity) } else { capacity };
        let (made, ready) = self.shape.make_segment(&self.disk, base, capacity, space)?;
        self.mapped(made, base + ready)
    }

    /// Makes a segment of a spare. Zeroing it needs no space, since its blocks are its own.
    fn recycle(&self, base: u64, path: PathBuf) -> Result<Next> {
        let file = self.disk.open(path.clone()).at("open", &path)?;
        let capacity = file.len().at("inspect", &file.path)?;
        let ready = self.shape.take_space(&self.disk, &file, capacity)?;
        let made = self.shape.name_segment(&self.disk, file, base, capacity)?;
        self.mapped(made, base + ready)
    }

    pub(super) fn mapped(&self, segment: Segment, ready: u64) -> Result<Next> {
        let segment = Arc::new(segment);
        let map = if self.shape.staged { None } else { Some(segment.write_map(&self.disk)?) };
        Ok(Next { segment, map, ready })
    }

    /// Sets how much space the log must be able to use when the disk is full.
    pub(crate) fn reserve_spares(&self, bytes: u64) {
        let wanted = bytes.div_ceil(self.shape.segment_bytes) as usize;
        {
            let mut spares = self.spares.hold();
            spares.wanted = wanted;
            self.lacks_space.fetch_or(spares.paths.len() < wanted, Ordering::Relaxed);
        }
        self.wake_preparer();
    }

    pub(super) fn spare_bytes(&self) -> u64 {
        self.spares.hold().paths.len() as u64 * self.shape.segment_bytes
    }

    /// Whether there are fewer spares than wanted, or space was asked for that there was not.
    pub(crate) fn lacks_space(&self) -> bool {
        self.lacks_space.load(Ordering::Relaxed)
    }

    pub(super) fn note_space<T>(&self, had: Result<T>) -> Result<T> {
        if let Err(Error::Full { .. }) = &had {
            self.lacks_space.store(true, Ordering::Relaxed);
        }
        had
    }

    /// Makes spares that are missing and removes those that are too many.
    fn stock_spares(&self) -> Result<bool> {
        let (have, wanted) = {
            let spares = self.spares.hold();
            (spares.paths.len(), spares.wanted)
        };
        // One more is what the next segment will be made of.
        if have > wanted + 1 {
            let surplus = self.spares.hold().paths.pop();
            if let Some(path) = surplus {
                self.disk.remove(&path).at("remove", &path)?;
            }
            return Ok(true);
        }
        if have >= wanted {
            self.lacks_space.store(false, Ordering::Relaxed);
            return Ok(false);
        }
        let path = self.shape.dir.join(format!("{SPARE}{:020}{UNDER_CONSTRUCTION}", self.appended() + have as u64));
        let file = self.note_space(self.disk.create(path.clone()).at("create", &path))?;
        let made = take_zeroed(&self.disk, &file, self.shape.segment_bytes);
        let path = file.path.with_extension("");
        if let Err(error) =
            self.note_space(made).and_then(|()| self.disk.rename(&file.path, &path).at("rename", &file.path))
        {
            let _ = self.disk.remove(&file.path);
            return Err(error);
        }
        self.spares.hold().paths.push(path);
        Ok(true)
    }

    /// Takes segments that lie wholly before `position` out of the log; they become spares. Oldest first, each
    /// made durable before the next: no crash leaves a gap.
    pub(crate) fn retire_before(&self, position: u64) -> Result<u32> {
        let mut retired = 0;
        loop {
            let oldest = {
                let chain = unpoisoned(self.chain.read());
                chain.values().next().filter(|oldest| oldest.end() <= position && chain.len() > 1).cloned()
            };
            let Some(oldest) = oldest else { return Ok(retired) };
            let path = &oldest.path;
            let full = oldest.capacity == self.shape.segment_bytes && self.shape.kind == LogKind::Checkpoint;
            let spare = self.shape.dir.join(format!("{SPARE}{}", segment_name(oldest.base)));
            match if full { self.disk.rename(path, &spare) } else { self.disk.remove(path) } {
                // An attempt that failed at the sync got that far.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.at(if full { "rename" } else { "remove" }, path)?,
            }
            self.disk.sync_dir(&self.shape.dir).at("sync", &self.shape.dir)?;
            unpoisoned(self.chain.write()).remove(&oldest.base);
            if full && self.disk.exists(&spare).at("inspect", &spare)? {
                self.spares.hold().paths.insert(0, spare);
            }
            retired += 1;
        }
    }
}

impl super::Shape {
    /// Makes a segment file with its header and space for its first bytes, durable before it gets its name. Returns how
    /// many of them are zeroes already, header included.
    pub(super) fn make_segment(&self, disk: &Disk, base: u64, capacity: u64, space: u64) -> Result<(Segment, u64)> {
        let path = self.dir.join(segment_name(base) + UNDER_CONSTRUCTION);
        let file = disk.create(path.clone()).at("create", &path)?;
        match self.take_space(disk, &file, space) {
            Ok(ready) => Ok((self.name_segment(disk, file, base, capacity)?, ready)),
            Err(error) => {
                let _ = disk.remove(&file.path);
                Err(error)
            }
        }
    }

    /// Takes the space of a file's first bytes, which read as zeroes from here on. Returns how many of them are written.
    pub(super) fn take_space(&self, disk: &Disk, file: &StoreFile, space: u64) -> Result<u64> {
        // Order matters: blocks of an old file of which a write failed once count as unwritten for good, unless they are
        // made so afresh.
        let taken = disk.take_zeroes(file, 0, space);
        if !self.staged && taken {
            return Ok(SEGMENT_HEADER as u64);
        }
        zero(disk, file, 0, space)?;
        Ok(space)
    }

    /// Writes the header of a segment that has no name yet.
    pub(super) fn write_header(&self, disk: &Disk, file: &StoreFile, base: u64, capacity: u64) -> Result<()> {
        let created_at = self.clock.now().0;
        let (store, log, is_written) = (self.store, self.kind, self.staged);
        let header = SegmentHeader { store, log, is_written, base, capacity, created_at };
        disk.write_at(file, 0, &header.encode()).at("write", &file.path)
    }

    /// Gives a segment that has its header its name.
    fn name_segment(&self, disk: &Disk, mut file: StoreFile, base: u64, capacity: u64) -> Result<Segment> {
        self.write_header(disk, &file, base, capacity)?;
        disk.sync_file(&file).at("sync", &file.path)?;
        let path = self.dir.join(segment_name(base));
        disk.rename(&file.path, &path).at("rename", &file.path)?;
        disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        file.path = path;
        Segment::new(disk, file, base, capacity, SEGMENT_HEADER as u64, self.staged)
    }
}

impl Segment {
    /// Maps a segment file of which the bytes before `published` are final.
    pub(super) fn new(
        disk: &Disk,
        file: StoreFile,
        base: u64,
        capacity: u64,
        published: u64,
        is_written: bool,
    ) -> Result<Self> {
        let map = ReadMap::new(disk, &file, capacity as usize, published as usize).at("map", &file.path)?;
        let (path, file) = (file.path.clone(), Mutex::new(Some(Arc::new(file))));
        Ok(Self { base, capacity, path, is_written, file, map: Arc::new(map) })
    }

    /// Its file was renamed.
    pub(super) fn is_named(&mut self, path: PathBuf) {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        let opened = file.take().and_then(Arc::into_inner);
        *file = opened.map(|opened| Arc::new(StoreFile { path: path.clone(), ..opened }));
        self.path = path;
    }

    pub(super) fn write_map(&self, disk: &Disk) -> Result<WriteMap> {
        let file = self.file(disk).at("open", &self.path)?;
        WriteMap::new(disk, &file, self.capacity as usize, Arc::clone(&self.map)).at("map", &self.path)
    }

    /// Its file, opened if it is not.
    pub(super) fn file(&self, disk: &Disk) -> std::io::Result<Arc<StoreFile>> {
        let mut file = self.file.hold();
        match &*file {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(Arc::clone(file.insert(Arc::new(disk.open(self.path.clone())?)))),
        }
    }

    /// Everything in it is durable and nothing will be written to it.
    pub(super) fn close_file(&self) {
        *self.file.hold() = None;
    }
}
