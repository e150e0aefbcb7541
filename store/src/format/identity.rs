//! The file `store`: what makes a directory a store, and its generation.

use byteorder::{ByteOrder, LE};

use super::{Rule, VERSION};

const MAGIC: [u8; 8] = *b"popstore";
const AT_VERSION: usize = MAGIC.len();
pub(crate) const AT_GENERATION: usize = AT_VERSION + size_of::<u32>();
const AT_ID: usize = AT_GENERATION + size_of::<u32>();
const AT_CRC: usize = AT_ID + size_of::<u128>();
/// The length of the file.
pub(crate) const IDENTITY: usize = AT_CRC + size_of::<u32>();
const _: () = assert!(IDENTITY == 36);

/// Which store this is, and how often it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: u128,
    /// Raised at each open; 0 before the first.
    pub(crate) generation: u32,
}

impl Identity {
    pub(crate) fn encode(&self) -> [u8; IDENTITY] {
        let mut out = [0; IDENTITY];
        out[..MAGIC.len()].copy_from_slice(&MAGIC);
        LE::write_u32(&mut out[AT_VERSION..], VERSION);
        LE::write_u32(&mut out[AT_GENERATION..], self.generation);
        LE::write_u128(&mut out[AT_ID..], self.id);
        let crc = crc32fast::hash(&out[..AT_CRC]);
        LE::write_u32(&mut out[AT_CRC..], crc);
        out
    }

    pub(crate) fn checksum_fits(bytes: &[u8; IDENTITY]) -> bool {
        LE::read_u32(&bytes[AT_CRC..]) == crc32fast::hash(&bytes[..AT_CRC])
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Rule> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Rule::Magic);
        }
        // A later version may be longer: its number is reported before anything else is judged.
        let version = LE::read_u32(bytes.get(AT_VERSION..AT_GENERATION).ok_or(Rule::Short)?);
        if version != VERSION {
            return Err(Rule::Version(version));
        }
        let bytes: &[u8; IDENTITY] = bytes.try_into().map_err(|_| Rule::Length)?;
        if !Self::checksum_fits(bytes) {
            return Err(Rule::Checksum);
        }
        Ok(Self { id: LE::read_u128(&bytes[AT_ID..]), generation: LE::read_u32(&bytes[AT_GENERATION..]) })
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
    fn an_identity_comes_back_and_every_bit_flip_is_noticed() {
        let identity = Identity { id: 0x0123_4567_89ab_cdef, generation: 5 };
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes), Ok(identity));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
