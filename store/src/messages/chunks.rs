//! Entries that were read from the files of consume queues lately, for all queues of a store together.
//!
//! A group reads its queue in order, so that one read does for many pops. Groups at different places of one queue would
//! evict each other's entries if the queue had only those that were read last.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use popstore_revive::{QueueId, QueueIndex};

use crate::error::{At, Error, Result};
use crate::format::entry::{ENTRY, Entry};
use crate::primitives::Hold;
use crate::segment::Disk;

/// How many entries are read at once, at multiples of that.
pub(crate) const CHUNK: u64 = 512;
/// How many chunks are in memory: 1 MiB.
const CHUNKS_MAX: usize = 128;

/// Entries of messages that follow one another.
#[derive(Clone, Default)]
pub(crate) struct Chunk {
    first: u64,
    entries: Arc<[Entry]>,
}

impl Chunk {
    /// Reads the entries of a range of messages from the file that begins with that of the message `file_first`.
    pub(crate) fn read(disk: &Disk, path: PathBuf, file_first: u64, range: Range<u64>) -> Result<Self> {
        let mut bytes = vec![0; (range.end - range.start) as usize * ENTRY];
        match disk.open_to_read(path.clone()) {
            Ok(file) => {
                file.read_at((range.start - file_first) * ENTRY as u64, &mut bytes).at("read", &path)?;
            }
            // The reader of these zeroes rebuilds the entries.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("open", &path, error)),
        }
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        Ok(Self { first: range.start, entries: entries.iter().map(Entry::decode).collect() })
    }

    /// The entry of a message, if it is among these.
    #[inline]
    pub(crate) fn entry(&self, index: QueueIndex) -> Option<&Entry> {
        self.entries.get(index.0.checked_sub(self.first)? as usize)
    }
}

/// The chunks of a store.
#[derive(Default)]
pub(crate) struct Chunks(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    /// By queue and first message, with the number of its last use.
    chunks: HashMap<(QueueId, u64), (Chunk, u64), foldhash::fast::RandomState>,
    uses: u64,
}

impl Chunks {
    /// The entries of a queue from `first` on; less than a chunk if there were not more when they were read.
    pub(crate) fn get(&self, queue: QueueId, first: u64) -> Option<Chunk> {
        let mut cached = self.cached();
        cached.uses += 1;
        let uses = cached.uses;
        let (chunk, used_at) = cached.chunks.get_mut(&(queue, first))?;
        *used_at = uses;
        Some(chunk.clone())
    }

    /// Inserts a chunk, in place of the one that was not used for the longest time.
    pub(crate) fn insert(&self, queue: QueueId, chunk: &Chunk) {
        let mut cached = self.cached();
        if cached.chunks.len() >= CHUNKS_MAX
            && let Some(oldest) = cached.chunks.iter().min_by_key(|(_, (_, used_at))| *used_at).map(|(place, _)| *place)
        {
            cached.chunks.remove(&oldest);
        }
        cached.uses += 1;
        let uses = cached.uses;
        cached.chunks.insert((queue, chunk.first), (chunk.clone(), uses));
    }

    /// Removes the chunks of a queue whose files have changed.
    pub(crate) fn forget(&self, queue: QueueId) {
        self.cached().chunks.retain(|(of, _), _| *of != queue);
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.0.hold()
    }
}

#[cfg(test)]
mod tests {
    use popstore_revive::TopicId;

    use super::*;

    #[test]
    fn chunks_that_were_used_lately_stay_in_memory() {
        let chunks = Chunks::default();
        let queue = |queue| QueueId { topic: TopicId(1), queue };
        let chunk = |first| Chunk { first, entries: Arc::from([Entry { offset: first + 1, size: 40, tag: 0 }]) };
        for at in 0..CHUNKS_MAX as u64 {
            chunks.insert(queue(1), &chunk(at * CHUNK));
        }
        let there = |queue, first| chunks.get(queue, first).and_then(|chunk| chunk.entry(QueueIndex(first)).copied());
        assert_eq!(there(queue(1), 0).map(|entry| entry.offset), Some(1));
        chunks.insert(queue(2), &chunk(CHUNK));
        assert!(there(queue(1), 0).is_some() && there(queue(1), CHUNK).is_none() && there(queue(2), CHUNK).is_some());
        assert_eq!(chunks.cached().chunks.len(), CHUNKS_MAX);
        chunks.forget(queue(1));
        assert!(there(queue(1), 0).is_none() && there(queue(2), CHUNK).is_some());
        assert!(chunk(7).entry(QueueIndex(6)).is_none() && chunk(7).entry(QueueIndex(8)).is_none());
    }
}
