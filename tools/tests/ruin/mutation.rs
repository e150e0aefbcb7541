//! What can be done to the files of a store.

use std::path::PathBuf;

use popstore::fuzzing;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::Files;
use super::records::{Edit, border, edit};

/// One damage. Files and places are taken modulo what there is; `repaired` makes the checksum right of the record, or
/// the header, that was hit, so that what lies behind the checksum is reached.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Flip {
        file: u8,
        at: u32,
        bit: u8,
        repaired: bool,
    },
    Overwrite {
        file: u8,
        at: u32,
        with: Vec<u8>,
        repaired: bool,
    },
    Truncate {
        file: u8,
        len: u32,
    },
    Extend {
        file: u8,
        by: u16,
        with: u8,
    },
    Swap {
        file: u8,
        other: u8,
    },
    Copy {
        file: u8,
        over: u8,
    },
    Duplicate {
        file: u8,
        named: u64,
    },
    Delete {
        file: u8,
    },
    /// A segment's records are changed, and its checksums are right.
    Records {
        file: u8,
        edits: Vec<Edit>,
    },
    /// A field of a segment's header is changed, and all checksums are right.
    Header {
        file: u8,
        at: u8,
        value: u64,
    },
    /// So many MiB of nothing behind a file.
    Sparse {
        file: u8,
        mib: u8,
    },
    /// Something else than a file under its name.
    Replace {
        file: u8,
        by: Thing,
    },
}

/// What can lie in a file's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Thing {
    Directory,
    /// A link to a file outside of the store, which must stay as it is.
    LinkOutside,
    /// A link to a file that is not there.
    LinkNowhere,
    /// A link to the file itself, which has another name.
    LinkInside,
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    let file = any::<u8>;
    // Most of what a file holds lies at its front.
    let at = || prop_oneof![1 => 0..64_u32, 2 => 0..1024_u32, 2 => 0..5000_u32];
    let edge = prop_oneof![Just(0_u64), Just(1), Just(u64::MAX), Just(u64::MAX / 64), Just(1 << 40), 0..5000_u64];
    let number = edge.prop_flat_map(|number| {
        prop_oneof![
            Just(vec![number as u8]),
            Just((number as u32).to_le_bytes().to_vec()),
            Just(number.to_le_bytes().to_vec())
        ]
    });
    let with = prop_oneof![3 => number, 1 => vec(any::<u8>(), 1..24)];
    let repaired = || proptest::bool::weighted(0.8);
    let named = prop_oneof![0..10_u64, Just(u64::MAX), any::<u64>()].prop_map(|n| n.saturating_mul(4096));
    // Version, log, half of the store's id, base, capacity.
    let header = select(vec![8_u8, 12, 16, 32, 40]);
    let thing = select(vec![Thing::Directory, Thing::LinkOutside, Thing::LinkNowhere, Thing::LinkInside]);
    prop_oneof![
        6 => (file(), at(), 0..8_u8, repaired()).prop_map(|(file, at, bit, repaired)| Mutation::Flip { file, at, bit, repaired }),
        8 => (file(), at(), with, repaired()).prop_map(|(file, at, with, repaired)| Mutation::Overwrite { file, at, with, repaired }),
        1 => (file(), at()).prop_map(|(file, len)| Mutation::Truncate { file, len }),
        1 => (file(), any::<u16>(), prop_oneof![Just(0), any::<u8>()]).prop_map(|(file, by, with)| Mutation::Extend { file, by, with }),
        1 => (file(), file()).prop_map(|(file, other)| Mutation::Swap { file, other }),
        1 => (file(), file()).prop_map(|(file, over)| Mutation::Copy { file, over }),
        1 => (file(), named).prop_map(|(file, named)| Mutation::Duplicate { file, named }),
        1 => file().prop_map(|file| Mutation::Delete { file }),
        30 => (file(), vec(edit(), 1..4)).prop_map(|(file, edits)| Mutation::Records { file, edits }),
        2 => (file(), header, border()).prop_map(|(file, at, value)| Mutation::Header { file, at, value }),
        1 => (file(), 1..9_u8).prop_map(|(file, mib)| Mutation::Sparse { file, mib }),
        2 => (file(), thing).prop_map(|(file, by)| Mutation::Replace { file, by }),
    ]
}

impl Mutation {
    /// Whether everything that a checksum covers still fits it, though it may be untrue.
    pub(crate) fn lies(&self) -> bool {
        let repaired = matches!(self, Self::Flip { repaired: true, .. } | Self::Overwrite { repaired: true, .. });
        repaired || matches!(self, Self::Records { .. } | Self::Header { .. })
    }

    /// What is to lie in place of which of so many files.
    pub(crate) fn replaces(&self, files: usize) -> Option<(usize, Thing)> {
        match self {
            Self::Replace { file, by } => Some((usize::from(*file) % files.max(1), *by)),
            _ => None,
        }
    }

    pub(crate) fn apply(&self, files: &mut Files) {
        let Some(paths) = Some(files.keys().cloned().collect::<Vec<PathBuf>>()).filter(|paths| !paths.is_empty())
        else {
            return;
        };
        let path = |file: u8| &paths[usize::from(file) % paths.len()];
        match *self {
            Self::Flip { file, at, bit, repaired } => {
                hit(files.get_mut(path(file)).unwrap(), at, repaired, |bytes| bytes[0] ^= 1 << bit);
            }
            Self::Overwrite { file, at, ref with, repaired } => {
                hit(files.get_mut(path(file)).unwrap(), at, repaired, |bytes| {
                    let len = with.len().min(bytes.len());
                    bytes[..len].copy_from_slice(&with[..len]);
                })
            }
            Self::Truncate { file, len } => files.get_mut(path(file)).unwrap().truncate(len as usize),
            Self::Extend { file, by, with } => {
                let bytes = files.get_mut(path(file)).unwrap();
                bytes.resize(bytes.len() + usize::from(by), with);
            }
            Self::Swap { file, other } => {
                let [one, two] = [file, other].map(|file| files[path(file)].clone());
                files.extend([(path(file).clone(), two), (path(other).clone(), one)]);
            }
            Self::Copy { file, over } => drop(files.insert(path(over).clone(), files[path(file)].clone())),
            Self::Duplicate { file, named } => {
                let path = path(file);
                let to = path.with_file_name(format!("{named:020}"));
                files.insert(to, files[path].clone());
            }
            Self::Delete { file } => drop(files.remove(path(file))),
            Self::Records { file, ref edits } => {
                // Most files have no records: the next one that has some.
                let order = paths.iter().cycle().skip(usize::from(file) % paths.len()).take(paths.len());
                for path in order {
                    let Some(mut records) = fuzzing::records(&files[path]).filter(|records| !records.is_empty()) else {
                        continue;
                    };
                    edits.iter().for_each(|edit| edit.apply(&mut records));
                    let changed = fuzzing::with_records(&files[path], &records).expect("it has a header");
                    files.insert(path.clone(), changed);
                    break;
                }
            }
            Self::Header { file, at, value } => {
                let path = path(file);
                if let Some(changed) = fuzzing::with_header_field(&files[path], usize::from(at), value) {
                    files.insert(path.clone(), changed);
                }
            }
            Self::Sparse { file, mib } => {
                let bytes = files.get_mut(path(file)).unwrap();
                bytes.resize(bytes.len() + (usize::from(mib) << 20), 0);
            }
            // When they are written.
            Self::Replace { .. } => {}
        }
    }
}

/// Changes the bytes at a place of a file.
fn hit(file: &mut [u8], at: u32, repaired: bool, change: impl FnOnce(&mut [u8])) {
    let at = at as usize % file.len().max(1);
    if file.is_empty() {
        return;
    }
    let checked = fuzzing::checked_at(file, at).filter(|_| repaired);
    change(&mut file[at..]);
    if let Some(start) = checked {
        fuzzing::repair(file, start);
    }
}
