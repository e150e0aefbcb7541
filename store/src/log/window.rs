//! A moving view of a file that is not mapped, so that neither a large nor a shrinking file is a danger.

use std::path::PathBuf;

use crate::error::{At, Result};
use crate::format::frame::{FRAME_HEADER, Frame};
use crate::segment::StoreFile;

/// What is read at once: enough to be quick, little enough to stay in the cache.
const WINDOW: usize = 1 << 18;

pub(super) struct Window {
    file: StoreFile,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// A view of the file's first `len` bytes.
    pub(super) fn new(file: StoreFile, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Vec::new() }
    }

    /// A view of a file as long as it is now.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let file = StoreFile::read_only(path.clone()).at("open", &path)?;
        let len = file.len().at("inspect", &path)?;
        Ok(Self::new(file, len))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Forgets what was read: somebody may have written since.
    pub(super) fn refresh(&mut self) -> Result<()> {
        self.len = self.file.len().at("inspect", &self.file.path)?;
        self.bytes.clear();
        Ok(())
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
        let bytes = self.at_least(at, claimed.unwrap_or(FRAME_HEADER))?;
        Ok(bytes)
    }
}

/// How many bytes at the front are zero: by whole blocks first, since most of a tail is.
pub(super) fn leading_zeroes(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let blocks = bytes.chunks_exact(BLOCK).take_while(|block| **block == [0; BLOCK]).count();
    let rest = &bytes[blocks * BLOCK..];
    blocks * BLOCK + rest.iter().take(BLOCK).take_while(|byte| **byte == 0).count()
}
