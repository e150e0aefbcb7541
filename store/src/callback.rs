//! Code of the user that runs inside a call of the store: a clock, a hook for events, a `tracing` subscriber.
//!
//! Most of it runs while a lock is held. A panic that unwound through the lock would poison it, and every later call would
//! panic; so the panic ends here, and the caller decides what it means.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code of the user. Returns nothing when it panicked.
pub(crate) fn call<T>(user: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(user)) {
        Ok(done) => Some(done),
        Err(payload) => {
            // To drop it would run code of the user once more.
            std::mem::forget(payload);
            None
        }
    }
}

/// Writes a line of the log. Where the user's subscriber panics, that line is lost.
pub(crate) fn log(line: impl FnOnce()) {
    call(line);
}
