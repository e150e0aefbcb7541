//! What can be done to the records of a segment, so that every checksum and length is right afterwards.

use std::path::Path;
use std::sync::LazyLock;

use popstore::fuzzing::{self, Record};
use proptest::prelude::*;
use proptest::sample::select;

/// One change of a list of records. Places are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// A number in a record becomes another one.
    Number {
        record: u16,
        field: u8,
        value: u64,
    },
    /// A number takes more bytes than it needs.
    Lengthen {
        record: u16,
        field: u8,
        by: u8,
    },
    /// A number moves by the same in every record of that kind from one on.
    Renumber {
        from: u16,
        field: u8,
        by: u64,
    },
    /// Bytes come in between, or some are taken out.
    Splice {
        record: u16,
        at: u16,
        out: u8,
        with: Vec<u8>,
    },
    /// A name becomes another one.
    Rename {
        record: u16,
        name: &'static str,
    },
    /// A record of another kind, with the same payload.
    Kind {
        record: u16,
        kind: u8,
    },
    Generation {
        record: u16,
        value: u32,
    },
    Remove {
        record: u16,
        records: u8,
    },
    Duplicate {
        record: u16,
        to: u16,
        times: u8,
    },
    Swap {
        record: u16,
        other: u16,
    },
    /// An example of `FORMAT.md` comes in.
    Insert {
        at: u16,
        example: u8,
    },
}

/// Numbers at which something ends.
pub(crate) fn border() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..5_u64,
        2 => 0..5000_u64,
        2 => select(vec![1024, 1025, u64::from(u32::MAX), u64::from(u32::MAX) - 1, 1 << 32, 1 << 36, 1 << 40]),
        2 => select(vec![u64::MAX, u64::MAX - 1, u64::MAX / 64, 1 << 63, (1 << 63) - 1]),
        1 => any::<u64>(),
    ]
}

const NAMES: [&str; 9] = ["", "orders", "mails", "billing", "%DLQ%billing", "\u{1b}[2J", "a b", "..", "\u{61c}\u{9b}"];

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    // Most records that matter are among the first, and a record has few fields.
    let record = || prop_oneof![2 => 0..8_u16, 3 => any::<u16>()];
    let field = || 0..12_u8;
    let by = prop_oneof![1..4_u64, Just(u64::MAX), Just(64), border()];
    let with = proptest::collection::vec(any::<u8>(), 0..12);
    prop_oneof![
        10 => (record(), field(), border()).prop_map(|(record, field, value)| Edit::Number { record, field, value }),
        2 => (record(), field(), 1..9_u8).prop_map(|(record, field, by)| Edit::Lengthen { record, field, by }),
        4 => (record(), field(), by).prop_map(|(from, field, by)| Edit::Renumber { from, field, by }),
        2 => (record(), 0..40_u16, 0..4_u8, with).prop_map(|(record, at, out, with)| Edit::Splice { record, at, out, with }),
        2 => (record(), select(&NAMES[..])).prop_map(|(record, name)| Edit::Rename { record, name }),
        1 => (record(), 0..28_u8).prop_map(|(record, kind)| Edit::Kind { record, kind }),
        1 => (record(), 0..6_u32).prop_map(|(record, value)| Edit::Generation { record, value }),
        4 => (record(), 1..6_u8).prop_map(|(record, records)| Edit::Remove { record, records }),
        3 => (record(), record(), 1..4_u8).prop_map(|(record, to, times)| Edit::Duplicate { record, to, times }),
        3 => (record(), record()).prop_map(|(record, other)| Edit::Swap { record, other }),
        4 => (record(), any::<u8>()).prop_map(|(at, example)| Edit::Insert { at, example }),
    ]
}

/// The records of the examples, of both logs.
fn examples() -> &'static [Record] {
    static EXAMPLES: LazyLock<Vec<Record>> = LazyLock::new(|| {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/decode");
        let mut seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().map(|seed| seed.unwrap().path()).collect();
        seeds.sort();
        let frame = |bytes: Vec<u8>| Record {
            kind: bytes[20],
            generation: 1,
            durable_through: 0,
            payload: bytes[21..].to_vec(),
        };
        let named = |part: &str| !part.ends_with("-header");
        let frames = seeds.iter().filter(|path| named(path.to_str().unwrap()));
        frames.map(|path| frame(std::fs::read(path).unwrap())).collect()
    });
    &EXAMPLES
}

impl Edit {
    /// Changes the records. Nothing happens where there is nothing of the kind.
    pub(crate) fn apply(&self, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let len = records.len();
        let place = |record: u16| usize::from(record) % len;
        match *self {
            Self::Number { record, field, value } => {
                put_number(&mut records[place(record)], field, |_| fuzzing::number(value));
            }
            Self::Lengthen { record, field, by } => {
                put_number(&mut records[place(record)], field, |value| lengthened(value, by));
            }
            Self::Renumber { from, field, by } => {
                let kind = records[place(from)].kind;
                let of_kind = records[place(from)..].iter_mut().filter(|record| record.kind == kind);
                of_kind.for_each(|record| {
                    put_number(record, field, |value| fuzzing::number(value.wrapping_add(by)));
                });
            }
            Self::Splice { record, at, out, ref with } => {
                let payload = &mut records[place(record)].payload;
                let at = usize::from(at) % (payload.len() + 1);
                let end = (at + usize::from(out)).min(payload.len());
                payload.splice(at..end, with.iter().copied());
            }
            Self::Rename { record, name } => rename(&mut records[place(record)].payload, name),
            Self::Kind { record, kind } => records[place(record)].kind = kind.max(1),
            Self::Generation { record, value } => records[place(record)].generation = value,
            Self::Remove { record, records: gone } => {
                let from = place(record);
                records.drain(from..(from + usize::from(gone)).min(len));
            }
            Self::Duplicate { record, to, times } => {
                let copies = vec![records[place(record)].clone(); usize::from(times)];
                let to = usize::from(to) % (len + 1);
                records.splice(to..to, copies);
            }
            Self::Swap { record, other } => records.swap(place(record), place(other)),
            Self::Insert { at, example } => {
                let mut record = examples()[usize::from(example) % examples().len()].clone();
                record.generation = records[place(at)].generation;
                records.insert(place(at), record);
            }
        }
    }
}

fn put_number(record: &mut Record, field: u8, make: impl FnOnce(u64) -> Vec<u8>) {
    let numbers = fuzzing::numbers(&record.payload);
    if let Some((range, value)) = numbers.get(usize::from(field) % numbers.len().max(1)) {
        record.payload.splice(range.clone(), make(*value));
    }
}

/// The same value in more bytes, which no reader may take.
fn lengthened(value: u64, by: u8) -> Vec<u8> {
    let mut bytes = fuzzing::number(value);
    *bytes.last_mut().unwrap() |= 0x80;
    bytes.resize(bytes.len() + usize::from(by) - 1, 0x80);
    bytes.push(0);
    bytes
}

/// Gives the first name of the store that is found in a payload, behind its length, another text.
fn rename(payload: &mut Vec<u8>, name: &str) {
    let known = ["%DLQ%billing", "%DLQ%audit", "orders", "mails", "billing", "audit"];
    let prefixed = |name: &str| [&[name.len() as u8][..], name.as_bytes()].concat();
    let found = known.into_iter().find_map(|known| {
        let known = prefixed(known);
        let at = payload.windows(known.len()).position(|window| window == known)?;
        Some(at..at + known.len())
    });
    if let Some(range) = found {
        payload.splice(range, prefixed(name));
    }
}
