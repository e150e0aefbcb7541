//! A moving view of a segment, in which frames are checked and searched for. A file is not mapped for it, so that neither
//! a large nor a shrinking one is a danger; a segment that is mapped already is read where it is.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{At, Result};
use crate::format::Rule;
use crate::format::frame::{FRAME_HEADER, Frame, Piecewise, Seed};
use crate::segment::{ReadMap, StoreFile, holes};

/// The bytes that are read at once: enough to be quick, few enough to stay in the cache.
const WINDOW: usize = 1 << 18;
const PAGE: usize = 4096;
/// A frame that claims more is read in pieces first, and one that claims more than the other no store has written: a body
/// has at most 1 GiB, and so has a segment of the checkpoint log.
pub(crate) const LARGE: usize = 4 * WINDOW;
const FRAME_MAX: usize = (1 << 30) + (1 << 20);

pub(crate) struct Window {
    bytes_of: WindowSource,
    base: u64,
    seed: Seed,
    len: u64,
    /// How much is read at once.
    ahead: usize,
    start: u64,
    bytes: Vec<u8>,
}

enum WindowSource {
    File(StoreFile),
    Map(Arc<ReadMap>),
}

impl Window {
    /// A view of the file of a segment that begins at `base`, as long as it is now; nothing when there is none.
    pub(crate) fn open(path: PathBuf, base: u64, seed: Seed) -> Result<Option<Self>> {
        let Some(file) = StoreFile::read_only_if_there(path.clone()).at("open", &path)? else { return Ok(None) };
        let len = file.len().at("inspect", &path)?;
        let bytes_of = WindowSource::File(file);
        Ok(Some(Self { bytes_of, base, seed, len, ahead: WINDOW, start: 0, bytes: Vec::new() }))
    }

    /// A view of the written part of a segment.
    pub(super) fn of_map(map: Arc<ReadMap>, base: u64, seed: Seed) -> Self {
        let len = map.published() as u64;
        Self { bytes_of: WindowSource::Map(map), base, seed, len, ahead: 0, start: 0, bytes: Vec::new() }
    }

    /// The same for single frames: little more is read than is asked for.
    pub(crate) fn for_single_frames(self) -> Self {
        Self { ahead: PAGE, ..self }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Forgets the bytes that were read: somebody may have written since.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        self.len = match &self.bytes_of {
            WindowSource::File(file) => file.len().at("inspect", &file.path)?,
            WindowSource::Map(map) => map.published() as u64,
        };
        self.bytes.clear();
        Ok(())
    }

    /// The bytes from `at` on: at least `wanted`, if the segment has that many.
    #[inline]
    pub(super) fn at_least(&mut self, at: u64, wanted: usize) -> Result<&[u8]> {
        let file = match &self.bytes_of {
            WindowSource::File(file) => file,
            WindowSource::Map(map) => {
                let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or_default();
                return Ok(map.bytes(usize::try_from(at).unwrap_or(usize::MAX), left).unwrap_or_default());
            }
        };
        let end = self.len.min(at.saturating_add(wanted as u64));
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let len = (wanted.max(self.ahead) as u64).min(self.len.saturating_sub(at)) as usize;
            self.bytes.resize(len, 0);
            self.start = at;
            let read = file.read_at(at, &mut self.bytes).at("read", &file.path)?;
            self.bytes.truncate(read);
        }
        Ok(self.bytes.get((at - self.start) as usize..).unwrap_or_default())
    }

    /// How many bytes are in no hole.
    pub(super) fn data_bytes(&self) -> u64 {
        match &self.bytes_of {
            WindowSource::File(file) => holes::data_bytes(&file.file, self.len),
            WindowSource::Map(_) => self.len,
        }
    }

    /// Where the bytes at `at` or behind it that may not be zero begin, and where they end.
    fn next_data(&self, at: u64, end: u64) -> (u64, u64) {
        match &self.bytes_of {
            WindowSource::File(file) => {
                let data = holes::next_data(&file.file, at, end);
                (data, holes::next_hole(&file.file, data, end))
            }
            WindowSource::Map(_) => (at, end),
        }
    }

    /// The frame at `at`.
    pub(crate) fn decode(&mut self, at: u64) -> Result<Result<Frame<'_>, Rule>> {
        let len = self.claimed_len(at)?;
        if len > LARGE && !self.fits(at, len)? {
            return Ok(Err(Rule::Checksum));
        }
        let (position, seed) = (self.base.saturating_add(at), self.seed);
        Ok(Frame::decode(self.at_least(at, len)?, position, seed))
    }

    /// The bytes of the frame at `at`, as long as it claims to be and the file reaches, unless that is very long: then its
    /// header alone.
    pub(super) fn frame(&mut self, at: u64) -> Result<&[u8]> {
        let len = self.claimed_len(at)?;
        self.at_least(at, if len > LARGE { FRAME_HEADER } else { len })
    }

    /// The length that a frame claims, or that of a header if it can have none such here.
    pub(crate) fn claimed_len(&mut self, at: u64) -> Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let claimed = Frame::claimed_len(self.at_least(at, FRAME_HEADER)?);
        Ok(claimed.filter(|len| *len <= left.min(FRAME_MAX)).unwrap_or(FRAME_HEADER))
    }

    /// Whether the checksum fits of a frame that is too long to be read for nothing. Takes time for what the frame takes on
    /// the disk, and little memory.
    fn fits(&mut self, at: u64, len: usize) -> Result<bool> {
        let (position, seed) = (self.base.saturating_add(at), self.seed);
        let Some(header) = self.at_least(at, FRAME_HEADER)?.first_chunk() else { return Ok(false) };
        let mut pieces = Piecewise::begin(header, position, seed);
        let (mut from, end) = (at + FRAME_HEADER as u64, at + len as u64);
        while from < end {
            let (data, hole) = self.next_data(from, end);
            pieces.zeroes(data - from);
            from = data;
            while from < hole {
                let wanted = usize::try_from(hole - from).unwrap_or(usize::MAX);
                let piece = self.at_least(from, wanted.min(WINDOW))?;
                let piece = &piece[..piece.len().min(wanted)];
                if piece.is_empty() {
                    return Ok(false);
                }
                pieces.bytes(piece);
                from += piece.len() as u64;
            }
        }
        Ok(pieces.fits())
    }

    /// What a search may cost: only lying bytes need more than some times their own length in checksums.
    pub(super) fn search_budget(&self) -> u64 {
        16 * self.len.min(self.data_bytes() + (32 << 20)) + (64 << 20)
    }

    /// Searches from `from` on for a valid frame that is wanted for its position and its claim of durability.
    pub(super) fn search(&mut self, from: u64, budget: &mut u64, wanted: impl Fn(u64, u64) -> bool) -> Result<Search> {
        let mut found = Search { at: None, dirty_end: from, exhausted: false };
        let (len, base) = (self.len, self.base);
        let mut at = from;
        while at < len {
            let bytes = self.at_least(at, FRAME_HEADER + 1)?;
            let Some(first) = bytes.first() else { break };
            if *first != 0 {
                found.dirty_end = at + 1;
            }
            let (zeroes, read) = (leading_zeroes(bytes) as u64, bytes.len() as u64);
            if zeroes > FRAME_HEADER as u64 {
                // Behind nothing but zeroes there may be a hole.
                let next = if zeroes == read { self.next_data(at + zeroes, len).0 } else { at + zeroes };
                at = next - FRAME_HEADER as u64;
                continue;
            }
            let position = base.saturating_add(at);
            // What claims to be longer than its file costs nothing.
            let claimed = Frame::claimed_len(bytes).map_or(u64::MAX, |len| len as u64);
            let possible = claimed <= len - at;
            if Frame::durable_claim(bytes).is_some_and(|claim| possible && claim <= position && wanted(position, claim))
            {
                if self.decode(at)?.is_ok() {
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
