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

/// How many bytes at the front are zero: by large blocks first, since most of a tail is.
pub(super) fn leading_zeroes(bytes: &[u8]) -> usize {
    static ZEROES: [u8; 4096] = [0; 4096];
    [ZEROES.len(), 64, 1].into_iter().fold(0, |at, size| {
        let blocks = bytes[at..].chunks_exact(size).take_while(|block| **block == ZEROES[..size]);
        at + size * blocks.count()
    })
}

#[cfg(test)]
mod tests {
    use super::leading_zeroes;

    #[test]
    fn the_first_byte_that_is_not_zero_is_found_wherever_it_is() {
        for len in [0, 1, 63, 64, 65, 4095, 4096, 4097, 9000] {
            let mut bytes = vec![0; len];
            assert_eq!(leading_zeroes(&bytes), len);
            for at in (0..len).rev() {
                bytes[at] = 1;
                assert_eq!(leading_zeroes(&bytes), at, "of {len}");
            }
        }
    }
}
