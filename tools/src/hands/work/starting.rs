//! A command is started, and that is tried again while the system has nothing to start it with.
//!
//! A message whose command could not be started was not worked on: it stays leased meanwhile, and when it is time to stop it
//! is released, so that no delivery is used up.

use std::io::{self, ErrorKind};
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use popstore::Delivery;

use super::jobs::{Jobs, POLL_EVERY};
use super::leases::Watched;
use crate::output::place_of;

/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Jobs<'_> {
    /// Starts the command on a message; `None` when it is time to stop, or the lease is over, before it could be started.
    ///
    /// # Errors
    /// The system will not start it the next time either.
    pub(super) fn start(&self, delivery: &Delivery, watched: &Watched) -> io::Result<Option<Child>> {
        let mut pause = PAUSES.0;
        loop {
            let error = match self.running.begin(self.command(delivery).stdin(Stdio::piped())) {
                Err(error) if is_passing(&error) => error,
                begun => return begun,
            };
            if pause == PAUSES.0 {
                let place = place_of(delivery.message());
                self.progress.say(&format!("could not start the command on {place}, trying again: {error}"));
            }
            if !self.pause(pause) || watched.is_over() {
                return Ok(None);
            }
            pause = (2 * pause).min(PAUSES.1);
        }
    }

    /// Waits for the pause. Returns whether it is not time to stop.
    fn pause(&self, mut left: Duration) -> bool {
        while !left.is_zero() && !self.stop.load(SeqCst) {
            let step = left.min(POLL_EVERY);
            thread::sleep(step);
            left -= step;
        }
        !self.stop.load(SeqCst)
    }
}

/// Whether the system may start the command a moment later: it has no process, memory or descriptor to spare, or the
/// program is being written.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::OutOfMemory | ErrorKind::ExecutableFileBusy | ErrorKind::Interrupted
    ) || has_no_descriptor(error)
}

#[cfg(unix)]
fn has_no_descriptor(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errors = [Errno::MFILE, Errno::NFILE].map(|error| error.raw_os_error());
    error.raw_os_error().is_some_and(|error| errors.contains(&error))
}

#[cfg(not(unix))]
fn has_no_descriptor(_error: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn want_of_a_resource_passes_and_a_wrong_command_does_not() {
        use rustix::io::Errno;
        let is_passing = |error: Errno| is_passing(&error.into());
        for error in [Errno::AGAIN, Errno::NOMEM, Errno::TXTBSY, Errno::MFILE, Errno::NFILE] {
            assert!(is_passing(error), "{error}");
        }
        for error in
            [Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::NOEXEC, Errno::TOOBIG, Errno::NOTDIR, Errno::LOOP]
        {
            assert!(!is_passing(error), "{error}");
        }
    }
}
