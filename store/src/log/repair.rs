//! From a log as it was found to one that can be appended to.
//!
//! Order matters, since a crash may come between any two steps and the next open must find the same end:
//!
//! 0. the names in the directory are synced: whoever was here before may have been killed between a change of a name and
//!    the sync of it, and later records that depend on the name must not be lost with it;
//! 1. the first bytes behind the end are zeroed and synced, so that nothing leads beyond it any more;
//! 2. later segments are removed or become spares, newest first; those that hold nothing stay, to be used next;
//! 3. everything else behind the end is zeroed;
//! 4. bytes that are not proven durable are written again before the first sync (`rewrite`). That sync is part of opening;
//!    where no append promises to be durable (`Durability::Buffered`) it is the first work of `background::maintenance`, and
//!    appends do not wait for it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use super::make::{CUT, SPARE, Spares, UNDER_CONSTRUCTION, segment_name};
use super::prepare::{take_zeroed, zero};
use super::unrecovered::SegmentFile;
use super::{FoundLog, Head, Log, Segment, Shape, Unrecovered, WantedRoom, sync};
use crate::error::{At, Error, Result};
use crate::format::frame::{FRAME_HEADER, LogKind};
use crate::format::header::SEGMENT_HEADER;
use crate::primitives::Hold;
use crate::segment::{Disk, GROWS_UNDER_MAP, StoreFile, holes};

const BLOCK: usize = 1 << 16;
const PAGE: u64 = 4096;
/// What a log lives on at least: the segment that is appended to, the next one and a spare.
const SEGMENTS_MIN: u64 = 3;

/// What opening does with a segment file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It lies before the end of the log.
    #[default]
    Stays,
    /// The log ends in it, and the bytes behind the end are wiped.
    Ends,
    /// It holds nothing and is the next one.
    Waits,
    /// It becomes a spare.
    IsSpare,
    /// It is removed.
    IsRemoved,
}

impl Unrecovered {
    /// Executes what was judged, which cuts the log at the end that was found, and opens it for appending.
    pub(crate) fn recover(self, found: &FoundLog, shape: Shape, disk: Disk) -> Result<Log> {
        disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        for (path, _) in &self.left {
            disk.remove(path).at("remove", path)?;
        }
        let mut spares = self.spares.clone();
        spares.retain(|spare| self.left.iter().all(|(path, _)| path != spare));
        let of = |wanted: Fate| self.files.iter().filter(move |file| file.fate == wanted);
        let mut chain = BTreeMap::new();
        for file in of(Fate::Stays) {
            let opened = disk.open_to_read(file.path.clone()).at("open", &file.path)?;
            disk.fill_holes(&opened).at("read", &file.path)?;
            let segment = Segment::new(&disk, opened, file.base, file.capacity, file.len, file.is_written)?;
            segment.close_file();
            chain.insert(file.base, Arc::new(segment));
        }
        let head = match of(Fate::Ends).next() {
            Some(file) if !file.half_made => self.cut(file, found, &disk, &mut spares)?,
            half_made => {
                let base = half_made.map_or(0, |file| file.base);
                shape.make_segment(&disk, base, shape.segment_bytes, SEGMENT_HEADER as u64)?.0
            }
        };
        let end = found.end.max(SEGMENT_HEADER as u64);
        let log = Log::with_head(shape, disk, head, chain, found.proven.min(end)..end, spares)?;
        of(Fate::Waits).try_for_each(|file| log.take_over(file))?;
        if !log.shape.lazy {
            log.write_again()?;
            log.sync_found()?;
        }
        Ok(log)
    }

    /// How long new segments are to be: as long as wanted, unless that is longer than before and the disk has no space for
    /// the change. The existing segments and spares would be given up for others that the disk has no space for.
    pub(crate) fn segment_bytes(&mut self, wanted: u64, disk: &Disk) -> Result<u64> {
        let before = self.files.last().map_or(0, |newest| newest.capacity);
        if before == 0 || before >= wanted {
            return Ok(wanted);
        }
        let path = self.dir.join(format!("{SPARE}{}{UNDER_CONSTRUCTION}", segment_name(wanted)));
        let file = disk.create(path.clone()).at("create", &path);
        let tried = file.and_then(|file| take_zeroed(disk, &file, SEGMENTS_MIN * wanted));
        if disk.exists(&path).at("inspect", &path)? {
            disk.remove(&path).at("remove", &path)?;
        }
        // An open that was killed here may have left it.
        self.unfinished.retain(|unfinished| *unfinished != path);
        match tried {
            Err(Error::Full { .. }) => Ok(before),
            tried => tried.map(|()| wanted),
        }
    }

    /// Decides what happens to each file when the log is cut at the end that was found.
    pub(crate) fn judge(&mut self, found: &FoundLog, segment_bytes: u64, ready_bytes: u64) -> Result<()> {
        self.judge_segments(found, segment_bytes, ready_bytes);
        self.left = self.unfinished.iter().map(|path| (path.clone(), "a file under construction")).collect();
        // One is not synced before it has its name, and may be of any length after a crash.
        for path in &self.spares {
            let found = match std::fs::symlink_metadata(path) {
                // Beside an owner it may be in use by now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                found => found.at("inspect", path)?,
            };
            if !found.is_file() || found.len() != segment_bytes {
                self.left.push((path.clone(), "a spare that is not as long as new segments"));
            }
        }
        Ok(())
    }

    fn judge_segments(&mut self, found: &FoundLog, segment_bytes: u64, ready_bytes: u64) {
        // Segments that hold nothing can stay if they are as long as new ones and wanted. The consumers' log has a
        // reserve instead: space that a full disk has given once, it may not give again.
        let wanted = 2 + (ready_bytes / segment_bytes) as usize;
        let mut waiting = if self.kind == LogKind::Commit { found.blank.min(wanted) } else { 0 };
        let head = self.files.iter().rposition(|file| file.base < found.end);
        for (at, file) in self.files.iter_mut().enumerate() {
            waiting = if Some(at) <= head || file.capacity == segment_bytes { waiting } else { 0 };
            file.fate = match Some(at).cmp(&head) {
                Ordering::Less => Fate::Stays,
                Ordering::Equal => Fate::Ends,
                Ordering::Greater if waiting > 0 => {
                    waiting -= 1;
                    Fate::Waits
                }
                Ordering::Greater if self.kind == LogKind::Checkpoint && file.len == segment_bytes => Fate::IsSpare,
                Ordering::Greater => Fate::IsRemoved,
            };
        }
    }

    /// Makes a segment the last one that holds something, and the found end its end.
    fn cut(&self, head: &SegmentFile, found: &FoundLog, disk: &Disk, spares: &mut Vec<PathBuf>) -> Result<Segment> {
        let SegmentFile { base, capacity, path, len, is_written, .. } = head;
        let file = disk.open(path.clone()).at("open", path)?;
        disk.fill_holes(&file).at("read", path)?;
        let end = found.end - base;
        let dirty = found.tail_bytes > 0;
        if dirty && self.wipe(disk, &file, end, (end + FRAME_HEADER as u64).min(*len))? {
            disk.sync_file(&file).at("sync", path)?;
        }
        let later = self.files.iter().rev();
        for later in later.filter(|file| matches!(file.fate, Fate::IsSpare | Fate::IsRemoved)) {
            if later.fate == Fate::IsSpare {
                let spare = self.dir.join(format!("{SPARE}{CUT}{}", segment_name(later.base)));
                disk.rename(&later.path, &spare).at("rename", &later.path)?;
                spares.retain(|known| *known != spare);
                spares.push(spare);
            } else {
                disk.remove(&later.path).at("remove", &later.path)?;
            }
            disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        }
        if dirty && self.wipe(disk, &file, end, *len)? {
            disk.sync_file(&file).at("sync", path)?;
        }
        if !GROWS_UNDER_MAP {
            zero(disk, &file, *len, *capacity)?;
        }
        Segment::new(disk, file, *base, *capacity, end, *is_written)
    }

    /// Zeroes the bytes that are not zero. Returns whether there were any.
    fn wipe(&self, disk: &Disk, file: &StoreFile, from: u64, end: u64) -> Result<bool> {
        let mut block = vec![0; BLOCK];
        let (mut at, mut wiped) = (from, false);
        while at < end {
            at = holes::next_data(&file.file, at, end);
            let len = (end - at).min(BLOCK as u64) as usize;
            let read = file.read_at(at, &mut block[..len]).at("read", &file.path)?;
            if block[..read].iter().any(|byte| *byte != 0) {
                zero(disk, file, at, at + len as u64)?;
                wiped = true;
            }
            at += len as u64;
        }
        Ok(wiped)
    }
}

impl Segment {
    /// The ends of the room and of the space that a segment is found with, behind `end`. Frames that are stored there must
    /// have their space, and files may have been copied without that of their zeroes. Where a write of zeroes may have failed they
    /// are made afresh (`rewrite`): all but those in the page of the end, which are as durable as that.
    fn room(&self, disk: &Disk, end: u64, was_closed: bool) -> Result<(u64, u64)> {
        let file = self.file(disk).at("open", &self.path)?;
        let len = file.len().at("inspect", &self.path)?.min(self.capacity);
        let (at, afresh) = (end - self.base, (end - self.base).next_multiple_of(PAGE));
        if at >= len || disk.has_holes(&file).at("inspect", &self.path)? {
            return Ok((end, end));
        }
        let found = self.base + len;
        if self.is_written && was_closed {
            // An open after a kill may have made the rest afresh, and not written it since: it has its space, and is filled
            // again before it is used.
            let has_space = disk.take_space(&file, at, len - at);
            return Ok(if has_space { ((self.base + afresh).min(found), found) } else { (end, end) });
        }
        let is_afresh = disk.take_zeroes(&file, afresh, len.saturating_sub(afresh));
        Ok(match (is_afresh, self.is_written) {
            (true, false) => (found, found),
            (true, true) => ((self.base + afresh).min(found), found),
            // The space is there all the same, which a full disk must not be asked for again.
            (false, _) => (end, if disk.take_space(&file, at, len - at) { found } else { end }),
        })
    }
}

impl Log {
    /// Takes over a segment that was made ahead.
    fn take_over(&self, file: &SegmentFile) -> Result<()> {
        let opened = self.disk.open(file.path.clone()).at("open", &file.path)?;
        if !GROWS_UNDER_MAP {
            zero(&self.disk, &opened, file.len, file.capacity)?;
        }
        let begin = SEGMENT_HEADER as u64;
        let segment = Segment::new(&self.disk, opened, file.base, file.capacity, begin, file.is_written)?;
        let (ready, _) = segment.room(&self.disk, file.base + begin, self.shape.was_closed)?;
        let next = self.mapped(segment, ready)?;
        self.head.hold().ahead.push_back(next);
        Ok(())
    }

    /// Makes what recovery found durable, if opening left that for later.
    pub(crate) fn sync_recovered(&self) -> Result<()> {
        let found_end = self.unproven.hold().end;
        self.sync_through(found_end)
    }

    /// Makes what recovery found and is not proven durable so, with errors of opening and not of a poisoned log.
    fn sync_found(&self) -> Result<()> {
        let (from, end) = (self.durable(), self.appended());
        for segment in self.segments().iter().filter(|segment| from < end && segment.end() > from) {
            let synced = segment.file(&self.disk).and_then(|file| self.disk.sync_file(&file));
            synced.at("sync", &segment.path)?;
            segment.close_file();
        }
        self.made_durable(end);
        Ok(())
    }

    fn with_head(
        shape: Shape,
        disk: Disk,
        head: Segment,
        mut chain: BTreeMap<u64, Arc<Segment>>,
        unproven: Range<u64>,
        spares: Vec<PathBuf>,
    ) -> Result<Self> {
        let end = unproven.end;
        let head = Arc::new(head);
        chain.insert(head.base, Arc::clone(&head));
        let map = if shape.staged { None } else { Some(head.write_map(&disk)?) };
        let (ready, space) = head.room(&disk, end, shape.was_closed)?;
        let seed = shape.seed();
        let head = Head {
            segment: head,
            map,
            end,
            ready,
            space,
            ahead: VecDeque::new(),
            outlived: Vec::new(),
            open: VecDeque::new(),
            staged: Vec::new(),
            scratch: Vec::new(),
            check_at: 0,
            load: 0,
            waiting: 0,
            wanted: WantedRoom::default(),
            prepares_inline: true,
            shut: false,
            asked: 0,
            refused: None,
        };
        Ok(Self {
            shape,
            seed,
            disk,
            head: Mutex::new(head),
            room: Condvar::new(),
            filling: Mutex::new(()),
            making: Mutex::new(()),
            chain: RwLock::new(chain),
            spares: Mutex::new(Spares::found(spares)),
            appended: AtomicU64::new(end),
            written: AtomicU64::new(end),
            durable: AtomicU64::new(unproven.start),
            unproven: Mutex::new(unproven),
            short: AtomicBool::new(false),
            lacks_space: AtomicBool::new(false),
            sync: Mutex::new(sync::SyncState::default()),
            waiting: AtomicUsize::new(0),
            synced: Condvar::new(),
        })
    }
}
