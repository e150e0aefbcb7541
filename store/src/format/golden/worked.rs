//! The worked example: a batch, the end of its segment, and the beginning of the next.

use popstore_revive::{QueueId, QueueIndex, TopicId};

use super::values::{AT, STORE};
use super::{encode_commit, sealed, shows};
use crate::format::Rule;
use crate::format::commit::{CommitRecord, MessageRecord, TopicRecord};
use crate::format::frame::{END_FRAME, Frame, LogKind, Seed};
use crate::format::header::{SEGMENT_HEADER, SegmentHeader};

const CAPACITY: u64 = 256;
const TOPIC: CommitRecord<'static> = CommitRecord::Topic(TopicRecord { topic: TopicId(1), queues: 1, name: "orders" });

/// Some bytes of the log and what they are.
pub(super) struct Piece {
    at: u64,
    what: &'static str,
    bytes: Vec<u8>,
}

impl Piece {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.at, self.what)
    }

    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn header(base: u64) -> Self {
        let (log, is_written, created_at) = (LogKind::Commit, true, AT.0);
        let header = SegmentHeader { store: STORE, log, is_written, base, capacity: CAPACITY, created_at };
        Self { at: base, what: "segment header", bytes: header.encode().into() }
    }

    fn frame(what: &'static str, at: u64, durable: u64, record: &CommitRecord<'_>) -> Self {
        Self { at, what, bytes: sealed(LogKind::Commit, at, durable, |out| encode_commit(record, out)) }
    }
}

fn message(rest: u32, index: u64, body: &'static str) -> CommitRecord<'static> {
    let queue = QueueId { topic: TopicId(1), queue: 0 };
    let (appended_at, index, body) = (AT, QueueIndex(index), body.as_bytes());
    let (relocated, settlement) = (false, None);
    let (key, tag, properties) = (b"42".as_slice(), "paid", b"".as_slice());
    CommitRecord::Message(MessageRecord {
        rest,
        appended_at,
        queue,
        index,
        relocated,
        settlement,
        key,
        tag,
        properties,
        body,
    })
}

/// Two segments of a log under `Durability::SyncEach`: each call syncs before the next appends.
pub(super) fn pieces() -> Vec<Piece> {
    let mut pieces = vec![Piece::header(0)];
    let mut push = |what, durable, record: &CommitRecord<'_>| {
        let at = pieces.last().map_or(0, Piece::end);
        pieces.push(Piece::frame(what, at, durable, record));
        pieces.last().map_or(0, Piece::end)
    };
    let opened = SEGMENT_HEADER as u64;
    push("Topic", opened, &TOPIC);
    push("Message, one more follows", opened, &message(1, 0, "hello"));
    let synced = push("Message, the last of the batch", opened, &message(0, 1, "world"));
    push("End", synced, &CommitRecord::End);
    pieces.push(Piece::header(CAPACITY));
    let at = CAPACITY + opened;
    pieces.push(Piece::frame("Topic", at, synced, &TOPIC));
    let at = pieces.last().map_or(0, Piece::end);
    pieces.push(Piece::frame("Message", at, synced, &message(0, 2, "a longer body")));
    pieces
}

#[test]
fn the_worked_example_is_what_the_page_shows() {
    for piece in pieces() {
        shows(&piece.name(), &piece.bytes);
    }
}

#[test]
fn the_worked_example_reads_back_across_a_segments_end() {
    let (pieces, mut log) = (pieces(), vec![0; 2 * CAPACITY as usize]);
    for piece in &pieces {
        log[piece.at as usize..piece.end() as usize].copy_from_slice(&piece.bytes);
    }
    let mut read = Vec::new();
    for base in [0, CAPACITY] {
        let segment = &log[base as usize..(base + CAPACITY) as usize];
        assert_eq!(SegmentHeader::decode(segment).map(|header| header.base), Ok(base));
        read.push(base);
        let mut at = SEGMENT_HEADER;
        let rule = loop {
            let position = base + at as u64;
            match Frame::decode(&segment[at..], position, Seed::new(STORE, LogKind::Commit)) {
                Ok(frame) => {
                    assert!(frame.durable_through <= position);
                    assert!(CommitRecord::decode(&frame).is_ok());
                    read.push(position);
                    at += frame.len();
                }
                Err(rule) => break rule,
            }
        };
        assert_eq!(rule, Rule::Empty);
    }
    assert_eq!(read, pieces.iter().map(|piece| piece.at).collect::<Vec<_>>());
}

#[test]
fn the_worked_example_rolls_for_want_of_room_for_an_end_frame() {
    let pieces = pieces();
    let (synced, third) = (pieces[3].end(), pieces[7].bytes.len() as u64);
    assert!(synced + third + END_FRAME as u64 > CAPACITY);
}
