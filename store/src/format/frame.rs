//! The frame around every record of both logs.
//!
//! The checksum covers the rest of the header and the payload and is seeded with the store's id, the log and the
//! record's own position: bytes of another store, log or place, or bytes left from an earlier use of a file, do not
//! parse. `durable_through` is what separates a torn tail from damage (FORMAT.md, validity rules).

use byteorder::{ByteOrder, LE};

use super::Rule;

const CRC: usize = 0;
const LEN: usize = CRC + size_of::<u32>();
const DURABLE: usize = LEN + size_of::<u32>();
const GENERATION: usize = DURABLE + size_of::<u64>();
const KIND: usize = GENERATION + size_of::<u32>();
/// The bytes before the payload.
pub(crate) const FRAME_HEADER: usize = KIND + size_of::<u8>();
const _: () = assert!(FRAME_HEADER == 21);

/// The bytes before a frame that is not sealed. With the checksum's own the last of them hold the position while that
/// is computed, so that one pass does for all it covers; the others are zeroes that make what it covers a whole number
/// of blocks, since bytes beside those cost as much as many blocks do.
pub(crate) const LEAD: usize = BLOCK + size_of::<u64>() - LEN;
/// What the checksum takes at once.
const BLOCK: usize = 16;

/// The frame that closes a segment has no payload.
pub(crate) const END_FRAME: usize = FRAME_HEADER;
/// Its kind, in both logs.
pub(crate) const KIND_END: u8 = 1;

/// Which of the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LogKind {
    /// The log of all messages.
    Commit,
    /// The log of what consumers did.
    Checkpoint,
}

impl LogKind {
    pub(crate) const BOTH: [Self; 2] = [Self::Commit, Self::Checkpoint];

    /// The folder of the log in a store, and its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Checkpoint => "checkpoint",
        }
    }

    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Commit => 1,
            Self::Checkpoint => 2,
        }
    }
}

/// The part of the checksum that is the same for all records of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(store: u128, log: LogKind) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&store.to_le_bytes());
        hasher.update(&log.code().to_le_bytes());
        Self(hasher.finalize())
    }

    fn checksum(self, position: u64, covered: &[u8]) -> u32 {
        let mut hasher = self.begin(position);
        hasher.update(covered);
        hasher.finalize()
    }

    fn begin(self, position: u64) -> crc32fast::Hasher {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&position.to_le_bytes());
        hasher
    }

    /// The same for what is covered in one buffer behind [`BLOCK`] zeroes and the position, which is changed, and
    /// something behind it.
    ///
    /// What a checksum begins with is the same as a change of the first bytes after it, and without that zeroes at the
    /// front would change nothing.
    fn checksum_of(self, buffer: &mut [u8], rest: &[u8]) -> u32 {
        let first = LE::read_u32(&buffer[BLOCK..]);
        LE::write_u32(&mut buffer[BLOCK..], first ^ !self.0);
        let mut hasher = crc32fast::Hasher::new_with_initial(!0);
        hasher.update(&buffer[buffer.len() % BLOCK..]);
        if !rest.is_empty() {
            hasher.update(rest);
        }
        hasher.finalize()
    }
}

/// A record whose checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) generation: u32,
    /// How far the log was durable when the record was written.
    pub(crate) durable_through: u64,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The bytes it takes in the log.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEADER + self.payload.len()
    }

    /// Decodes the frame at the front of `bytes`, which lie at `position` of the log.
    #[inline(always)]
    pub(crate) fn decode(bytes: &'a [u8], position: u64, seed: Seed) -> Result<Self, Rule> {
        let header = bytes.get(..FRAME_HEADER).ok_or(Rule::Short)?;
        if header.iter().all(|byte| *byte == 0) {
            return Err(Rule::Empty);
        }
        let len = LE::read_u32(&header[LEN..]) as usize;
        if len < FRAME_HEADER || header[KIND] == 0 {
            return Err(Rule::Length);
        }
        let frame = bytes.get(..len).ok_or(Rule::Length)?;
        if LE::read_u32(&header[CRC..]) != seed.checksum(position, &frame[LEN..]) {
            return Err(Rule::Checksum);
        }
        Ok(Self {
            kind: header[KIND],
            generation: LE::read_u32(&header[GENERATION..]),
            durable_through: LE::read_u64(&header[DURABLE..]),
            payload: &frame[FRAME_HEADER..],
        })
    }

    /// The checksum that the bytes hold and the one they should, if they are as long as they claim.
    pub(crate) fn checksums(bytes: &[u8], position: u64, seed: Seed) -> Option<(u32, u32)> {
        let frame = bytes.get(..Self::claimed_len(bytes).filter(|len| *len >= FRAME_HEADER)?)?;
        Some((LE::read_u32(&frame[CRC..]), seed.checksum(position, &frame[LEN..])))
    }

    /// The length the bytes claim.
    pub(crate) fn claimed_len(bytes: &[u8]) -> Option<usize> {
        Some(LE::read_u32(bytes.get(LEN..FRAME_HEADER)?) as usize)
    }

    /// How far the bytes claim that the log was durable, if they could be a frame at all.
    pub(crate) fn durable_claim(bytes: &[u8]) -> Option<u64> {
        let header = bytes.get(..FRAME_HEADER)?;
        let possible = LE::read_u32(&header[LEN..]) as usize >= FRAME_HEADER && header[KIND] != 0;
        possible.then(|| LE::read_u64(&header[DURABLE..]))
    }
}

/// A frame whose checksum is found out piece by piece, so that one that only claims to be long takes no memory.
pub(crate) struct Piecewise {
    hasher: crc32fast::Hasher,
    crc: u32,
}

impl Piecewise {
    /// A frame that begins with these bytes, a header, at `position` of the log.
    pub(crate) fn begin(header: &[u8; FRAME_HEADER], position: u64, seed: Seed) -> Self {
        let mut hasher = seed.begin(position);
        hasher.update(&header[LEN..]);
        Self { hasher, crc: LE::read_u32(&header[CRC..]) }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// A number of zeroes, in steps that double.
    pub(crate) fn zeroes(&mut self, mut count: u64) {
        let mut power = crc32fast::Hasher::new();
        power.update(&[0]);
        while count > 0 {
            if count & 1 == 1 {
                self.hasher.combine(&power);
            }
            let twice = power.clone();
            power.combine(&twice);
            count >>= 1;
        }
    }

    /// Whether the checksum fits.
    pub(crate) fn fits(self) -> bool {
        self.hasher.finalize() == self.crc
    }
}

/// Starts a frame in an empty buffer: the payload is appended next, then [`seal`] closes it.
pub(crate) fn open(out: &mut Vec<u8>, kind: u8) {
    debug_assert!(out.is_empty(), "a frame begins the buffer");
    let mut header = [0; LEAD + FRAME_HEADER];
    header[LEAD + KIND] = kind;
    out.extend_from_slice(&header);
}

/// Closes the frame in a buffer that [`open`] began, which is the whole frame together with `rest`, at `position` of
/// its log. Returns it without the lead.
pub(crate) fn seal<'b>(
    buffer: &'b mut [u8],
    rest: &[u8],
    position: u64,
    generation: u32,
    durable_through: u64,
    seed: Seed,
) -> &'b [u8] {
    let frame = &mut buffer[LEAD..];
    let len = u32::try_from(frame.len() + rest.len()).expect("a frame is smaller than a segment");
    LE::write_u32(&mut frame[LEN..], len);
    LE::write_u64(&mut frame[DURABLE..], durable_through);
    LE::write_u32(&mut frame[GENERATION..], generation);
    LE::write_u64(&mut buffer[BLOCK..], position);
    let crc = seed.checksum_of(buffer, rest);
    LE::write_u32(&mut buffer[LEAD + CRC..], crc);
    &buffer[LEAD..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Vec<u8>, Seed) {
        let seed = Seed::new(7, LogKind::Commit);
        let mut bytes = Vec::new();
        open(&mut bytes, 2);
        bytes.extend_from_slice(b"pay");
        let mut frame = seal(&mut bytes, b"load", 64, 3, 40, seed).to_vec();
        frame.extend_from_slice(b"load");
        (frame, seed)
    }

    #[test]
    fn a_frame_read_in_pieces_has_the_same_checksum() {
        let seed = Seed::new(7, LogKind::Commit);
        for zeroes in [0, 1, 7, 64, 1000, 65_537] {
            let mut bytes = Vec::new();
            open(&mut bytes, 2);
            bytes.extend_from_slice(b"before");
            bytes.resize(bytes.len() + zeroes, 0);
            bytes.extend_from_slice(b"behind");
            let frame = seal(&mut bytes, &[], 64, 3, 40, seed);
            for crc in [0, 1] {
                let mut header = *frame.first_chunk::<FRAME_HEADER>().unwrap();
                header[CRC] ^= crc;
                let mut pieces = Piecewise::begin(&header, 64, seed);
                pieces.bytes(b"before");
                pieces.zeroes(zeroes as u64);
                pieces.bytes(b"behind");
                assert_eq!(pieces.fits(), crc == 0, "{zeroes}");
            }
        }
    }

    #[test]
    fn a_frame_comes_back() {
        let (bytes, seed) = sealed();
        let frame = Frame::decode(&bytes, 64, seed).unwrap();
        assert_eq!(frame, Frame { kind: 2, generation: 3, durable_through: 40, payload: b"payload" });
        assert_eq!(frame.len(), bytes.len());
    }

    #[test]
    fn a_frame_is_refused_at_another_place_log_or_store() {
        let (bytes, seed) = sealed();
        assert_eq!(Frame::decode(&bytes, 65, seed), Err(Rule::Checksum));
        assert_eq!(Frame::decode(&bytes, 64, Seed::new(7, LogKind::Checkpoint)), Err(Rule::Checksum));
        assert_eq!(Frame::decode(&bytes, 64, Seed::new(8, LogKind::Commit)), Err(Rule::Checksum));
    }

    #[test]
    fn every_single_bit_flip_is_noticed() {
        let (bytes, seed) = sealed();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&flipped, 64, seed).is_err(), "bit {bit}");
        }
    }

    /// As FORMAT.md has it, whatever its length is beside the blocks.
    #[test]
    fn a_checksum_covers_store_log_position_and_frame() {
        for len in 0..100 {
            let (mut bytes, position, seed) = (Vec::new(), 0x0102_0304_0506_0708, Seed::new(7, LogKind::Commit));
            open(&mut bytes, 2);
            bytes.extend((0..len).map(|byte| byte as u8 ^ 0x5a));
            let frame = seal(&mut bytes, b"rest", position, 3, 40, seed).to_vec();
            let frame = [&frame, &b"rest"[..]].concat();
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&7_u128.to_le_bytes());
            hasher.update(&LogKind::Commit.code().to_le_bytes());
            hasher.update(&u64::to_le_bytes(position));
            hasher.update(&frame[LEN..]);
            let sums = Some((hasher.clone().finalize(), hasher.finalize()));
            assert_eq!(Frame::checksums(&frame, position, seed), sums, "{len}");
        }
    }

    #[test]
    fn zeroes_are_no_frame() {
        assert_eq!(Frame::decode(&[0; 100], 0, Seed::new(0, LogKind::Commit)), Err(Rule::Empty));
    }
}
