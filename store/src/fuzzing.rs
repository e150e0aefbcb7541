//! What the fuzz targets need of the formats: the decoders, and right checksums for wrong bytes.

use crate::format::checkpoint::CheckpointRecord;
use crate::format::commit::{CommitRecord, Properties};
use crate::format::frame::{FRAME_HEADER, Frame, LEAD, LogKind, Seed, seal};
use crate::format::header::{self, SEGMENT_HEADER, SegmentHeader};
use crate::format::{identity, receipt};

/// Decodes the bytes as everything they could be; the payload also as a record whose checksum is right.
pub fn decode(bytes: &[u8]) {
    let _ = header::SegmentHeader::decode(bytes);
    let _ = identity::Identity::decode(bytes);
    let _ = receipt::Lease::decode(bytes);
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

/// Where in a file of a store the thing begins that a checksum covers and that holds this byte: the header of a segment,
/// a record, or the file `store`.
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

fn frame_checksum(file: &[u8], start: usize) -> Option<(usize, u32)> {
    let SegmentHeader { store, log, base, .. } = SegmentHeader::decode(file).ok()?;
    let (_, right) = Frame::checksums(&file[start..], base.wrapping_add(start as u64), Seed::new(store, log))?;
    Some((start, right))
}

#[cfg(test)]
mod tests {
    use crate::format::frame::LogKind;
    use crate::format::golden::frames;

    /// With `POPSTORE_SEEDS=write` they are made anew.
    #[test]
    fn every_record_is_a_seed_of_the_fuzzer() {
        let seeds = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/decode"));
        for log in LogKind::BOTH {
            for (name, bytes) in frames(log) {
                let name = name.to_lowercase().replace([' ', ','], "-").replace("--", "-");
                let path = seeds.join(format!("{}-{name}", log.name()));
                if std::env::var_os("POPSTORE_SEEDS").is_some_and(|told| told == "write") {
                    std::fs::write(&path, &bytes).unwrap();
                }
                assert_eq!(std::fs::read(&path).ok(), Some(bytes), "{path:?}");
            }
        }
    }
}
