//! The options of opening a store.

use std::sync::Arc;
use std::time::Duration;

use popstore_revive::Time;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::event::StoreEvent;
use crate::segment::Hook;

/// When something acknowledged is durable. The same for messages, leases and acks.
///
/// ```
/// # use popstore::{Durability, Store};
/// use std::time::Duration;
/// let each = Store::options(); // every return is durable
/// let soon = Store::options().durability(Durability::SyncEvery(Duration::from_millis(10)));
/// let buffered = Store::options().durability(Durability::Buffered);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Before the call returns: nothing acknowledged is ever lost. Callers that wait share one sync.
    #[default]
    SyncEach,
    /// A power cut may lose operations acknowledged less than this long, plus one sync, before; a killed process loses
    /// nothing.
    SyncEvery(Duration),
    /// A power cut may lose what the operating system had not written by itself; a killed process loses nothing.
    Buffered,
}

/// When messages are deleted. Always whole segments, in the background, and never one that a lease or a retry still
/// needs. A segment is deleted when any of the rules allows it; without rules nothing is deleted.
///
/// ```
/// use popstore::{Retention, Store};
/// use std::time::Duration;
/// let a_week = Duration::from_secs(7 * 86_400);
/// let options = Store::options().retention(Retention::keep().when_done().after(a_week).bytes(10 << 30));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Retention {
    pub(crate) after: Option<Duration>,
    pub(crate) bytes: Option<u64>,
    pub(crate) when_done: bool,
}

impl Retention {
    /// Nothing is deleted.
    pub fn keep() -> Self {
        Self::default()
    }

    /// Segments whose last message is older than this are deleted. A message is at least as old as any behind it,
    /// whatever the clock was when it was appended; and time of more than this age in which nothing was appended does
    /// not count if it lies before this opening of the store, since the clock may have been set
    /// ([`StoreEvent::ImplausibleTime`]).
    #[must_use]
    pub fn after(mut self, age: Duration) -> Self {
        self.after = Some(age);
        self
    }

    /// The oldest segments are deleted while the commit log is larger than this.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Segments are deleted when every group that reads a topic is done with its messages there. A group reads a topic
    /// from its first pop there on: let each pop once before messages are to wait for it. One that is made with
    /// [`crate::StartAt::Newest`] reads every topic there is then. Messages of a topic that no group has ever popped
    /// from stay. Dead letters that were not redriven are moved on, read or not; the other rules delete them.
    #[must_use]
    pub fn when_done(mut self) -> Self {
        self.when_done = true;
        self
    }
}

/// Options of a store; `Store::options()` makes them, [`Options::open`] uses them.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use popstore::{Durability, Store};
/// let store = Store::options().durability(Durability::Buffered).segment_bytes(64 << 20).open(dir.path())?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    pub(crate) checkpoint_segment_bytes: u64,
    pub(crate) ready_bytes: u64,
    pub(crate) body_bytes_max: u64,
    pub(crate) entries_per_file: u64,
    pub(crate) mark_every_bytes: u64,
    pub(crate) queues: u32,
    pub(crate) retention: Retention,
    pub(crate) file_mode: u32,
    /// The machine's clock if there is none.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) hook: Option<Arc<dyn Hook>>,
    pub(crate) on_event: Option<OnEvent>,
}

pub(crate) type OnEvent = Arc<dyn Fn(&StoreEvent) + Send + Sync>;

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            segment_bytes: 32 << 20,
            ready_bytes: 0,
            checkpoint_segment_bytes: 2 << 20,
            body_bytes_max: 4 << 20,
            entries_per_file: 1 << 16,
            mark_every_bytes: 32 << 20,
            queues: 1,
            retention: Retention::default(),
            file_mode: 0o600,
            clock: None,
            hook: None,
            on_event: None,
        }
    }
}

impl Options {
    /// When something acknowledged is durable; [`Durability::SyncEach`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The length of new segments of the commit log, 4 KiB to 64 GiB; 32 MiB by default. A batch must fit into one.
    /// While the log has longer ones from an earlier setting, new ones are as long as those.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// How much room for messages to prepare ahead, on disk and in memory, at most 64 segments: a burst of half of it
    /// never waits. By default it grows with the load: a quarter of the bytes appended since the store was
    /// opened, 1 MiB to a segment.
    #[must_use]
    pub fn ready_bytes(mut self, bytes: u64) -> Self {
        self.ready_bytes = bytes;
        self
    }

    /// The length of new segments of the checkpoint log, 4 KiB to 1 GiB; 2 MiB by default. A store that has no disk
    /// space for longer ones continues with the length it had.
    #[must_use]
    pub fn checkpoint_segment_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_segment_bytes = bytes;
        self
    }

    /// The longest body; 4 MiB by default.
    #[must_use]
    pub fn body_bytes_max(mut self, bytes: u64) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// The number of queues of a topic that an append makes; 1 by default. [`crate::Store::create_topic`] chooses it
    /// freely.
    #[must_use]
    pub fn queues(mut self, queues: u32) -> Self {
        self.queues = queues;
        self
    }

    /// When messages are deleted; never by default.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The permissions of files that the store makes, less those of the process's umask; `0o600` by default: only their
    /// owner can read messages. Directories can be searched by those who can read files. Existing files stay as
    /// they are. Unix only.
    #[must_use]
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = mode;
        self
    }

    /// Calls `hook`, on a background or a calling thread, with each event that an operator should know of. It must not
    /// call the store. A panic in it is caught and logged.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&StoreEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// Another source of time. With one that does not run by itself no threads are started, and
    /// [`crate::Store::run_pending`] does their work. One that panics poisons the store.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sees every change of the disk; for tests of crashes and faults.
    #[doc(hidden)]
    #[must_use]
    pub fn hook(mut self, hook: Arc<dyn Hook>) -> Self {
        self.hook = Some(hook);
        self
    }

    /// How many entries a consume queue's file holds; small ones are for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn entries_per_file(mut self, entries: u64) -> Self {
        self.entries_per_file = entries;
        self
    }

    /// After how many bytes of messages the consume queues are made durable, which is half of what the next open must
    /// read at most. With more than 128 queues it is more, up to 16 times.
    #[doc(hidden)]
    #[must_use]
    pub fn mark_every_bytes(mut self, bytes: u64) -> Self {
        self.mark_every_bytes = bytes;
        self
    }

    /// The time that the store would open at.
    pub(crate) fn now(&self) -> Time {
        self.clock.as_ref().map_or_else(|| SystemClock::start().now(), |clock| clock.now())
    }

    pub(crate) fn check(&self) -> Result<()> {
        let in_range = |what, value: u64, range: std::ops::RangeInclusive<u64>, rule| {
            if range.contains(&value) { Ok(()) } else { Err(Error::invalid(what, value.to_string(), rule)) }
        };
        in_range("segment_bytes", self.segment_bytes, 4096..=64 << 30, "it must be 4096 to 64 GiB")?;
        // Each segment that lies ready is an open file.
        in_range("ready_bytes", self.ready_bytes, 0..=64 * self.segment_bytes, "it must be at most 64 segments")?;
        in_range("mark_every_bytes", self.mark_every_bytes, 1..=1 << 40, "it must be 1 to 1 TiB")?;
        in_range(
            "checkpoint_segment_bytes",
            self.checkpoint_segment_bytes,
            4096..=1 << 30,
            "it must be 4096 to 1 GiB",
        )?;
        in_range("entries_per_file", self.entries_per_file, 1..=1 << 24, "it must be 1 to 16777216")?;
        in_range("body_bytes_max", self.body_bytes_max, 0..=1 << 30, "it must be 0 to 1 GiB")?;
        if self.file_mode & !0o066 != 0o600 {
            let rule = "it must be 0o600, with reading or writing for others or not";
            return Err(Error::invalid("file_mode", format!("{:#o}", self.file_mode), rule));
        }
        in_range(
            "queues",
            u64::from(self.queues),
            1..=u64::from(crate::format::limits::QUEUES_MAX),
            "it must be 1 to 1024",
        )?;
        match self.durability {
            Durability::SyncEvery(every) if every.is_zero() => {
                Err(Error::invalid("durability", "SyncEvery(0)", "use SyncEach to sync before each return"))
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { durability, segment_bytes, body_bytes_max, queues, retention, .. } = self;
        let mut out = f.debug_struct("Options");
        out.field("durability", durability).field("segment_bytes", segment_bytes);
        out.field("body_bytes_max", body_bytes_max).field("queues", queues).field("retention", retention);
        out.finish_non_exhaustive()
    }
}
