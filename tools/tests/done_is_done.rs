//! What is done is reported as done: trouble behind it is a warning.
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use shell::{Printed, Shell};

/// Waits until the store has an owner, so many openings after it was made.
fn wait_for_owner(shell: &Shell, generation: u64) {
    for _ in 0..6000 {
        let summary = Printed::from(shell.inspect("summary data --json").spawn().unwrap()).object();
        if summary["generation"].as_u64() == Some(generation) && summary["closed"] == false {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody opened the store");
}

/// Root may write every file, but no directory in the place of one.
#[test]
fn an_append_behind_which_closing_fails_is_done() {
    let shell = Shell::new();
    shell.ok("topic create data jobs");
    shell.ok("group create data g");
    let mut child = shell.command("append data jobs").spawn().unwrap();
    wait_for_owner(&shell, 3);
    let entries = shell.path("data/queues/jobs/0/00000000000000000000");
    fs::create_dir_all(&entries).unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let printed = Printed::from(child);
    assert_eq!((printed.code, printed.out.as_str()), (0, "appended 2 messages to jobs\n"), "{}", printed.err);
    // A store that puts such a directory aside has nothing to warn of.
    assert!(printed.err.is_empty() || printed.err.contains("warning: it is done"), "{}", printed.err);
    let _ = fs::remove_dir(&entries);
    assert_eq!(shell.ready(), [("one".into(), 1), ("two".into(), 1)]);
}
