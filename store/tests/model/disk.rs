//! The store's hook: it sees every change of the disk, and knows for every file what it held when it was synced last,
//! and for every directory which names were there then.
//!
//! Assumed, as the store does: a successful sync is durable, and writing a sector does not change others. But a page whose
//! blocks were never written, and of which a sync failed, reaches the disk no more, whatever syncs of it say afterwards
//! (`blocks`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use popstore::{Event, Hook};

use crate::blocks::Blocks;
use crate::picture::{Id, Inode, Naming, Picture, ROOT};
use crate::tree::Tree;

/// Sees every change of a store's directory, and takes pictures.
pub struct Recorder {
    root: PathBuf,
    state: Mutex<Observed>,
}

#[derive(Default)]
struct Observed {
    inodes: BTreeMap<Id, Inode>,
    names: BTreeMap<PathBuf, Id>,
    blocks: BTreeMap<Id, Blocks>,
    /// The next sync of a segment of that log fails.
    fails: Option<&'static str>,
    /// Seam calls until a picture is taken; each has a before and an after.
    shot_in: Option<u64>,
    shot: Option<Picture>,
    /// Every picture, each with the number of the step it was taken in.
    film: Option<Vec<(usize, Picture)>>,
    step: usize,
}

impl Recorder {
    /// Everything in the directory counts as durable.
    pub fn new(root: &Path) -> Arc<Self> {
        let mut state = Observed::default();
        state.names.insert(root.to_path_buf(), ROOT);
        state.inodes.insert(ROOT, Inode::Dir { durable: BTreeMap::new(), pending: Vec::new() });
        for (path, bytes) in Tree::read(root).files {
            let path = root.join(path);
            let inode = match bytes {
                Some(bytes) => Inode::File { versions: vec![bytes.into()] },
                None => Inode::Dir { durable: BTreeMap::new(), pending: Vec::new() },
            };
            state.add(&path, inode);
        }
        for inode in state.inodes.values_mut() {
            inode.settle_names();
        }
        Arc::new(Self { root: root.to_path_buf(), state: Mutex::new(state) })
    }

    /// Goes on from a picture that was planted in this directory as a killed process left it: what was not synced
    /// before still is not.
    pub fn resume(root: &Path, picture: &Picture) -> Arc<Self> {
        let mut state = Observed { inodes: picture.inodes.clone(), ..Observed::default() };
        picture.walk(ROOT, root, &mut |path, id| {
            state.names.insert(path.to_path_buf(), id);
        });
        Arc::new(Self { root: root.to_path_buf(), state: Mutex::new(state) })
    }

    /// Takes a picture at the seam call number `calls` from now.
    pub fn shoot_in(&self, calls: u64) {
        self.state().shot_in = Some(calls);
    }

    /// The next sync of a segment of that log fails.
    pub fn fail_a_sync_of(&self, log: &'static str) {
        self.state().fails = Some(log);
    }

    /// Whether it did.
    pub fn has_failed(&self) -> bool {
        self.state().fails.is_none()
    }

    /// The picture, if its moment has come.
    pub fn shot(&self) -> Option<Picture> {
        self.state().shot.take()
    }

    /// Takes a picture at every seam call from now on.
    pub fn film(&self) {
        self.state().film = Some(Vec::new());
    }

    pub fn set_step(&self, step: usize) {
        self.state().step = step;
    }

    pub fn end_film(&self) -> Vec<(usize, Picture)> {
        self.state().film.take().unwrap_or_default()
    }

    /// A picture now.
    pub fn picture(&self) -> Picture {
        let mut state = self.state();
        state.look();
        Picture { inodes: state.inodes.clone() }
    }

    /// Notes what the files hold now, as something that may have reached the disk.
    pub fn look(&self) {
        self.state().look();
    }

    fn state(&self) -> MutexGuard<'_, Observed> {
        self.state.lock().unwrap()
    }
}

impl Hook for Recorder {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        if changes_nothing(event) {
            return Ok(());
        }
        let mut state = self.state();
        if let Event::SyncFile(path) | Event::SyncRange { path, .. } = event
            && state.fails.is_some_and(|log| path.parent().is_some_and(|dir| dir.ends_with(log)))
            && path.extension().is_none()
        {
            state.fails = None;
            state.sync_failed(path);
            return Err(io::ErrorKind::Other.into());
        }
        state.tick();
        // What loses its name keeps its bytes until the directory is synced.
        match event {
            Event::Remove(path) => state.look_at(path),
            Event::Rename { from, to } => [from, to].into_iter().for_each(|path| state.look_at(path)),
            Event::Create(path) => state.look_at(path),
            _ => {}
        }
        Ok(())
    }

    fn after(&self, event: &Event<'_>) {
        if changes_nothing(event) {
            return;
        }
        let mut state = self.state();
        match *event {
            Event::Create(path) => {
                let missing: Vec<&Path> =
                    path.ancestors().take_while(|at| *at != self.root && !state.names.contains_key(*at)).collect();
                for path in missing.into_iter().rev() {
                    let inode = match path.is_dir() {
                        true => Inode::Dir { durable: BTreeMap::new(), pending: Vec::new() },
                        false => Inode::File { versions: vec![Arc::default()] },
                    };
                    state.add(path, inode);
                }
            }
            Event::SyncFile(path) => {
                let (id, bytes) = state.reaches_the_disk(path);
                state.blocks.entry(id).or_default().synced(0..bytes.len());
                state.inodes.insert(id, Inode::File { versions: vec![bytes.into()] });
            }
            Event::SyncRange { path, at, len } => {
                let (id, bytes) = state.reaches_the_disk(path);
                let part = at as usize..at as usize + len;
                state.blocks.entry(id).or_default().synced(part.clone());
                state.inodes.get_mut(&id).unwrap().settle_range(bytes, part);
            }
            Event::Write { path, at, len } | Event::Room { path, at, len } => {
                state.of(path).written(at as usize..at as usize + len);
            }
            Event::Space { path, at, len, afresh: true } => state.of(path).made_afresh(at as usize..at as usize + len),
            Event::SyncDir(path) => {
                // What lies above the scene is not ours to lose.
                let Some(id) = state.names.get(path).copied() else { return };
                state.inodes.get_mut(&id).unwrap().settle_names();
            }
            Event::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "renamed into another directory");
                let id = state.names.remove(from).unwrap();
                state.names.insert(to.to_path_buf(), id);
                state.pend(from, Naming::Rename(name(from), name(to), id));
            }
            Event::Remove(path) => {
                state.names.remove(path);
                state.pend(path, Naming::Remove(name(path)));
            }
            _ => {}
        }
        state.tick();
    }
}

impl Observed {
    fn tick(&mut self) {
        let due = match self.shot_in {
            Some(0) => true,
            Some(calls) => {
                self.shot_in = Some(calls - 1);
                false
            }
            None => false,
        };
        if !due && self.film.is_none() {
            return;
        }
        self.look();
        let picture = Picture { inodes: self.inodes.clone() };
        if due {
            self.shot_in = None;
            self.shot = Some(picture.clone());
        }
        let step = self.step;
        if let Some(film) = &mut self.film {
            film.push((step, picture));
        }
    }

    fn look(&mut self) {
        let paths: Vec<PathBuf> = self.names.keys().cloned().collect();
        paths.iter().for_each(|path| self.look_at(path));
    }

    fn look_at(&mut self, path: &Path) {
        if let Some(id) = self.names.get(path)
            && matches!(self.inodes[id], Inode::File { .. })
        {
            let (id, bytes) = self.reaches_the_disk(path);
            self.inodes.get_mut(&id).unwrap().look(bytes);
        }
    }

    fn of(&mut self, path: &Path) -> &mut Blocks {
        self.blocks.entry(self.names[path]).or_default()
    }

    /// What of a file can be on the disk once it is synced.
    fn reaches_the_disk(&self, path: &Path) -> (Id, Vec<u8>) {
        let id = self.names[path];
        let mut bytes = std::fs::read(path).unwrap();
        if let Some(blocks) = self.blocks.get(&id) {
            blocks.hold_back(&mut bytes);
        }
        (id, bytes)
    }

    fn sync_failed(&mut self, path: &Path) {
        let (id, now) = self.reaches_the_disk(path);
        let Inode::File { versions } = &self.inodes[&id] else { return };
        self.blocks.entry(id).or_default().sync_failed(&versions[0], &now);
    }

    fn add(&mut self, path: &Path, inode: Inode) {
        let id = self.inodes.len() as Id;
        self.inodes.insert(id, inode);
        self.names.insert(path.to_path_buf(), id);
        self.pend(path, Naming::Add(name(path), id));
    }

    fn pend(&mut self, path: &Path, naming: Naming) {
        let parent = self.names[path.parent().unwrap()];
        match self.inodes.get_mut(&parent).unwrap() {
            Inode::Dir { pending, .. } => pending.push(naming),
            Inode::File { .. } => panic!("{path:?} lies in a file"),
        }
    }
}

fn changes_nothing(event: &Event<'_>) -> bool {
    matches!(event, Event::Open(_) | Event::Map(_))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_string()
}
