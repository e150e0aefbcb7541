//! Maps of segment files: the one place with `unsafe` code.
//!
//! The contract, which each `SAFETY:` names:
//!
//! 1. **Fixed length.** A map never moves and never changes its length. The file under it only grows, up to the map's
//!    length; nothing truncates it while it is mapped. (Another program that does is outside what can be promised.)
//! 2. **One appender.** There is one [`WriteMap`] per segment, and writing takes it by `&mut`.
//! 3. **Published bytes never change.** Below `published` nothing is written again through a map; the writer checks it.
//!    (After a recovery the same bytes are written once more to the file.)
//! 4. **Release and acquire.** Bytes are written before `published` moves over them (Release) and read only after it
//!    was seen there (Acquire). The test `loom` tries every order of it.
//! 5. **No `&mut [u8]`** over shared bytes exists anywhere; bytes are copied in through raw pointers.
//! 6. **A bound.** A process can have some tens of thousands of maps, and an allocation that needs one more ends it: the
//!    store stops far below that.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::published::Published;
use super::{Disk, Event, StoreFile, platform};

/// No system has longer pages.
#[cfg(target_os = "linux")]
const PAGE_MAX: usize = 1 << 16;

/// The most maps of all stores of the process together, of the 65,530 that Linux allows a process by default; and how many
/// there may be when a segment is added, so that what one process has made another can open.
const MAPS_MAX: usize = 48_000;
const MAPS_GROW_MAX: usize = 32_000;
static MAPS: AtomicUsize = AtomicUsize::new(0);

/// Refuses to make a segment that could not be mapped together with all others.
pub(crate) fn may_map_more() -> io::Result<()> {
    if MAPS.load(Ordering::Relaxed) < MAPS_GROW_MAX { Ok(()) } else { Err(too_many()) }
}

fn too_many() -> io::Error {
    io::Error::other("too many segments; use longer ones, or a retention rule")
}

/// The right to one map (6).
struct Permit;

impl Permit {
    fn take() -> io::Result<Self> {
        if MAPS.fetch_add(1, Ordering::Relaxed) < MAPS_MAX {
            return Ok(Self);
        }
        MAPS.fetch_sub(1, Ordering::Relaxed);
        Err(too_many())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        MAPS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A segment mapped for reading, together with how far it may be read.
pub(crate) struct ReadMap {
    raw: MmapRaw,
    _permit: Permit,
    published: Published,
}

impl ReadMap {
    /// Maps `capacity` bytes of a file of which the first `published` are final.
    pub(crate) fn new(disk: &Disk, file: &StoreFile, capacity: usize, published: usize) -> io::Result<Self> {
        let len = if platform::GROWS_UNDER_MAP { capacity } else { usize::try_from(file.len()?).unwrap_or(0) };
        let _permit = Permit::take()?;
        let map = || MmapOptions::new().len(len).map_raw_read_only(&file.file);
        let raw = disk.seen(Event::Map(&file.path), map)?;
        Ok(Self { raw, _permit, published: Published::new(published.min(len)) })
    }

    /// Lets readers see everything below `through`. Never moves back.
    pub(crate) fn publish(&self, through: usize) {
        debug_assert!(through <= self.raw.len());
        self.published.publish(through);
    }

    /// The end of the published bytes.
    pub(crate) fn published(&self) -> usize {
        self.published.through()
    }

    /// The bytes `at..at + len`, if they are published.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len)?;
        if !self.published.covers(end) {
            return None;
        }
        // SAFETY: the range lies within the map (published <= its length) and within the file, which was written up
        // to `published` before and does not shrink (1). Its bytes do not change any more (3) and were written before
        // `published` was seen (4). The map lives as long as `self`.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at), len) })
    }
}

/// The one appender's map of a segment.
pub(crate) struct WriteMap {
    raw: Arc<MmapRaw>,
    _permit: Permit,
    read: Arc<ReadMap>,
}

/// The appender's map in the hands of another thread, which changes nothing in it.
#[derive(Clone)]
pub(crate) struct Beside(Arc<MmapRaw>);

impl WriteMap {
    /// Maps a segment for the appender. Make one per segment (2).
    pub(crate) fn new(disk: &Disk, file: &StoreFile, capacity: usize, read: Arc<ReadMap>) -> io::Result<Self> {
        let len = if platform::GROWS_UNDER_MAP { capacity } else { usize::try_from(file.len()?).unwrap_or(0) };
        let _permit = Permit::take()?;
        let raw = disk.seen(Event::Map(&file.path), || MmapOptions::new().len(len).map_raw(&file.file))?;
        Ok(Self { raw: Arc::new(raw), _permit, read })
    }

    /// Copies `bytes` to `at`, behind the published bytes. The file must have been made at least that long.
    pub(crate) fn copy_in(&mut self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len()).expect("a place in a segment");
        assert!(end <= self.raw.len() && self.read.published.is_before(at), "a write outside the tail");
        // SAFETY: the range lies within the map and within the file, which the caller made long enough (1). Nothing
        // reads it, since it is not published (3), and nothing else writes it (2). The source is not the map (5).
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.as_mut_ptr().add(at), bytes.len()) };
    }

    /// Lets readers see everything below `through`, which was copied in before.
    pub(crate) fn publish(&mut self, through: usize) {
        self.read.publish(through);
    }

    pub(crate) fn beside(&self) -> Beside {
        Beside(Arc::clone(&self.raw))
    }

    /// Hands the bytes stored through the map to the file where a sync of the file would not.
    pub(crate) fn flush(&self) -> io::Result<()> {
        if platform::SYNCS_MAPS { Ok(()) } else { self.raw.flush() }
    }
}

impl Beside {
    /// Takes the page faults of a range of the file that exists, ahead of the appender.
    pub(crate) fn populate(&self, at: usize, len: usize) {
        let len = len.min(self.0.len().saturating_sub(at));
        platform::populate(&self.0, at, len);
    }

    /// Makes a range of the file durable, also what others wrote, and leaves the pages beside it alone. The range is published:
    /// nothing is stored there any more.
    pub(super) fn sync(&self, at: usize, len: usize) -> io::Result<()> {
        self.let_go(at, len);
        self.0.flush_range(at, len)
    }

    /// Takes the whole pages of a range out of this map, at once: else the sync protects each of them by itself, with an
    /// interrupt of the appender. In the file they stay as they are.
    fn let_go(&self, at: usize, len: usize) {
        #[cfg(target_os = "linux")]
        {
            let end = (at + len).min(self.0.len()) / PAGE_MAX * PAGE_MAX;
            if at < end {
                // SAFETY: the map is shared, so its pages are those of the file (1), and hold what was stored. Nothing is
                // stored there again (3), nor before; readers have another map.
                let _ = unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, end - at) };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (at, len);
    }
}

/// A byte that is set in this process and zero in a forked child.
#[cfg(target_os = "linux")]
pub(super) struct ForkMark(memmap2::Mmap);

#[cfg(target_os = "linux")]
impl ForkMark {
    pub(super) fn new() -> io::Result<Self> {
        use rustix::mm::{Advice, madvise};

        let mut page = MmapOptions::new().len(1).map_anon()?;
        page[0] = 1;
        // SAFETY: the map is private and anonymous, and nothing but this mark uses it; the advice changes what a child
        // sees of it, and nothing here.
        unsafe { madvise(page.as_mut_ptr().cast(), page.len(), Advice::LinuxWipeOnFork)? };
        Ok(Self(page.make_read_only()?))
    }

    #[inline(always)]
    pub(super) fn is_set(&self) -> bool {
        self.0[0] != 0
    }
}
