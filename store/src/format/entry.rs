//! The fixed-size entry of a consume queue.

use byteorder::{ByteOrder, LE};

const AT_OFFSET: usize = 0;
const AT_SIZE: usize = AT_OFFSET + size_of::<u64>();
const AT_TAG: usize = AT_SIZE + size_of::<u32>();
/// The bytes of an entry.
pub(crate) const ENTRY: usize = AT_TAG + size_of::<u32>();
const _: () = assert!(ENTRY == 16);

/// Where a message lies in the commit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// The position of its frame; never 0, since a segment header comes first.
    pub(crate) offset: u64,
    /// The length of its frame.
    pub(crate) size: u32,
    /// A hash of its tag, 0 without one.
    pub(crate) tag: u32,
}

impl Entry {
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.size))
    }

    pub(crate) fn encode(&self) -> [u8; ENTRY] {
        let mut out = [0; ENTRY];
        LE::write_u64(&mut out[AT_OFFSET..], self.offset);
        LE::write_u32(&mut out[AT_SIZE..], self.size);
        LE::write_u32(&mut out[AT_TAG..], self.tag);
        out
    }

    pub(crate) fn decode(bytes: &[u8; ENTRY]) -> Self {
        Self {
            offset: LE::read_u64(&bytes[AT_OFFSET..]),
            size: LE::read_u32(&bytes[AT_SIZE..]),
            tag: LE::read_u32(&bytes[AT_TAG..]),
        }
    }
}

/// The hash of a tag: never 0 for a tag that is there.
pub(crate) fn tag_hash(tag: &[u8]) -> u32 {
    if tag.is_empty() { 0 } else { crc32fast::hash(tag).max(1) }
}
