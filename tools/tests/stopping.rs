//! SIGTERM and SIGINT end a command that waits, in order, also where their default is to be ignored.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use shell::{Printed, Shell};

/// As what a command runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum As {
    Child,
    /// By a parent that has both signals ignored.
    Ignoring,
    /// As the first process of a container, whose signals have no default.
    ProcessOne,
}

/// All of them, without the last one where a test may not make a container.
fn all() -> Vec<As> {
    let made = Command::new("unshare").args(["--pid", "--fork", "true"]).stderr(Stdio::null()).status();
    match made.is_ok_and(|made| made.success()) {
        true => vec![As::Child, As::Ignoring, As::ProcessOne],
        false => {
            println!("not run as process 1: unshare needs root");
            vec![As::Child, As::Ignoring]
        }
    }
}

impl As {
    fn spawn(self, command: &Command) -> Child {
        let mut by = match self {
            Self::Child => Command::new("env"),
            Self::Ignoring => Command::new("sh"),
            Self::ProcessOne => Command::new("unshare"),
        };
        match self {
            Self::Child => {}
            Self::Ignoring => drop(by.args(["-c", "trap '' INT TERM; exec \"$@\"", "sh"])),
            Self::ProcessOne => drop(by.args(["--pid", "--fork", "--kill-child"])),
        }
        by.arg(command.get_program()).args(command.get_args()).current_dir(command.get_current_dir().unwrap());
        by.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The process of the command itself.
    fn pid(self, child: &Child) -> Pid {
        if self != Self::ProcessOne {
            return Pid::from_child(child);
        }
        let id = child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap()).unwrap()
    }

    fn signal(self, child: &Child, signal: Signal) {
        kill_process(self.pid(child), signal).unwrap();
    }
}

/// Asks until it is so, for minutes.
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: it never came to that");
}

fn messages(shell: &Shell) -> u64 {
    let listed = shell.run("topic list data --json");
    if listed.out.is_empty() { 0 } else { listed.object()["messages"].as_u64().unwrap() }
}

fn is_closed(shell: &Shell) -> bool {
    Printed::from(shell.inspect("summary data --json").spawn().unwrap()).object()["closed"] == true
}

#[test]
fn an_append_appends_what_it_has_read_and_says_how_much() {
    for (how, signal) in all().into_iter().flat_map(|how| [(how, Signal::TERM), (how, Signal::INT)]) {
        let shell = Shell::new();
        let mut child = how.spawn(&shell.command("append data jobs --batch 2 --json"));
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"one\ntwo\nthree\nhalf a li").unwrap();
        until("appended", || messages(&shell) == 2);
        how.signal(&child, signal);
        let printed = Printed::from(child);
        assert_eq!((printed.code, printed.objects().len()), (2, 3), "{how:?}: {}", printed.err);
        let why = "stopped after 3 messages, which are appended: a signal asked to stop";
        assert!(printed.err.contains(why), "{how:?}: {}", printed.err);
        assert!(is_closed(&shell), "{how:?}");
        drop(input);
    }
}

#[test]
fn a_pop_that_waits_stops_and_has_popped_nothing() {
    for (how, signal) in all().into_iter().flat_map(|how| [(how, Signal::TERM), (how, Signal::INT)]) {
        let shell = Shell::new();
        shell.ok("topic create data jobs");
        shell.ok("group create data g");
        let child = how.spawn(&shell.command("pop data jobs --group g --wait 1h"));
        // The first pop of a group from a topic is on record, also where there is no message.
        let looked = |shell: &Shell| {
            let records = shell.inspect("checkpoints data --kind positioned --json").spawn().unwrap();
            !Printed::from(records).out.is_empty()
        };
        until("popped", || looked(&shell));
        how.signal(&child, signal);
        let printed = Printed::from(child);
        assert_eq!((printed.code, printed.out.as_str()), (2, ""), "{how:?}: {}", printed.err);
        assert!(printed.err.contains("a signal asked to stop") && is_closed(&shell), "{how:?}: {}", printed.err);
    }
}

#[test]
fn follow_ends_as_process_one_as_it_ends_elsewhere() {
    let shell = Shell::new();
    shell.append_lines(b"one\n");
    shell.ok("group create data g");
    for how in all().into_iter().filter(|how| *how != As::Ignoring) {
        for (verb, signal, code) in [("messages", Signal::TERM, 143), ("checkpoints", Signal::INT, 130)] {
            let mut child = how.spawn(&shell.inspect(&format!("{verb} data --follow --json")));
            let mut first = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
            assert!(first.starts_with('{'), "{verb}: {first}");
            how.signal(&child, signal);
            let ended = child.wait().unwrap();
            let killed = std::os::unix::process::ExitStatusExt::signal(&ended);
            assert_eq!(ended.code().or(killed.map(|number| 128 + number)), Some(code), "{how:?} {verb}");
        }
    }
}
