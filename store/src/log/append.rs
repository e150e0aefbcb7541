//! Appending: room first, then the frames, then one move that makes all of them visible.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::{Chunk, Head, Log};
use crate::error::{Error, Result};
use crate::format::frame::{self, END_FRAME};
use crate::format::header::SEGMENT_HEADER;

/// What fits into a segment of `capacity` bytes at most.
pub(crate) fn room_max(capacity: u64) -> u64 {
    capacity.saturating_sub((SEGMENT_HEADER + END_FRAME) as u64)
}

/// The right to append, with room for what was asked for. Dropping it without [`Appender::finish`] leaves nothing.
pub(crate) struct Appender<'a> {
    log: &'a Log,
    head: MutexGuard<'a, Head>,
    frames: Vec<u8>,
    /// Where the frames begin, and the room behind that place.
    start: u64,
    room: u64,
    durable_through: u64,
}

impl Log {
    /// Waits for the right to append `bytes` in one segment.
    ///
    /// # Errors
    /// The disk is full, the log is poisoned, or no segment could ever hold that much.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Appender<'_>> {
        let bytes = bytes as u64;
        let bytes_max = room_max(self.shape.segment_bytes);
        if bytes > bytes_max {
            return Err(Error::TooLarge { what: "a batch", bytes, bytes_max });
        }
        let mut head = self.head.lock().expect("no panic under the lock");
        loop {
            self.shape.poison.check()?;
            if head.shut {
                return Err(Error::Closed);
            }
            if head.end + bytes + END_FRAME as u64 > head.segment.end() && head.next.is_some() {
                self.roll(&mut head)?;
            }
            // Room for the end frame is never given away, so that a segment can always be closed.
            if head.end + bytes + END_FRAME as u64 <= head.ready {
                break;
            }
            head = self.wait_for_room(head, bytes + END_FRAME as u64)?;
        }
        if head.waiting == 0 {
            head.wanted = 0;
        }
        let mut frames = std::mem::take(&mut head.scratch);
        frames.clear();
        let (start, durable_through) = (head.end, self.durable());
        Ok(Appender { log: self, head, frames, start, room: bytes, durable_through })
    }

    fn wait_for_room<'a>(&'a self, mut head: MutexGuard<'a, Head>, bytes: u64) -> Result<MutexGuard<'a, Head>> {
        head.wanted = head.wanted.max(bytes);
        if head.unattended {
            drop(head);
            self.prepare()?;
            return Ok(self.head.lock().expect("no panic under the lock"));
        }
        head.refused = None;
        head.waiting += 1;
        self.wake_preparer();
        head = self.room.wait(head).expect("no panic under the lock");
        head.waiting -= 1;
        match head.refused.take() {
            Some(refused) => {
                head.wanted = 0;
                Err(refused)
            }
            None => Ok(head),
        }
    }

    /// Closes the head and goes on in the next segment.
    fn roll(&self, head: &mut Head) -> Result<()> {
        let Some(next) = head.next.take() else { return Ok(()) };
        let mut end = Vec::with_capacity(END_FRAME);
        frame::open(&mut end, frame::KIND_END);
        frame::seal(&mut end, head.end, self.shape.generation, self.durable(), self.seed);
        self.put(head, &end);
        if let Some(map) = &head.map {
            map.flush().map_err(|source| self.shape.poison.set(head.segment.path.clone(), source))?;
        }
        let base = next.segment.base;
        self.chain.write().expect("no panic under the lock").insert(base, Arc::clone(&next.segment));
        (head.segment, head.map, head.ready) = (next.segment, next.map, next.ready);
        head.end = base + SEGMENT_HEADER as u64;
        Ok(())
    }

    /// Puts whole frames at the head's end, where there is room.
    fn put(&self, head: &mut Head, frames: &[u8]) {
        let at = head.end;
        match &mut head.map {
            Some(map) => map.write((at - head.segment.base) as usize, frames),
            None => match head.staged.last_mut() {
                Some(chunk) if chunk.segment.base == head.segment.base => chunk.bytes.extend_from_slice(frames),
                _ => {
                    let segment = Arc::clone(&head.segment);
                    head.staged.push(Chunk { segment, at, bytes: frames.to_vec() });
                }
            },
        }
        head.end += frames.len() as u64;
        head.load += frames.len() as u64;
    }
}

impl Appender<'_> {
    /// Where the next frame goes.
    pub(crate) fn position(&self) -> u64 {
        self.start + self.frames.len() as u64
    }

    /// Where the segment begins that is appended to.
    pub(crate) fn segment_base(&self) -> u64 {
        self.head.segment.base
    }

    /// Adds a frame; `encode` appends it un-sealed and returns its start. Returns its place.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> usize) -> Range<u64> {
        let position = self.position();
        let start = encode(&mut self.frames);
        frame::seal(
            &mut self.frames[start..],
            position,
            self.log.shape.generation,
            self.durable_through,
            self.log.seed,
        );
        assert!(self.frames.len() as u64 <= self.room, "frames larger than what was asked for");
        position..self.position()
    }

    /// Makes all frames part of the log, or none. Returns the end of the log.
    pub(crate) fn finish(mut self) -> u64 {
        let frames = std::mem::take(&mut self.frames);
        let log = self.log;
        log.put(&mut self.head, &frames);
        let end = self.head.end;
        if self.head.map.is_some() {
            log.written.store(end, Ordering::Release);
        }
        log.appended.store(end, Ordering::Release);
        self.head.scratch = frames;
        log.note_whether_short(&self.head);
        if !self.head.unattended && log.wants_preparing(&self.head) {
            log.wake_preparer();
        }
        end
    }
}

impl Drop for Appender<'_> {
    fn drop(&mut self) {
        if !self.frames.is_empty() {
            self.head.scratch = std::mem::take(&mut self.frames);
        }
    }
}

impl Log {
    /// Nothing is appended from here on.
    pub(crate) fn shut(&self) {
        // Not while a file is being zeroed: the next owner may write there.
        let _nothing_under_way = self.preparing.lock().expect("no panic under the lock");
        self.head.lock().expect("no panic under the lock").shut = true;
        self.room.notify_all();
    }

    /// Whether a thread prepares ahead from here on, or appends make their room themselves.
    pub(crate) fn attend(&self, attended: bool) {
        self.head.lock().expect("no panic under the lock").unattended = !attended;
        self.room.notify_all();
    }
}
