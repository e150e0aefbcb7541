//! Where a log ends, and whether it may end there: a torn tail, or damage to what was durable (FORMAT.md, recovery
//! rule 4).

use super::unrecovered::SegmentFile;
use super::walk::{Rest, Walk};
use crate::error::Result;
use crate::fault::{Fault, Faults};
use crate::format::Rule;
use crate::format::header::SEGMENT_HEADER;

/// What an invalid frame is.
pub(super) enum Invalid {
    ReadAgain,
    Gap(Fault),
    Tail(Option<Fault>),
}

impl Walk {
    /// Decides what an invalid frame at the present place is.
    pub(super) fn judge(&mut self, rule: Rule) -> Result<Invalid> {
        let (position, offset) = (self.position(), self.offset);
        if self.found.proven <= position && self.rest.is_none() {
            self.rest = Some(self.search_rest()?);
            return Ok(Invalid::ReadAgain);
        }
        let (path, seed) = (self.log.files[self.at].path.clone(), self.log.seed);
        let Some(window) = self.window.as_mut() else { return Ok(Invalid::Tail(None)) };
        let fault = Fault::of_frame(&path, offset, rule, window.frame(offset)?, position, seed);
        let mut budget = window.search_budget();
        let rest = self.rest.as_ref().filter(|rest| rest.position == position);
        let exhausted = rest.is_some_and(|rest| rest.exhausted);
        if self.found.proven <= position && !exhausted {
            self.over = true;
            self.found.tail = Some(rule);
            let dirty = match rest {
                Some(rest) => rest.dirty,
                None => window.search(offset, &mut budget, |_, _| false)?.dirty_end - offset,
            };
            let expected = format!("the end of the log, or {}", fault.expected);
            return Ok(Invalid::Tail((dirty > 0).then(|| Fault { expected, ..fault.of_len(dirty) })));
        }
        let expected = match self.rest.as_ref().and_then(|rest| rest.proof) {
            _ if exhausted => format!("{}, or fewer false records behind it", fault.expected),
            Some(proof) => format!("{}, which was durable, as the record at {proof} says", fault.expected),
            None => format!("{}, which was durable, as the store recorded", fault.expected),
        };
        let next = window.search(offset + 1, &mut budget, |_, _| true)?;
        let end = next.at.unwrap_or_else(|| window.len().max(offset));
        match next.at {
            Some(next) => self.offset = next,
            None => {
                // Whatever lay between the last whole frame and the next segment is lost.
                self.over = self.at + 1 == self.log.files.len();
                self.enter(self.at + 1);
            }
        }
        Ok(Invalid::Gap(Fault { expected, ..fault.of_len(end - offset) }))
    }

    /// Searches all that follows for a frame that says that the log was durable beyond this place, and measures it.
    fn search_rest(&mut self) -> Result<Rest> {
        let (position, offset) = (self.position(), self.offset);
        let mut rest = Rest { position, dirty: 0, proof: None, exhausted: false };
        (self.found.tail_bytes, self.found.blank) = (0, 0);
        for (behind, file) in self.log.files[self.at..].iter().enumerate() {
            let Some(mut window) = self.log.window(file)? else { continue };
            let begin = if behind == 0 { offset } else { SEGMENT_HEADER as u64 };
            let (mut from, mut dirty_end, mut budget) = (begin, begin, window.search_budget());
            loop {
                // The frame at the end itself was refused already.
                let proves = |at, claim| at > position && claim > position;
                let proof = window.search(from, &mut budget, proves)?;
                (dirty_end, rest.exhausted) = (dirty_end.max(proof.dirty_end), rest.exhausted | proof.exhausted);
                let Some(at) = proof.at else { break };
                let Ok(frame) = window.decode(at)? else { break };
                from = at + frame.len() as u64;
                dirty_end = from;
                if frame.generation > self.generation_max {
                    self.found.too_late = self.found.too_late.or(Some(frame.generation));
                } else if frame.durable_through > self.found.proven {
                    self.found.proven = frame.durable_through;
                    rest.proof = Some(file.base + at);
                }
            }
            self.found.tail_bytes += dirty_end - begin;
            if behind == 0 {
                rest.dirty = dirty_end - begin;
            // Only those that follow directly: files behind any other are removed.
            } else if dirty_end == begin && !file.half_made && self.found.blank + 1 == behind {
                self.found.blank += 1;
            }
        }
        Ok(rest)
    }

    /// Moves to the segment behind the present one, which ended in order. Returns the fault when there is none.
    pub(super) fn enter_next(&mut self) -> Result<Option<Fault>> {
        if self.at + 1 == self.log.files.len() {
            // It may have been made since.
            let known = self.base();
            let made = self.log.list()?.into_iter().filter(|(base, _)| *base > known).collect::<Vec<_>>();
            if !made.is_empty() && self.limit < u64::MAX {
                self.over = true;
                return Ok(None);
            }
            for (base, path) in made {
                self.removed |= !self.log.add(base, &path, true, &mut Faults::collected())?;
            }
        }
        let here = self.log.files[self.at].end();
        self.enter(self.at + 1);
        self.over = self.at == self.log.files.len();
        self.found.end = if self.over { self.found.end } else { self.position() };
        Ok(self.over.then(|| self.log.missing(here, "10.8", "the segment behind an End frame")))
    }

    /// The fault when the walk ends where a segment does: the next one is made before a log continues there.
    pub(super) fn end_of_segment(&mut self) -> Option<Fault> {
        let last = self.log.files.get(self.at).filter(|file| !self.over && self.at_end_of(file))?;
        self.over = true;
        Some(self.log.missing(last.end(), "10.7", "a segment"))
    }

    fn at_end_of(&self, file: &SegmentFile) -> bool {
        file.capacity > 0 && self.offset >= file.capacity && self.at + 1 == self.log.files.len()
    }
}
