//! The lock-free parts under loom, which tries every order in which their threads could meet.
//!
//! The files are those of the store itself, with loom's primitives in place of the standard library's. Each claim has a
//! canary: the same with the mistake that it is there to prevent, which loom must find.
#![allow(dead_code, clippy::unwrap_used)]

mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    pub(crate) use loom::sync::{Condvar, Mutex};

    pub(crate) fn in_order() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

#[path = "../../src/segment/published.rs"]
mod published;
#[path = "../../src/messages/wait.rs"]
mod wait;

use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use published::Published;
use wait::Signal;

/// As long as anyone could want to wait: under loom, only a wake-up ends it.
const LONG: Duration = Duration::from_secs(3600);

/// Two bytes of a segment; loom reports it when one is read while it may be written.
struct Bytes([UnsafeCell<u8>; 2]);

impl Bytes {
    fn new() -> Self {
        Self([UnsafeCell::new(0), UnsafeCell::new(0)])
    }

    #[allow(unsafe_code)]
    fn write(&self, at: usize, byte: u8) {
        // SAFETY: loom itself checks that nobody else reads or writes it meanwhile.
        self.0[at].with_mut(|cell| unsafe { *cell = byte });
    }

    #[allow(unsafe_code)]
    fn read(&self, at: usize) -> u8 {
        // SAFETY: loom itself checks that nobody writes it meanwhile.
        self.0[at].with(|cell| unsafe { *cell })
    }
}

fn readers_see_only_what_was_written(
    publish: impl Fn(&Published, &AtomicUsize, usize) + Send + Sync + Copy + 'static,
    covers: impl Fn(&Published, &AtomicUsize, usize) -> bool + Send + Sync + Copy + 'static,
) {
    loom::model(move || {
        let shared = Arc::new((Bytes::new(), Published::new(0), AtomicUsize::new(0)));
        let writer = Arc::clone(&shared);
        let writing = thread::spawn(move || {
            for at in 0..2 {
                assert!(writer.1.is_before(at));
                writer.0.write(at, 7);
                publish(&writer.1, &writer.2, at + 1);
            }
        });
        let (bytes, published, other) = &*shared;
        for end in [1, 2] {
            if covers(published, other, end) {
                assert_eq!(bytes.read(end - 1), 7);
            }
        }
        writing.join().unwrap();
        assert!(covers(published, other, 2));
    });
}

#[test]
fn what_is_published_was_written() {
    readers_see_only_what_was_written(|it, _, through| it.publish(through), |it, _, end| it.covers(end));
}

#[test]
#[should_panic]
fn without_release_and_acquire_a_reader_meets_the_writer() {
    let publish = |_: &Published, it: &AtomicUsize, through| it.store(through, Ordering::Relaxed);
    readers_see_only_what_was_written(publish, |_, it, end| it.load(Ordering::Relaxed) >= end);
}

/// One who waits for work, and one who brings it. The waiter ends, or loom reports a deadlock.
fn nobody_sleeps_over_work(wait_for: impl Fn(&Signal, &AtomicBool) + Send + Sync + Copy + 'static) {
    loom::model(move || {
        let shared = Arc::new((Signal::default(), AtomicBool::new(false)));
        let waiter = Arc::clone(&shared);
        let waiting = thread::spawn(move || wait_for(&waiter.0, &waiter.1));
        shared.1.store(true, Ordering::SeqCst);
        shared.0.raise();
        waiting.join().unwrap();
    });
}

#[test]
fn a_wake_up_is_never_lost() {
    nobody_sleeps_over_work(|signal, work| {
        loop {
            let seen = signal.count();
            if work.load(Ordering::SeqCst) {
                break;
            }
            signal.wait(seen, LONG);
        }
    });
}

/// A deadlock that loom finds ends the process, so this canary sits in one of its own.
#[test]
fn who_reads_the_count_after_looking_can_sleep_over_work() {
    const CAGE: &str = "POPSTORE_LOOM_CAGE";
    if std::env::var_os(CAGE).is_none() {
        let mut cage = std::process::Command::new(std::env::current_exe().unwrap());
        cage.args(["--exact", "who_reads_the_count_after_looking_can_sleep_over_work", "--nocapture"]);
        let output = cage.env(CAGE, "1").output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains("deadlock"), "{told}");
        return;
    }
    nobody_sleeps_over_work(|signal, work| {
        loop {
            if work.load(Ordering::SeqCst) {
                break;
            }
            let seen = signal.count();
            signal.wait(seen, LONG);
        }
    });
}
