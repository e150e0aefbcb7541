//! The bytes of a receipt handle.

use byteorder::{ByteOrder, LE};
use popstore_revive::{GroupId, QueueId, QueueIndex, TopicId};

use super::Rule;

const AT_STORE: usize = 0;
const AT_GENERATION: usize = AT_STORE + size_of::<u128>();
const AT_GROUP: usize = AT_GENERATION + size_of::<u32>();
const AT_TOPIC: usize = AT_GROUP + size_of::<u32>();
const AT_QUEUE: usize = AT_TOPIC + size_of::<u32>();
const AT_INDEX: usize = AT_QUEUE + size_of::<u32>();
const AT_DELIVERY: usize = AT_INDEX + size_of::<u64>();
const AT_CRC: usize = AT_DELIVERY + size_of::<u32>();
/// The bytes of a receipt.
pub(crate) const RECEIPT: usize = AT_CRC + size_of::<u32>();
const _: () = assert!(RECEIPT == 48);

/// One lease of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReceiptLease {
    pub(crate) store: u128,
    pub(crate) generation: u32,
    pub(crate) group: GroupId,
    pub(crate) queue: QueueId,
    pub(crate) index: QueueIndex,
    pub(crate) delivery: u32,
}

impl ReceiptLease {
    pub(crate) fn encode(&self) -> [u8; RECEIPT] {
        let mut out = [0; RECEIPT];
        LE::write_u128(&mut out[AT_STORE..], self.store);
        LE::write_u32(&mut out[AT_GENERATION..], self.generation);
        LE::write_u32(&mut out[AT_GROUP..], self.group.0);
        LE::write_u32(&mut out[AT_TOPIC..], self.queue.topic.0);
        LE::write_u32(&mut out[AT_QUEUE..], self.queue.queue);
        LE::write_u64(&mut out[AT_INDEX..], self.index.0);
        LE::write_u32(&mut out[AT_DELIVERY..], self.delivery);
        let crc = crc32fast::hash(&out[..AT_CRC]);
        LE::write_u32(&mut out[AT_CRC..], crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Rule> {
        let bytes: &[u8; RECEIPT] = bytes.try_into().map_err(|_| Rule::Length)?;
        if LE::read_u32(&bytes[AT_CRC..]) != crc32fast::hash(&bytes[..AT_CRC]) {
            return Err(Rule::Checksum);
        }
        Ok(Self {
            store: LE::read_u128(&bytes[AT_STORE..]),
            generation: LE::read_u32(&bytes[AT_GENERATION..]),
            group: GroupId(LE::read_u32(&bytes[AT_GROUP..])),
            queue: QueueId {
                topic: TopicId(LE::read_u32(&bytes[AT_TOPIC..])),
                queue: LE::read_u32(&bytes[AT_QUEUE..]),
            },
            index: QueueIndex(LE::read_u64(&bytes[AT_INDEX..])),
            delivery: LE::read_u32(&bytes[AT_DELIVERY..]),
        })
    }
}
