//! What recovery found and is not proven durable is written once more, before the first sync says that it is.
//!
//! After a failed sync the system takes the pages concerned for clean: bytes that are intact in its cache may never have
//! reached the disk. Writing the same bytes again is enough where all blocks of the file had been written before. Where
//! they only had their space (`fallocate`), it is not: ext4 forgets, when the first write of a page fails, that its block
//! counts as unwritten, and never says otherwise afterwards; later writes and syncs of it succeed, and after a power cut it
//! reads as zeroes. So such a segment is **copied to a new file that takes its name**, with all that was appended to it
//! meanwhile. On a disk that has no space for the copy it is written in place: nothing better is possible there.

use std::path::Path;
use std::sync::Arc;

use super::make::{UNDER_CONSTRUCTION, segment_name};
use super::{Head, Log, Segment};
use crate::error::{At, Error, Result};
use crate::format::header::SEGMENT_HEADER;
use crate::primitives::{Hold, unpoisoned};
use crate::segment::{StoreFile, WriteMap};

const BLOCK: usize = 1 << 18;

impl Log {
    /// Writes what recovery found and is not proven durable once more, for the sync that follows.
    pub(super) fn write_again(&self) -> Result<()> {
        let mut unproven = self.unproven.hold();
        if unproven.is_empty() {
            return Ok(());
        }
        let segments = self.segments();
        for segment in segments.iter().filter(|segment| segment.end() > unproven.start && segment.base < unproven.end) {
            let from = unproven.start.max(segment.base) - segment.base;
            let end = unproven.end.min(segment.end()) - segment.base;
            let renewed = if segment.is_written { Ok(false) } else { self.renew(segment) };
            match renewed {
                Ok(true) => {}
                Ok(false) | Err(Error::Full { .. }) => {
                    let file = segment.file(&self.disk).at("open", &segment.path)?;
                    self.copy(segment, &file, from, end)?;
                }
                Err(error) => return Err(error),
            }
            // There may be more of them than a process may open files; the sync opens it again.
            segment.close_file();
        }
        unproven.start = unproven.end;
        Ok(())
    }

    /// Puts a new file in a segment's place. Returns that it did.
    fn renew(&self, old: &Segment) -> Result<bool> {
        // Order matters: room is made in the file that the head has; in the old one it would be lost.
        let _no_zeroes = self.filling.hold();
        let unnamed = self.shape.dir.join(segment_name(old.base) + UNDER_CONSTRUCTION);
        let renewed = self.put_in_place(old, &unnamed);
        if renewed.is_err() {
            let _ = self.disk.remove(&unnamed);
        }
        renewed.map(|()| true)
    }

    fn put_in_place(&self, old: &Segment, unnamed: &Path) -> Result<()> {
        let (disk, shape) = (&self.disk, &self.shape);
        let len = old.file(disk).and_then(|file| file.len()).at("inspect", &old.path)?;
        let file = disk.create(unnamed.to_path_buf()).at("create", unnamed)?;
        shape.take_space(disk, &file, len)?;
        shape.write_header(disk, &file, old.base, old.capacity)?;
        let copied = old.map.published() as u64;
        self.copy(old, &file, SEGMENT_HEADER as u64, copied)?;
        disk.sync_file(&file).at("sync", unnamed)?;
        let mut head = self.head.hold();
        // Frames that were appended since are not durable yet, in either file.
        let end = old.map.published() as u64;
        self.copy(old, &file, copied, end)?;
        let mut new = Segment::new(disk, file, old.base, old.capacity, end, shape.staged)?;
        let is_head = head.segment.base == old.base;
        let map = if is_head && head.map.is_some() { Some(new.write_map(disk)?) } else { None };
        // Order matters: nothing can fail between the change of the name and that of the head, since what is stored in the
        // old file from then on has no name.
        disk.rename(unnamed, &old.path).at("rename", unnamed)?;
        new.is_named(old.path.clone());
        new.close_file();
        self.replace(&mut head, new, map);
        drop(head);
        disk.sync_dir(&shape.dir).at("sync", &shape.dir)
    }

    fn replace(&self, head: &mut Head, new: Segment, map: Option<WriteMap>) {
        let new = Arc::new(new);
        unpoisoned(self.chain.write()).insert(new.base, Arc::clone(&new));
        if head.segment.base == new.base {
            (head.segment, head.map) = (new, map);
        }
    }

    /// Writes a part of a segment to a file, at the same place.
    fn copy(&self, from: &Segment, to: &StoreFile, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while at < end {
            let len = (end - at).min(BLOCK as u64) as usize;
            let missing = || self.damaged(from.base + at, "it cannot be read again");
            let bytes = from.map.bytes(at as usize, len).ok_or_else(missing)?;
            self.disk.write_at(to, at, bytes).at("write", &to.path)?;
            at += len as u64;
        }
        Ok(())
    }
}
