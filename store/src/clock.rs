//! The one clock: the only place that asks the machine for the time.
//!
//! Leases follow the monotonic clock from the moment the store is opened; the wall clock gives only the place of
//! that moment, by which recorded times are read after a restart. A step of the wall clock while the store runs is
//! not seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use popstore_revive::Time;

use crate::callback;

/// Where the store's time comes from. It is asked while locks are held, so it must not call the store. A panic in it
/// poisons the store ([`crate::Error::Poisoned`]).
///
/// ```
/// use popstore::clock::{Clock, SystemClock, Time};
/// use std::time::Duration;
/// /// An hour ahead of the machine.
/// struct Ahead(SystemClock);
/// impl Clock for Ahead {
///     fn now(&self) -> Time {
///         self.0.now().after(Duration::from_secs(3600))
///     }
///     fn runs(&self) -> bool {
///         true
///     }
/// }
/// ```
pub trait Clock: Send + Sync {
    /// The time on the store's timeline.
    fn now(&self) -> Time;

    /// The time to within a few milliseconds, never later than [`Clock::now`], for less work.
    fn coarse(&self) -> Time {
        self.now()
    }

    /// Whether this clock moves by itself. A store on one that does not starts no threads: its owner advances the
    /// clock and calls [`crate::Store::run_pending`].
    fn runs(&self) -> bool;
}

/// The machine's clock.
///
/// ```
/// use popstore::clock::{Clock, SystemClock};
/// let clock = SystemClock::start();
/// assert!(clock.now() <= clock.now());
/// ```
#[derive(Clone, Debug)]
pub struct SystemClock {
    opened_at: Time,
    #[cfg(not(target_os = "linux"))]
    since: std::time::Instant,
    /// What the monotonic clock showed then, in microseconds. An `Instant` is the same one, for twice the work and
    /// without a coarse one beside it.
    #[cfg(target_os = "linux")]
    showed: u64,
}

/// A clock for tests: it stands still until it is advanced or set.
///
/// ```
/// use popstore::clock::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::at(Duration::from_secs(10));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now().0, 15_000_000, "microseconds since the Unix epoch");
/// clock.set(Duration::ZERO);
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl SystemClock {
    /// Starts a timeline at the wall clock's present.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            opened_at: Time(0).after(wall),
            #[cfg(not(target_os = "linux"))]
            since: std::time::Instant::now(),
            #[cfg(target_os = "linux")]
            showed: micros(rustix::time::ClockId::Monotonic),
        }
    }
}

#[cfg(target_os = "linux")]
impl SystemClock {
    fn since_opened(&self, clock: rustix::time::ClockId) -> Time {
        Time(self.opened_at.0.saturating_add(micros(clock).saturating_sub(self.showed)))
    }
}

/// What one of the machine's clocks shows.
#[cfg(target_os = "linux")]
fn micros(clock: rustix::time::ClockId) -> u64 {
    let shown = rustix::time::clock_gettime(clock);
    shown.tv_sec as u64 * 1_000_000 + shown.tv_nsec as u64 / 1000
}

impl Clock for SystemClock {
    #[cfg(not(target_os = "linux"))]
    fn now(&self) -> Time {
        self.opened_at.after(self.since.elapsed())
    }

    #[cfg(target_os = "linux")]
    fn now(&self) -> Time {
        self.since_opened(rustix::time::ClockId::Monotonic)
    }

    #[cfg(target_os = "linux")]
    fn coarse(&self) -> Time {
        self.since_opened(rustix::time::ClockId::MonotonicCoarse)
    }

    fn runs(&self) -> bool {
        true
    }
}

impl ManualClock {
    /// A clock that stands at this time after the Unix epoch.
    pub fn at(since_epoch: Duration) -> Self {
        Self(AtomicU64::new(Time(0).after(since_epoch).0))
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().after(by).since(Time(0)));
    }

    /// Sets the clock, forwards or back.
    pub fn set(&self, since_epoch: Duration) {
        self.0.store(Time(0).after(since_epoch).0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }

    fn runs(&self) -> bool {
        false
    }
}

/// The time of an open store. The machine's clock is asked directly; that of a user may panic.
#[derive(Clone)]
pub(crate) enum Timeline {
    Machine(SystemClock),
    User(Arc<UsersClock>),
}

/// A clock of the user, until it panics; the time of its last answer from then on.
pub(crate) struct UsersClock {
    clock: Arc<dyn Clock>,
    runs: bool,
    last: AtomicU64,
    has_failed: AtomicBool,
    on_failure: Box<dyn Fn() + Send + Sync>,
}

impl Timeline {
    /// Starts the timeline of a store, on the user's clock if there is one. Its panic is reported once.
    pub(crate) fn start(clock: Option<&Arc<dyn Clock>>, on_failure: impl Fn() + Send + Sync + 'static) -> Self {
        let Some(clock) = clock else { return Self::Machine(SystemClock::start()) };
        let (last, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
        let on_failure = Box::new(on_failure);
        let mut users = UsersClock { clock: Arc::clone(clock), runs: false, last, has_failed, on_failure };
        users.runs = users.ask(|clock| clock.runs()).unwrap_or_default();
        Self::User(Arc::new(users))
    }

    pub(crate) fn now(&self) -> Time {
        match self {
            Self::Machine(clock) => clock.now(),
            Self::User(clock) => clock.read(|clock| clock.now()),
        }
    }

    pub(crate) fn coarse(&self) -> Time {
        match self {
            Self::Machine(clock) => clock.coarse(),
            Self::User(clock) => clock.read(|clock| clock.coarse()),
        }
    }

    pub(crate) fn runs(&self) -> bool {
        match self {
            Self::Machine(clock) => clock.runs(),
            Self::User(clock) => clock.runs,
        }
    }

    /// Whether the clock has panicked: it shows the time of its last answer.
    pub(crate) fn has_failed(&self) -> bool {
        match self {
            Self::Machine(_) => false,
            Self::User(clock) => clock.has_failed.load(Ordering::Acquire),
        }
    }
}

impl UsersClock {
    fn read(&self, read: impl FnOnce(&dyn Clock) -> Time) -> Time {
        match self.ask(read) {
            Some(time) => {
                self.last.store(time.0, Ordering::Relaxed);
                time
            }
            None => Time(self.last.load(Ordering::Relaxed)),
        }
    }

    fn ask<T>(&self, ask: impl FnOnce(&dyn Clock) -> T) -> Option<T> {
        if self.has_failed.load(Ordering::Acquire) {
            return None;
        }
        let answer = callback::call(|| ask(&*self.clock));
        if answer.is_none() {
            self.has_failed.store(true, Ordering::Release);
            (self.on_failure)();
        }
        answer
    }
}

/// The wall clock's reading of a time on the store's timeline.
pub(crate) fn wall(time: Time) -> SystemTime {
    UNIX_EPOCH + time.since(Time(0))
}
