//! `FORMAT.md` held to the code: each example on the page is made from a fixed value and read back to it.
//!
//! The page's `bytes` blocks are the golden bytes. `name: hex` begins an example, lines without a name continue it,
//! and `;` begins a remark. An example that nothing here makes fails, and so does a record kind without one.

mod values;
mod worked;

use std::collections::{BTreeMap, BTreeSet};

use popstore_revive::QueueIndex;

use super::Rule;
use super::checkpoint::CheckpointRecord;
use super::commit::{CommitRecord, encode_message, encode_topic};
use super::entry::{Entry, tag_hash};
use super::frame::{self, FRAME_HEADER, Frame, LEAD, LogKind, Seed};
use super::header::{SEGMENT_HEADER, SegmentHeader};
use super::identity::Identity;
use super::policy;
use super::receipt::ReceiptLease;
use super::varint::{Fields, put};
use values::{AT, ENTRY, GROUP, QUEUE, STORE, VARINTS, checkpoint_records, commit_records, policies};

const PAGE: &str = include_str!("../../../FORMAT.md");

/// The examples of the page, as hex without spaces.
fn page() -> BTreeMap<String, String> {
    let mut examples = BTreeMap::new();
    let (mut inside, mut name) = (false, String::new());
    for line in PAGE.lines() {
        if line.starts_with("```") {
            inside = line == "```bytes";
            continue;
        }
        let line = line.split(';').next().filter(|_| inside).unwrap_or_default();
        let (begun, hex) = line.split_once(':').map_or((None, line), |(begun, hex)| (Some(begun), hex));
        if let Some(begun) = begun {
            name = begun.trim().to_owned();
            assert!(examples.insert(name.clone(), String::new()).is_none(), "{name} stands twice");
        }
        let hex = hex.split_whitespace();
        hex.for_each(|hex| examples.get_mut(&name).expect("a name before the bytes").push_str(hex));
    }
    examples
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shows(name: &str, bytes: &[u8]) {
    assert_eq!(page().get(name), Some(&hex(bytes)), "{name}");
}

fn encode_commit(record: &CommitRecord<'_>, out: &mut Vec<u8>) {
    match record {
        CommitRecord::End => frame::open(out, frame::KIND_END),
        CommitRecord::Topic(topic) => encode_topic(topic, out),
        CommitRecord::Message(message) => {
            encode_message(message, out);
            out.extend_from_slice(message.body);
        }
    }
}

fn sealed(log: LogKind, position: u64, durable: u64, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    frame::seal(&mut bytes, &[], position, 1, durable, Seed::new(STORE, log)).to_vec()
}

/// The frames of all examples of a log, as if each lay at its start.
pub(crate) fn frames(log: LogKind) -> Vec<(&'static str, Vec<u8>)> {
    let frame = |encode: &dyn Fn(&mut Vec<u8>)| sealed(log, SEGMENT_HEADER as u64, 0, encode);
    match log {
        LogKind::Commit => {
            commit_records().iter().map(|(name, record)| (*name, frame(&|out| encode_commit(record, out)))).collect()
        }
        LogKind::Checkpoint => {
            checkpoint_records().iter().map(|(name, record)| (*name, frame(&|out| record.encode(out)))).collect()
        }
    }
}

fn opened(log: LogKind, bytes: &[u8]) -> Frame<'_> {
    Frame::decode(bytes, SEGMENT_HEADER as u64, Seed::new(STORE, log)).unwrap()
}

/// Decodes a payload and encodes what came out.
fn again(log: LogKind, kind: u8, payload: &[u8]) -> Result<Vec<u8>, Rule> {
    let (mut runs, mut out) = (Vec::new(), Vec::new());
    let frame = Frame { kind, generation: 1, durable_through: 0, payload };
    match log {
        LogKind::Commit => encode_commit(&CommitRecord::decode(&frame)?, &mut out),
        LogKind::Checkpoint => CheckpointRecord::decode(&frame, &mut runs)?.encode(&mut out),
    };
    Ok(out.split_off(LEAD + FRAME_HEADER))
}

#[test]
fn every_commit_record_is_what_the_page_shows_and_comes_back() {
    for ((name, bytes), (_, record)) in frames(LogKind::Commit).iter().zip(commit_records()) {
        let frame = opened(LogKind::Commit, bytes);
        shows(&format!("{name} ({})", frame.kind), frame.payload);
        assert_eq!(CommitRecord::decode(&frame), Ok(record));
    }
}

#[test]
fn each_checkpoint_record_is_as_the_page_shows_and_comes_back() {
    for ((name, bytes), (_, record)) in frames(LogKind::Checkpoint).iter().zip(checkpoint_records()) {
        let frame = opened(LogKind::Checkpoint, bytes);
        shows(&format!("{name} ({})", frame.kind), frame.payload);
        assert_eq!(CheckpointRecord::decode(&frame, &mut Vec::new()), Ok(record));
    }
}

#[test]
fn every_kind_that_is_known_has_an_example() {
    for log in [LogKind::Commit, LogKind::Checkpoint] {
        let frames = frames(log);
        let shown: BTreeSet<u8> = frames.iter().map(|(_, bytes)| opened(log, bytes).kind).collect();
        let known = (0..=u8::MAX).filter(|kind| again(log, *kind, &[]) != Err(Rule::Kind(*kind)));
        assert_eq!(shown, known.collect(), "{}", log.name());
    }
}

#[test]
fn every_policy_is_what_the_page_shows_and_comes_back() {
    for (name, policy) in policies() {
        let mut bytes = Vec::new();
        policy::encode(&policy, &mut bytes);
        shows(name, &bytes);
        let mut fields = Fields(&bytes);
        assert_eq!(policy::decode(&mut fields), Ok(policy), "{name}");
        assert_eq!(fields.end(), Ok(()), "{name}");
    }
}

#[test]
fn the_fixed_structures_are_what_the_page_shows_and_come_back() {
    let identity = Identity { id: STORE, generation: 3 };
    shows("store", &identity.encode());
    assert_eq!(Identity::decode(&identity.encode()), Ok(identity));

    let (log, is_written, created_at) = (LogKind::Checkpoint, true, AT.0);
    let header = SegmentHeader { store: STORE, log, is_written, base: 4096, capacity: 65536, created_at };
    shows("segment header", &header.encode());
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));

    shows("entry", &ENTRY.encode());
    assert_eq!(Entry::decode(&ENTRY.encode()), ENTRY);
    shows("tag hash", &tag_hash(b"paid").to_le_bytes());
    assert_eq!(tag_hash(b""), 0);

    let lease =
        ReceiptLease { store: STORE, generation: 3, group: GROUP, queue: QUEUE, index: QueueIndex(300), delivery: 2 };
    shows("receipt", &lease.encode());
    assert_eq!(ReceiptLease::decode(&lease.encode()), Ok(lease));
    for (at, value) in (0..lease.encode().len()).flat_map(|at| (1..=u8::MAX).map(move |value| (at, value))) {
        let mut bytes = lease.encode();
        bytes[at] ^= value;
        assert_eq!(ReceiptLease::decode(&bytes), Err(Rule::Checksum), "byte {at}");
    }

    for value in VARINTS {
        let mut bytes = Vec::new();
        put(&mut bytes, value);
        shows(&format!("varint {value}"), &bytes);
        assert_eq!(Fields(&bytes).u64(), Ok(value));
    }
}

#[test]
fn a_record_cut_short_is_refused_or_has_a_shorter_body() {
    for log in [LogKind::Commit, LogKind::Checkpoint] {
        for (name, bytes) in frames(log) {
            let Frame { kind, payload, .. } = opened(log, &bytes);
            let body = match CommitRecord::decode(&opened(log, &bytes)) {
                Ok(CommitRecord::Message(message)) if log == LogKind::Commit => message.body.len(),
                _ => 0,
            };
            for len in 0..payload.len() {
                let cut = again(log, kind, &payload[..len]);
                assert_eq!(cut.is_ok(), len >= payload.len() - body, "{name} cut to {len}");
                assert!(cut.is_err() || cut == Ok(payload[..len].to_vec()), "{name} cut to {len}");
            }
        }
    }
}

#[test]
fn a_record_with_a_changed_byte_is_refused_or_another_record() {
    for log in [LogKind::Commit, LogKind::Checkpoint] {
        for (name, bytes) in frames(log) {
            let Frame { kind, payload, .. } = opened(log, &bytes);
            for (at, change) in (0..payload.len()).flat_map(|at| (1..=u8::MAX).map(move |change| (at, change))) {
                let mut changed = payload.to_vec();
                changed[at] ^= change;
                if let Ok(other) = again(log, kind, &changed) {
                    assert_eq!(again(log, kind, &other), Ok(other), "{name}: byte {at} ^ {change}");
                }
            }
        }
    }
}

#[test]
fn the_page_shows_nothing_that_is_not_checked() {
    let mut made: BTreeSet<String> =
        ["store", "segment header", "entry", "tag hash", "receipt"].map(str::to_owned).into();
    for log in [LogKind::Commit, LogKind::Checkpoint] {
        made.extend(frames(log).iter().map(|(name, bytes)| format!("{name} ({})", opened(log, bytes).kind)));
    }
    made.extend(policies().into_iter().map(|(name, _)| name.to_owned()));
    made.extend(VARINTS.map(|value| format!("varint {value}")));
    made.extend(worked::pieces().into_iter().map(|piece| piece.name()));
    assert_eq!(page().into_keys().collect::<BTreeSet<_>>(), made);
}
