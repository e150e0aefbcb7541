//! Which store a directory holds, also when the file with its id is damaged or missing.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fault::Fault;
use crate::format::Rule;
use crate::format::frame::LogKind;
use crate::format::header::SegmentHeader;
use crate::format::identity::{AT_GENERATION, IDENTITY, Identity};
use crate::log::Unrecovered;
use crate::recover::directory;

/// Finds the store's id and generation; a generation that is not known is `u32::MAX`.
///
/// # Errors
/// The directory is no store, or one of another format version.
pub(super) fn find(dir: &Path, faults: &mut Vec<Fault>) -> Result<Identity> {
    let path = dir.join(directory::STORE);
    let identity = directory::decode_identity(dir)?;
    let ids = ids_of_segments(dir)?;
    match identity {
        // Where segments are of this version and the checksum does not fit, the file's number is damaged.
        Err(rule @ Rule::Version(_)) if ids.is_empty() || directory::identity_fits(dir)? => {
            Err(Error::format(&path, rule))
        }
        Ok(identity) if ids.is_empty() || ids.contains(&identity.id) => {
            if identity.generation == u32::MAX {
                let (expected, found) = (format!("a generation below {}", u32::MAX), identity.generation);
                let fault = Fault::new(&path, AT_GENERATION as u64, "3", expected, found);
                faults.push(fault.of_len(size_of::<u32>() as u64));
            }
            Ok(identity)
        }
        Ok(identity) => {
            let (expected, found) =
                (format!("store id {:032x}, as in the segments", ids[0]), format!("{:032x}", identity.id));
            faults.push(Fault::new(&path, 16, "3", expected, found).of_len(16));
            Ok(Identity { id: ids[0], generation: u32::MAX })
        }
        Err(rule) => {
            let Some(id) = ids.first() else {
                return Err(Error::format(dir, "neither a file \"store\" nor a segment says which store it is"));
            };
            let found = if rule == Rule::Empty { "no such file".to_string() } else { rule.to_string() };
            let fault = Fault::new(&path, 0, "3", "the store's id and generation", found);
            faults.push(fault.of_len(IDENTITY as u64));
            Ok(Identity { id: *id, generation: u32::MAX })
        }
    }
}

/// The ids that segments name, the most frequent first.
fn ids_of_segments(dir: &Path) -> Result<Vec<u128>> {
    let mut counts: Vec<(usize, u128)> = Vec::new();
    for kind in [LogKind::Checkpoint, LogKind::Commit] {
        for SegmentHeader { store, .. } in Unrecovered::headers(&dir.join(kind.name()), kind)? {
            match counts.iter_mut().find(|(_, id)| *id == store) {
                Some((count, _)) => *count += 1,
                None => counts.push((1, store)),
            }
        }
    }
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    Ok(counts.into_iter().map(|(_, id)| id).collect())
}
