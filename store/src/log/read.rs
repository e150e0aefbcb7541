//! Reading: bytes straight out of the map, kept valid by whoever holds them.

use std::path::PathBuf;
use std::sync::Arc;

use super::Log;
use crate::error::{Error, Result};
use crate::format::frame::{FRAME_HEADER, Frame, KIND_END};
use crate::format::header::SEGMENT_HEADER;
use crate::segment::ReadMap;

/// A part of a log that stays readable while it is held, also when its file is deleted.
#[derive(Clone)]
pub(crate) struct Bytes {
    map: Arc<ReadMap>,
    at: usize,
    len: usize,
}

impl Bytes {
    pub(crate) fn get(&self) -> &[u8] {
        // `bytes_at` made sure that they are published, and that is for ever.
        self.map.bytes(self.at, self.len).unwrap_or_default()
    }
}

impl Log {
    /// The bytes at a position, if they lie in one segment and can be read.
    pub(crate) fn bytes_at(&self, position: u64, len: usize) -> Option<Bytes> {
        let chain = self.chain.read().expect("no panic under the lock");
        let (base, segment) = chain.range(..=position).next_back()?;
        let at = usize::try_from(position - base).ok()?;
        segment.map.bytes(at, len)?;
        Some(Bytes { map: Arc::clone(&segment.map), at, len })
    }

    /// The frame in some bytes of this log.
    ///
    /// # Errors
    /// It is not what was written.
    pub(crate) fn frame<'a>(&self, bytes: &'a Bytes, position: u64) -> Result<Frame<'a>> {
        let frame = Frame::decode(bytes.get(), position, self.seed);
        frame.map_err(|rule| self.damaged(position, rule))
    }

    /// The error for a place of this log that does not hold what it should.
    pub(crate) fn damaged(&self, position: u64, found: impl std::fmt::Display) -> Error {
        let (path, offset) = self.place(position);
        Error::corrupt(&path, offset, found)
    }

    fn place(&self, position: u64) -> (PathBuf, u64) {
        let chain = self.chain.read().expect("no panic under the lock");
        match chain.range(..=position).next_back() {
            Some((base, segment)) => (segment.path.clone(), position - base),
            None => (self.shape.dir.clone(), position),
        }
    }
}

impl Log {
    /// Walks over the readable frames from the start of the segment that holds `from`, up to `end`. Behind a damaged
    /// frame it goes on in the next segment.
    pub(crate) fn frames(
        &self,
        from: u64,
        end: u64,
        mut visit: impl FnMut(u64, &Frame<'_>) -> Result<()>,
    ) -> Result<()> {
        let segments = self.segments().into_iter().filter(|segment| segment.end() > from && segment.base < end);
        for segment in segments {
            let mut at = SEGMENT_HEADER;
            while let Some(header) = segment.map.bytes(at, FRAME_HEADER) {
                let position = segment.base + at as u64;
                let len = Frame::claimed_len(header).unwrap_or_default();
                let bytes = segment.map.bytes(at, len).unwrap_or_default();
                match Frame::decode(bytes, position, self.seed) {
                    Ok(frame) if position < end && frame.kind != KIND_END => visit(position, &frame)?,
                    _ => break,
                }
                at += len;
            }
        }
        Ok(())
    }
}
