//! Making room ahead of the appends: zero-filled bytes, the next segment, and spares for a full disk.
//!
//! A sync over blocks that were written before costs a tenth of one that must also record their allocation, and an
//! allocated block cannot run out of disk. So every byte is zero-filled before an append may use it, in steps that
//! follow the load. A new segment is made under another name, synced, renamed and the directory synced before the log
//! rolls into it: a segment that has its name is whole.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::{Head, Log, Next, Segment};
use crate::error::{At, Result};
use crate::format::frame::LogKind;
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};
use crate::segment::{Beside, Disk, GROWS_UNDER_MAP, ReadMap, StoreFile, WriteMap};

const STEP_MIN: u64 = 1 << 20;
const STEP_MAX: u64 = 64 << 20;
/// What is made at once: short, so that neither readers nor syncs wait behind it.
const FILL: u64 = 1 << 20;
/// How often appends look ahead: in a segment at least, and after so many bytes at most.
const LOOKS: u64 = 64;
const LOOK_EVERY_MAX: u64 = 1 << 14;
static ZEROES: [u8; 1 << 18] = [0; 1 << 18];

/// Segments of the past kept for the future: they need no space when the disk is full.
#[derive(Default)]
pub(super) struct Spares {
    paths: Vec<PathBuf>,
    /// How many to keep, made in time if there are less.
    wanted: usize,
}

impl Spares {
    pub(super) fn found(paths: Vec<PathBuf>) -> Self {
        let wanted = paths.len();
        Self { paths, wanted }
    }
}

enum Plan {
    Fill { segment: Arc<Segment>, map: Option<Beside>, from: u64, end: u64 },
    Make { base: u64 },
}

/// The name of a segment file.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:020}")
}

/// The name of a spare file.
pub(crate) const SPARE: &str = "spare-";
/// The end of the names of files under construction.
pub(crate) const UNDER_CONSTRUCTION: &str = ".tmp";

impl Log {
    /// Makes a bounded piece of room if there should be more. Returns whether there is more to do.
    pub(crate) fn prepare(&self) -> Result<bool> {
        let _one_at_a_time = self.preparing.lock().expect("no panic under the lock");
        let (plan, _outlived) = {
            let mut head = self.head.lock().expect("no panic under the lock");
            if head.shut || self.shape.poison.check().is_err() {
                // Who waits for room is told so by the next look.
                self.room.notify_all();
                return Ok(false);
            }
            (self.plan(&head), std::mem::take(&mut head.outlived))
        };
        let done = match plan {
            None => return self.stock_spares(),
            Some(Plan::Fill { segment, map, from, end }) => self.fill(&segment, map, from, end),
            Some(Plan::Make { base }) => self.make(base),
        };
        let mut head = self.head.lock().expect("no panic under the lock");
        self.note_whether_short(&head);
        self.room.notify_all();
        match done {
            Ok(()) => Ok(true),
            Err(error) if head.waiting > 0 => {
                head.refused = Some(error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there was no next segment at the last look, and less than half of this one left.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Looks whether there is enough room ahead of the head, and when to look again.
    pub(super) fn look_ahead(&self, head: &mut Head) {
        head.look_at = head.end + (head.segment.capacity / LOOKS).min(LOOK_EVERY_MAX);
        self.note_whether_short(head);
        if !head.unattended && self.wants_preparing(head) {
            self.wake_preparer();
        }
    }

    fn note_whether_short(&self, head: &Head) {
        let short = head.ahead.is_empty() && head.segment.end() - head.end < head.segment.capacity / 2;
        self.short.store(short, Ordering::Relaxed);
    }

    /// Whether [`Log::prepare`] has something to do for the head.
    fn wants_preparing(&self, head: &Head) -> bool {
        let ready = head.ahead.iter().map(|next| next.ready - next.segment.base).sum::<u64>() + head.ready - head.end;
        ready < self.step(head) / 2
    }

    pub(super) fn wake_preparer(&self) {
        // A full channel means that it is awake already.
        let _ = self.shape.wake.try_send(());
    }

    fn step(&self, head: &Head) -> u64 {
        match self.shape.kind {
            LogKind::Commit => {
                let step = (head.load / 4).clamp(STEP_MIN, STEP_MAX).min(self.shape.segment_bytes);
                step.max(self.shape.ready_bytes)
            }
            // One whole segment lies ready always: a full disk must not stop the consumers.
            LogKind::Checkpoint => self.shape.segment_bytes + head.segment.capacity,
        }
    }

    fn plan(&self, head: &Head) -> Option<Plan> {
        let want = head.end + self.step(head).max(head.wanted);
        let segment_end = head.segment.end();
        if head.ready < segment_end && head.ready < want {
            let end = segment_end.min(head.ready + FILL);
            let (segment, map) = (Arc::clone(&head.segment), head.map.as_ref().map(WriteMap::beside));
            return Some(Plan::Fill { segment, map, from: head.ready, end });
        }
        if head.ahead.is_empty() && want > segment_end {
            return Some(Plan::Make { base: segment_end });
        }
        // An append that does not fit into the rest of this segment begins in the next one.
        let fits = head.end + head.wanted <= segment_end;
        let want = if fits { want } else { want.max(segment_end + SEGMENT_HEADER as u64 + head.wanted) };
        let unready = head.ahead.iter().find(|next| next.ready < next.segment.end() && next.ready < want);
        if let Some(next) = unready {
            let end = next.segment.end().min(next.ready + FILL);
            let (segment, map) = (Arc::clone(&next.segment), next.map.as_ref().map(WriteMap::beside));
            return Some(Plan::Fill { segment, map, from: next.ready, end });
        }
        let last = head.ahead.back()?.segment.end();
        // Only a load needs more than the next one; the consumers' log is told anew instead.
        let more = self.shape.kind == LogKind::Commit && want > last;
        more.then_some(Plan::Make { base: last })
    }

    fn fill(&self, segment: &Arc<Segment>, map: Option<Beside>, from: u64, end: u64) -> Result<()> {
        let file = segment.file(&self.disk).at("open", &segment.path)?;
        zero(&self.disk, &file, from - segment.base, end - segment.base)?;
        if self.shape.staged {
            // A file tells of a failure once, and frames that were written to this one may be what it concerns.
            self.or_poison(segment, self.disk.sync_file(&file))?;
        }
        if let Some(map) = map {
            map.populate((from - segment.base) as usize, (end - from) as usize);
        }
        let mut head = self.head.lock().expect("no panic under the lock");
        if head.segment.base == segment.base {
            head.ready = end;
        } else if let Some(next) = head.ahead.iter_mut().find(|next| next.segment.base == segment.base) {
            next.ready = end;
        }
        Ok(())
    }

    fn make(&self, base: u64) -> Result<()> {
        let spare = self.spares.lock().expect("no panic under the lock").paths.pop();
        let next = match spare {
            Some(path) => self.recycle(base, path.clone()).inspect_err(|_| {
                if path.exists() {
                    self.spares.lock().expect("no panic under the lock").paths.push(path);
                }
            })?,
            None => self.create(base, self.shape.segment_bytes)?,
        };
        self.head.lock().expect("no panic under the lock").ahead.push_back(next);
        Ok(())
    }

    /// Makes a new segment with a first step of zeroes.
    fn create(&self, base: u64, capacity: u64) -> Result<Next> {
        let ready = if GROWS_UNDER_MAP { FILL.min(capacity) } else { capacity };
        let made = self.shape.make_segment(&self.disk, base, capacity, ready)?;
        self.mapped(made, base + ready)
    }

    /// Gives a spare a new life under a new name. Zeroing it needs no space, since its blocks are its own.
    fn recycle(&self, base: u64, path: PathBuf) -> Result<Next> {
        let file = self.disk.open(path).at("open", &self.shape.dir)?;
        let capacity = file.len().at("inspect", &file.path)?;
        zero(&self.disk, &file, 0, capacity)?;
        let made = self.shape.name_segment(&self.disk, file, base, capacity)?;
        self.mapped(made, base + capacity)
    }

    pub(super) fn mapped(&self, segment: Segment, ready: u64) -> Result<Next> {
        let segment = Arc::new(segment);
        let map = if self.shape.staged { None } else { Some(segment.write_map(&self.disk)?) };
        Ok(Next { segment, map, ready })
    }

    /// Says how much space the log must be able to use when the disk is full.
    pub(crate) fn keep_spare(&self, bytes: u64) {
        let wanted = bytes.div_ceil(self.shape.segment_bytes) as usize;
        self.spares.lock().expect("no panic under the lock").wanted = wanted;
        self.wake_preparer();
    }

    /// Makes spares that are missing and removes those that are too many.
    fn stock_spares(&self) -> Result<bool> {
        let (have, wanted) = {
            let spares = self.spares.lock().expect("no panic under the lock");
            (spares.paths.len(), spares.wanted)
        };
        if have > wanted {
            let gone = self.spares.lock().expect("no panic under the lock").paths.pop();
            if let Some(path) = gone {
                self.disk.remove(&path).at("remove", &path)?;
            }
            return Ok(true);
        }
        if have == wanted {
            return Ok(false);
        }
        let path = self.shape.dir.join(format!("{SPARE}{:020}{UNDER_CONSTRUCTION}", self.appended() + have as u64));
        let file = self.disk.create(path).at("create", &self.shape.dir)?;
        let made = zero(&self.disk, &file, 0, self.shape.segment_bytes);
        let path = file.path.with_extension("");
        if let Err(error) = made.and_then(|()| self.disk.rename(&file.path, &path).at("rename", &file.path)) {
            let _ = self.disk.remove(&file.path);
            return Err(error);
        }
        self.spares.lock().expect("no panic under the lock").paths.push(path);
        Ok(true)
    }

    /// Takes segments that lie wholly before `position` out of the log and keeps them as spares. Oldest first, each
    /// made durable before the next: no crash leaves a gap.
    pub(crate) fn retire_before(&self, position: u64) -> Result<u32> {
        let mut retired = 0;
        loop {
            let oldest = {
                let chain = self.chain.read().expect("no panic under the lock");
                chain.values().next().filter(|oldest| oldest.end() <= position && chain.len() > 1).cloned()
            };
            let Some(oldest) = oldest else { return Ok(retired) };
            let path = &oldest.path;
            let full = oldest.capacity == self.shape.segment_bytes && self.shape.kind == LogKind::Checkpoint;
            let spare = self.shape.dir.join(format!("{SPARE}{}", segment_name(oldest.base)));
            match if full { self.disk.rename(path, &spare) } else { self.disk.remove(path) } {
                // An attempt that failed at the sync got that far.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                gone => gone.at(if full { "rename" } else { "remove" }, path)?,
            }
            self.disk.sync_dir(&self.shape.dir).at("sync", &self.shape.dir)?;
            self.chain.write().expect("no panic under the lock").remove(&oldest.base);
            if full && spare.exists() {
                self.spares.lock().expect("no panic under the lock").paths.insert(0, spare);
            }
            retired += 1;
        }
    }
}

impl super::Shape {
    /// Makes a segment file with its header and zeroes up to `ready`, whole and durable before it gets its name.
    pub(super) fn make_segment(&self, disk: &Disk, base: u64, capacity: u64, ready: u64) -> Result<Segment> {
        let path = self.dir.join(segment_name(base) + UNDER_CONSTRUCTION);
        let file = disk.create(path).at("create", &self.dir)?;
        let zeroed = zero(disk, &file, 0, ready);
        match zeroed {
            Ok(()) => self.name_segment(disk, file, base, capacity),
            Err(error) => {
                let _ = disk.remove(&file.path);
                Err(error)
            }
        }
    }

    /// Writes the header of a segment that has no name yet and gives it one.
    fn name_segment(&self, disk: &Disk, mut file: StoreFile, base: u64, capacity: u64) -> Result<Segment> {
        let header =
            SegmentHeader { store: self.store, log: self.kind, base, capacity, created_at: self.clock.now().0 };
        disk.write_at(&file, 0, &header.encode()).at("write", &file.path)?;
        disk.sync_file(&file).at("sync", &file.path)?;
        let path = self.dir.join(segment_name(base));
        disk.rename(&file.path, &path).at("rename", &file.path)?;
        disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        file.path = path;
        Segment::new(disk, file, base, capacity, SEGMENT_HEADER as u64)
    }
}

impl Segment {
    /// Maps a segment file of which the bytes before `published` are final.
    pub(super) fn new(disk: &Disk, file: StoreFile, base: u64, capacity: u64, published: u64) -> Result<Self> {
        let map = ReadMap::new(disk, &file, capacity as usize, published as usize).at("map", &file.path)?;
        let (path, file) = (file.path.clone(), Mutex::new(Some(Arc::new(file))));
        Ok(Self { base, capacity, path, file, map: Arc::new(map) })
    }

    pub(super) fn write_map(&self, disk: &Disk) -> Result<WriteMap> {
        let file = self.file(disk).at("open", &self.path)?;
        WriteMap::new(disk, &file, self.capacity as usize, Arc::clone(&self.map)).at("map", &self.path)
    }

    /// Its file, opened if it is not.
    pub(super) fn file(&self, disk: &Disk) -> std::io::Result<Arc<StoreFile>> {
        let mut file = self.file.lock().expect("no panic under the lock");
        match &*file {
            Some(file) => Ok(Arc::clone(file)),
            None => Ok(Arc::clone(file.insert(Arc::new(disk.open(self.path.clone())?)))),
        }
    }

    /// Everything in it is durable and nothing will be written to it.
    pub(super) fn close_file(&self) {
        *self.file.lock().expect("no panic under the lock") = None;
    }
}

/// Fills a part of a file with zeroes.
pub(super) fn zero(disk: &Disk, file: &StoreFile, from: u64, end: u64) -> Result<()> {
    let mut at = from;
    while at < end {
        let len = (end - at).min(ZEROES.len() as u64);
        disk.write_at(file, at, &ZEROES[..len as usize]).at("write", &file.path)?;
        at += len;
    }
    Ok(())
}
