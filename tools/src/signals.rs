//! The signals that ask a command to stop: SIGINT, SIGTERM and SIGHUP on unix, none elsewhere.
//!
//! A verb that must stop in order catches them ([`during`]). Every other one may end anywhere, as the system
//! does it by default; but the first process of a container has no defaults, so that it must end itself
//! ([`end_process_one`]).

use std::io;

#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::{thread, time::Duration};

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
#[cfg(unix)]
use signal_hook::iterator::{Handle, Signals};

/// Signals that come this close behind another one are the same: `timeout` sends one to the process and one to its
/// group, and a process that is in both gets two.
#[cfg(unix)]
const SAME_WITHIN: Duration = Duration::from_millis(200);

/// What shells add to the number of the signal that ended a process.
#[cfg(unix)]
const ENDED_BY: i32 = 128;

/// A verb catches the signals, or did: the store is being closed.
#[cfg(unix)]
static CAUGHT: AtomicBool = AtomicBool::new(false);

/// Works, and meanwhile calls `asked` at each signal. Afterwards they are ignored: the store is being closed.
#[cfg(unix)]
pub(crate) fn during<T>(asked: impl Fn() + Sync, work: impl FnOnce() -> T) -> io::Result<T> {
    struct Closing(Handle);
    impl Drop for Closing {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    CAUGHT.store(true, Ordering::SeqCst);
    // Also when the work panics: the thread below ends by it.
    let closing = Closing(signals.handle());
    let asked = &asked;
    thread::scope(move |threads| {
        thread::Builder::new().spawn_scoped(threads, move || {
            while signals.wait().count() > 0 {
                asked();
                thread::sleep(SAME_WITHIN);
                signals.pending().for_each(drop);
            }
        })?;
        let worked = work();
        drop(closing);
        Ok(worked)
    })
}

/// Works.
#[cfg(not(unix))]
pub(crate) fn during<T>(_asked: impl Fn() + Sync, work: impl FnOnce() -> T) -> io::Result<T> {
    Ok(work())
}

/// Where this is process 1, the system ignores signals that nobody catches: from here on one that no verb catches ends
/// the process, as any other process is ended by it.
#[cfg(unix)]
pub(crate) fn end_process_one() {
    if std::process::id() != 1 {
        return;
    }
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let end = move || {
        for signal in signals.forever() {
            if !CAUGHT.load(Ordering::SeqCst) {
                std::process::exit(ENDED_BY + signal);
            }
        }
    };
    // Without the thread the command works all the same.
    let _ = thread::Builder::new().spawn(end);
}

#[cfg(not(unix))]
pub(crate) fn end_process_one() {}
