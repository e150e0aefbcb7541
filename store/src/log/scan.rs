//! A log as it is found: read without changing anything, before it is recovered or instead of that.
//!
//! The end of a log is the first frame that is not valid. Whether that is a torn tail or damage is decided by what
//! was durable: the caller's knowledge, and any later valid frame that says so of itself (FORMAT.md, recovery rules).

use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, KIND_END, LogKind, Seed};
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};
use crate::log::prepare::{SPARE, UNDER_CONSTRUCTION, segment_name};
use crate::segment::StoreFile;

const CAPACITY_MAX: u64 = 1 << 36;
const WINDOW: usize = 1 << 20;

/// A log that was not recovered: it can be read, not appended to.
pub(crate) struct Unrecovered {
    pub(super) kind: LogKind,
    pub(super) dir: PathBuf,
    pub(super) seed: Seed,
    /// Oldest first, each beginning where the one before ends.
    pub(super) files: Vec<SegmentFile>,
    pub(super) spares: Vec<PathBuf>,
    pub(super) unfinished: Vec<PathBuf>,
}

/// A segment file as it is found.
pub(crate) struct SegmentFile {
    pub(crate) base: u64,
    pub(crate) capacity: u64,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// It has its name but no valid header: a crash of the file system while it was made.
    pub(crate) half_made: bool,
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAt<'a> {
    pub(crate) position: u64,
    pub(crate) len: usize,
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// Everything before was durable for sure.
    pub(crate) proven: u64,
    pub(crate) records: u64,
    /// Bytes behind the end that are not zero.
    pub(crate) tail_bytes: u64,
    /// The generation of the last record.
    pub(crate) generation: u32,
}

impl Unrecovered {
    /// Looks at the files of a log.
    ///
    /// # Errors
    /// A segment is missing, damaged, of another store or of a newer format.
    pub(crate) fn inspect(dir: PathBuf, kind: LogKind, store: u128) -> Result<Self> {
        let mut log = Self::empty(dir, kind, store);
        let bases = log.list()?;
        let newest = bases.len().saturating_sub(1);
        for (at, (base, path)) in bases.into_iter().enumerate() {
            let file = log.segment_file(store, base, path, at == newest)?;
            if let Some(before) = log.files.last().filter(|before| before.base + before.capacity != base) {
                let missing = log.dir.join(segment_name(before.base + before.capacity));
                return Err(Error::corrupt(&missing, 0, "the segment is missing"));
            }
            log.files.push(file);
        }
        Ok(log)
    }

    pub(super) fn empty(dir: PathBuf, kind: LogKind, store: u128) -> Self {
        let seed = Seed::new(store, kind);
        Self { kind, dir, seed, files: Vec::new(), spares: Vec::new(), unfinished: Vec::new() }
    }

    /// Lists the directory. Returns the segments by base.
    pub(super) fn list(&mut self) -> Result<Vec<(u64, PathBuf)>> {
        let mut bases = Vec::new();
        for entry in std::fs::read_dir(&self.dir).at("read", &self.dir)? {
            let path = entry.at("read", &self.dir)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match name.parse::<u64>() {
                Ok(base) if segment_name(base) == name => bases.push((base, path)),
                _ if name.ends_with(UNDER_CONSTRUCTION) => self.unfinished.push(path),
                _ if name.starts_with(SPARE) => self.spares.push(path),
                _ => {}
            }
        }
        bases.sort();
        self.unfinished.sort();
        self.spares.sort();
        Ok(bases)
    }

    pub(super) fn segment_file(&self, store: u128, base: u64, path: PathBuf, newest: bool) -> Result<SegmentFile> {
        let file = StoreFile::read_only(path).at("open", &self.dir)?;
        let len = file.len().at("inspect", &file.path)?;
        let mut bytes = [0; SEGMENT_HEADER];
        let read = file.read_at(0, &mut bytes).at("read", &file.path)?;
        let rule = match SegmentHeader::decode(&bytes[..read]) {
            Ok(header) if header.store != store => Rule::Field("store id"),
            Ok(header) if header.log != self.kind || header.base != base => Rule::Field("segment base"),
            Ok(SegmentHeader { capacity, .. })
                if (SEGMENT_HEADER as u64 + 2 * FRAME_HEADER as u64..=CAPACITY_MAX).contains(&capacity)
                    && base.checked_add(capacity).is_some_and(|end| end < i64::MAX as u64)
                    && len <= capacity =>
            {
                return Ok(SegmentFile { base, capacity, path: file.path, len, half_made: false });
            }
            Ok(_) => Rule::Field("segment capacity"),
            Err(rule @ Rule::Version(_)) => return Err(Error::format(&file.path, rule)),
            Err(rule) => rule,
        };
        // A segment gets its name when its header is durable. If the file system broke that promise, nothing was ever
        // appended; if there is a record, the header was whole once and is damaged now.
        let half_made = newest && base < i64::MAX as u64 && matches!(rule, Rule::Short | Rule::Empty);
        if !half_made || self.first_frame_is_valid(&file, base, len)? {
            return Err(Error::corrupt(&file.path, 0, format!("segment header: {rule}")));
        }
        Ok(SegmentFile { base, capacity: 0, path: file.path, len, half_made })
    }

    pub(super) fn first_frame_is_valid(&self, file: &StoreFile, base: u64, len: u64) -> Result<bool> {
        let mut window = Window::new(file, len);
        let bytes = window.frame(SEGMENT_HEADER as u64)?;
        Ok(Frame::decode(bytes, base + SEGMENT_HEADER as u64, self.seed).is_ok())
    }

    /// The length of its longest segment.
    pub(crate) fn capacity_max(&self) -> u64 {
        self.files.iter().map(|file| file.capacity).max().unwrap_or(0)
    }

    /// Where the log begins, if it has a file.
    pub(crate) fn start(&self) -> Option<u64> {
        self.files.first().map(|file| file.base)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads the frames from `from` on, each handed to `visit`, and finds the end. `proven` is what the caller knows
    /// to have been durable, `generation_max` the store's generation.
    ///
    /// # Errors
    /// A frame that was durable is not valid any more, or `visit` fails.
    pub(crate) fn scan(
        &self,
        from: u64,
        proven: u64,
        generation_max: u32,
        mut visit: impl FnMut(&FrameAt<'_>, &Frame<'_>) -> Result<()>,
    ) -> Result<Found> {
        let mut found = Found { end: from, proven, records: 0, tail_bytes: 0, generation: 0 };
        for (at, segment) in self.files.iter().enumerate() {
            if !segment.half_made && segment.base + segment.capacity <= from {
                continue;
            }
            found.end = found.end.max(segment.base + SEGMENT_HEADER as u64);
            if from > segment.base + segment.len.max(SEGMENT_HEADER as u64) {
                return Err(Error::corrupt(&segment.path, segment.len, "the file ends before what was durable"));
            }
            let rule = match self.scan_segment(segment, generation_max, &mut found, &mut visit)? {
                // The next segment was durable before this one was closed.
                Closing::End if at + 1 < self.files.len() => continue,
                Closing::End => {
                    let missing = self.dir.join(segment_name(segment.base + segment.capacity));
                    return Err(Error::corrupt(&missing, 0, "the segment is missing"));
                }
                Closing::Invalid(rule) => rule,
            };
            return self.judge(at, rule, found);
        }
        match self.files.last() {
            Some(last) => {
                let missing = self.dir.join(segment_name(last.base + last.capacity));
                Err(Error::corrupt(&missing, 0, "the segment is missing"))
            }
            None => Ok(found),
        }
    }

    fn scan_segment(
        &self,
        segment: &SegmentFile,
        generation_max: u32,
        found: &mut Found,
        visit: &mut impl FnMut(&FrameAt<'_>, &Frame<'_>) -> Result<()>,
    ) -> Result<Closing> {
        let file = StoreFile::read_only(segment.path.clone()).at("open", &segment.path)?;
        let mut window = Window::new(&file, segment.len);
        loop {
            let position = found.end;
            let offset = position - segment.base;
            let frame = match Frame::decode(window.frame(offset)?, position, self.seed) {
                Ok(frame) => frame,
                Err(rule) => return Ok(Closing::Invalid(rule)),
            };
            let in_order = frame.generation >= found.generation && frame.generation <= generation_max;
            if !in_order || frame.durable_through > position {
                return Ok(Closing::Invalid(Rule::Generation));
            }
            let place = FrameAt { position, len: frame.len(), path: &segment.path, offset };
            found.generation = frame.generation;
            found.proven = found.proven.max(frame.durable_through);
            if frame.kind == KIND_END {
                return Ok(Closing::End);
            }
            visit(&place, &frame)?;
            found.records += 1;
            found.end += frame.len() as u64;
        }
    }

    /// Decides whether the log may end at an invalid frame in the segment number `at`.
    fn judge(&self, at: usize, rule: Rule, mut found: Found) -> Result<Found> {
        let segment = &self.files[at];
        let damaged = |proof: &str| {
            let what = format!("{rule}, yet {proof} that it was durable");
            Err(Error::corrupt(&segment.path, found.end - segment.base, what))
        };
        if found.proven > found.end {
            return damaged("the store recorded");
        }
        for later in &self.files[at..] {
            let from = if later.base == segment.base { found.end - later.base } else { SEGMENT_HEADER as u64 };
            let (proof, dirty) = self.search_proof(later, from, found.end)?;
            found.tail_bytes += dirty;
            if let Some(position) = proof {
                return damaged(&format!("the record at {position} says"));
            }
        }
        Ok(found)
    }

    /// Looks for a valid frame anywhere behind `from` that says that the log was durable beyond `end`. Also counts the
    /// bytes up to the last that is not zero.
    fn search_proof(&self, segment: &SegmentFile, from: u64, end: u64) -> Result<(Option<u64>, u64)> {
        let file = StoreFile::read_only(segment.path.clone()).at("open", &segment.path)?;
        let mut window = Window::new(&file, segment.len);
        // Only lying bytes need more than their own length in checksums.
        let mut budget = 4 * segment.len + (1 << 20);
        let mut last_dirty = from;
        let mut at = from;
        while at < segment.len {
            let bytes = window.at_least(at, FRAME_HEADER + 1)?;
            if bytes[0] != 0 {
                last_dirty = at + 1;
            }
            let zeroes = leading_zeroes(bytes) as u64;
            if zeroes > FRAME_HEADER as u64 {
                at += zeroes - FRAME_HEADER as u64;
                continue;
            }
            let position = segment.base + at;
            if position > end && Frame::durable_claim(bytes).is_some_and(|claim| claim > end && claim <= position) {
                let bytes = window.frame(at)?;
                if Frame::decode(bytes, position, self.seed).is_ok() {
                    return Ok((Some(position), 0));
                }
                budget = budget.saturating_sub(bytes.len() as u64);
                if budget == 0 {
                    return Err(Error::corrupt(&segment.path, at, "more false records than a crash leaves"));
                }
            }
            at += 1;
        }
        Ok((None, last_dirty - from))
    }
}

/// How many bytes at the front are zero: by whole blocks first, since most of a tail is.
pub(super) fn leading_zeroes(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let blocks = bytes.chunks_exact(BLOCK).take_while(|block| **block == [0; BLOCK]).count();
    let rest = &bytes[blocks * BLOCK..];
    blocks * BLOCK + rest.iter().take(BLOCK).take_while(|byte| **byte == 0).count()
}

enum Closing {
    End,
    Invalid(Rule),
}

/// A moving view of a file, so that neither a large nor a shrinking file is a danger.
pub(super) struct Window<'a> {
    file: &'a StoreFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a StoreFile, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Vec::new() }
    }

    /// The bytes from `at` on: at least `wanted`, if the file has that many.
    pub(super) fn at_least(&mut self, at: u64, wanted: usize) -> Result<&[u8]> {
        let end = self.len.min(at.saturating_add(wanted as u64));
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let len = (wanted.max(WINDOW) as u64).min(self.len.saturating_sub(at)) as usize;
            self.bytes.resize(len, 0);
            self.start = at;
            let read = self.file.read_at(at, &mut self.bytes).at("read", &self.file.path)?;
            self.bytes.truncate(read);
        }
        Ok(self.bytes.get((at - self.start) as usize..).unwrap_or_default())
    }

    /// The bytes of the frame at `at`, as long as it claims to be and the file reaches.
    pub(super) fn frame(&mut self, at: u64) -> Result<&[u8]> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let claimed = Frame::claimed_len(self.at_least(at, FRAME_HEADER)?).filter(|len| *len <= left);
        self.at_least(at, claimed.unwrap_or(FRAME_HEADER))
    }
}
