//! A moving view of a file that is not mapped, so that neither a large nor a shrinking file is a danger.

use std::path::PathBuf;

use crate::error::{At, Result};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, Piecewise, Seed};
use crate::segment::{StoreFile, holes};

/// What is read at once: enough to be quick, little enough to stay in the cache.
const WINDOW: usize = 1 << 18;
/// A frame that claims more is read in pieces first, and one that claims more than the other no store has written: a body
/// has at most 1 GiB, and so has a segment of the checkpoint log.
const LARGE: usize = 4 * WINDOW;
const FRAME_MAX: usize = (1 << 30) + (1 << 20);

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

    /// How many bytes of the file are in no hole.
    pub(super) fn data_bytes(&self) -> u64 {
        holes::data_bytes(&self.file.file, self.len)
    }

    /// The first byte from `at` on that may not be zero, or the file's end.
    pub(super) fn next_data(&self, at: u64) -> u64 {
        holes::next_data(&self.file.file, at, self.len)
    }

    /// The frame at `at`, at `position` of its log.
    pub(super) fn decode(&mut self, at: u64, position: u64, seed: Seed) -> Result<Result<Frame<'_>, Rule>> {
        let len = self.claimed_len(at)?;
        if len > LARGE && !self.fits(at, len, position, seed)? {
            return Ok(Err(Rule::Checksum));
        }
        Ok(Frame::decode(self.at_least(at, len)?, position, seed))
    }

    /// The bytes of the frame at `at`, as long as it claims to be and the file reaches, unless that is very long: then its
    /// header alone.
    pub(super) fn frame(&mut self, at: u64) -> Result<&[u8]> {
        let len = self.claimed_len(at)?;
        self.at_least(at, if len > LARGE { FRAME_HEADER } else { len })
    }

    /// The length that a frame claims, or that of a header if it can have none such here.
    fn claimed_len(&mut self, at: u64) -> Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let claimed = Frame::claimed_len(self.at_least(at, FRAME_HEADER)?);
        Ok(claimed.filter(|len| *len <= left.min(FRAME_MAX)).unwrap_or(FRAME_HEADER))
    }

    /// Whether the checksum fits of a frame that is too long to be read for nothing.
    fn fits(&mut self, at: u64, len: usize, position: u64, seed: Seed) -> Result<bool> {
        let Some(header) = self.at_least(at, FRAME_HEADER)?.first_chunk() else { return Ok(false) };
        let mut pieces = Piecewise::begin(header, position, seed);
        let (mut from, end) = (at + FRAME_HEADER as u64, at + len as u64);
        while from < end {
            let data = holes::next_data(&self.file.file, from, end);
            pieces.zeroes(data - from);
            let hole = holes::next_hole(&self.file.file, data, end);
            from = data;
            while from < hole {
                let piece = self.at_least(from, 1)?;
                let piece = &piece[..piece.len().min(usize::try_from(hole - from).unwrap_or(usize::MAX))];
                if piece.is_empty() {
                    return Ok(false);
                }
                pieces.bytes(piece);
                from += piece.len() as u64;
            }
        }
        Ok(pieces.fits())
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
