//! Reading what is whole of a log that may be damaged anywhere, and listing what is not.

use std::path::Path;

use super::scan::{FrameAt, SegmentFile, Unrecovered, Window, leading_zeroes};
use crate::error::{At, Error, Fault, Result};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, KIND_END, LogKind};
use crate::format::header::SEGMENT_HEADER;
use crate::segment::StoreFile;

impl Unrecovered {
    /// Like [`Unrecovered::inspect`], but what is wrong with a segment is listed, and the segment read if it can be.
    pub(crate) fn look(dir: &Path, kind: LogKind, store: u128, faults: &mut Vec<Fault>) -> Result<Self> {
        let mut log = Self::empty(dir.to_path_buf(), kind, store);
        let bases = match log.list() {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                faults.push(fault(dir, 0, 0, "the log is missing"));
                Vec::new()
            }
            listed => listed?,
        };
        for (base, path) in bases {
            if let Some(end) = log.files.last().map(|before| before.base + before.capacity).filter(|end| *end != base) {
                let missing = dir.join(super::prepare::segment_name(end));
                faults.push(fault(&missing, 0, base.saturating_sub(end), "the segment is missing"));
            }
            match log.segment_file(store, base, path.clone(), false) {
                Ok(file) => log.files.push(file),
                Err(Error::Corrupt { path, offset, found }) => {
                    faults.push(fault(&path, offset, SEGMENT_HEADER as u64, &found));
                    let len = std::fs::metadata(&path).at("inspect", &path)?.len();
                    log.files.push(SegmentFile { base, capacity: len, path, len, half_made: false });
                }
                Err(Error::Format { path, found }) => faults.push(fault(&path, 0, SEGMENT_HEADER as u64, &found)),
                Err(error) => return Err(error),
            }
        }
        Ok(log)
    }

    /// Hands every valid frame to `visit`, and lists the gaps between them. Bytes behind the last valid frame of the
    /// log are its torn tail and no fault.
    pub(crate) fn salvage(
        &self,
        faults: &mut Vec<Fault>,
        mut visit: impl FnMut(&FrameAt<'_>, &Frame<'_>) -> Result<(), Rule>,
    ) -> Result<()> {
        for (number, segment) in self.files.iter().enumerate() {
            let file = StoreFile::read_only(segment.path.clone()).at("open", &segment.path)?;
            let mut window = Window::new(&file, segment.len);
            let mut budget = 4 * segment.len + (1 << 20);
            let mut offset = SEGMENT_HEADER as u64;
            loop {
                let position = segment.base.saturating_add(offset);
                let found = match Frame::decode(window.frame(offset)?, position, self.seed) {
                    Ok(frame) if frame.kind == KIND_END => break,
                    Ok(frame) => {
                        let at = FrameAt { position, len: frame.len(), path: &segment.path, offset };
                        if let Err(rule) = visit(&at, &frame) {
                            faults.push(fault(&segment.path, offset, frame.len() as u64, &rule.to_string()));
                        }
                        offset += frame.len() as u64;
                        continue;
                    }
                    Err(rule) => rule,
                };
                match self.next_valid(segment, &mut window, offset + 1, &mut budget)? {
                    Some(next) => {
                        faults.push(fault(&segment.path, offset, next - offset, &found.to_string()));
                        offset = next;
                    }
                    None if number + 1 < self.files.len() && self.has_frames(&self.files[number + 1])? => {
                        faults.push(fault(
                            &segment.path,
                            offset,
                            segment.len.saturating_sub(offset),
                            &found.to_string(),
                        ));
                        break;
                    }
                    None => break,
                }
            }
        }
        Ok(())
    }

    fn has_frames(&self, segment: &SegmentFile) -> Result<bool> {
        let file = StoreFile::read_only(segment.path.clone()).at("open", &segment.path)?;
        self.first_frame_is_valid(&file, segment.base, segment.len)
    }

    fn next_valid(
        &self,
        segment: &SegmentFile,
        window: &mut Window<'_>,
        from: u64,
        budget: &mut u64,
    ) -> Result<Option<u64>> {
        let mut at = from;
        while at < segment.len {
            let bytes = window.at_least(at, FRAME_HEADER + 1)?;
            let zeroes = leading_zeroes(bytes) as u64;
            if zeroes > FRAME_HEADER as u64 {
                at += zeroes - FRAME_HEADER as u64;
                continue;
            }
            let position = segment.base.saturating_add(at);
            if Frame::durable_claim(bytes).is_some_and(|claim| claim <= position) {
                let bytes = window.frame(at)?;
                if Frame::decode(bytes, position, self.seed).is_ok() {
                    return Ok(Some(at));
                }
                *budget = budget.saturating_sub(bytes.len().min(1 << 16) as u64);
                if *budget == 0 {
                    return Ok(None);
                }
            }
            at += 1;
        }
        Ok(None)
    }
}

fn fault(path: &Path, offset: u64, len: u64, found: &str) -> Fault {
    Fault { path: path.to_path_buf(), offset, len, found: found.to_string() }
}
