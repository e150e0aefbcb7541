//! Group commit: one sync in flight, for everybody who waits.
//!
//! Whoever needs a place durable and finds no sync running leads: it takes everything appended so far (in mapped logs
//! the full segments only, when the place lies in those), writes and syncs it, and moves the durable mark. The others
//! wait for the mark. A leader that had company last time yields until as many are there again, or nobody comes any
//! more.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{Log, Segment};
use crate::error::{Error, Result};
use crate::primitives::{Hold, unpoisoned};
use crate::segment::{Beside, SYNCS_MAPS, WriteMap};

/// How often a leader checks whether its group has grown, at most, and in a row in which it has not.
const GATHER_ROUNDS: usize = 256;
const GATHER_IN_VAIN: (usize, usize) = (4, 16);

#[derive(Default)]
pub(super) struct SyncState {
    running: bool,
    /// How many waited for the last sync: as many may come again.
    company: usize,
}

/// One sync is under way. It ends also when its thread panics: whoever waits for it continues, and finds the store poisoned, since
/// what the sync took from the log to write it is lost.
struct Leading<'l> {
    log: &'l Log,
    has_returned: bool,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let Self { log, has_returned } = self;
        if !*has_returned {
            log.shape.poison.set(log.shape.dir.clone(), std::io::Error::other("a sync panicked"));
        }
        let mut state = log.sync.hold();
        state.running = false;
        state.company = log.waiting.swap(0, Ordering::Relaxed);
        // To wake nobody is a system call, too.
        if state.company > 0 {
            log.synced.notify_all();
        }
    }
}

impl Log {
    /// Returns when everything before `end` is durable.
    ///
    /// # Errors
    /// A write or sync failed, now or before; then the state of the bytes behind the durable mark is unknown.
    pub(crate) fn sync_through(&self, end: u64) -> Result<()> {
        if self.durable() >= end {
            return Ok(());
        }
        let mut state = self.sync.hold();
        loop {
            self.shape.poison.check()?;
            if self.durable() >= end {
                return Ok(());
            }
            if state.running {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                state = unpoisoned(self.synced.wait(state));
                continue;
            }
            state.running = true;
            let company = state.company;
            drop(state);
            let mut leading = Leading { log: self, has_returned: false };
            self.gather(company);
            let led = self.lead(end);
            leading.has_returned = true;
            drop(leading);
            led?;
            state = self.sync.hold();
        }
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.sync_through(self.appended())
    }

    /// Lets the group grow until all are there who waited last time, or nobody comes any more.
    fn gather(&self, company: usize) {
        // With many the group is large already, and each check lets more of them run first.
        let patience = (GATHER_ROUNDS / company.max(1)).clamp(GATHER_IN_VAIN.0, GATHER_IN_VAIN.1);
        let (mut seen, mut in_vain) = (0, 0);
        for _ in 0..GATHER_ROUNDS {
            let waiting = self.waiting.load(Ordering::Relaxed);
            in_vain = if waiting == seen { in_vain + 1 } else { 0 };
            if waiting >= company || in_vain > patience {
                break;
            }
            seen = waiting;
            std::thread::yield_now();
        }
    }

    fn lead(&self, end: u64) -> Result<()> {
        self.write_again().map_err(|error| match error {
            Error::Io { path, source, .. } | Error::Full { path, source } => self.shape.poison.set(path, source),
            other => other,
        })?;
        if self.shape.staged { self.write_staged_and_sync() } else { self.sync_written(end) }
    }

    fn write_staged_and_sync(&self) -> Result<()> {
        let (staged, target) = {
            let mut head = self.head.hold();
            (std::mem::take(&mut head.staged), head.end)
        };
        for frames in &staged {
            let (segment, from) = (&frames.segment, frames.at - frames.segment.base);
            let file = segment.file(&self.disk);
            let written = file.and_then(|file| self.disk.write_at(&file, from, &frames.bytes));
            self.or_poison(segment, written)?;
            segment.map.publish(from as usize + frames.bytes.len());
        }
        self.written.store(target, Ordering::Release);
        // Order matters: an older segment is durable before a newer one, so that a log never has a gap.
        for frames in &staged {
            self.sync_segment(&frames.segment)?;
        }
        self.made_durable(target);
        Ok(())
    }

    fn sync_written(&self, end: u64) -> Result<()> {
        let (head_base, outlived) = {
            let mut head = self.head.hold();
            (head.segment.base, std::mem::take(&mut head.outlived))
        };
        // Order matters: the system protects each page that it writes from stores through a map, and interrupts the appender's
        // core for that. Pages that are no longer mapped need no protection.
        drop(outlived);
        let (from, target) = (self.durable(), if end <= head_base { head_base } else { self.written() });
        for segment in self.segments() {
            if segment.end() <= from || segment.base >= target {
                continue;
            }
            match self.map_of(segment.base) {
                Some(map) => self.sync_part(&segment, &map, from.max(segment.base)..target)?,
                None => {
                    self.sync_segment(&segment)?;
                    // There may be more of them than a process may open files.
                    segment.close_file();
                }
            }
        }
        self.made_durable(target);
        Ok(())
    }

    /// Syncs a part of the segment that is appended to, but not the room that is ready in it: a sync costs the appender a
    /// page fault for each page that it comes to next.
    fn sync_part(&self, segment: &Segment, map: &Beside, part: Range<u64>) -> Result<()> {
        let (at, len) = ((part.start - segment.base) as usize, (part.end - part.start) as usize);
        self.or_poison(segment, self.disk.sync_range(&segment.path, map, at, len))?;
        if SYNCS_MAPS { Ok(()) } else { self.sync_segment(segment) }
    }

    fn sync_segment(&self, segment: &Segment) -> Result<()> {
        self.or_poison(segment, segment.file(&self.disk).and_then(|file| self.disk.sync_file(&file)))
    }

    pub(super) fn or_poison<T>(&self, segment: &Segment, done: std::io::Result<T>) -> Result<T> {
        done.map_err(|source| self.shape.poison.set(segment.path.clone(), source))
    }

    pub(super) fn made_durable(&self, target: u64) {
        let from = self.durable.fetch_max(target, Ordering::AcqRel);
        let chain = unpoisoned(self.chain.read());
        chain.range(..target).rev().take_while(|(_, segment)| segment.end() > from).for_each(|(_, segment)| {
            if segment.end() <= target {
                segment.close_file();
            }
        });
    }

    /// The appender's map, if that is where it appends.
    fn map_of(&self, base: u64) -> Option<Beside> {
        let head = self.head.hold();
        head.map.as_ref().filter(|_| head.segment.base == base).map(WriteMap::beside)
    }
}
