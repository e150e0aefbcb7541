//! Stores whose records are written by hand, with right checksums, and what every reader must agree on about them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::disk::{HEADER, change, segments};
use crate::scene::{Scene, copy};
use popstore::inspect::{RecoveryPlan, Snapshot};
use popstore::{Error, GroupOptions, Message, Options, Pop, Store, fuzzing};

/// A field of a record.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// A varint.
    V(u64),
    /// Bytes or a text with their length.
    T(&'a str),
    /// Bytes as they are.
    Raw(&'a [u8]),
}
pub use Field::{Raw, T, V};

pub type Record = Vec<u8>;

/// A frame of generation 1, which proves nothing of itself; its checksum is made right where it is written.
pub fn record(kind: u8, fields: &[Field<'_>]) -> Record {
    let mut payload = Vec::new();
    for field in fields {
        match field {
            V(value) => varint(&mut payload, *value),
            T(text) => {
                varint(&mut payload, text.len() as u64);
                payload.extend_from_slice(text.as_bytes());
            }
            Raw(bytes) => payload.extend_from_slice(bytes),
        }
    }
    let mut frame = vec![0; 21];
    frame[4..8].copy_from_slice(&(21 + payload.len() as u32).to_le_bytes());
    frame[16..20].copy_from_slice(&1_u32.to_le_bytes());
    frame[20] = kind;
    [frame, payload].concat()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn topic(id: u64, queues: u64, name: &str) -> Record {
    record(3, &[V(id), V(queues), T(name)])
}

/// A message of its own of queue 0 or another of a topic.
pub fn message(topic: u64, queue: u64, index: u64) -> Record {
    message_with(topic, queue, index, 0, "")
}

pub fn message_with(topic: u64, queue: u64, index: u64, flags: u64, properties: &str) -> Record {
    let body = format!("{topic}/{queue}/{index}");
    let place = [V(0), V(1_700_000_000_000), V(topic), V(queue), V(index), V(flags)];
    record(2, &[&place[..], &[T(""), T(""), T(properties), Raw(body.as_bytes())]].concat())
}

pub fn group(id: u64, name: &str) -> Record {
    record(2, &[&[V(id), T(name), V(30_000_000), V(17), V(0), V(0)][..], &[V(0); 7]].concat())
}

/// A pop of one message of queue 0 of topic 0 by group 0.
pub fn popped(delivery: u64, queue: u64, index: u64) -> Record {
    let (at, lease) = (V(1_000_000_000_000), V(30_000_000));
    record(5, &[V(0), V(1), at, lease, V(1), V(delivery << 2 | 1), V(0), V(queue), V(index)])
}

/// One topic of a mark, with these extents of its queues.
pub fn mark_topic(id: u64, name: &str, from: u64, extents: &[(u64, u64)]) -> Record {
    let extents: Vec<_> = extents.iter().flat_map(|(first, end)| [V(*first), V(*end), V(0)]).collect();
    let count = extents.len() as u64 / 3;
    record(22, &[&[V(id), T(name), V(from), V(count)], &extents[..]].concat())
}

pub fn mark(commit: u64, topics: u64) -> Record {
    record(23, &[V(commit), V(topics)])
}

/// Where the commit log ends that begins with these records.
pub fn end_of(records: &[Record]) -> u64 {
    (HEADER + records.iter().map(Vec::len).sum::<usize>()) as u64
}

/// A store of generation 1 that was not closed, with these logs.
pub struct Forged {
    scene: Scene,
}

pub fn forge(commit: &[Record], checkpoint: &[Record]) -> Forged {
    let mut scene = Scene::new();
    scene.die(|dir| {
        let opened = [record(24, &[V(1), V(1_000_000_000_000), V(0)])];
        write(dir, "commit", commit);
        write(dir, "checkpoint", &[&opened, checkpoint].concat());
    });
    Forged { scene }
}

/// A store in a directory, as it is.
pub fn found(scene: Scene) -> Forged {
    Forged { scene }
}

/// Writes records one behind the other as a whole log.
pub fn write(dir: &Path, log: &str, records: &[Record]) {
    let files = segments(dir, log);
    files[1..].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    change(&files[0], |bytes| {
        bytes.truncate(HEADER);
        records.iter().for_each(|record| bytes.extend_from_slice(record));
        let mut at = HEADER;
        for record in records {
            fuzzing::repair(bytes, at);
            at += record.len();
        }
        let capacity = u64::from_le_bytes(bytes[40..48].try_into().unwrap());
        assert!(at as u64 <= capacity, "the records do not fit into the segment");
    });
}

/// What was found of a store.
#[derive(Debug)]
pub struct Judged {
    pub refused: Option<String>,
    pub faults: Vec<String>,
    /// Bodies.
    pub popped: BTreeSet<String>,
    pub salvaged: BTreeSet<String>,
}

impl Forged {
    pub fn dir(&self) -> &Path {
        &self.scene.path
    }

    /// Asks every reader, and holds their answers against each other.
    pub fn judge(&self) -> Judged {
        let mut faults = Vec::new();
        let snapshot = Snapshot::open(self.dir()).unwrap();
        // No queue has its files, as any store may be found: opening makes them again.
        let is_record = |fault: &popstore::inspect::Fault| !fault.path.starts_with(self.dir().join("queues"));
        snapshot.verify(|_, _| {}, |fault| faults.extend(is_record(fault).then(|| fault.to_string()))).unwrap();
        let plan = RecoveryPlan::read_for(self.dir(), &self.scene.options).unwrap();
        let (salvaged, told) = self.salvage(&snapshot);
        let copied = tempfile::tempdir().unwrap();
        copy(self.dir(), copied.path());
        let opened = self.scene.options.clone().open(copied.path());
        let refused = opened.as_ref().err().map(ToString::to_string);
        assert_eq!(plan.refused.is_some(), refused.is_some(), "the plan is not what opening does: {refused:?}");
        let popped = match opened.map(|store| pop_all(&store)) {
            Ok(Err(error)) if faults.is_empty() => panic!("called sound, yet {error}"),
            Ok(Ok(popped)) => popped,
            // Damage before the mark is reported where it is met.
            Ok(Err(_)) | Err(_) => BTreeSet::new(),
        };
        if let Some(refused) = &refused {
            assert!(!faults.is_empty(), "refused, yet called sound: {refused}");
        }
        let bodies = bodies_in(self.dir());
        if faults.is_empty() {
            assert_eq!(popped, bodies, "called sound, yet this is delivered, of what lies there");
        }
        assert!(salvaged == bodies || told, "salvage lost some of {bodies:?} without a word: {salvaged:?}");
        Judged { refused, faults, popped, salvaged }
    }

    /// The bodies in a fresh store, and whether salvage said that something is wrong.
    fn salvage(&self, snapshot: &Snapshot) -> (BTreeSet<String>, bool) {
        let home = tempfile::tempdir().unwrap();
        let fresh = home.path().join("fresh");
        let done = snapshot.salvage(&fresh, |_, _| {}).unwrap();
        let told = !(snapshot.faults().is_empty() && done.faults.is_empty() && done.lost.is_empty());
        let store = self.scene.options.clone().open(&fresh).unwrap();
        (pop_all(&store).unwrap(), told)
    }
}

/// The bodies of the messages that lie in the commit log, whatever is said of them.
fn bodies_in(dir: &Path) -> BTreeSet<String> {
    let frames = crate::disk::frames_of(dir, "commit", crate::disk::MESSAGE);
    frames.into_iter().filter_map(|frame| body(&frame.bytes()[21..])).collect()
}

/// The body of a message, if its fields can be read.
fn body(mut payload: &[u8]) -> Option<String> {
    let value = |bytes: &mut &[u8]| {
        let len = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let (front, rest) = bytes.split_at(len);
        *bytes = rest;
        Some(front.iter().rev().fold(0_u128, |value, byte| value << 7 | u128::from(byte & 0x7f)) as u64)
    };
    let place: Vec<u64> = (0..6).map(|_| value(&mut payload)).collect::<Option<_>>()?;
    let flags = place[5];
    let skipped = if flags & 8 != 0 { 8 } else { 0 };
    (0..skipped).try_for_each(|_| value(&mut payload).map(drop))?;
    let texts = 3 + (flags & 6).count_ones();
    for _ in 0..texts {
        let len = usize::try_from(value(&mut payload)?).ok()?;
        payload = payload.get(len..)?;
    }
    Some(String::from_utf8_lossy(payload).into_owned())
}

/// What a new group gets of all topics, each a few times to have been in all queues.
fn pop_all(store: &Store) -> popstore::Result<BTreeSet<String>> {
    let group = store.create_group("everything", GroupOptions::default()).unwrap();
    let mut bodies = BTreeSet::new();
    for topic in store.stats().unwrap().topics {
        loop {
            let deliveries = group.pop(&topic.name, Pop::up_to(64))?;
            if deliveries.is_empty() {
                break;
            }
            bodies.extend(deliveries.iter().map(|it| String::from_utf8_lossy(it.body()).into_owned()));
        }
    }
    // And it goes on.
    match store.append("another", Message::new("new")) {
        Err(error) if !matches!(error, Error::Invalid { .. }) => Err(error),
        _ => Ok(bodies),
    }
}

/// The options of the forged stores.
pub fn options(forged: &Forged) -> Options {
    forged.scene.options.clone()
}

/// The clock of a forged store moves on.
pub fn advance(forged: &Forged, by: std::time::Duration) {
    forged.scene.clock.advance(by);
}
