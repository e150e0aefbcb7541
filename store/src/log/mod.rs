//! A log: frames in segments, one appender at a time, many readers, one sync for all who wait.
//!
//! Both logs of a store are this type. A position is a byte in the log: a segment's base plus the byte in its file,
//! header included. There are two ways to write, into one format:
//!
//! - **staged** (`Durability::SyncEach`): frames are collected in memory; whoever needs them durable first writes the
//!   whole group with one `pwrite`, syncs once, and wakes the others;
//! - **mapped** (all others): frames are stored through the map and survive the process at once; syncs come later.
//!
//! Three marks only move forward: `written <= appended`, and `durable`, which lies at most where the head begins when
//! that is further. Written frames can be read, durable ones have outlived a sync, appended ones have their place.

mod append;
mod judge;
mod make;
mod prepare;
mod read;
mod repair;
mod rewrite;
mod sync;
mod unrecovered;
mod walk;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, Weak};

use crate::clock::Timeline;
use crate::error::{Error, Result};
use crate::format::frame::{LogKind, Seed};
use crate::format::header::SEGMENT_HEADER;
use crate::primitives::{Hold, unpoisoned};
use crate::segment::{Disk, ReadMap, StoreFile, WriteMap};

pub(crate) use append::{Appender, Room, room_max};
pub(crate) use make::{Name, segment_name};
pub(crate) use read::Pages;
pub(crate) use repair::Fate;
pub(crate) use unrecovered::{SegmentFile, Unrecovered};
pub(crate) use walk::{FoundLog, FrameAt, Walk, WalkStep};
pub(crate) use window::{LARGE, Window};

/// How a log is laid out and written.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) kind: LogKind,
    pub(crate) dir: PathBuf,
    pub(crate) store: u128,
    pub(crate) generation: u32,
    /// The capacity of new segments.
    pub(crate) segment_bytes: u64,
    /// How much room to have ready at least, beyond what the load asks for.
    pub(crate) ready_bytes: u64,
    /// Retention moves needed messages out of a segment, which may be all of them.
    pub(crate) moves_segments: bool,
    /// Group commit by staged writes, instead of stores through the map.
    pub(crate) staged: bool,
    /// No append promises to be durable: what recovery found is written again and synced soon, not before the store opens.
    pub(crate) lazy: bool,
    /// The store was closed in order: all that was written and synced in its files is there.
    pub(crate) was_closed: bool,
    /// Both logs of a store are poisoned together.
    pub(crate) poison: Arc<Poison>,
    pub(crate) clock: Timeline,
    /// Wakes the thread that prepares.
    pub(crate) wake: crossbeam_channel::Sender<()>,
}

impl Shape {
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.store, self.kind)
    }
}

/// The first failure after which what the store holds is unknown. It stays set.
#[derive(Default)]
pub(crate) struct Poison(OnceLock<(PathBuf, Arc<std::io::Error>)>);

impl Poison {
    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some((path, source)) => Err(Error::Poisoned { path: path.clone(), source: Arc::clone(source) }),
        }
    }

    pub(crate) fn set(&self, path: PathBuf, source: std::io::Error) -> Error {
        let (path, source) = self.0.get_or_init(|| (path, Arc::new(source)));
        Error::Poisoned { path: path.clone(), source: Arc::clone(source) }
    }
}

/// One file of a log.
pub(crate) struct Segment {
    pub(crate) base: u64,
    pub(crate) capacity: u64,
    pub(crate) path: PathBuf,
    /// All of its room is written and synced before it is used.
    is_written: bool,
    /// Open while there may be something to write or sync: a log can have more segments than a process may open files.
    file: Mutex<Option<Arc<StoreFile>>>,
    pub(crate) map: Arc<ReadMap>,
}

impl Segment {
    pub(crate) fn end(&self) -> u64 {
        self.base + self.capacity
    }
}

/// A log that was recovered and can be appended to.
pub(crate) struct Log {
    pub(crate) shape: Shape,
    seed: Seed,
    disk: Disk,
    head: Mutex<Head>,
    /// Room was made, or could not be.
    room: Condvar,
    /// Held by whoever fills a segment with zeroes, and by whoever makes segment files.
    filling: Mutex<()>,
    making: Mutex<()>,
    /// All segments by base, the head included.
    chain: RwLock<BTreeMap<u64, Arc<Segment>>>,
    spares: Mutex<make::Spares>,
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    short: AtomicBool,
    /// There are fewer spares than wanted, or space was asked for that there was not.
    lacks_space: AtomicBool,
    /// What recovery found and is not proven durable: the first sync writes it again.
    unproven: Mutex<Range<u64>>,
    sync: Mutex<sync::SyncState>,
    /// How many wait for the sync that runs.
    waiting: AtomicUsize,
    synced: Condvar,
}

/// The segment being appended to.
struct Head {
    segment: Arc<Segment>,
    /// The appender's map, when the log is mapped.
    map: Option<WriteMap>,
    /// The place of the next frame.
    end: u64,
    /// The bytes before this place exist in the file.
    ready: u64,
    /// The bytes before this place have their space, but not always their zeroes.
    space: u64,
    /// The segments that come next.
    ahead: VecDeque<Next>,
    /// Maps that are no longer written to: taken down before what was stored through them is synced.
    outlived: Vec<WriteMap>,
    /// Closed segments that may not be synced yet and have their files open, oldest first.
    open: VecDeque<Weak<Segment>>,
    /// Frames that are appended and not written.
    staged: Vec<StagedFrames>,
    scratch: Vec<u8>,
    /// The appended bytes since the log was opened: room is made ready in proportion to them.
    load: u64,
    /// An append that reaches this place checks whether there is enough room ahead.
    check_at: u64,
    /// Appends wait for room.
    waiting: usize,
    /// The most that an append waits for.
    wanted: WantedRoom,
    /// No thread prepares room ahead: appends do it when they must.
    prepares_inline: bool,
    /// Nothing is appended any more.
    shut: bool,
    /// How many appends have asked for room that there was not.
    asked: u64,
    /// Why there is none, and how many of them had asked before that was tried.
    refused: Option<(u64, Error)>,
}

/// What appends wait for; nothing when none does.
#[derive(Clone, Copy, Default)]
struct WantedRoom {
    /// In one segment.
    bytes: u64,
    /// Behind that, or at the beginning of the next segment.
    left: u64,
}

impl WantedRoom {
    fn add(&mut self, bytes: u64, left: u64) {
        (self.bytes, self.left) = (self.bytes.max(bytes), self.left.max(left));
    }
}

struct Next {
    segment: Arc<Segment>,
    map: Option<WriteMap>,
    ready: u64,
}

impl Next {
    /// Where its first frame lies.
    fn begins(&self) -> u64 {
        self.segment.base + SEGMENT_HEADER as u64
    }
}

/// Frames that lie together in one segment.
struct StagedFrames {
    segment: Arc<Segment>,
    at: u64,
    bytes: Vec<u8>,
}

impl Log {
    /// The end of the frames that have a place in the log.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// The end of the frames that can be read.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The end of the frames that outlive a power cut.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Where the segment begins that is appended to, and where the log ends.
    pub(crate) fn head_span(&self) -> Range<u64> {
        let head = self.head.hold();
        head.segment.base..head.end
    }

    /// The position of the first segment.
    pub(crate) fn start(&self) -> u64 {
        let chain = unpoisoned(self.chain.read());
        chain.keys().next().copied().unwrap_or_default()
    }

    /// Where the oldest segment ends.
    pub(crate) fn oldest_end(&self) -> u64 {
        let chain = unpoisoned(self.chain.read());
        chain.values().next().map_or(0, |oldest| oldest.end())
    }

    /// The segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        unpoisoned(self.chain.read()).values().cloned().collect()
    }

    /// The bytes of all segments and spares, and how many of them are used; nothing while one is being made.
    pub(crate) fn space_at_once(&self) -> Option<(u64, u64)> {
        self.making.try_lock().ok().map(|_no_spare_becomes_a_segment| self.space_while_nothing_is_made())
    }

    /// The same, after that.
    pub(crate) fn space(&self) -> (u64, u64) {
        let _no_spare_becomes_a_segment = self.making.hold();
        self.space_while_nothing_is_made()
    }

    fn space_while_nothing_is_made(&self) -> (u64, u64) {
        let (ahead, lacking) = {
            let head = self.head.hold();
            let ahead = head.ahead.iter().map(|next| next.segment.capacity).sum::<u64>();
            (ahead, head.segment.end() - head.space)
        };
        let segments = self.segments().iter().map(|segment| segment.capacity).sum::<u64>();
        let space = (segments + ahead + self.spare_bytes()).saturating_sub(lacking);
        (space, self.appended().saturating_sub(self.start()))
    }

    /// The bytes of all segments that can be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.written().saturating_sub(self.start())
    }
}
