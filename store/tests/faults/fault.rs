//! A disk that fails where it is told to: at one call of the seam, or at that and all that follow.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use popstore::{Event, Hook};

/// What the system refuses a call with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    Io,
    NoSpace,
    TooManyFiles,
    NoMemory,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create,
    Open,
    Map,
    Write,
    SyncFile,
    SyncDir,
    Rename,
    Remove,
}

/// Which calls fail, counted from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub errno: Errno,
    /// It does not go away.
    pub lasts: bool,
}

impl Errno {
    pub const ALL: [Self; 4] = [Self::Io, Self::NoSpace, Self::TooManyFiles, Self::NoMemory];

    /// Whether a system refuses such a call so. A directory is opened to sync it.
    pub fn fits(self, call: Call) -> bool {
        match self {
            Self::Io => true,
            Self::NoSpace => matches!(call, Call::Create | Call::Write | Call::Rename),
            Self::TooManyFiles => matches!(call, Call::Create | Call::Open | Call::SyncDir),
            Self::NoMemory => call == Call::Map,
        }
    }

    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io => 5,
            Self::NoSpace => 28,
            Self::TooManyFiles => 24,
            Self::NoMemory => 12,
        })
    }
}

impl Fault {
    /// Every fault that makes sense at these calls.
    pub fn all(calls: &[Call]) -> Vec<Self> {
        let mut faults = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            for errno in Errno::ALL.into_iter().filter(|errno| errno.fits(*call)) {
                faults.extend([false, true].map(|lasts| Self { at, errno, lasts }));
            }
        }
        faults
    }
}

/// Counts the calls and makes some of them fail.
#[derive(Default)]
pub struct FaultyDisk(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    calls: Vec<Call>,
    fault: Option<Fault>,
    struck: bool,
    poisoning: bool,
}

impl FaultyDisk {
    /// Begins to count anew, and to fail.
    pub fn order(&self, fault: Option<Fault>) {
        *self.0.lock().unwrap() = Calls { fault, ..Calls::default() };
    }

    /// Nothing fails from here on.
    pub fn heal(&self) {
        self.0.lock().unwrap().fault = None;
    }

    /// Everything fails from here on.
    pub fn break_down(&self) {
        self.order(Some(Fault { at: 0, errno: Errno::Io, lasts: true }));
    }

    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().calls.clone()
    }

    /// Whether a call has failed.
    pub fn struck(&self) -> bool {
        self.0.lock().unwrap().struck
    }

    /// Whether more calls may fail.
    pub fn is_sick(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.fault.is_some_and(|fault| fault.lasts || fault.at >= state.calls.len())
    }

    /// Whether, since this was asked last, a call failed after which the store must be poisoned.
    pub fn take_poisoning(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap().poisoning)
    }
}

impl Hook for FaultyDisk {
    fn before(&self, event: &Event<'_>) -> io::Result<()> {
        let call = match event {
            Event::Create(_) => Call::Create,
            Event::Open(_) => Call::Open,
            Event::Map(_) => Call::Map,
            Event::Write { .. } | Event::Room { .. } | Event::Space { .. } => Call::Write,
            Event::SyncFile(_) | Event::SyncRange { .. } => Call::SyncFile,
            Event::SyncDir(_) => Call::SyncDir,
            Event::Rename { .. } => Call::Rename,
            Event::Remove(_) => Call::Remove,
            _ => return Ok(()),
        };
        let mut state = self.0.lock().unwrap();
        let at = state.calls.len();
        state.calls.push(call);
        let due = |fault: &Fault| (fault.at == at || fault.lasts && fault.at < at) && fault.errno.fits(call);
        let Some(fault) = state.fault.filter(due) else { return Ok(()) };
        state.struck = true;
        state.poisoning |= poisons(event);
        Err(fault.errno.error())
    }

    fn after(&self, _event: &Event<'_>) {}
}

/// Whether the call is a write into, or a sync of, what a log holds. Room behind its end may be made again.
fn poisons(event: &Event<'_>) -> bool {
    let is_segment = |path: &Path| {
        let log = path.parent().and_then(Path::file_name).is_some_and(|dir| dir == "commit" || dir == "checkpoint");
        log && path.file_name().unwrap().to_str().unwrap().parse::<u64>().is_ok()
    };
    match event {
        Event::SyncFile(path) | Event::SyncRange { path, .. } => is_segment(path),
        Event::Write { path, at, len } => {
            is_segment(path) && at + *len as u64 <= std::fs::metadata(path).map_or(0, |file| file.len())
        }
        _ => false,
    }
}
