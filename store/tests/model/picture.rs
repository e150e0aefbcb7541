//! The disk at one moment, and what a crash at that moment may leave of it: each sector, length and name old or new.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::luck::Luck;
use crate::op::Sectors;
use crate::tree::Tree;

const SECTOR: usize = 512;
/// How many states of a file between two syncs are told apart.
const VERSIONS_MAX: usize = 6;

pub type Id = u32;
pub const ROOT: Id = 0;

#[derive(Clone, Debug)]
pub enum Inode {
    Dir {
        durable: BTreeMap<String, Id>,
        pending: Vec<Naming>,
    },
    /// What it held at its last sync, and at some moments since.
    File {
        versions: Vec<Arc<[u8]>>,
    },
}

#[derive(Clone, Debug)]
pub enum Naming {
    Add(String, Id),
    Rename(String, String, Id),
    Remove(String),
}

/// The disk at one moment, with all that was not synced.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub inodes: BTreeMap<Id, Inode>,
}

impl Inode {
    pub fn settle_names(&mut self) {
        if let Self::Dir { durable, pending } = self {
            std::mem::take(pending).iter().for_each(|naming| naming.apply(durable));
        }
    }

    /// The sectors of that part of the file are durable as they are, and all others as before.
    pub fn settle_range(&mut self, bytes: Vec<u8>, part: Range<usize>) {
        self.look(bytes);
        let Self::File { versions } = self else { return };
        let now = Arc::clone(versions.last().unwrap());
        let sectors = part.start / SECTOR * SECTOR..part.end.next_multiple_of(SECTOR).min(now.len());
        for version in versions {
            let mut bytes = version.to_vec();
            bytes.resize(bytes.len().max(sectors.end), 0);
            bytes[sectors.clone()].copy_from_slice(&now[sectors.clone()]);
            *version = bytes.into();
        }
    }

    /// The file holds this now.
    pub fn look(&mut self, bytes: Vec<u8>) {
        let Self::File { versions } = self else { return };
        if versions.last().is_none_or(|last| **last != *bytes) {
            if versions.len() >= VERSIONS_MAX {
                versions.remove(1);
            }
            versions.push(bytes.into());
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Self::Add(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl Picture {
    /// What a crash at this moment leaves.
    pub fn tree(&self, sectors: Sectors) -> Tree {
        self.tree_by(&mut Luck::new(sectors))
    }

    /// What it leaves as this luck decides.
    pub fn tree_by(&self, luck: &mut Luck) -> Tree {
        let mut tree = Tree::default();
        self.grow(ROOT, Path::new(""), luck, &mut tree);
        tree
    }

    /// All names there are, synced or not.
    pub fn walk(&self, id: Id, at: &Path, visit: &mut impl FnMut(&Path, Id)) {
        visit(at, id);
        let Inode::Dir { durable, pending } = &self.inodes[&id] else { return };
        let mut names = durable.clone();
        pending.iter().for_each(|naming| naming.apply(&mut names));
        names.iter().for_each(|(name, id)| self.walk(*id, &at.join(name), visit));
    }

    fn grow(&self, dir: Id, at: &Path, luck: &mut Luck, tree: &mut Tree) {
        let Inode::Dir { durable, pending } = &self.inodes[&dir] else { return };
        let mut names = durable.clone();
        for naming in pending {
            if luck.pick(2) > 0 {
                naming.apply(&mut names);
            }
        }
        for (name, id) in names {
            let path = at.join(name);
            match &self.inodes[&id] {
                Inode::Dir { .. } => {
                    tree.files.insert(path.clone(), None);
                    self.grow(id, &path, luck, tree);
                }
                Inode::File { versions } => drop(tree.files.insert(path, Some(torn(versions, luck)))),
            }
        }
    }
}

/// A file of which each sector and the length come from any of its versions.
fn torn(versions: &[Arc<[u8]>], luck: &mut Luck) -> Vec<u8> {
    let len = versions[luck.pick(versions.len())].len();
    let mut bytes = vec![0; len];
    for (at, sector) in bytes.chunks_mut(SECTOR).enumerate() {
        let of = |version: &Arc<[u8]>| {
            let mut own = [0; SECTOR];
            let from = version.get(at * SECTOR..).unwrap_or_default();
            let len = from.len().min(SECTOR);
            own[..len].copy_from_slice(&from[..len]);
            own
        };
        let mut choices: Vec<[u8; SECTOR]> = versions.iter().map(of).collect();
        choices.dedup();
        let chosen = choices[luck.pick(choices.len())];
        sector.copy_from_slice(&chosen[..sector.len()]);
    }
    bytes
}
