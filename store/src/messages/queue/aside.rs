//! Things in the place of consume queues' files that are none: a file in place of a directory, a directory, a link
//! or a pipe in place of a file. It is never followed, opened or removed; opening gives it another name beside the old
//! one, and makes the queue's files again from the commit log.

use std::collections::HashMap;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use crate::callback;
use crate::error::{At, Error, Result};
use crate::log::Name;
use crate::segment::{Disk, directory_above};

/// Something of the wrong kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InTheWay {
    pub(crate) path: PathBuf,
    pub(crate) expected: &'static str,
    pub(crate) found: &'static str,
}

/// Finds things in the way of the queues of these topics, whose numbers of queues are given by name.
///
/// # Errors
/// A directory cannot be read.
pub(crate) fn in_the_way(store: &Path, topics: &HashMap<&str, u32>) -> Result<Vec<InTheWay>> {
    let mut found = Vec::new();
    let root = store.join("queues");
    match std::fs::symlink_metadata(&root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        root_is => {
            if !is(root_is.at("inspect", &root)?.file_type(), &root, "a directory", &mut found) {
                return Ok(found);
            }
        }
    }
    for (topic, kind) in entries(&root)? {
        let queues = topic.file_name().and_then(|name| topics.get(name.to_str()?)).copied();
        let Some(queues) = queues.filter(|_| is(kind, &topic, "a directory", &mut found)) else { continue };
        for (queue, kind) in entries(&topic)? {
            let number = queue.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            let ours = number.is_some_and(|number| number < queues && queue.ends_with(number.to_string()));
            if !ours || !is(kind, &queue, "a directory", &mut found) {
                continue;
            }
            for (file, kind) in entries(&queue)? {
                // They are named like segments: by a number.
                if matches!(Name::of(&file), Some(Name::Segment(_))) {
                    is(kind, &file, "a file", &mut found);
                }
            }
        }
    }
    Ok(found)
}

/// Gives new names to things in the way.
///
/// # Errors
/// A name cannot be changed. The queues then cannot be written.
pub(crate) fn put_aside(disk: &Disk, in_the_way: &[InTheWay]) -> Result<()> {
    for InTheWay { path, found, .. } in in_the_way {
        let aside = free_name(path)?;
        callback::log(|| {
            tracing::warn!(?path, ?aside, found, "in place of a queue's file or directory: it gets another name")
        });
        disk.rename(path, &aside).at("rename", path)?;
        let above = directory_above(path);
        disk.sync_dir(above).at("sync", above)?;
    }
    Ok(())
}

/// A name that is not taken, and that no topic can have.
pub(crate) fn free_name(path: &Path) -> Result<PathBuf> {
    for number in 1_u32.. {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".aside~{number}"));
        match std::fs::symlink_metadata(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(name.into()),
            taken => taken.at("inspect", Path::new(&name)).map(|_| ())?,
        }
    }
    Err(Error::format(path, "it is in the way, and every name that it could be moved to is taken"))
}

/// Whether it is what it should be.
fn is(kind: FileType, path: &Path, expected: &'static str, found: &mut Vec<InTheWay>) -> bool {
    let kind = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_file() => "a file",
        kind if kind.is_symlink() => "a link",
        _ => "something else",
    };
    if kind != expected {
        found.push(InTheWay { path: path.to_path_buf(), expected, found: kind });
    }
    kind == expected
}

/// What a directory holds, by name; nothing when it was just removed.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, FileType)>> {
    let listed = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.at("read", dir)?,
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.at("read", dir)?;
        match entry.file_type() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            kind => entries.push((entry.path(), kind.at("inspect", dir)?)),
        }
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}
