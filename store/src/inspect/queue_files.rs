//! The files of the consume queues: their names, how many entries each holds, and which of them the owner of a store in
//! use has deleted since a snapshot was taken.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use popstore_revive::QueueId;

use super::Snapshot;
use crate::error::{At, Result};
use crate::options::Options;

impl Snapshot {
    pub(super) fn queue_dir(&self, queue: QueueId) -> PathBuf {
        self.dir.join("queues").join(&*self.contents.topic_name(queue.topic)).join(queue.queue.to_string())
    }

    /// All queues that have or had messages.
    pub(super) fn used_queues(&self) -> impl Iterator<Item = QueueId> + '_ {
        let topics = self.contents.topics.iter();
        topics.flat_map(|(id, topic)| topic.queues.used().map(|(queue, _)| QueueId { topic: *id, queue }))
    }
}

/// The first messages of queues by now: the store's owner may have deleted some since the snapshot was taken. Reads the
/// store once more, so it is called once for all queues, after their files were listed: files that are missing from a list
/// and lie before these were deleted in order.
pub(super) fn firsts_now(snapshot: &Snapshot, queues: impl IntoIterator<Item = QueueId>) -> HashMap<QueueId, u64> {
    let Ok(now) = Snapshot::open(&snapshot.home) else { return HashMap::new() };
    queues.into_iter().filter_map(|id| Some((id, now.contents.queue(id)?.first))).collect()
}

/// How many entries a full queue file holds, as far as the files' names show.
pub(super) fn entries_per_file(snapshot: &Snapshot) -> Result<u64> {
    let mut common = 0;
    for queue in snapshot.used_queues() {
        for first in list(snapshot.queue_dir(queue))?.into_keys() {
            let mut left = first;
            while left != 0 {
                (common, left) = (left, common % left);
            }
        }
    }
    Ok(if common == 0 { Options::default().entries_per_file } else { common })
}

/// The files of a queue by the index of their first entry.
pub(super) fn list(dir: PathBuf) -> Result<BTreeMap<u64, PathBuf>> {
    let mut files = BTreeMap::new();
    // Nothing but a file is read, and no link is followed: opening rebuilds the queue without it.
    if !std::fs::symlink_metadata(&dir).is_ok_and(|it| it.is_dir()) {
        return Ok(files);
    }
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(files);
        }
        entries => entries.at("read", &dir)?,
    };
    for entry in entries {
        let entry = entry.at("read", &dir)?;
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Ok(first) = name.parse::<u64>()
            && format!("{first:020}") == name
        {
            files.insert(first, path);
        }
    }
    Ok(files)
}
