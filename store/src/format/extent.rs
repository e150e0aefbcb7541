//! A topic in a mark: how far its queues reach.

use popstore_revive::QueueIndex;

use super::Rule;
use super::entry::{ENTRY, Entry};
use super::frame::FRAME_HEADER;
use super::header::SEGMENT_HEADER;
use super::limits::{self, QUEUES_MAX};
use super::varint::{Fields, VARINT_MAX, put};

/// The extents of a topic's queues, or of some of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct MarkPart {
    /// 0 for the first part, or else the first queue's number and one: a part of that queue may have come before.
    pub(crate) from: u32,
    pub(crate) queues: Vec<Extent>,
}

/// How far a queue reaches, and the messages of it that retention has moved.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    pub(crate) first: QueueIndex,
    pub(crate) end: QueueIndex,
    pub(crate) relocated: Vec<(QueueIndex, Entry)>,
}

/// More than the front of a [`MarkPart`]'s record takes beside its topic's name, an extent, and a relocated message.
const PART_BYTES_MAX: usize = 4 * VARINT_MAX;
const EXTENT_BYTES_MAX: usize = 3 * VARINT_MAX;
const RELOCATED_BYTES_MAX: usize = VARINT_MAX + ENTRY;

impl MarkPart {
    /// The parts for all queues of a topic, each in a record of at most `bytes_max` bytes beside the name: some
    /// hundreds, so that there is room for a message or two in each.
    pub(crate) fn all(queues: &[Extent], bytes_max: usize) -> Vec<Self> {
        let bytes_max = bytes_max.saturating_sub(PART_BYTES_MAX);
        let (mut parts, mut left) = (vec![Self::default()], bytes_max);
        for (number, Extent { first, end, relocated }) in queues.iter().enumerate() {
            let mut rest = &relocated[..];
            loop {
                let room = left.checked_sub(EXTENT_BYTES_MAX).map(|left| left / RELOCATED_BYTES_MAX);
                if let (Some(room), Some(part)) = (room, parts.last_mut()) {
                    let (now, later) = rest.split_at(room.min(rest.len()));
                    part.queues.push(Extent { first: *first, end: *end, relocated: now.to_vec() });
                    left -= EXTENT_BYTES_MAX + now.len() * RELOCATED_BYTES_MAX;
                    rest = later;
                    if rest.is_empty() {
                        break;
                    }
                }
                parts.push(Self { from: number as u32 + 1, queues: Vec::new() });
                left = bytes_max;
            }
        }
        parts
    }

    /// Whether the topic has no more queues than a topic can have, this part included.
    pub(crate) fn fits(&self) -> bool {
        let before = u64::from(self.from.saturating_sub(1));
        before + self.queues.len() as u64 <= u64::from(QUEUES_MAX)
    }

    /// Adds the part to those before it. Returns whether it continues where they end.
    pub(crate) fn add_to(self, queues: &mut Vec<Extent>) -> bool {
        let Some(from) = (self.from as usize).checked_sub(1) else {
            *queues = self.queues;
            return true;
        };
        let mut part = self.queues.into_iter();
        if from + 1 == queues.len()
            && let Some(last) = queues.last_mut()
            && let Some(rest) = part.next()
        {
            if (last.first, last.end) != (rest.first, rest.end) {
                return false;
            }
            last.relocated.extend(rest.relocated);
        } else if from != queues.len() {
            return false;
        }
        queues.extend(part);
        true
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.from));
        put(out, self.queues.len() as u64);
        self.queues.iter().for_each(|queue| put_extent(queue, out));
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, Rule> {
        let from = fields.u32()?;
        let count = fields.count(3)?;
        let queues = (0..count).map(|_| extent(fields)).collect::<Result<_, _>>()?;
        Some(Self { from, queues }).filter(Self::fits).ok_or(Rule::Field("number of queues"))
    }
}

fn put_extent(extent: &Extent, out: &mut Vec<u8>) {
    put(out, extent.first.0);
    put(out, extent.end.0);
    put(out, extent.relocated.len() as u64);
    for (index, entry) in &extent.relocated {
        put(out, index.0);
        out.extend_from_slice(&entry.encode());
    }
}

fn extent(fields: &mut Fields<'_>) -> Result<Extent, Rule> {
    let (first, end) = (QueueIndex(fields.u64()?), QueueIndex(fields.u64()?));
    if first > end {
        return Err(Rule::Field("extent"));
    }
    let count = fields.count(1 + ENTRY)?;
    let mut relocated = Vec::with_capacity(count);
    for _ in 0..count {
        let index = limits::index(fields)?;
        let entry: &[u8; ENTRY] = fields.take(ENTRY)?.try_into().map_err(|_| Rule::Short)?;
        let entry = Entry::decode(entry);
        if entry.offset < SEGMENT_HEADER as u64 || (entry.size as usize) < FRAME_HEADER {
            return Err(Rule::Field("entry"));
        }
        relocated.push((index, entry));
    }
    Ok(Extent { first, end, relocated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(moved: u64) -> Extent {
        let relocated = (0..moved).map(|index| (QueueIndex(index), Entry { offset: 64 + index, size: 40, tag: 0 }));
        Extent { first: QueueIndex(moved), end: QueueIndex(u64::MAX), relocated: relocated.collect() }
    }

    #[test]
    fn parts_make_the_whole_topic_and_none_is_too_large() {
        for bytes_max in [100, 130, 150, 333, 1000, 1 << 20] {
            for moved in [&[][..], &[0], &[0; 40], &[1, 0, 7], &[100], &[100, 0, 0, 100, 3]] {
                let queues: Vec<_> = moved.iter().map(|moved| extent(*moved)).collect();
                let parts = MarkPart::all(&queues, bytes_max);
                let mut read = vec![Extent::default()];
                for part in parts {
                    let mut bytes = Vec::new();
                    part.put(&mut bytes);
                    assert!(bytes.len() <= bytes_max, "{} of {bytes_max}", bytes.len());
                    assert!(part.add_to(&mut read));
                }
                assert_eq!(read, queues, "{bytes_max}");
            }
        }
    }

    #[test]
    fn a_part_that_does_not_continue_the_one_before_is_noticed() {
        let parts = MarkPart::all(&[extent(20), extent(20)], 200);
        assert!(parts.len() > 4);
        for left_out in 0..parts.len() - 1 {
            let mut read = Vec::new();
            let mut rest = parts.iter().enumerate().filter(|(at, _)| *at != left_out);
            let whole = rest.all(|(_, part)| part.clone().add_to(&mut read)) && read == [extent(20), extent(20)];
            assert!(!whole, "without part {left_out}");
        }
    }
}
