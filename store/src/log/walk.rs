//! The one way to read a log: a walk over its frames, which finds the log's end and the damage before it.
//!
//! A frame that is not valid is damage when it is proven durable (FORMAT.md, recovery rule 4); then the walk continues at
//! the next valid frame. Otherwise it is the log's torn tail, or what a writer is about to write, and the walk is over.
//! Opening stops at the first damage; inspection continues behind it. A log in use changes under the walk: what seems wrong
//! is read once more before it is judged, segments that were removed are passed over, and new ones are followed.

use std::fmt::Display;
use std::path::Path;

use super::Log;
use super::judge::Invalid;
use super::unrecovered::Unrecovered;
use super::window::Window;
use crate::error::{Error, Result};
use crate::fault::{Fault, Faults};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, KIND_END};
use crate::format::header::SEGMENT_HEADER;

/// What a walk meets.
pub(crate) enum WalkStep<'w> {
    /// A whole frame.
    Frame(FrameAt<'w>, Frame<'w>),
    /// Damage; the walk continues behind it.
    Gap(Fault),
    /// The owner removed segments under the walk; it continues behind them.
    Removed,
    /// Bytes behind the last whole frame: writes that were under way. The walk is over.
    Tail(Fault),
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAt<'a> {
    pub(crate) position: u64,
    pub(crate) len: usize,
    pub(crate) path: &'a Path,
    pub(crate) offset: u64,
}

impl FrameAt<'_> {
    /// The fault of a frame whose record cannot stand there.
    pub(crate) fn fault(&self, rule: &'static str, expected: impl Display, found: impl Display) -> Fault {
        Fault::new(self.path, self.offset, rule, expected, found).of_len(self.len as u64)
    }

    /// The fault of a frame whose payload is not what its kind says.
    pub(crate) fn payload_fault(&self, rule: Rule) -> Fault {
        Fault::of_payload(self.path, self.offset, rule).of_len(self.len as u64)
    }
}

/// What a walk to the end of a log found.
#[derive(Clone, Debug, Default)]
pub(crate) struct FoundLog {
    /// The place of the next frame; with damage at the end, where that begins.
    pub(crate) end: u64,
    /// Everything before was durable for sure.
    pub(crate) proven: u64,
    pub(crate) records: u64,
    /// Bytes behind the end that are not zero.
    pub(crate) tail_bytes: u64,
    /// How many segments behind that of the end are made and hold nothing yet.
    pub(crate) blank: usize,
    /// Why the bytes there are not the next frame.
    pub(crate) tail: Option<Rule>,
    /// The generation of the last record.
    pub(crate) generation: u32,
    /// The bytes behind the end in its segment.
    pub(crate) torn: Option<Fault>,
    /// The files changed while they were read.
    pub(crate) disturbed: bool,
    /// The generation of a frame that is later than it may be.
    pub(crate) too_late: Option<u32>,
}

impl FoundLog {
    /// Notes whether what was found here contradicts other files: then more may be missing than can be seen.
    pub(crate) fn disturb(&mut self, disturbed: bool) {
        self.disturbed |= disturbed;
    }

    /// The last records, from there on, never happened.
    pub(crate) fn end_before(&mut self, begin: u64, records: u64) {
        self.tail_bytes += self.end - begin;
        self.records -= records;
        self.end = begin;
        // They were counted from the end that was.
        self.blank = 0;
    }
}

/// A walk over the frames of a log.
pub(crate) struct Walk {
    pub(super) log: Unrecovered,
    /// The segment, its window, and the next frame in it.
    pub(super) at: usize,
    pub(super) window: Option<Window>,
    pub(super) offset: u64,
    pub(super) found: FoundLog,
    pub(super) generation_max: u32,
    pub(super) rest: Option<Rest>,
    /// Segments were removed under the walk, and no step has reported it yet.
    pub(super) removed: bool,
    /// The walk stops at the end that the log had when it began: a writer may be as fast as it.
    pub(super) limit: u64,
    pub(super) over: bool,
}

/// All that lies behind the first frame that is not valid and that nothing known before proves durable.
pub(super) struct Rest {
    pub(super) position: u64,
    /// The bytes up to the last one in the segment that is not zero.
    pub(super) dirty: u64,
    /// The record that says that the log was durable farthest beyond it.
    pub(super) proof: Option<u64>,
    /// There are more false frames than a crash leaves.
    pub(super) exhausted: bool,
}

impl Unrecovered {
    /// Walks over the frames from `from` on, which is where a frame begins or a segment, whether that is still there or
    /// not. `proven` is how far the log is known to have been durable, `generation_max` the store's generation.
    pub(crate) fn walk(self, from: u64, proven: u64, generation_max: u32) -> Walk {
        let at = self.files.iter().rposition(|file| file.base <= from).unwrap_or(0);
        let offset = self.files.get(at).map_or(from, |file| {
            let inside = from.saturating_sub(file.base).min(file.len);
            inside.max(SEGMENT_HEADER as u64)
        });
        let removed = self.gone || self.start().is_some_and(|start| from < start);
        let end = self.files.get(at).map_or(0, |file| file.base.saturating_add(offset));
        let (limit, found) = (self.files_end(), FoundLog { end, proven, ..FoundLog::default() });
        let (window, rest, over) = (None, None, false);
        Walk { log: self, at, window, offset, found, generation_max, rest, removed, limit, over }
    }
}

impl Log {
    /// Walks over the readable frames from the start of the segment that holds `from`, up to `end`, which is written.
    /// Behind a damaged frame it continues in the next segment.
    pub(crate) fn frames(
        &self,
        from: u64,
        end: u64,
        mut visit: impl FnMut(u64, &Frame<'_>) -> Result<()>,
    ) -> Result<()> {
        let log = Unrecovered::of_open(self, from, end);
        let start = log.start().unwrap_or(from);
        let mut walk = Walk { limit: end, ..log.walk(start, u64::MAX, self.shape.generation) };
        while let Some(step) = walk.step()? {
            match step {
                WalkStep::Frame(at, frame) => visit(at.position, &frame)?,
                WalkStep::Gap(_) => walk.skip_rest_of_segment(),
                WalkStep::Removed | WalkStep::Tail(_) => {}
            }
        }
        Ok(())
    }
}

impl Walk {
    /// The next thing there is.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn step(&mut self) -> Result<Option<WalkStep<'_>>> {
        let mut refreshed = false;
        while !self.over {
            let opened = self.open()?;
            if std::mem::take(&mut self.removed) {
                return Ok(Some(WalkStep::Removed));
            }
            let position = self.position();
            if !opened || position >= self.limit {
                break;
            }
            let Some(window) = self.window.as_mut() else { break };
            let (found, generation_max) = (&mut self.found, self.generation_max);
            let frame = window.decode(self.offset)?.and_then(|frame| {
                if frame.generation > generation_max {
                    found.too_late = found.too_late.max(Some(frame.generation));
                    return Err(Rule::Generation);
                }
                let in_order = frame.generation >= found.generation;
                if !in_order || frame.durable_through > position {
                    return Err(Rule::Generation);
                }
                Ok((frame.kind, frame.len(), frame.generation, frame.durable_through))
            });
            match frame {
                Ok((kind, len, generation, durable_through)) => {
                    found.generation = generation;
                    found.proven = found.proven.max(durable_through);
                    if kind == KIND_END {
                        match self.enter_next()? {
                            None => continue,
                            Some(missing) => return Ok(Some(WalkStep::Gap(missing))),
                        }
                    }
                    found.records += 1;
                    found.end = position + len as u64;
                    let offset = self.offset;
                    self.offset += len as u64;
                    let Some(window) = self.window.as_mut() else { return Ok(None) };
                    let payload = &window.at_least(offset, len)?[FRAME_HEADER..len];
                    let at = FrameAt { position, len, path: &self.log.files[self.at].path, offset };
                    return Ok(Some(WalkStep::Frame(at, Frame { kind, generation, durable_through, payload })));
                }
                Err(_) if !refreshed => {
                    refreshed = true;
                    window.refresh()?;
                }
                // Its space may be in use again already.
                Err(_) if self.log.files[self.at].is_gone() => self.pass_over(),
                Err(rule) => match self.judge(rule)? {
                    Invalid::ReadAgain => refreshed = false,
                    Invalid::Gap(fault) => return Ok(Some(WalkStep::Gap(fault))),
                    Invalid::Tail(fault) => return Ok(fault.map(WalkStep::Tail)),
                },
            }
        }
        Ok(self.end_of_segment().map(WalkStep::Gap))
    }

    /// Continues after the end was reached, from now on without a limit: somebody may have written since, also in a later
    /// generation.
    pub(crate) fn again(&mut self, generation_max: u32) -> Result<()> {
        self.generation_max = generation_max;
        (self.over, self.rest, self.limit) = (false, None, u64::MAX);
        self.window.as_mut().map_or(Ok(()), Window::refresh)
    }

    /// Where the next frame is, or would be.
    pub(super) fn position(&self) -> u64 {
        self.base().saturating_add(self.offset)
    }

    /// Walks to the end. `visit` gets each step, `faults` each fault.
    ///
    /// # Errors
    /// A file cannot be read; `faults` refuses a fault, or `visit` fails.
    pub(crate) fn through(
        mut self,
        faults: &mut Faults,
        mut visit: impl FnMut(&WalkStep<'_>, &mut Faults) -> Result<()>,
    ) -> Result<(Unrecovered, FoundLog)> {
        while let Some(step) = self.step()? {
            visit(&step, faults)?;
            let (fault, is_damage) = match step {
                WalkStep::Frame(..) => continue,
                WalkStep::Removed => {
                    self.found.disturbed = true;
                    if faults.collects() {
                        continue;
                    }
                    (self.log.missing(self.found.end, "10.7", "a segment"), true)
                }
                WalkStep::Gap(fault) => (fault, true),
                WalkStep::Tail(fault) => (fault, false),
            };
            // Each generation is in the file `store` before its first record is written.
            if let Some(later) = self.found.too_late.filter(|_| !faults.collects()) {
                let known = format!("{}, as the file \"store\" says", self.generation_max);
                let what = format!("generation {later} is later than {known}: that file is older than the log");
                return Err(Error::corrupt(&fault.path, fault.offset, what));
            }
            if is_damage {
                faults.found(fault)?;
            } else {
                self.found.torn = Some(fault);
            }
        }
        Ok((self.log, self.found))
    }

    pub(super) fn base(&self) -> u64 {
        self.log.files.get(self.at).map_or(0, |file| file.base)
    }

    /// Opens the present segment if it is not open. Returns whether there is one.
    fn open(&mut self) -> Result<bool> {
        while self.window.is_none() {
            let Some(file) = self.log.files.get(self.at) else { return Ok(false) };
            self.window = self.log.window(file)?;
            if self.window.is_none() {
                self.removed |= file.is_gone();
                self.enter(self.at + 1);
            }
        }
        Ok(true)
    }

    fn pass_over(&mut self) {
        self.removed = true;
        self.enter(self.at + 1);
    }

    fn skip_rest_of_segment(&mut self) {
        if self.window.is_some() {
            self.enter(self.at + 1);
        }
    }

    pub(super) fn enter(&mut self, at: usize) {
        (self.at, self.window, self.offset) = (at, None, SEGMENT_HEADER as u64);
    }
}
