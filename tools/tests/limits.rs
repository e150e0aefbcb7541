//! What a command takes is bounded, whatever its input is.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs;
use std::process::{Command, Stdio};

use shell::{Printed, Shell};

/// The longest body.
const BODY_MAX: usize = 4 << 20;
/// More than the command and the files that it maps need, and less than an input without end would take.
const ADDRESS_SPACE_KIB: usize = 1 << 20;

/// The command with so much memory at most.
fn bounded(shell: &Shell, line: &str) -> Command {
    let script = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec {} {line}", env!("CARGO_BIN_EXE_popstore"));
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(shell.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn an_input_without_end_stops_at_the_limit_of_a_body() {
    let shell = Shell::new();
    for (line, what) in [
        ("append data jobs --file /dev/zero", "line 1 of \"/dev/zero\""),
        ("append data jobs --file /dev/zero --whole", "\"/dev/zero\""),
        ("append data jobs < /dev/zero", "line 1 of \"-\""),
    ] {
        let printed = Printed::from(bounded(&shell, line).spawn().unwrap());
        assert_eq!((printed.code, printed.out.as_str()), (2, ""), "{line}: {}", printed.err);
        let why = format!("{what} is longer than a body may be, {BODY_MAX} bytes");
        assert!(printed.err.contains(&why), "{line}: {}", printed.err);
    }
    // Lines without number are no reason to stop, and take no memory either.
    let printed = Printed::from(bounded(&shell, "append data jobs < lines").spawn().unwrap());
    assert_eq!(printed.code, 2, "there is no such file: {}", printed.out);
    fs::write(shell.path("lines"), b"\n".repeat(200_000)).unwrap();
    let printed = Printed::from(bounded(&shell, "append data jobs < lines").spawn().unwrap());
    assert_eq!(printed.out, "appended 200000 messages to jobs\n", "{}", printed.err);
}

/// The CR of a line end lies in another piece of the input than the LF.
#[test]
fn the_longest_line_may_end_with_crlf() {
    let shell = Shell::new();
    fs::write(shell.path("lines"), [&vec![b'x'; BODY_MAX][..], b"\r\ntwo\r\n"].concat()).unwrap();
    assert_eq!(shell.ok("append data jobs --file lines").out, "appended 2 messages to jobs\n");
    fs::write(shell.path("lines"), [&vec![b'x'; BODY_MAX][..], b"\r\r\n"].concat()).unwrap();
    let printed = shell.run("append data jobs --file lines");
    assert!(printed.code == 2 && printed.err.contains("line 1 of \"lines\" is longer"), "{}", printed.err);
}

#[test]
fn lines_before_one_that_is_too_long_are_appended() {
    let shell = Shell::new();
    let longest = vec![b'x'; BODY_MAX];
    fs::write(shell.path("lines"), [b"one\ntwo\n", &longest[..], b"\n", &longest, b"y\nfour\n"].concat()).unwrap();
    let printed = shell.run("append data jobs --file lines");
    assert_eq!((printed.code, printed.out.as_str()), (2, ""));
    for words in ["stopped after 3 messages, which are appended", "line 4 of \"lines\" is longer"] {
        assert!(printed.err.contains(words), "{}", printed.err);
    }
    shell.ok("group create data g");
    let lens: Vec<usize> = shell.ready().iter().map(|(body, _)| body.len()).collect();
    assert_eq!(lens, [3, 3, BODY_MAX]);
}

#[test]
fn the_longest_input_is_one_message_and_a_longer_one_is_none() {
    let shell = Shell::new();
    for (len, code) in [(BODY_MAX, 0), (BODY_MAX + 1, 2)] {
        fs::write(shell.path("whole"), vec![b'\n'; len]).unwrap();
        assert_eq!(shell.run("append data jobs --whole --file whole").code, code, "{len}");
    }
    assert_eq!(shell.ok("topic list data --json").object()["messages"], 1);
}
