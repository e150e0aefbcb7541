//! The files of a log as they are found: listed and described without changing anything, before the log is recovered or
//! instead of that.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::make::{Name, segment_name};
use super::repair::Fate;
use super::window::Window;
use super::{Log, Segment};
use crate::error::{At, Error, Result};
use crate::fault::{Fault, Faults};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, LogKind, Seed};
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};
use crate::segment::{ReadMap, StoreFile, holes};

const CAPACITY_MAX: u64 = 1 << 36;
/// More than a message grows by when it becomes a letter, with the record of the topic that may have to come first.
const LETTER_GROWTH: u64 = 1 << 10;

/// A log that was not recovered: it can be read, not appended to.
pub(crate) struct Unrecovered {
    pub(super) kind: LogKind,
    pub(super) dir: PathBuf,
    pub(super) store: u128,
    pub(super) seed: Seed,
    /// Oldest first, each beginning where the one before ends.
    pub(super) files: Vec<SegmentFile>,
    pub(super) spares: Vec<PathBuf>,
    pub(super) unfinished: Vec<PathBuf>,
    /// What recovery removes of these two, and why.
    pub(super) left: Vec<(PathBuf, &'static str)>,
    /// Segments that were listed were gone when they were opened.
    pub(super) gone: bool,
}

/// A segment file as it is found.
#[derive(Default)]
pub(crate) struct SegmentFile {
    pub(crate) base: u64,
    /// 0 when its header says nothing.
    pub(crate) capacity: u64,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// How many of its bytes are in no hole.
    pub(crate) data: u64,
    /// All of its room was written and synced before it was used.
    pub(crate) is_written: bool,
    /// It has its name but no valid header: a crash of the file system while it was made.
    pub(crate) half_made: bool,
    pub(crate) fate: Fate,
    /// Of a log that is open.
    map: Option<Arc<ReadMap>>,
}

impl Unrecovered {
    /// Lists and describes the files of a log. Adds their faults to `faults`.
    ///
    /// # Errors
    /// A segment is of a newer format; what `faults` refuses.
    pub(crate) fn find(dir: PathBuf, kind: LogKind, store: u128, faults: &mut Faults) -> Result<Self> {
        let mut log = Self::empty(dir, kind, store);
        let bases = match log.list() {
            Err(Error::Io { source, .. }) if is_gone(&source) && faults.collects() => {
                faults.found(Fault::new(&log.dir, 0, "2", "the directory of a log", "none"))?;
                return Ok(log);
            }
            listed => listed?,
        };
        let newest = bases.last().map(|(base, _)| *base);
        for (base, path) in bases {
            if !log.add(base, &path, newest == Some(base), faults)? {
                // Those before it were deleted first.
                log.files.clear();
                log.gone = true;
            }
        }
        // What these hold means nothing, but opening refuses what it cannot remove before it changes anything.
        for path in log.unfinished.iter().chain(&log.spares).filter(|path| path.is_dir() && !path.is_symlink()) {
            if !faults.collects() {
                return Err(std::io::Error::from(ErrorKind::IsADirectory)).at("remove", path);
            }
            faults.found(Fault::new(path, 0, "2", "a file", "a directory"))?;
        }
        Ok(log)
    }

    fn empty(dir: PathBuf, kind: LogKind, store: u128) -> Self {
        let seed = Seed::new(store, kind);
        let (files, spares, unfinished, left) = Default::default();
        Self { kind, dir, store, seed, files, spares, unfinished, left, gone: false }
    }

    /// The segments of an open log that hold something between these positions.
    pub(super) fn of_open(log: &Log, from: u64, end: u64) -> Self {
        let segments = log.segments().into_iter().filter(|segment| segment.end() > from && segment.base < end);
        let files = segments.map(|segment| SegmentFile::of_open(&segment)).collect();
        Self { files, ..Self::empty(log.shape.dir.clone(), log.shape.kind, log.shape.store) }
    }

    /// Lists the directory. Returns the segments by base.
    pub(super) fn list(&mut self) -> Result<Vec<(u64, PathBuf)>> {
        let mut bases = Vec::new();
        (self.spares, self.unfinished) = Default::default();
        for entry in std::fs::read_dir(&self.dir).at("read", &self.dir)? {
            let path = entry.at("read", &self.dir)?.path();
            match Name::of(&path) {
                Some(Name::Segment(base)) => bases.push((base, path)),
                Some(Name::UnderConstruction) => self.unfinished.push(path),
                Some(Name::Spare) => self.spares.push(path),
                None => {}
            }
        }
        bases.sort();
        self.unfinished.sort();
        self.spares.sort();
        Ok(bases)
    }

    /// Adds a segment that was listed. Returns whether it is still there.
    pub(super) fn add(&mut self, base: u64, path: &Path, newest: bool, faults: &mut Faults) -> Result<bool> {
        let file = self.describe(base, path.to_path_buf(), newest);
        if let Err(Error::Io { source, .. }) = &file
            && source.kind() == ErrorKind::NotFound
        {
            return Ok(false);
        }
        if let Some(end) = self.files.last().map(SegmentFile::end).filter(|end| *end != base) {
            faults.found(self.missing(end, "10.7", "a segment").of_len(base.saturating_sub(end)))?;
        }
        let unreadable =
            |len, data| SegmentFile { base, path: path.to_path_buf(), len, data, ..SegmentFile::default() };
        self.files.push(match file {
            Ok(file) => file,
            Err(Error::Corrupt { path, found, .. }) => {
                let fault = Fault::new(&path, 0, "4", "the header of this segment", found);
                faults.found(fault.of_len(SEGMENT_HEADER as u64))?;
                let Some(window) = Window::open(path, base, self.seed)? else { return Ok(false) };
                unreadable(window.len(), window.data_bytes())
            }
            Err(Error::Io { source, .. }) if faults.collects() => {
                faults.found(Fault::new(path, 0, "4", "a segment that can be read", source))?;
                unreadable(0, 0)
            }
            Err(error) => return Err(error),
        });
        Ok(true)
    }

    /// The fault of a chain of segments that ends too early here.
    pub(super) fn missing(&self, base: u64, rule: &'static str, expected: &str) -> Fault {
        Fault::new(&self.dir.join(segment_name(base)), 0, rule, expected, "the segment is missing")
    }

    fn describe(&self, base: u64, path: PathBuf, newest: bool) -> Result<SegmentFile> {
        let file = StoreFile::read_only(path.clone()).at("open", &path)?;
        let len = file.len().at("inspect", &file.path)?;
        let data = holes::data_bytes(&file.file, len);
        let mut bytes = [0; SEGMENT_HEADER];
        let read = file.read_at(0, &mut bytes).at("read", &file.path)?;
        let found = SegmentFile { base, path, len, data, ..SegmentFile::default() };
        let rule = match SegmentHeader::decode(&bytes[..read]) {
            Ok(header) if header.store != self.store => Rule::Field("store id"),
            Ok(header) if header.log != self.kind || header.base != base => Rule::Field("segment base"),
            Ok(SegmentHeader { capacity, is_written, .. })
                if (SEGMENT_HEADER as u64 + 2 * FRAME_HEADER as u64..=CAPACITY_MAX).contains(&capacity)
                    && base.checked_add(capacity).is_some_and(|end| end < i64::MAX as u64)
                    && len <= capacity =>
            {
                return Ok(SegmentFile { capacity, is_written, ..found });
            }
            Ok(_) => Rule::Field("segment capacity"),
            Err(rule @ Rule::Version(_)) => return Err(Error::format(&file.path, rule)),
            Err(rule) => rule,
        };
        // A segment gets its name when its header is durable. If the file system broke that promise, nothing was ever
        // appended; if there is a record, the header was whole once and is damaged now.
        let half_made = newest && base < i64::MAX as u64 && matches!(rule, Rule::Short | Rule::Empty);
        let window = Window::open(file.path.clone(), base, self.seed)?;
        let first = window.map(|mut window| window.decode(SEGMENT_HEADER as u64).map(|first| first.is_ok()));
        if !half_made || first.transpose()? == Some(true) {
            return Err(Error::corrupt(&file.path, 0, format!("segment header: {rule}")));
        }
        Ok(SegmentFile { half_made, ..found })
    }

    /// The headers of the segments that have a whole one, whatever store they are of.
    pub(crate) fn headers(dir: &Path, kind: LogKind) -> Result<Vec<SegmentHeader>> {
        let listed = match Self::empty(dir.to_path_buf(), kind, 0).list() {
            Err(Error::Io { source, .. }) if is_gone(&source) => Vec::new(),
            listed => listed?,
        };
        Ok(listed.into_iter().filter_map(|(_, path)| Self::header(&path)).collect())
    }

    /// What a segment file says about itself, if that can be read.
    pub(crate) fn header(path: &Path) -> Option<SegmentHeader> {
        let file = StoreFile::read_only(path.to_path_buf()).ok()?;
        let mut bytes = [0; SEGMENT_HEADER];
        let read = file.read_at(0, &mut bytes).ok()?;
        SegmentHeader::decode(&bytes[..read]).ok()
    }

    /// Whether it has no segment, and had none when it was listed.
    pub(crate) fn is_missing(&self) -> bool {
        self.files.is_empty() && !self.gone
    }

    pub(crate) fn into_files(self) -> Vec<SegmentFile> {
        self.files
    }

    /// How long a segment must be for the largest message there can be, as a dead letter: one is no longer than what its
    /// segment holds, whatever room a header claims.
    pub(crate) fn segment_bytes_min(&self) -> u64 {
        let needed = |file: &SegmentFile| file.capacity.min(file.data.saturating_add(LETTER_GROWTH));
        self.files.iter().map(needed).max().unwrap_or(0)
    }

    /// The length of its longest segment.
    pub(crate) fn capacity_max(&self) -> u64 {
        self.files.iter().map(|file| file.capacity).max().unwrap_or(0)
    }

    /// Where the log begins, if it has a file.
    pub(crate) fn start(&self) -> Option<u64> {
        self.files.first().map(|file| file.base)
    }

    /// Where its last file ends.
    pub(crate) fn files_end(&self) -> u64 {
        self.files.last().map_or(0, |file| file.base.saturating_add(file.len))
    }

    /// Where the segment begins that holds this position.
    pub(crate) fn segment_start(&self, position: u64) -> u64 {
        self.files.iter().rfind(|file| file.base <= position).map_or(0, |file| file.base)
    }

    /// How many bytes of its files are in no hole.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.data).fold(0, u64::saturating_add)
    }

    /// Where its segments begin, in order.
    pub(crate) fn bases(&self) -> Vec<u64> {
        self.files.iter().map(|file| file.base).collect()
    }

    /// The segment files, each with what recovery does with it.
    pub(crate) fn files(&self) -> &[SegmentFile] {
        &self.files
    }

    /// Files that are no segments and that recovery removes, and why.
    pub(crate) fn left(&self) -> &[(PathBuf, &'static str)] {
        &self.left
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A view of a segment; none of one that is gone, or that could not be read when it was listed.
    pub(super) fn window(&self, file: &SegmentFile) -> Result<Option<Window>> {
        if let Some(map) = &file.map {
            return Ok(Some(Window::of_map(Arc::clone(map), file.base, self.seed)));
        }
        match Window::open(file.path.clone(), file.base, self.seed) {
            Err(_) if file.capacity == 0 && !file.half_made => Ok(None),
            opened => opened,
        }
    }
}

impl SegmentFile {
    fn of_open(segment: &Segment) -> Self {
        let Segment { base, capacity, is_written, .. } = *segment;
        let (path, map) = (segment.path.clone(), Some(Arc::clone(&segment.map)));
        Self { base, capacity, path, len: capacity, is_written, map, ..Self::default() }
    }

    /// Where the next segment begins; unknown behind a damaged header.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(if self.capacity == 0 { self.len } else { self.capacity })
    }

    /// Whether a segment of a log that is not open has been removed since it was listed.
    pub(super) fn is_gone(&self) -> bool {
        self.map.is_none() && !self.path.exists()
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
