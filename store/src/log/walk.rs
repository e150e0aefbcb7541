//! Reading what is whole of a log that may be damaged anywhere, be it in use or not, and telling what is not.
//!
//! A frame that is not valid is damage when it is proven durable (FORMAT.md, recovery rule 4); then the walk goes on at
//! the next valid frame. Otherwise it is the log's torn tail, or what a writer is about to write, and the walk is over.
//! A log in use changes under the walk: what looks wrong is looked at once more before anything is said of it, segments
//! that were removed are passed over, and new ones are followed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::make::segment_name;
use super::scan::{FrameAt, SegmentFile, Unrecovered, search_budget};
use super::window::Window;
use crate::error::{Error, Result};
use crate::fault::Fault;
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, KIND_END, LogKind};
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};

/// What a walk meets.
pub(crate) enum Step<'w> {
    /// A whole frame.
    Frame(FrameAt<'w>, Frame<'w>),
    /// Damage; the walk goes on behind it.
    Gap(Fault),
    /// The owner removed segments under the walk; it goes on behind them.
    Removed,
    /// Bytes behind the last whole frame: writes that were under way. The walk is over.
    Tail(Fault),
}

/// A walk over the frames of a log.
pub(crate) struct Walk {
    log: Unrecovered,
    /// The segment, its window, and the next frame in it.
    at: usize,
    window: Option<Window>,
    offset: u64,
    generation: u32,
    generation_max: u32,
    /// The log was durable that far for sure.
    proven: u64,
    /// The rest of the log was searched for proofs.
    searched: bool,
    /// Segments went away under the walk, and that was not told yet.
    removed: bool,
    /// The walk does not go beyond what there was when it began: a writer may be as fast as it.
    limit: u64,
    over: bool,
    /// The latest generation of a frame that is later than it may be.
    too_late: Option<u32>,
}

impl Unrecovered {
    /// Like [`Unrecovered::inspect`], but what is wrong with a segment is told, and the segment read if it can be.
    pub(crate) fn look(dir: &Path, kind: LogKind, store: u128, faults: &mut Vec<Fault>) -> Result<Self> {
        let mut log = Self::empty(dir.to_path_buf(), kind, store);
        let bases = match log.list() {
            Err(Error::Io { source, .. }) if is_gone(&source) => {
                faults.push(Fault::new(dir, 0, "2", "the directory of a log", "none"));
                return Ok(log);
            }
            listed => listed?,
        };
        // What these hold means nothing, but opening refuses what it cannot remove.
        for path in log.spares.iter().chain(&log.unfinished).filter(|path| path.is_dir()) {
            faults.push(Fault::new(path, 0, "2", "a file", "a directory"));
        }
        let newest = bases.last().map(|(base, _)| *base);
        for (base, path) in bases {
            if !log.look_at(base, &path, newest == Some(base), faults)? {
                // Those before it went first.
                log.files.clear();
                log.gone = true;
            }
        }
        Ok(log)
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
        let mut window = Window::open(path.to_path_buf()).ok()?;
        SegmentHeader::decode(window.at_least(0, SEGMENT_HEADER).ok()?).ok()
    }

    /// Whether it has no segment, and had none when it was listed.
    pub(crate) fn is_missing(&self) -> bool {
        self.files.is_empty() && !self.gone
    }

    /// The segment files: base, capacity, path.
    pub(crate) fn all_files(&self) -> impl Iterator<Item = (u64, u64, PathBuf)> + '_ {
        self.files.iter().map(|file| (file.base, file.capacity, file.path.clone()))
    }

    /// Takes in a segment that was listed. Returns whether it is still there.
    fn look_at(&mut self, base: u64, path: &Path, newest: bool, faults: &mut Vec<Fault>) -> Result<bool> {
        let file = self.segment_file(self.store, base, path.to_path_buf(), newest);
        if let Err(Error::Io { source, .. }) = &file
            && source.kind() == ErrorKind::NotFound
        {
            return Ok(false);
        }
        if let Some(end) = self.files.last().map(SegmentFile::end).filter(|end| *end != base) {
            let missing = self.dir.join(segment_name(end));
            faults.push(Fault::new(&missing, 0, "10.7", "a segment", "none").of_len(base.saturating_sub(end)));
        }
        match file {
            Ok(file) => self.files.push(file),
            Err(Error::Corrupt { path, found, .. }) => {
                let fault = Fault::new(&path, 0, "4", "the header of this segment", found);
                faults.push(fault.of_len(SEGMENT_HEADER as u64));
                let window = Window::open(path.clone())?;
                self.files.push(SegmentFile::unreadable(base, path, window.len(), window.data_bytes()));
            }
            Err(Error::Io { source, .. }) => {
                faults.push(Fault::new(path, 0, "4", "a segment that can be read", source));
                self.files.push(SegmentFile::unreadable(base, path.to_path_buf(), 0, 0));
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Where the segment begins that holds this position.
    pub(crate) fn segment_start(&self, position: u64) -> u64 {
        self.files.iter().rfind(|file| file.base <= position).map_or(0, |file| file.base)
    }

    /// Walks over the frames from `from` on, which is where a frame begins or a segment, be it there still or not.
    /// `proven` is how far the log is known to have been durable.
    pub(crate) fn walk(self, from: u64, proven: u64, generation_max: u32) -> Walk {
        let at = self.files.iter().rposition(|file| file.base <= from).unwrap_or(0);
        let inside = self.files.get(at).map_or(0, |file| from.saturating_sub(file.base));
        let offset = inside.max(SEGMENT_HEADER as u64);
        let (window, generation) = (None, 0);
        let removed = self.gone || self.start().is_some_and(|start| from < start);
        let (searched, over) = (false, false);
        let limit = self.files.last().map_or(0, |file| file.base.saturating_add(file.len));
        let too_late = None;
        Walk {
            log: self,
            at,
            window,
            offset,
            generation,
            generation_max,
            proven,
            searched,
            removed,
            limit,
            over,
            too_late,
        }
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

impl SegmentFile {
    /// One of which the header says nothing.
    fn unreadable(base: u64, path: PathBuf, len: u64, data: u64) -> Self {
        Self { base, capacity: 0, path, len, data, is_written: false, half_made: false }
    }

    /// Where the next segment begins; unknown behind a damaged header.
    fn end(&self) -> u64 {
        self.base.saturating_add(if self.capacity == 0 { self.len } else { self.capacity })
    }
}

impl Walk {
    /// The next thing there is.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn step(&mut self) -> Result<Option<Step<'_>>> {
        let mut refreshed = false;
        while !self.over {
            let opened = self.open();
            if std::mem::take(&mut self.removed) {
                return Ok(Some(Step::Removed));
            }
            if !opened {
                break;
            }
            let (base, position) = (self.base(), self.position());
            if position >= self.limit {
                break;
            }
            let seed = self.log.seed;
            let Some(window) = self.window.as_mut() else { break };
            match window.decode(self.offset, position, seed)?.and_then(|frame| {
                let in_order = frame.generation >= self.generation && frame.generation <= self.generation_max;
                if frame.generation > self.generation_max {
                    self.too_late = self.too_late.max(Some(frame.generation));
                }
                let fits = in_order && frame.durable_through <= position;
                if fits {
                    Ok((frame.kind, frame.len(), frame.generation, frame.durable_through))
                } else {
                    Err(Rule::Generation)
                }
            }) {
                Ok((kind, len, generation, durable_through)) => {
                    self.generation = generation;
                    self.proven = self.proven.max(durable_through);
                    if kind == KIND_END {
                        match self.enter_next()? {
                            None => continue,
                            Some(missing) => return Ok(Some(Step::Gap(missing))),
                        }
                    }
                    let offset = self.offset;
                    self.offset += len as u64;
                    let Some(window) = self.window.as_mut() else { break };
                    let payload = &window.at_least(offset, len)?[FRAME_HEADER..len];
                    let at = FrameAt { position: base + offset, len, path: &self.log.files[self.at].path, offset };
                    return Ok(Some(Step::Frame(at, Frame { kind, generation, durable_through, payload })));
                }
                Err(rule) => {
                    if !refreshed {
                        refreshed = true;
                        window.refresh()?;
                        continue;
                    }
                    if !self.log.files[self.at].path.exists() {
                        // Its space may be in use again already.
                        self.pass_over();
                        continue;
                    }
                    match self.judge(rule)? {
                        Judged::LookAgain => refreshed = false,
                        Judged::Gap(fault) => return Ok(Some(Step::Gap(fault))),
                        Judged::Tail(fault) => return Ok(fault.map(Step::Tail)),
                    }
                }
            }
        }
        Ok(None)
    }

    /// Goes on after the end was reached, from now on without a limit: somebody may have written since, also in a later
    /// generation.
    pub(crate) fn again(&mut self, generation_max: u32) -> Result<()> {
        self.generation_max = generation_max;
        (self.over, self.searched, self.limit) = (false, false, u64::MAX);
        self.window.as_mut().map_or(Ok(()), Window::refresh)
    }

    /// Where the next frame is, or would be.
    fn position(&self) -> u64 {
        self.base().saturating_add(self.offset)
    }

    /// How far the log is known to have been durable.
    pub(crate) fn proven(&self) -> u64 {
        self.proven
    }

    /// The latest generation that was met, if that is later than the store's is known to be.
    pub(crate) fn too_late(&self) -> Option<u32> {
        self.too_late
    }

    fn base(&self) -> u64 {
        self.log.files.get(self.at).map_or(0, |file| file.base)
    }

    /// Opens the present segment if that is to be done. Returns whether there is one.
    fn open(&mut self) -> bool {
        while self.window.is_none() {
            let Some(file) = self.log.files.get(self.at) else { return false };
            match Window::open(file.path.clone()) {
                Ok(window) => self.window = Some(window),
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => self.pass_over(),
                // What cannot be read was told when the files were looked at.
                Err(_) => self.enter(self.at + 1),
            }
        }
        true
    }

    fn pass_over(&mut self) {
        self.removed = true;
        self.enter(self.at + 1);
    }

    fn enter(&mut self, at: usize) {
        (self.at, self.window, self.offset) = (at, None, SEGMENT_HEADER as u64);
    }

    /// Goes to the segment behind the present one, which ended in order. Returns what is wrong when there is none.
    fn enter_next(&mut self) -> Result<Option<Fault>> {
        if self.at + 1 == self.log.files.len() {
            // It may have been made since.
            let known = self.base();
            for (base, path) in self.log.list()?.into_iter().filter(|(base, _)| *base > known) {
                self.removed |= !self.log.look_at(base, &path, true, &mut Vec::new())?;
            }
        }
        let here = self.log.files[self.at].end();
        self.enter(self.at + 1);
        self.over = self.at == self.log.files.len();
        let missing = self.log.dir.join(segment_name(here));
        Ok(self.over.then(|| Fault::new(&missing, 0, "10.8", "the segment behind an End frame", "none")))
    }

    /// Decides what an invalid frame at the present place is.
    fn judge(&mut self, rule: Rule) -> Result<Judged> {
        let (position, offset) = (self.position(), self.offset);
        let path = self.log.files[self.at].path.clone();
        if self.proven <= position && !self.searched {
            self.searched = true;
            self.search_rest()?;
            return Ok(Judged::LookAgain);
        }
        let (base, seed) = (self.base(), self.log.seed);
        let Some(window) = self.window.as_mut() else { return Ok(Judged::Tail(None)) };
        let fault = Fault::of_frame(&path, offset, rule, window.frame(offset)?, position, seed);
        let mut budget = search_budget(window);
        if self.proven <= position {
            self.over = true;
            let rest = self.log.search(base, window, offset, &mut budget, |_, _| false)?;
            let dirty = rest.dirty_end - offset;
            let expected = format!("the end of the log, or {}", fault.expected);
            return Ok(Judged::Tail((dirty > 0).then(|| Fault { expected, ..fault.of_len(dirty) })));
        }
        let next = self.log.search(base, window, offset + 1, &mut budget, |_, _| true)?;
        let end = next.at.unwrap_or_else(|| window.len().max(offset));
        match next.at {
            Some(next) => self.offset = next,
            None => {
                // Whatever lay between the last whole frame and the next segment is lost.
                self.over = self.at + 1 == self.log.files.len();
                self.enter(self.at + 1);
            }
        }
        Ok(Judged::Gap(fault.of_len(end - offset)))
    }

    /// Looks at all that follows for a frame that says how far the log was durable.
    fn search_rest(&mut self) -> Result<()> {
        let mut from = self.offset + 1;
        for file in &self.log.files[self.at..] {
            let mut window = match Window::open(file.path.clone()) {
                Ok(window) => window,
                Err(_) => continue,
            };
            let mut budget = search_budget(&window);
            while let Some(at) = self.log.search(file.base, &mut window, from, &mut budget, |_, _| true)?.at {
                let frame = window.decode(at, file.base.saturating_add(at), self.log.seed)?;
                let Ok(frame) = frame else { break };
                if frame.generation <= self.generation_max {
                    self.proven = self.proven.max(frame.durable_through);
                }
                from = at + frame.len() as u64;
            }
            from = SEGMENT_HEADER as u64;
        }
        Ok(())
    }
}

enum Judged {
    LookAgain,
    Gap(Fault),
    Tail(Option<Fault>),
}
