//! The directory that a verb was given, checked before a store is opened there: a misspelt name makes none.

use std::io;
use std::path::Path;

use popstore::inspect::Snapshot;
use popstore::{Error, Options, Store};

use crate::{Failure, streams};

/// The file that makes a directory a store.
const STORE: &str = "store";

/// The longest body that the commands append, in bytes: the default of the store.
pub(crate) const BODY_BYTES_MAX: u64 = 4 << 20;

/// Opens a store that is there.
pub(crate) fn open(dir: &Path) -> Result<Store, Failure> {
    check_store(dir)?;
    Ok(Store::open(dir)?)
}

/// Opens a store, or makes one, unless `check` refuses what is to be done there.
pub(crate) fn open_or_make(dir: &Path, check: impl FnOnce(&Options) -> popstore::Result<()>) -> Result<Store, Failure> {
    is_store(dir)?;
    let options = Store::options().body_bytes_max(BODY_BYTES_MAX);
    check(&options)?;
    Ok(options.open(dir)?)
}

/// Closes a store in which everything was done. Trouble with that undoes nothing, so it is a warning: what a verb
/// reports is durable before, and the next opening repairs what is missing.
pub(crate) fn close(store: Store) {
    if let Err(error) = store.close() {
        let why = streams::causes(&error);
        streams::say("popstore", format_args!("warning: it is done, but the store was not closed in order: {why}"));
    }
}

/// Reads an existing store, damaged or not: nothing is written, and another process may have it open.
pub(crate) fn inspect(dir: &Path) -> Result<Snapshot, Failure> {
    check_directory(dir)?;
    match Snapshot::open(dir) {
        // Without the file, a segment can still say which store it is.
        Err(Error::Format { .. } | Error::Io { .. }) if !is_store(dir)? => {
            Err(Failure::NoStore { dir: dir.to_path_buf() })
        }
        opened => Ok(opened?),
    }
}

/// Refuses a topic or group that the store does not have: it is misspelt.
pub(crate) fn check_names(snapshot: &Snapshot, topic: Option<&str>, group: Option<&str>) -> Result<(), Failure> {
    let missing = |what, name: &str| Err(Failure::Missing { what, name: name.to_string() });
    match (topic, group) {
        (Some(topic), _) if snapshot.topics().iter().all(|it| it.name != topic) => missing("topic", topic),
        (_, Some(group)) if snapshot.group_options(group).is_none() => missing("group", group),
        _ => Ok(()),
    }
}

/// Refuses a path that is missing or not a directory.
pub(crate) fn check_directory(dir: &Path) -> Result<(), Failure> {
    is_store(dir)?;
    if dir.is_dir() { Ok(()) } else { Err(Failure::NoStore { dir: dir.to_path_buf() }) }
}

fn check_store(dir: &Path) -> Result<(), Failure> {
    if is_store(dir)? { Ok(()) } else { Err(Failure::NoStore { dir: dir.to_path_buf() }) }
}

fn is_store(dir: &Path) -> Result<bool, Failure> {
    let failed = |source| Failure::input(dir, source);
    match dir.metadata() {
        Ok(found) if !found.is_dir() => Err(Failure::NoDirectory { path: dir.to_path_buf() }),
        Ok(_) => dir.read_dir().map(|_| dir.join(STORE).is_file()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}
