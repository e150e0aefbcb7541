//! The files of the logs and queues: how long, how full, from when, and which groups still need them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{GroupId, QueueId, QueueIndex, Time};

use super::describe::happened_at;
use super::queue_files::list;
use super::{Snapshot, StoreLog};
use crate::clock;
use crate::error::{At, Result};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::frame::{END_FRAME, LogKind};
use crate::format::header::SEGMENT_HEADER;
use crate::log::{SegmentFile, Unrecovered, WalkStep};

/// A segment of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The file.
    pub path: PathBuf,
    /// The position of its first byte.
    pub base: u64,
    /// The length it can grow to; 0 when its header is damaged.
    pub capacity: u64,
    /// The file's length.
    pub bytes: u64,
    /// The bytes that hold its header and records.
    pub used: u64,
    /// When it was made, as its header says.
    pub created_at: Option<SystemTime>,
    /// The positions of its first and last record, if it has any that can be read.
    pub records: Option<(u64, u64)>,
    /// When these two were written, as far as they or their neighbours in the segment hold times.
    pub written_at: Option<(SystemTime, SystemTime)>,
    /// The groups that still need messages of it. Always empty in the checkpoint log.
    pub pinned: Vec<Pinned>,
}

/// What a group still needs of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pinned {
    /// The group.
    pub group: Arc<str>,
    /// Messages that it was not given yet, or that it holds.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Snapshot {
    /// The segments of a log, oldest first. Of the commit log this reads the consume queues and a few records, of the
    /// checkpoint log everything.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn segments(&self, log: StoreLog) -> Result<Vec<SegmentInfo>> {
        let listed = self.log(&self.dir, log.kind())?;
        let mut segments: BTreeMap<u64, SegmentInfo> = BTreeMap::new();
        for SegmentFile { base, capacity, path, .. } in listed.into_files() {
            // A file that is gone by now was deleted by the owner.
            let Ok(found) = std::fs::metadata(&path) else { continue };
            let created_at = Unrecovered::header(&path).map(|header| clock::wall(Time(header.created_at)));
            let info = SegmentInfo { path, base, capacity, bytes: found.len(), created_at, ..SegmentInfo::default() };
            segments.insert(base, SegmentInfo { used: (SEGMENT_HEADER as u64).min(found.len()), ..info });
        }
        match log {
            StoreLog::Commit => self.fill_commit(&mut segments)?,
            StoreLog::Checkpoint => self.fill_checkpoint(&mut segments)?,
        }
        Ok(segments.into_values().collect())
    }

    /// Where the segments of a log begin, oldest first.
    pub fn segment_bases(&self, log: StoreLog) -> Vec<u64> {
        self.segment_files(log.kind()).into_iter().map(|(base, _)| base).collect()
    }

    /// How many files a log's directory holds, spares included, and their bytes.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn log_files(&self, log: StoreLog) -> Result<(usize, u64)> {
        let dir = self.dir.join(log.name());
        if !dir.is_dir() {
            return Ok((0, 0));
        }
        let (mut files, mut bytes) = (0, 0);
        for entry in std::fs::read_dir(&dir).at("read", &dir)? {
            // Files are made and removed while the store is in use.
            if let Ok(found) = entry.at("read", &dir)?.metadata() {
                files += 1;
                bytes += found.len();
            }
        }
        Ok((files, bytes))
    }

    /// The files of a consume queue: each with the index of its first entry and its length in bytes.
    ///
    /// # Errors
    /// The queue's directory cannot be read.
    pub fn queue_files(&self, topic: &str, queue: u32) -> Result<Vec<(PathBuf, u64, u64)>> {
        let Some(id) = self.queue_id(topic, queue) else { return Ok(Vec::new()) };
        // A file that is gone by now was deleted by the owner.
        let files = list(self.queue_dir(id))?.into_iter().filter_map(|(first, path)| {
            let bytes = std::fs::metadata(&path).ok()?.len();
            Some((path, first, bytes))
        });
        Ok(files.collect())
    }

    pub(super) fn segment_files(&self, log: LogKind) -> Vec<(u64, PathBuf)> {
        let files = self.log(&self.home, log).map_or_else(|_| Vec::new(), |log| log.into_files());
        files.into_iter().map(|file| (file.base, file.path)).collect()
    }

    pub(crate) fn segment_capacity(&self, log: StoreLog) -> u64 {
        self.log(&self.home, log.kind()).map_or(0, |log| log.capacity_max())
    }

    fn fill_commit(&self, segments: &mut BTreeMap<u64, SegmentInfo>) -> Result<()> {
        let mut pins: BTreeMap<(u64, GroupId), (u64, u64)> = BTreeMap::new();
        let mut lookup = self.lookup();
        for (topic, state) in &self.contents.topics {
            let readers: Vec<GroupId> = self.contents.consumers.index().readers(*topic).collect();
            for (queue, state) in state.queues.used() {
                let queue = QueueId { topic: *topic, queue };
                for index in state.indexes() {
                    let Some((entry, _)) = lookup.entry(queue, index)? else { continue };
                    let Some((base, segment)) = segments.range_mut(..=entry.offset).next_back() else { continue };
                    if entry.end() > base.saturating_add(segment.bytes) {
                        continue;
                    }
                    let (first, last) = segment.records.unwrap_or((entry.offset, entry.offset));
                    segment.records = Some((first.min(entry.offset), last.max(entry.offset)));
                    segment.used = segment.used.max(entry.end() - base);
                    for group in readers.iter().filter(|group| self.needs(**group, queue, QueueIndex(index))) {
                        let pin = pins.entry((*base, *group)).or_default();
                        *pin = (pin.0 + 1, pin.1 + u64::from(entry.size));
                    }
                }
            }
        }
        for ((base, group), (messages, bytes)) in pins {
            let pinned = Pinned { group: self.contents.group_name(group), messages, bytes };
            segments.get_mut(&base).map(|segment| segment.pinned.push(pinned)).unwrap_or_default();
        }
        let newest = segments.keys().next_back().copied();
        for segment in segments.values_mut() {
            let room = segment.bytes.saturating_sub(segment.used);
            match newest == Some(segment.base) {
                true => segment.used = self.contents.commit.1.saturating_sub(segment.base).min(segment.bytes),
                false => segment.used += room.min(END_FRAME as u64),
            }
            let Some((first, last)) = segment.records else { continue };
            let times = (lookup.message_at(first)?, lookup.message_at(last)?);
            segment.written_at = times.0.zip(times.1).map(|(first, last)| (first.appended_at, last.appended_at));
        }
        Ok(())
    }

    fn needs(&self, group: GroupId, queue: QueueId, index: QueueIndex) -> bool {
        let consumers = self.contents.consumers.index();
        let position = consumers.position(group, queue).unwrap_or_default();
        index >= position || consumers.held(group, queue, index).is_some()
    }

    fn fill_checkpoint(&self, segments: &mut BTreeMap<u64, SegmentInfo>) -> Result<()> {
        let mut walk = self.walk(StoreLog::Checkpoint, 0)?;
        let mut runs = Vec::new();
        while let Some(step) = walk.step()? {
            let WalkStep::Frame(at, frame) = step else { continue };
            let Some(segment) = segments.get_mut(&(at.position - at.offset)) else { continue };
            let first = segment.records.map_or(at.position, |(first, _)| first);
            segment.records = Some((first, at.position));
            segment.used = at.offset + at.len as u64;
            let happened_at = CheckpointRecord::decode(&frame, &mut runs).ok().and_then(|record| happened_at(&record));
            if let Some(time) = happened_at.map(clock::wall) {
                let first = segment.written_at.map_or(time, |(first, _)| first);
                segment.written_at = Some((first, time));
            }
        }
        Ok(())
    }
}
