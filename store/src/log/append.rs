//! Appending: room first, then the frames, then one move that makes all of them visible. A body is copied once, from
//! where the caller has it to where it stays.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::{Head, Log, Next, StagedFrames, WantedRoom};
use crate::error::{Error, Result};
use crate::format::frame::{self, END_FRAME, LEAD, LogKind};
use crate::format::header::SEGMENT_HEADER;
use crate::primitives::{Hold, unpoisoned};

/// The most bytes that fit into a segment of `capacity` bytes.
pub(crate) fn room_max(capacity: u64) -> u64 {
    capacity.saturating_sub((SEGMENT_HEADER + END_FRAME) as u64)
}

/// The right to append, with room for what was asked for. Nothing between the first frame and [`Appender::finish`] can
/// fail: whoever panics there leaves what a kill at that point leaves, and the log is poisoned.
pub(crate) struct Appender<'a> {
    log: &'a Log,
    head: MutexGuard<'a, Head>,
    /// A frame without the part that is copied straight into the log.
    front: Vec<u8>,
    /// The place of the next frame, and the end of the room that was asked for.
    position: u64,
    room_end: u64,
    durable_through: u64,
}

/// Which room an append may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// All but the reserved room.
    Free,
    /// All of it: for the store's own records, without which nothing that fills the disk could be deleted.
    Reserved,
}

/// How much room is reserved at most, and which part of a segment, where retention moves little. With a first step of room it is
/// just less than what is made at once.
const RESERVED_MAX: u64 = 960 << 10;
const RESERVED_PART: u64 = 8;

/// How many closed segments have their files open until they are synced.
const OPEN_MAX: usize = 64;

impl Log {
    /// Waits for the right to append `bytes` in one segment.
    ///
    /// # Errors
    /// The disk is full, the log is poisoned, or no segment could ever hold that much.
    #[inline(always)]
    pub(crate) fn reserve(&self, bytes: usize, room: Room) -> Result<Appender<'_>> {
        let (bytes, left) = (bytes as u64, if room == Room::Free { self.reserved() } else { 0 });
        let mut head = self.head.hold();
        // The rest of the check is for appends that find no room at once.
        if head.shut || head.waiting > 0 || self.shape.poison.is_set() || !head.has_room(bytes, left) {
            head = self.find_room(head, bytes, left)?;
        }
        let front = std::mem::take(&mut head.scratch);
        let (position, durable_through) = (head.end, self.durable());
        Ok(Appender { log: self, head, front, position, room_end: position + bytes, durable_through })
    }

    /// How much room appends with [`Room::Free`] leave unused. The checkpoint log has a reserve of its own.
    pub(super) fn reserved(&self) -> u64 {
        match self.shape.kind {
            LogKind::Commit if self.shape.moves_segments => room_max(self.shape.segment_bytes),
            LogKind::Commit => (self.shape.segment_bytes / RESERVED_PART).min(RESERVED_MAX),
            LogKind::Checkpoint => 0,
        }
    }

    fn find_room<'a>(&'a self, mut head: MutexGuard<'a, Head>, bytes: u64, left: u64) -> Result<MutexGuard<'a, Head>> {
        let bytes_max = room_max(self.shape.segment_bytes);
        if bytes > bytes_max {
            return Err(Error::TooLarge { what: "a batch", bytes, bytes_max });
        }
        head.asked += 1;
        let asked = head.asked;
        loop {
            self.shape.poison.check()?;
            if head.shut {
                return Err(Error::Closed);
            }
            let is_full = head.end + bytes + END_FRAME as u64 > head.segment.end();
            // Order matters: the end frame has its room before the head is left, also behind a file that came back short.
            if is_full && head.next_takes(bytes, left) && head.end + END_FRAME as u64 <= head.ready {
                self.roll(&mut head)?;
            }
            if head.has_room(bytes, left) {
                break;
            }
            head = self.wait_for_room(head, bytes, left, asked)?;
        }
        if head.waiting == 0 {
            head.wanted = WantedRoom::default();
        }
        Ok(head)
    }

    fn wait_for_room<'a>(
        &'a self,
        mut head: MutexGuard<'a, Head>,
        bytes: u64,
        left: u64,
        asked: u64,
    ) -> Result<MutexGuard<'a, Head>> {
        head.wanted.add(bytes + END_FRAME as u64, left);
        if head.prepares_inline {
            drop(head);
            self.prepare()?;
            return Ok(self.head.hold());
        }
        head.refused = None;
        head.waiting += 1;
        self.wake_preparer();
        head = unpoisoned(self.room.wait(head));
        head.waiting -= 1;
        match head.refused.take_if(|(before, _)| *before >= asked) {
            // The refusal may have been for more room than this.
            Some((_, refused)) if !head.has_room(bytes, left) => {
                head.wanted = WantedRoom::default();
                Err(refused)
            }
            _ => Ok(head),
        }
    }

    /// Closes the head and continues in the next segment.
    fn roll(&self, head: &mut Head) -> Result<()> {
        let Some(next) = head.ahead.pop_front() else { return Ok(()) };
        let mut end = Vec::with_capacity(LEAD + END_FRAME);
        frame::open(&mut end, frame::KIND_END);
        let end = frame::seal(&mut end, &[], head.end, self.shape.generation, self.durable(), self.seed);
        head.put(head.end, end);
        head.publish(head.end + end.len() as u64);
        if let Some(map) = &head.map {
            self.or_poison(&head.segment, map.flush())?;
        }
        let base = next.segment.base;
        unpoisoned(self.chain.write()).insert(base, Arc::clone(&next.segment));
        head.outlived.extend(std::mem::replace(&mut head.map, next.map));
        // The checkpoint log's segments are made with all their space.
        head.space = if self.shape.kind == LogKind::Checkpoint { next.segment.end() } else { next.ready };
        let closed = std::mem::replace(&mut head.segment, next.segment);
        head.ready = next.ready;
        head.open.push_back(Arc::downgrade(&closed));
        if head.open.len() > OPEN_MAX
            && let Some(oldest) = head.open.pop_front().and_then(|oldest| oldest.upgrade())
        {
            // Its map holds the file's error state: a write that fails meanwhile is an error of its sync all the same.
            oldest.close_file();
        }
        head.end = base + SEGMENT_HEADER as u64;
        Ok(())
    }
}

impl Head {
    /// Whether there is room for `bytes`, and for `left` more behind them: in this segment, or at the beginning of the next.
    /// Room for the end frame is never given away, so that a segment can always be closed.
    #[inline(always)]
    fn has_room(&self, bytes: u64, left: u64) -> bool {
        let end = self.end + bytes + END_FRAME as u64;
        end + left <= self.ready || (end <= self.ready && self.next_has(left))
    }

    /// Whether there would be room in a later segment, behind those that are too short for it. A head that was left for what
    /// is refused then would be lost to others.
    fn next_takes(&self, bytes: u64, left: u64) -> bool {
        let end = |next: &Next| next.begins() + bytes + END_FRAME as u64;
        let Some(at) = self.ahead.iter().position(|next| end(next) <= next.segment.end()) else { return false };
        let next = &self.ahead[at];
        let behind = || self.ahead.iter().skip(at + 1).any(|after| after.begins() + left <= after.ready);
        end(next) + left <= next.ready || (end(next) <= next.ready && behind())
    }

    fn next_has(&self, left: u64) -> bool {
        self.ready == self.segment.end() && self.ahead.iter().any(|next| next.begins() + left <= next.ready)
    }

    /// Puts bytes where there is room for them, behind all that was put before.
    fn put(&mut self, at: u64, bytes: &[u8]) {
        match &mut self.map {
            Some(map) => map.copy_in((at - self.segment.base) as usize, bytes),
            None => match self.staged.last_mut() {
                Some(last) if last.segment.base == self.segment.base => last.bytes.extend_from_slice(bytes),
                _ => {
                    let segment = Arc::clone(&self.segment);
                    self.staged.push(StagedFrames { segment, at, bytes: bytes.to_vec() });
                }
            },
        }
    }

    /// The bytes that were put before `end` are part of the log.
    fn publish(&mut self, end: u64) {
        if let Some(map) = &mut self.map {
            map.publish((end - self.segment.base) as usize);
        }
        self.load += end - self.end;
        self.end = end;
    }
}

impl Appender<'_> {
    /// Where the segment begins that is appended to.
    pub(crate) fn segment_base(&self) -> u64 {
        self.head.segment.base
    }

    /// The buffer for the fronts of frames, which comes back by [`Appender::return_front`].
    pub(crate) fn take_front(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.front)
    }

    pub(crate) fn return_front(&mut self, front: Vec<u8>) {
        self.front = front;
    }

    /// Adds one frame: what `encode` puts into the empty buffer, un-sealed, and then `rest`. Returns its place.
    pub(crate) fn push_one(&mut self, encode: impl FnOnce(&mut Vec<u8>), rest: &[u8]) -> Range<u64> {
        let mut front = self.take_front();
        front.clear();
        encode(&mut front);
        let place = self.push(&mut front, rest);
        self.return_front(front);
        place
    }

    /// Adds a frame: its front, un-sealed, and the rest of it. Returns its place.
    pub(crate) fn push(&mut self, front: &mut [u8], rest: &[u8]) -> Range<u64> {
        let (start, log) = (self.position, self.log);
        let front = frame::seal(front, rest, start, log.shape.generation, self.durable_through, log.seed);
        let rest_at = start + front.len() as u64;
        self.position = rest_at + rest.len() as u64;
        assert!(self.position <= self.room_end, "frames larger than what was asked for");
        self.head.put(start, front);
        if !rest.is_empty() {
            self.head.put(rest_at, rest);
        }
        start..self.position
    }

    /// Makes all frames part of the log. Returns the end of the log.
    #[inline(always)]
    pub(crate) fn finish(mut self) -> u64 {
        let (log, end) = (self.log, self.position);
        self.head.publish(end);
        if self.head.map.is_some() {
            log.written.store(end, Ordering::Release);
        }
        log.appended.store(end, Ordering::Release);
        self.head.scratch = std::mem::take(&mut self.front);
        if end >= self.head.check_at {
            log.check_ahead(&mut self.head);
        }
        end
    }
}

impl Drop for Appender<'_> {
    /// Frames that are in the file, or about to be, and not in the log: the next frames would lie across them.
    fn drop(&mut self) {
        if self.position > self.head.end {
            let left = std::io::Error::other("an append ended half-way");
            self.log.shape.poison.set(self.head.segment.path.clone(), left);
            self.log.room.notify_all();
        }
    }
}

impl Log {
    /// Nothing is appended from here on.
    pub(crate) fn shut(&self) {
        // Not while a file is being zeroed or made: the next owner may write there.
        let [_no_zeroes, _no_files] = [&self.filling, &self.making].map(|under_way| under_way.hold());
        self.head.hold().shut = true;
        self.room.notify_all();
    }

    /// Sets whether a thread prepares room ahead from here on, or appends make their room themselves.
    pub(crate) fn prepare_in_background(&self, in_background: bool) {
        self.head.hold().prepares_inline = !in_background;
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use popstore_revive::TopicId;

    use super::super::{Shape, Unrecovered};
    use super::*;
    use crate::clock::Timeline;
    use crate::fault::Faults;
    use crate::format::commit::{TopicRecord, encode_topic};
    use crate::segment::Disk;

    fn log(dir: &Path, staged: bool) -> Log {
        let disk = Disk::make_root(dir, 0o600, None).unwrap();
        let dir = disk.root().join("commit");
        std::fs::create_dir(&dir).unwrap();
        let empty = Unrecovered::find(dir.clone(), LogKind::Commit, 1, &mut Faults::refused()).unwrap();
        let (empty, found) = empty.walk(0, 0, 1).through(&mut Faults::refused(), |_, _| Ok(())).unwrap();
        let shape = Shape {
            kind: LogKind::Commit,
            dir,
            store: 1,
            generation: 1,
            segment_bytes: 4096,
            ready_bytes: 0,
            moves_segments: false,
            staged,
            lazy: !staged,
            was_closed: false,
            poison: Arc::default(),
            clock: Timeline::start(None, || ()),
            wake: crossbeam_channel::bounded(1).0,
        };
        empty.recover(&found, shape, disk).unwrap()
    }

    fn push(appender: &mut Appender<'_>) {
        appender.push_one(|out| encode_topic(&TopicRecord { topic: TopicId(0), queues: 1, name: "orders" }, out), &[]);
    }

    #[test]
    fn an_append_that_ends_half_way_poisons_the_log() {
        for staged in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let log = log(dir.path(), staged);
            drop(log.reserve(100, Room::Free).unwrap());
            let mut whole = log.reserve(100, Room::Free).unwrap();
            push(&mut whole);
            let end = whole.finish();
            log.sync_all().unwrap();
            let mut half = log.reserve(100, Room::Free).unwrap();
            push(&mut half);
            drop(half);
            let refused = log.reserve(100, Room::Free).map(drop);
            assert!(matches!(refused, Err(Error::Poisoned { .. })), "staged {staged}: {refused:?}");
            assert_eq!((log.appended(), log.durable()), (end, end), "staged {staged}: it is no part of the log");
        }
    }
}
