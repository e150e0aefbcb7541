//! The signals that ask the work to stop: SIGINT, SIGTERM and SIGHUP on unix, none elsewhere.

use std::io;

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

/// Works, and meanwhile tells of each signal. Afterwards they are ignored: the store is being closed.
#[cfg(unix)]
pub(super) fn during<T>(told: impl Fn() + Sync, work: impl FnOnce() -> T) -> io::Result<T> {
    struct Closing(Handle);
    impl Drop for Closing {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    // Also when the work panics: the thread below ends by it.
    let closing = Closing(signals.handle());
    let told = &told;
    Ok(thread::scope(move |threads| {
        threads.spawn(move || {
            while signals.wait().count() > 0 {
                told();
                thread::sleep(SAME_WITHIN);
                signals.pending().for_each(drop);
            }
        });
        let worked = work();
        drop(closing);
        worked
    }))
}

/// Works.
#[cfg(not(unix))]
pub(super) fn during<T>(_told: impl Fn() + Sync, work: impl FnOnce() -> T) -> io::Result<T> {
    Ok(work())
}
