//! A log as it is found: read without changing anything, before it is recovered or instead of that.
//!
//! The end of a log is the first frame that is not valid. Whether that is a torn tail or damage is decided by what
//! was durable: the caller's knowledge, and any later valid frame that says so of itself (FORMAT.md, recovery rules).

use std::path::{Path, PathBuf};

use super::window::{Window, leading_zeroes};
use crate::error::{At, Error, Result};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, KIND_END, LogKind, Seed};
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};
use crate::log::make::{Name, segment_name};
use crate::segment::{StoreFile, holes};

const CAPACITY_MAX: u64 = 1 << 36;

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
    /// Somebody may be appending to it.
    in_use: bool,
    /// Segments that were listed had gone when they were looked at.
    pub(super) gone: bool,
}

/// A segment file as it is found.
pub(crate) struct SegmentFile {
    pub(crate) base: u64,
    pub(crate) capacity: u64,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// How many of its bytes are in no hole.
    pub(crate) data: u64,
    /// All of its room was written and synced before it was used.
    pub(crate) is_written: bool,
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
    /// How many segments behind that of the end are made and hold nothing yet.
    pub(crate) blank: usize,
    /// What is there instead of the next frame.
    pub(crate) tail: Option<Rule>,
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
        // What cannot be removed is found before anything else is.
        match log.unfinished.iter().chain(&log.spares).find(|path| path.is_dir() && !path.is_symlink()) {
            Some(path) => Err(std::io::Error::from(std::io::ErrorKind::IsADirectory)).at("remove", path),
            None => Ok(log),
        }
    }

    pub(super) fn empty(dir: PathBuf, kind: LogKind, store: u128) -> Self {
        let seed = Seed::new(store, kind);
        let (files, spares, unfinished) = Default::default();
        Self { kind, dir, store, seed, files, spares, unfinished, in_use: false, gone: false }
    }

    /// The same log for a reader beside its owner: what the owner appends while it is read is no damage, and the log
    /// ends for this reader where the owner was then.
    pub(crate) fn in_use(self) -> Self {
        Self { in_use: true, ..self }
    }

    /// Lists the directory. Returns the segments by base.
    pub(super) fn list(&mut self) -> Result<Vec<(u64, PathBuf)>> {
        let mut bases = Vec::new();
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

    pub(super) fn segment_file(&self, store: u128, base: u64, path: PathBuf, newest: bool) -> Result<SegmentFile> {
        let file = StoreFile::read_only(path.clone()).at("open", &path)?;
        let len = file.len().at("inspect", &file.path)?;
        let data = holes::data_bytes(&file.file, len);
        let mut bytes = [0; SEGMENT_HEADER];
        let read = file.read_at(0, &mut bytes).at("read", &file.path)?;
        let rule = match SegmentHeader::decode(&bytes[..read]) {
            Ok(header) if header.store != store => Rule::Field("store id"),
            Ok(header) if header.log != self.kind || header.base != base => Rule::Field("segment base"),
            Ok(SegmentHeader { capacity, is_written, .. })
                if (SEGMENT_HEADER as u64 + 2 * FRAME_HEADER as u64..=CAPACITY_MAX).contains(&capacity)
                    && base.checked_add(capacity).is_some_and(|end| end < i64::MAX as u64)
                    && len <= capacity =>
            {
                return Ok(SegmentFile { base, capacity, path: file.path, len, data, is_written, half_made: false });
            }
            Ok(_) => Rule::Field("segment capacity"),
            Err(rule @ Rule::Version(_)) => return Err(Error::format(&file.path, rule)),
            Err(rule) => rule,
        };
        // A segment gets its name when its header is durable. If the file system broke that promise, nothing was ever
        // appended; if there is a record, the header was whole once and is damaged now.
        let half_made = newest && base < i64::MAX as u64 && matches!(rule, Rule::Short | Rule::Empty);
        if !half_made || self.is_frame(&file.path, base, base + SEGMENT_HEADER as u64, u32::MAX)? {
            return Err(Error::corrupt(&file.path, 0, format!("segment header: {rule}")));
        }
        Ok(SegmentFile { base, capacity: 0, path: file.path, len, data, is_written: false, half_made })
    }

    /// Whether there is a whole frame now at this position of the segment that begins at `base`, of no later generation
    /// than that.
    fn is_frame(&self, path: &Path, base: u64, position: u64, generation_max: u32) -> Result<bool> {
        let mut window = Window::open(path.to_path_buf())?;
        let frame = window.decode(position - base, position, self.seed)?;
        Ok(frame.is_ok_and(|frame| frame.generation <= generation_max))
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

    /// How many bytes of its files are in no hole.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.data).fold(0, u64::saturating_add)
    }

    /// Where its segments begin, in order.
    pub(crate) fn bases(&self) -> Vec<u64> {
        self.files.iter().map(|file| file.base).collect()
    }

    /// Files under construction, which recovery removes.
    pub(crate) fn unfinished(&self) -> &[PathBuf] {
        &self.unfinished
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
        let mut found = Found { end: from, proven, ..Found::default() };
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
                    if self.in_use && missing.exists() {
                        return Ok(found);
                    }
                    return Err(Error::corrupt(&missing, 0, "the segment is missing"));
                }
                Closing::Invalid(rule) => rule,
            };
            let (read, end) = (found.clone(), found.end);
            return match self.judge(at, rule, found) {
                Err(Error::Corrupt { .. })
                    if self.in_use && self.is_frame(&segment.path, segment.base, end, generation_max)? =>
                {
                    Ok(read)
                }
                judged => judged,
            };
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
        let mut window = Window::new(file, segment.len);
        loop {
            let position = found.end;
            let offset = position - segment.base;
            let frame = match window.decode(offset, position, self.seed)? {
                Ok(frame) => frame,
                Err(rule) => return Ok(Closing::Invalid(rule)),
            };
            // Each generation is in the file `store` before its first record is written.
            if frame.generation > generation_max {
                let later = format!("generation {} is later than {generation_max}", frame.generation);
                let what = format!("{later}, as the file \"store\" says: that file is older than the log");
                return Err(Error::corrupt(&segment.path, offset, what));
            }
            let in_order = frame.generation >= found.generation;
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
        found.tail = Some(rule);
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
            let mut window = Window::open(later.path.clone())?;
            let mut budget = search_budget(&window);
            // A frame at the end itself was refused already.
            let proves = |position, claim| position > found.end && claim > found.end;
            let proof = self.search(later.base, &mut window, from, &mut budget, proves)?;
            found.tail_bytes += proof.dirty_end - from;
            let is_blank = later.base != segment.base && proof.dirty_end == from && !later.half_made;
            // Only those that follow at once: behind another nothing stays.
            if is_blank && self.files.get(at + 1 + found.blank).is_some_and(|next| next.base == later.base) {
                found.blank += 1;
            }
            if let Some(at) = proof.at {
                return damaged(&format!("the record at {} says", later.base + at));
            }
            if proof.exhausted {
                return Err(Error::corrupt(&later.path, from, "more false records than a crash leaves"));
            }
        }
        Ok(found)
    }

    /// Looks from `from` on for a valid frame that is wanted for its position and its claim of durability.
    pub(super) fn search(
        &self,
        base: u64,
        window: &mut Window,
        from: u64,
        budget: &mut u64,
        wanted: impl Fn(u64, u64) -> bool,
    ) -> Result<Search> {
        let mut found = Search { at: None, dirty_end: from, exhausted: false };
        let window_len = window.len();
        let mut at = from;
        while at < window.len() {
            let bytes = window.at_least(at, FRAME_HEADER + 1)?;
            let Some(first) = bytes.first() else { break };
            if *first != 0 {
                found.dirty_end = at + 1;
            }
            let (zeroes, read) = (leading_zeroes(bytes) as u64, bytes.len() as u64);
            if zeroes > FRAME_HEADER as u64 {
                // Behind nothing but zeroes there may be a hole.
                let next = if zeroes == read { window.next_data(at + zeroes) } else { at + zeroes };
                at = next - FRAME_HEADER as u64;
                continue;
            }
            let position = base.saturating_add(at);
            // What claims to be longer than its file costs nothing.
            let claimed = Frame::claimed_len(bytes).map_or(u64::MAX, |len| len as u64);
            let possible = claimed <= window_len - at;
            if Frame::durable_claim(bytes).is_some_and(|claim| possible && claim <= position && wanted(position, claim))
            {
                if window.decode(at, position, self.seed)?.is_ok() {
                    found.at = Some(at);
                    return Ok(found);
                }
                *budget = budget.saturating_sub(claimed);
                if *budget == 0 {
                    found.exhausted = true;
                    return Ok(found);
                }
            }
            at += 1;
        }
        Ok(found)
    }
}

/// What a search met.
pub(super) struct Search {
    /// Where the frame begins.
    pub(super) at: Option<u64>,
    /// The end of the last byte before that is not zero.
    pub(super) dirty_end: u64,
    /// It gave up: there were more false frames than a crash leaves.
    pub(super) exhausted: bool,
}

/// Only lying bytes need more than some times their own length in checksums.
pub(super) fn search_budget(window: &Window) -> u64 {
    let bytes = window.len().min(window.data_bytes() + (32 << 20));
    16 * bytes + (64 << 20)
}

enum Closing {
    End,
    Invalid(Rule),
}
