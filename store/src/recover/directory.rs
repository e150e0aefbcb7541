//! The directory: what makes it a store, and how a new one is made.

use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};
use crate::format::Rule;
use crate::format::frame::LogKind;
use crate::format::header::SEGMENT_HEADER;
use crate::format::identity::{IDENTITY, Identity};
use crate::log::Name;
use crate::segment::{Disk, StoreFile, directory_above, holes};

pub(crate) const STORE: &str = "store";
const STORE_NEW: &str = "store.tmp";
const OURS: [&str; 6] = [STORE, STORE_NEW, "lock", "commit", "checkpoint", "queues"];

/// Refuses a directory that holds anything else than a store, before anything is made in it.
pub(crate) fn check_is_store_or_empty(dir: &Path) -> Result<()> {
    if dir.join(STORE).exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).at("read", dir)? {
        let entry = entry.at("read", dir)?;
        let name = entry.file_name();
        let fits = || entry.metadata().is_ok_and(|file| file.len() <= IDENTITY as u64);
        if !OURS.iter().any(|ours| name == *ours) || (name == STORE_NEW && !fits()) {
            return Err(no_store(dir, Path::new(&name)));
        }
    }
    Ok(())
}

/// Refuses a store of which a part is not what it should be: a link, so that nothing outside the directory is written to,
/// or a file in place of a directory. Nothing is changed before that.
pub(crate) fn check_kinds(dir: &Path) -> Result<()> {
    let kinds = [("commit", true), ("checkpoint", true), (STORE, false), (STORE_NEW, false), ("lock", false)];
    for (name, is_dir) in kinds {
        let path = dir.join(name);
        match std::fs::symlink_metadata(&path) {
            // A file under construction is made again, whatever it is.
            Ok(found) if found.is_dir() == is_dir && (!found.is_symlink() || name == STORE_NEW) => {}
            Ok(_) => {
                let found = if is_dir { "it is not a directory" } else { "it is not a regular file" };
                return Err(Error::format(&path, found));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("inspect", &path, error)),
        }
    }
    Ok(())
}

fn no_store(dir: &Path, holds: &Path) -> Error {
    Error::format(dir, format!("it has no file {STORE:?} but holds {holds:?}"))
}

/// Which store this is; a new one is made in an empty directory.
pub(crate) fn identify(dir: &Path, disk: &Disk) -> Result<Identity> {
    if let Some(identity) = read_identity(dir)? {
        return Ok(identity);
    }
    for log in LogKind::BOTH {
        refuse_records(&dir.join(log.name()))?;
    }
    // Order matters: all of that was read by name, and what follows is done to the directory that was opened.
    check_place(dir, disk)?;
    // Nothing was ever appended: whatever a crash left of an earlier attempt is removed.
    for log in LogKind::BOTH {
        let log_dir = dir.join(log.name());
        disk.make_dir(&log_dir).at("create", &log_dir)?;
        for entry in std::fs::read_dir(&log_dir).at("read", &log_dir)? {
            let path = entry.at("read", &log_dir)?.path();
            disk.remove(&path).at("remove", &path)?;
        }
        disk.sync_dir(&log_dir).at("sync", &log_dir)?;
    }
    // The directory itself may be new, made just now or by an attempt that was killed.
    let parent = directory_above(dir);
    disk.sync_dir(parent).at("sync", parent)?;
    let identity = Identity { id: new_id(), generation: 0 };
    write_identity(dir, disk, &identity)?;
    Ok(identity)
}

/// Refuses a directory of which the name leads to another one by now.
pub(crate) fn check_place(dir: &Path, disk: &Disk) -> Result<()> {
    if disk.is_where_it_was().at("inspect", dir)? {
        return Ok(());
    }
    Err(Error::format(dir, "another directory has taken its place while it was opened"))
}

/// Reads the file `store`.
pub(crate) fn read_identity(dir: &Path) -> Result<Option<Identity>> {
    match decode_identity(dir)? {
        Ok(identity) => Ok(Some(identity)),
        Err(Rule::Empty) => Ok(None),
        Err(rule) => Err(Error::format(&dir.join(STORE), rule)),
    }
}

/// What the file `store` says, or which rule it breaks; [`Rule::Empty`] when there is none.
pub(crate) fn decode_identity(dir: &Path) -> Result<Result<Identity, Rule>> {
    let path = dir.join(STORE);
    let file = match StoreFile::read_only(path.clone()) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Err(Rule::Empty)),
        Err(error) => return Err(Error::io("open", &path, error)),
    };
    let mut bytes = [0; IDENTITY + 1];
    let read = file.read_at(0, &mut bytes).at("read", &path)?;
    Ok(Identity::decode(&bytes[..read]))
}

/// Whether the checksum of the file `store` fits its bytes, whatever version they are of.
pub(crate) fn identity_fits(dir: &Path) -> Result<bool> {
    let path = dir.join(STORE);
    let mut bytes = [0; IDENTITY];
    let file = StoreFile::read_only(path.clone()).at("open", &path)?;
    file.read_at(0, &mut bytes).at("read", &path)?;
    Ok(Identity::checksum_fits(&bytes))
}

/// Where the next file `store` is made.
pub(crate) fn unfinished_identity(dir: &Path) -> PathBuf {
    dir.join(STORE_NEW)
}

/// Replaces the file `store`; the old or the new one is there at any moment.
pub(crate) fn write_identity(dir: &Path, disk: &Disk, identity: &Identity) -> Result<()> {
    let (new, path) = (unfinished_identity(dir), dir.join(STORE));
    let file = disk.create(new.clone()).at("create", &new)?;
    disk.write_at(&file, 0, &identity.encode()).at("write", &file.path)?;
    disk.sync_file(&file).at("sync", &file.path)?;
    disk.rename(&file.path, &path).at("rename", &file.path)?;
    disk.sync_dir(dir).at("sync", dir)
}

/// Writes the file `store` in its place, where a full disk has no room for a second one. It lies in one sector, so the
/// old or the new one is there at any moment.
pub(crate) fn overwrite_identity(dir: &Path, disk: &Disk, identity: &Identity) -> Result<()> {
    let path = dir.join(STORE);
    let file = disk.open(path.clone()).at("open", &path)?;
    disk.write_at(&file, 0, &identity.encode()).at("write", &file.path)?;
    disk.sync_file(&file).at("sync", &file.path)
}

/// A log without the file `store` beside it belongs to a store that lost it, or is not a log at all: nothing must be
/// made in its place.
pub(super) fn refuse_records(log_dir: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(log_dir) else { return Ok(()) };
    for entry in entries {
        let path = entry.at("read", log_dir)?.path();
        let dir = log_dir.parent().unwrap_or(log_dir);
        if Name::of(&path).is_none() {
            return Err(no_store(dir, &path));
        }
        let file = StoreFile::read_only(path).at("open", log_dir)?;
        let len = file.len().at("inspect", &file.path)?;
        let mut block = vec![0; 1 << 16];
        let mut at = SEGMENT_HEADER as u64;
        loop {
            at = holes::next_data(&file.file, at, len);
            let read = file.read_at(at, &mut block).at("read", &file.path)?;
            if block[..read].iter().any(|byte| *byte != 0) {
                let found = format!("the file {STORE:?} is missing, but {:?} holds records", file.path);
                return Err(Error::format(dir, found));
            }
            if read < block.len() {
                break;
            }
            at += read as u64;
        }
    }
    Ok(())
}

/// An id that no other store has, from the randomness of the standard library's hasher.
fn new_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(std::process::id()));
    half() << 64 | half()
}
