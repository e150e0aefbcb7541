//! The 64 bytes at the front of every segment file.

use byteorder::{ByteOrder, LE};

use super::{Rule, VERSION, frame::LogKind};

const MAGIC: [u8; 8] = *b"popseg\r\n";
const AT_VERSION: usize = MAGIC.len();
const AT_LOG: usize = AT_VERSION + size_of::<u32>();
const AT_FLAGS: usize = AT_LOG + size_of::<u16>();
const AT_STORE: usize = AT_FLAGS + size_of::<u16>();
const AT_BASE: usize = AT_STORE + size_of::<u128>();
const AT_CAPACITY: usize = AT_BASE + size_of::<u64>();
const AT_CREATED: usize = AT_CAPACITY + size_of::<u64>();
const AT_CRC: usize = AT_CREATED + size_of::<u64>();
const FLAG_WRITTEN: u16 = 1;
/// The bytes of a segment before its first record.
pub(crate) const SEGMENT_HEADER: usize = 64;
const _: () = assert!(AT_CRC + size_of::<u32>() <= SEGMENT_HEADER);

/// The header of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: u128,
    pub(crate) log: LogKind,
    /// Each byte of the file is written and synced before a record may lie there.
    pub(crate) is_written: bool,
    /// The position of the file's first byte in the log.
    pub(crate) base: u64,
    /// The length the file may grow to, and the distance to the next base.
    pub(crate) capacity: u64,
    /// When it was made, in microseconds since the Unix epoch; information only.
    pub(crate) created_at: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[..MAGIC.len()].copy_from_slice(&MAGIC);
        LE::write_u32(&mut out[AT_VERSION..], VERSION);
        LE::write_u16(&mut out[AT_LOG..], self.log.code() as u16);
        LE::write_u16(&mut out[AT_FLAGS..], if self.is_written { FLAG_WRITTEN } else { 0 });
        LE::write_u128(&mut out[AT_STORE..], self.store);
        LE::write_u64(&mut out[AT_BASE..], self.base);
        LE::write_u64(&mut out[AT_CAPACITY..], self.capacity);
        LE::write_u64(&mut out[AT_CREATED..], self.created_at);
        let crc = crc32fast::hash(&out[..AT_CRC]);
        LE::write_u32(&mut out[AT_CRC..], crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Rule> {
        let bytes = bytes.get(..SEGMENT_HEADER).ok_or(Rule::Short)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(Rule::Empty);
        }
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(Rule::Magic);
        }
        if LE::read_u32(&bytes[AT_CRC..]) != crc32fast::hash(&bytes[..AT_CRC]) {
            return Err(Rule::Checksum);
        }
        let version = LE::read_u32(&bytes[AT_VERSION..]);
        if version != VERSION {
            return Err(Rule::Version(version));
        }
        let log = match LE::read_u16(&bytes[AT_LOG..]) {
            1 => LogKind::Commit,
            2 => LogKind::Checkpoint,
            _ => return Err(Rule::Field("log")),
        };
        let is_written = match LE::read_u16(&bytes[AT_FLAGS..]) {
            0 => false,
            FLAG_WRITTEN => true,
            _ => return Err(Rule::Field("segment flags")),
        };
        Ok(Self {
            store: LE::read_u128(&bytes[AT_STORE..]),
            log,
            is_written,
            base: LE::read_u64(&bytes[AT_BASE..]),
            capacity: LE::read_u64(&bytes[AT_CAPACITY..]),
            created_at: LE::read_u64(&bytes[AT_CREATED..]),
        })
    }
}

/// Where the checksum lies, and what it should be.
#[cfg(feature = "fuzzing")]
pub(crate) fn checksum(bytes: &[u8]) -> Option<(usize, u32)> {
    let covered = bytes.get(..AT_CRC).filter(|_| bytes.len() >= AT_CRC + size_of::<u32>())?;
    Some((AT_CRC, crc32fast::hash(covered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_bit_flip_is_noticed() {
        let header = SegmentHeader {
            store: 1 << 100,
            log: LogKind::Checkpoint,
            is_written: true,
            base: 4096,
            capacity: 4096,
            created_at: 9,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..(AT_CRC + 4) * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_by_its_number() {
        let (log, is_written) = (LogKind::Commit, false);
        let header = SegmentHeader { store: 1, log, is_written, base: 0, capacity: 4096, created_at: 0 };
        let mut bytes = header.encode();
        LE::write_u32(&mut bytes[AT_VERSION..], 2);
        let crc = crc32fast::hash(&bytes[..AT_CRC]);
        LE::write_u32(&mut bytes[AT_CRC..], crc);
        assert_eq!(SegmentHeader::decode(&bytes), Err(Rule::Version(2)));
    }
}
