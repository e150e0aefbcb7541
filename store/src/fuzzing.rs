//! What the fuzz targets need of the formats: the decoders, records apart and together again, and right checksums.

use byteorder::{ByteOrder, LE};

use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, Properties};
use crate::format::frame::{self, END_FRAME, FRAME_HEADER, Frame, KIND_END, LEAD, LogKind, Seed, seal};
use crate::format::header::{self, SEGMENT_HEADER, SegmentHeader};
use crate::format::varint::{self, Fields};
use crate::format::{identity, receipt};

/// Decodes the bytes as everything they could be; the payload also as a record whose checksum is right.
pub fn decode(bytes: &[u8]) {
    let _ = header::SegmentHeader::decode(bytes);
    let _ = identity::Identity::decode(bytes);
    let _ = receipt::ReceiptLease::decode(bytes);
    for kind in [LogKind::Commit, LogKind::Checkpoint] {
        let seed = Seed::new(0, kind);
        let _ = Frame::decode(bytes, 64, seed);
        if bytes.len() < FRAME_HEADER {
            continue;
        }
        let mut buffer = [&[0; LEAD], bytes].concat();
        // A fuzzer that does not repair the checksum never gets past it.
        let sealed = seal(&mut buffer, &[], 64, 1, 0, seed);
        if let Ok(frame) = Frame::decode(sealed, 64, seed) {
            let mut runs = Vec::new();
            let _ = CheckpointRecord::decode(&frame, &mut runs);
            if let Ok(CommitRecord::Message(message)) = CommitRecord::decode(&frame) {
                let _ = Properties::new(message.properties).count();
            }
        }
    }
}

/// Where in a file of a store the thing begins that a checksum covers and that holds this byte: the header of a
/// segment, a record, or the file `store`.
pub fn checked_at(file: &[u8], at: usize) -> Option<usize> {
    if SegmentHeader::decode(file).is_err() {
        return identity::Identity::decode(file).is_ok().then_some(0);
    }
    let mut start = 0;
    let mut end = SEGMENT_HEADER;
    while end <= at {
        start = end;
        let len = Frame::claimed_len(&file[start..]).filter(|len| *len >= FRAME_HEADER)?;
        end = start.checked_add(len)?;
    }
    Some(start)
}

/// Makes the checksum right of what begins there, whatever else is wrong with it.
pub fn repair(file: &mut [u8], start: usize) {
    let right = match start {
        0 if file.len() < SEGMENT_HEADER => identity::checksum(file),
        0 => header::checksum(file),
        _ => frame_checksum(file, start),
    };
    if let Some((at, crc)) = right {
        file[at..at + size_of::<u32>()].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The kinds of the records at the begin and at the end of a snapshot.
const SNAPSHOT_BEGIN: u8 = 20;
const SNAPSHOT_END: u8 = 21;

/// A record without what depends on its place in a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What its payload is.
    pub kind: u8,
    /// The store's, when it was written.
    pub generation: u32,
    /// How far the log was durable.
    pub durable_through: u64,
    /// Its fields.
    pub payload: Vec<u8>,
}

/// The records at the front of a segment file, up to the first that is not valid. `None` for any other file.
pub fn records(file: &[u8]) -> Option<Vec<Record>> {
    let SegmentHeader { store, log, base, .. } = SegmentHeader::decode(file).ok()?;
    let (seed, mut at, mut records) = (Seed::new(store, log), SEGMENT_HEADER, Vec::new());
    while let Some(Ok(frame)) = file.get(at..).map(|rest| Frame::decode(rest, base.wrapping_add(at as u64), seed)) {
        at += frame.len();
        let Frame { kind, generation, durable_through, payload } = frame;
        records.push(Record { kind, generation, durable_through, payload: payload.to_vec() });
    }
    Some(records)
}

/// The segment file with these records in place of its own, valid where they lie, and zeroes behind them. As many as
/// the segment has room for; an End at the end of the list stays the last one. A snapshot that ends says where it
/// begins.
pub fn with_records(file: &[u8], records: &[Record]) -> Option<Vec<u8>> {
    let SegmentHeader { store, log, base, capacity, .. } = SegmentHeader::decode(file).ok()?;
    let (seed, mut begin) = (Seed::new(store, log), None);
    let room = usize::try_from(capacity).unwrap_or(usize::MAX).min(file.len()).max(SEGMENT_HEADER + END_FRAME);
    let mut out = file[..SEGMENT_HEADER].to_vec();
    let mut put = |out: &mut Vec<u8>, record: &Record, room: usize| {
        let position = base.wrapping_add(out.len() as u64);
        let mut payload = record.payload.clone();
        match record.kind {
            SNAPSHOT_BEGIN if log == LogKind::Checkpoint => begin = Some(position),
            SNAPSHOT_END if log == LogKind::Checkpoint => payload = begin.map_or(payload, number),
            _ => {}
        }
        if out.len() + FRAME_HEADER + payload.len() <= room {
            let mut buffer = Vec::new();
            frame::open(&mut buffer, record.kind);
            buffer.extend_from_slice(&payload);
            let durable_through = record.durable_through.min(position);
            out.extend_from_slice(seal(&mut buffer, &[], position, record.generation, durable_through, seed));
        }
    };
    let (last, others) = match records.split_last() {
        Some((last, others)) if last.kind == KIND_END => (Some(last), others),
        _ => (None, records),
    };
    others.iter().for_each(|record| put(&mut out, record, room - END_FRAME));
    last.into_iter().for_each(|record| put(&mut out, record, room));
    out.resize(file.len().max(out.len()), 0);
    Some(out)
}

/// Gives a segment file another header field, of 4 or 8 bytes, with right checksums in the header and in its records.
pub fn with_header_field(file: &[u8], at: usize, value: u64) -> Option<Vec<u8>> {
    let records = records(file)?;
    let mut out = file.to_vec();
    match at {
        0..16 => LE::write_u32(out.get_mut(at..at + 4)?, value as u32),
        _ => LE::write_u64(out.get_mut(at..at + 8)?, value),
    }
    repair(&mut out, 0);
    with_records(&out, &records)
}

/// Where a payload could have numbers, read as if it were nothing else, and the values.
pub fn numbers(payload: &[u8]) -> Vec<(std::ops::Range<usize>, u64)> {
    let (mut at, mut found) = (0, Vec::new());
    while at < payload.len() {
        let mut fields = Fields(&payload[at..]);
        let value = fields.u64();
        // Bytes that are not a number are passed over one by one.
        let end = if value.is_ok() { payload.len() - fields.0.len() } else { at + 1 };
        found.extend(value.into_iter().map(|value| (at..end, value)));
        at = end;
    }
    found
}

/// A number as records have it.
pub fn number(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, value);
    out
}

fn frame_checksum(file: &[u8], start: usize) -> Option<(usize, u32)> {
    let SegmentHeader { store, log, base, .. } = SegmentHeader::decode(file).ok()?;
    let (_, right) = Frame::checksums(&file[start..], base.wrapping_add(start as u64), Seed::new(store, log))?;
    Some((start, right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::golden::frames;

    #[test]
    fn records_of_a_segment_written_again_are_the_same_bytes() {
        let header = SegmentHeader {
            store: 7,
            log: LogKind::Checkpoint,
            is_written: true,
            base: 4096,
            capacity: 4096,
            created_at: 9,
        };
        let mut file = header.encode().to_vec();
        file.resize(4096, 0);
        let record = |kind, payload| Record { kind, generation: 3, durable_through: 4160, payload };
        let whole = [record(4, vec![1, 2, 3]), record(20, vec![4, 2]), record(21, number(4184)), record(1, vec![])];
        let file = with_records(&file, &whole).unwrap();
        assert_eq!(records(&file).as_deref(), Some(&whole[..]));
        assert_eq!(with_records(&file, &whole).as_deref(), Some(&file[..]));
        // Records before the snapshot move it, and its end moves with it.
        let longer = [&[record(2, vec![9; 100])], &whole[..]].concat();
        let moved = records(&with_records(&file, &longer).unwrap()).unwrap();
        assert_eq!(moved[3].payload, number(4184 + 121));
        // An end stays behind as many others as there is room for.
        let full =
            records(&with_records(&file, &[vec![whole[0].clone(); 500], vec![whole[3].clone()]].concat()).unwrap());
        let full = full.unwrap();
        assert!(full.len() < 500 && full.last() == Some(&whole[3]), "{}", full.len());
    }

    #[test]
    fn the_numbers_of_a_payload_are_found_among_other_bytes() {
        let found = numbers(&[&number(300)[..], &[0x80, 0x00], &number(7)].concat());
        assert_eq!(found, [(0..2, 300), (3..4, 0), (4..5, 7)]);
    }

    /// With `POPSTORE_SEEDS=write` they are written again.
    #[test]
    fn every_record_is_a_seed_of_the_fuzzer() {
        let seeds = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/decode"));
        for log in LogKind::BOTH {
            for (name, bytes) in frames(log) {
                let name = name.to_lowercase().replace([' ', ','], "-").replace("--", "-");
                let path = seeds.join(format!("{}-{name}", log.name()));
                if std::env::var_os("POPSTORE_SEEDS").is_some_and(|order| order == "write") {
                    std::fs::write(&path, &bytes).unwrap();
                }
                assert_eq!(std::fs::read(&path).ok(), Some(bytes), "{path:?}");
            }
        }
    }
}
