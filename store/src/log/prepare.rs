//! Making room ahead of the appends: bytes that are there, zero-filled, in the files that `make.rs` makes.
//!
//! A sync over blocks that were written before costs a tenth of one that must also record their allocation, and an
//! allocated block cannot run out of disk. So every byte is zero-filled before an append may use it, in steps that
//! follow the load.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Head, Log, Segment, WantedRoom};
use crate::error::{At, Result};
use crate::format::frame::LogKind;
use crate::format::header::SEGMENT_HEADER;
use crate::primitives::Hold;
use crate::segment::{Beside, Disk, StoreFile, WriteMap};

const STEP_MIN: u64 = 1 << 20;
const STEP_MAX: u64 = 64 << 20;
/// The bytes that are made at once, at multiples of that.
pub(super) const FILL: u64 = 1 << 21;
/// How much of it is written at once: short, so that neither readers nor syncs wait behind it; and small enough that the
/// system need not search for huge pages, which are quick only while it has some at hand.
const PIECE: u64 = 1 << 18;
/// How often appends check the room ahead: this often in a segment, and after at most that many bytes.
const CHECKS: u64 = 64;
const CHECK_EVERY_MAX: u64 = 1 << 14;
/// How much there is ahead of the checkpoint log where its segments have space that is not filled yet.
const CHECKPOINT_STEP: u64 = 2 * PIECE;
static ZEROES: [u8; PIECE as usize] = [0; PIECE as usize];

/// The next piece to fill, of one segment.
struct Piece {
    segment: Arc<Segment>,
    map: Option<Beside>,
    from: u64,
    end: u64,
}

impl Piece {
    /// The first piece of a segment that is not there yet.
    fn next(segment: &Arc<Segment>, map: Option<&WriteMap>, ready: u64, fill: u64) -> Self {
        let at = ready - segment.base;
        let end = segment.base + segment.capacity.min((at / fill + 1) * fill);
        Self { segment: Arc::clone(segment), map: map.map(WriteMap::beside), from: ready, end }
    }
}

impl Log {
    /// Makes a bounded piece of room, or a segment for it, if there should be more. Returns whether there is more to do.
    pub(crate) fn prepare(&self) -> Result<bool> {
        Ok(self.fill_ahead()? || self.make_ahead()?)
    }

    /// Makes a bounded piece of room in the segments there are. Returns whether there may be more to do.
    pub(crate) fn fill_ahead(&self) -> Result<bool> {
        let _one_at_a_time = self.filling.hold();
        let (piece, asked) = {
            let head = self.head.hold();
            if self.is_done(&head) {
                return Ok(false);
            }
            (self.next_piece(&head), head.asked)
        };
        let Some(piece) = piece else { return self.take_space_ahead() };
        let filled = self.note_space(self.fill(&piece));
        self.answer_waiting(filled, asked, |_| true)
    }

    /// Whether nothing is prepared any more. Wakes the appends that wait for room, which then find that out.
    pub(super) fn is_done(&self, head: &Head) -> bool {
        let done = head.shut || self.shape.poison.check().is_err();
        if done {
            self.room.notify_all();
        }
        done
    }

    /// Something was prepared, or could not be: then an append that needs it and had asked before is refused.
    pub(super) fn answer_waiting(
        &self,
        done: Result<()>,
        asked: u64,
        is_needed: impl FnOnce(&Head) -> bool,
    ) -> Result<bool> {
        let mut head = self.head.hold();
        self.note_whether_short(&head);
        self.room.notify_all();
        match done {
            Ok(()) => Ok(true),
            Err(error) if head.waiting > 0 && is_needed(&head) => {
                head.refused = Some((asked, error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there was no next segment at the last check, and less than half of this one left.
    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// Checks whether there is enough room ahead of the head, and sets when to check again.
    pub(super) fn check_ahead(&self, head: &mut Head) {
        head.check_at = head.end + (head.segment.capacity / CHECKS).min(CHECK_EVERY_MAX);
        self.note_whether_short(head);
        if !head.prepares_inline && self.wants_preparing(head) {
            self.wake_preparer();
        }
    }

    fn note_whether_short(&self, head: &Head) {
        let short = head.ahead.is_empty() && head.segment.end() - head.end < head.segment.capacity / 2;
        self.short.store(short, Ordering::Relaxed);
    }

    /// Whether [`Log::prepare`] has something to do for the head.
    fn wants_preparing(&self, head: &Head) -> bool {
        let ready = head.ahead.iter().map(|next| next.ready - next.segment.base).sum::<u64>() + head.ready - head.end;
        // Whoever makes a segment checks again when it is done.
        let is_made = || self.making.try_lock().is_err();
        let lacks_space = head.space < self.wanted_space(head);
        lacks_space || ready < self.reserved() + self.step(head) / 2 || self.next_base(head).is_some() && !is_made()
    }

    pub(super) fn wake_preparer(&self) {
        // A full channel means that it is awake already.
        let _ = self.shape.wake.try_send(());
    }

    /// Whether segments have their space and are filled shortly before they are needed: room that lies ready for longer is written
    /// twice, as zeroes and as records.
    fn fills_late(&self) -> bool {
        self.shape.kind == LogKind::Checkpoint && !self.shape.staged
    }

    pub(super) fn step(&self, head: &Head) -> u64 {
        match self.shape.kind {
            LogKind::Commit => {
                let step = (head.load / 4).clamp(STEP_MIN, STEP_MAX).min(self.shape.segment_bytes);
                step.max(self.shape.ready_bytes)
            }
            LogKind::Checkpoint if self.fills_late() => CHECKPOINT_STEP.min(self.shape.segment_bytes),
            // A head that an open has found may claim any room.
            LogKind::Checkpoint => self.shape.segment_bytes + head.segment.capacity.min(2 * self.shape.segment_bytes),
        }
    }

    /// How far there should be room.
    pub(super) fn wanted_end(&self, head: &Head) -> u64 {
        let want = head.end + self.step(head) + self.reserved();
        let WantedRoom { bytes, left } = head.wanted;
        // An append that does not fit into the rest of this segment begins in a later one, and so does what it leaves.
        let needed = match head.end + bytes {
            through if through + left <= head.segment.end() => through + left,
            through if through <= head.segment.end() => self.place_behind(head, 0, left).0 + left,
            _ => match self.place_behind(head, 0, bytes) {
                (begins, end, _) if begins + bytes + left <= end => begins + bytes + left,
                (_, _, at) => self.place_behind(head, at + 1, left).0 + left,
            },
        };
        want.max(needed)
    }

    /// The first of the next segments, from number `from` on, that has this much room: where its room begins, where it ends, and its
    /// number. One that is not made yet is as long as all new ones.
    fn place_behind(&self, head: &Head, from: usize, bytes: u64) -> (u64, u64, usize) {
        let made = head.ahead.iter().enumerate().skip(from);
        match made
            .map(|(at, next)| (next.begins(), next.segment.end(), at))
            .find(|(begins, end, _)| begins + bytes <= *end)
        {
            Some(place) => place,
            None => {
                let last = head.ahead.back().map_or(head.segment.end(), |last| last.segment.end());
                let at = from.max(head.ahead.len());
                let base = last + (at - head.ahead.len()) as u64 * self.shape.segment_bytes;
                (base + SEGMENT_HEADER as u64, base + self.shape.segment_bytes, at)
            }
        }
    }

    fn next_piece(&self, head: &Head) -> Option<Piece> {
        let want = self.wanted_end(head);
        let fill = if self.fills_late() { PIECE } else { FILL };
        if head.ready < head.segment.end() && head.ready < want {
            return Some(Piece::next(&head.segment, head.map.as_ref(), head.ready, fill));
        }
        let unready = head.ahead.iter().find(|next| next.ready < next.segment.end() && next.ready < want);
        unready.map(|next| Piece::next(&next.segment, next.map.as_ref(), next.ready, fill))
    }

    /// How far the segment that is appended to should have space: what an open finds need not have all of it.
    fn wanted_space(&self, head: &Head) -> u64 {
        match self.shape.kind {
            LogKind::Commit => head.space,
            LogKind::Checkpoint => head.segment.end().min(head.end + self.shape.segment_bytes).max(head.space),
        }
    }

    /// Takes a bounded piece of that space. Returns whether there is more to do.
    fn take_space_ahead(&self) -> Result<bool> {
        let (segment, from, end) = {
            let head = self.head.hold();
            let end = self.wanted_space(&head).min(head.space + FILL);
            (Arc::clone(&head.segment), head.space, end)
        };
        if from == end {
            return Ok(false);
        }
        let file = segment.file(&self.disk).at("open", &segment.path)?;
        let taken = match self.disk.take_space(&file, from - segment.base, end - from) {
            true => Ok(()),
            false => zero(&self.disk, &file, from - segment.base, end - segment.base),
        };
        self.note_space(taken)?;
        let mut head = self.head.hold();
        if head.segment.base == segment.base {
            head.space = head.space.max(end);
        }
        Ok(true)
    }

    fn fill(&self, piece: &Piece) -> Result<()> {
        let Piece { segment, map, from, end } = piece;
        let file = segment.file(&self.disk).at("open", &segment.path)?;
        zero(&self.disk, &file, from - segment.base, end - segment.base)?;
        if self.shape.staged || segment.is_written {
            // A file reports a failure once, and that may concern frames that were written to this one.
            self.or_poison(segment, self.disk.sync_file(&file))?;
        }
        if let Some(map) = map {
            map.populate((from - segment.base) as usize, (end - from) as usize);
        }
        let mut head = self.head.hold();
        if head.segment.base == segment.base {
            (head.ready, head.space) = (*end, head.space.max(*end));
        } else if let Some(next) = head.ahead.iter_mut().find(|next| next.segment.base == segment.base) {
            next.ready = *end;
        }
        Ok(())
    }
}

/// Takes the space of a file's first bytes, which read as zeroes from here on, written or not.
pub(super) fn take_zeroed(disk: &Disk, file: &StoreFile, bytes: u64) -> Result<()> {
    if disk.take_zeroes(file, 0, bytes) { Ok(()) } else { zero(disk, file, 0, bytes) }
}

/// Fills a part of a file with zeroes.
pub(super) fn zero(disk: &Disk, file: &StoreFile, from: u64, end: u64) -> Result<()> {
    let mut at = from;
    while at < end {
        let len = (end - at).min(PIECE - at % PIECE);
        disk.write_zeroes(file, at, &ZEROES[..len as usize]).at("write", &file.path)?;
        at += len;
    }
    Ok(())
}
