//! Reading: bytes straight out of the map, valid as long as somebody holds them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::Log;
use crate::error::{Error, Result};
use crate::format::frame::Frame;
use crate::primitives::unpoisoned;
use crate::segment::ReadMap;

/// The segment around some position. It stays readable while it is held, also when its file is deleted.
#[derive(Clone)]
pub(crate) struct Pages {
    span: Range<u64>,
    map: Arc<ReadMap>,
}

impl Pages {
    pub(crate) fn hold(&self, position: u64) -> bool {
        self.span.contains(&position)
    }

    /// The bytes at a position of the log, if they lie in this segment and can be read. Bytes that could be read once
    /// always can.
    pub(crate) fn bytes(&self, position: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(position.checked_sub(self.span.start)?).ok()?;
        self.map.bytes(at, len)
    }
}

impl Log {
    /// The segment that a position lies in.
    pub(crate) fn pages(&self, position: u64) -> Option<Pages> {
        let chain = unpoisoned(self.chain.read());
        let (base, segment) = chain.range(..=position).next_back()?;
        Some(Pages { span: *base..segment.end(), map: Arc::clone(&segment.map) })
    }

    /// The frame in bytes of this log.
    ///
    /// # Errors
    /// The bytes are not those that were written.
    #[inline(always)]
    pub(crate) fn frame<'a>(&self, bytes: &'a [u8], position: u64) -> Result<Frame<'a>> {
        Frame::decode(bytes, position, self.seed).map_err(|rule| self.damaged(position, rule))
    }

    /// The error for a place of this log that does not hold what it should.
    pub(crate) fn damaged(&self, position: u64, found: impl std::fmt::Display) -> Error {
        let (path, offset) = self.place(position);
        Error::corrupt(&path, offset, found)
    }

    fn place(&self, position: u64) -> (PathBuf, u64) {
        let chain = unpoisoned(self.chain.read());
        match chain.range(..=position).next_back() {
            Some((base, segment)) => (segment.path.clone(), position - base),
            None => (self.shape.dir.clone(), position),
        }
    }
}
