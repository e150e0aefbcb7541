//! The command `popstore` as a shell sees it: every verb, its output, its exit code.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A directory for a store, and the command on it.
struct Shell {
    home: TempDir,
}

/// What a command printed, and its exit code.
struct Printed {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_popstore"));
        command.args(line.split_whitespace()).current_dir(self.home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str) -> Printed {
        self.feed(self.command(line), b"")
    }

    /// Runs a command that must end with exit code 0.
    fn ok(&self, line: &str) -> Printed {
        let printed = self.run(line);
        assert_eq!(printed.code, 0, "{line}: {}{}", printed.out, printed.err);
        printed
    }

    fn feed(&self, mut command: Command, input: &[u8]) -> Printed {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }

    fn append_lines(&self, lines: &[u8]) {
        let printed = self.feed(self.command("append data jobs --lines"), lines);
        assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    }

    /// Runs `work` with the last argument as one word, for the shell.
    fn work(&self, options: &str, script: &str) -> Printed {
        let mut command = self.command(&format!("work data jobs --group g --until-empty {options} --"));
        command.arg(script);
        self.feed(command, b"")
    }

    fn stats(&self) -> Value {
        self.ok("stats data --json").objects().remove(0)
    }
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Printed {
    fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn receipt(&self) -> String {
        self.objects()[0]["receipt"].as_str().unwrap().to_string()
    }
}

#[test]
fn what_is_appended_is_popped_once_and_acked_once() {
    let shell = Shell::new();
    assert_eq!(shell.ok("append data jobs hello --key k --tag t").out, "appended 1 message to jobs\n");
    shell.ok("group create data g");
    let popped = shell.ok("pop data jobs --group g --json");
    let message = &popped.objects()[0];
    assert_eq!(message["body"], "hello");
    assert_eq!((&message["key"], &message["tag"]), (&"k".into(), &"t".into()));
    assert_eq!((&message["queue"], &message["index"], &message["attempt"]), (&0.into(), &0.into(), &1.into()));
    assert_eq!(shell.ok("pop data jobs --group g --json").out, "");
    assert_eq!(shell.ok("pop data jobs --group g").out, "nothing to be had\n");

    let ack = format!("ack data --group g {} --json", popped.receipt());
    assert_eq!(shell.ok(&ack).objects()[0]["settled"], "done");
    let again = shell.run(&ack);
    assert_eq!((again.code, &again.objects()[0]["settled"]), (1, &"already_settled".into()));
}

#[test]
fn the_table_for_people_shows_receipt_place_attempt_and_body() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\n");
    shell.ok("group create data g");
    let table = shell.ok("pop data jobs --group g -n 5").out;
    for shown in ["receipt", "jobs/0/0", "jobs/0/1", "attempt", "one", "two"] {
        assert!(table.contains(shown), "{shown}: {table}");
    }
}

#[test]
fn lines_are_messages_whatever_their_bytes_are() {
    let shell = Shell::new();
    shell.append_lines(b"plain\n\n\xff\xfe\nno end");
    shell.ok("group create data g");
    let popped = shell.ok("pop data jobs --group g -n 10 --json").objects();
    assert_eq!(popped.len(), 4);
    assert_eq!((&popped[0]["body"], &popped[1]["body"]), (&"plain".into(), &"".into()));
    assert_eq!((&popped[2]["body_hex"], &popped[3]["body"]), (&"fffe".into(), &"no end".into()));
}

#[test]
fn without_lines_the_whole_input_is_one_message() {
    let shell = Shell::new();
    std::fs::write(shell.home.path().join("file"), "a\nb\n").unwrap();
    shell.ok("append data jobs --file file");
    shell.ok("group create data g");
    assert_eq!(shell.ok("pop data jobs --group g --json").objects()[0]["body"], "a\nb\n");
}

#[test]
fn a_nacked_message_comes_back_with_the_next_attempt() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g");
    let first = shell.ok("pop data jobs --group g --json").receipt();
    shell.ok(&format!("nack data --group g {first}"));
    let second = shell.ok("pop data jobs --group g --json");
    assert_eq!(second.objects()[0]["attempt"], 2);
    let late = shell.run(&format!("ack data --group g {first} --json"));
    assert_eq!((late.code, &late.objects()[0]["settled"]), (1, &"handed_out_again".into()));
    shell.ok(&format!("nack data --group g --after 1h {}", second.receipt()));
    assert_eq!(shell.ok("pop data jobs --group g --json").out, "");
}

#[test]
fn an_extended_lease_lasts_longer_than_it_was_popped_for() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g");
    let receipt = shell.ok("pop data jobs --group g --invisible 2s --json").receipt();
    assert_eq!(
        shell.ok(&format!("extend data --group g --invisible 1h {receipt} --json")).objects()[0]["settled"],
        "done"
    );
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(shell.ok("pop data jobs --group g --json").out, "");
    shell.ok(&format!("extend data --group g --invisible 1ms {receipt}"));
    assert_eq!(shell.ok("pop data jobs --group g --wait 5s --json").objects()[0]["attempt"], 2);
}

#[test]
fn three_lines_of_shell_are_a_retried_and_dead_lettered_job_queue() {
    let shell = Shell::new();
    shell.append_lines(b"good\nbad\nworse\n");
    let printed = shell.work("--max-reconsume-times 2 --jobs 2 --json", "grep -q good");
    assert_eq!(printed.code, 1, "{}", printed.err);
    let done = &printed.objects()[0];
    assert_eq!((&done["acked"], &done["nacked"], &done["dead_lettered"]), (&1.into(), &6.into(), &2.into()));

    let dry = shell.ok("redrive data --group g --dry-run --json").objects();
    assert_eq!((dry.len(), &dry[0]["attempts"], &dry[0]["reason"]), (2, &3.into(), &"nacked".into()));
    assert_eq!(shell.ok("redrive data --group g -n 1 --json").objects()[0]["index"], 3);
    assert!(shell.ok("redrive data --group g").out.contains("1 dead letter put back"));
    assert_eq!(shell.ok("redrive data --group g").out, "0 dead letters put back\n");
    let printed = shell.work("--json", "cat");
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(printed.out.contains("bad") && printed.out.contains("worse"));
}

#[test]
fn a_command_is_told_what_it_works_on() {
    let shell = Shell::new();
    shell.ok("append data jobs hello --key k1 --tag t1");
    let script = "echo $POPSTORE_TOPIC $POPSTORE_QUEUE $POPSTORE_INDEX $POPSTORE_KEY $POPSTORE_TAG $POPSTORE_ATTEMPT";
    assert_eq!(shell.work("", script).out, "jobs 0 0 k1 t1 1\n");
}

#[test]
fn a_slow_command_keeps_its_message_when_the_lease_is_extended_and_is_told_when_it_is_not() {
    let shell = Shell::new();
    shell.ok("append data jobs slow");
    let printed = shell.work("--jobs 2 --invisible 400ms --extend --json", "sleep 1.2");
    assert_eq!((printed.code, &printed.objects()[0]["acked"]), (0, &1.into()), "{}", printed.err);

    shell.ok("append data jobs slow");
    // The first command takes longer than its lease, the second one does not.
    let script = "test $POPSTORE_ATTEMPT -gt 1 || sleep 2";
    let printed = shell.work("--jobs 2 --invisible 700ms --json", script);
    let done = &printed.objects()[0];
    assert_eq!((printed.code, &done["acked"], &done["too_late"]), (1, &1.into(), &1.into()), "{}", printed.err);
}

#[test]
fn a_command_that_does_not_read_a_long_input_is_no_error() {
    let shell = Shell::new();
    let whole = shell.feed(shell.command("append data jobs"), &vec![b'x'; 1 << 20]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    assert_eq!(shell.work("", "true").code, 0);
}

#[test]
fn a_missing_command_ends_the_work_instead_of_using_up_deliveries() {
    let shell = Shell::new();
    shell.append_lines(b"a\nb\n");
    let printed = shell.run("work data jobs --group g -- /no/such/program --flag");
    assert_eq!(printed.code, 2);
    assert!(printed.err.contains("/no/such/program"), "{}", printed.err);
    // It is noticed before a message is popped, or a group made, for it.
    assert!(shell.stats()["groups"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn topics_groups_and_stats_are_listed() {
    let shell = Shell::new();
    shell.ok("topic create data wide --queues 3");
    assert_eq!(shell.ok("topic list data --json").objects()[0]["queues"].as_array().unwrap().len(), 3);
    shell.ok("group create data g --max-reconsume-times 0 --backoff 1s..60s --invisible 5s --ordered");
    assert_eq!(shell.ok("group list data --json").objects()[0]["name"], "g");
    for table in ["stats data", "topic list data", "group list data"] {
        assert!(shell.ok(table).out.contains(if table.starts_with("topic") { "wide" } else { "g" }));
    }
    shell.ok("append data wide hello");
    let stats = shell.stats();
    assert_eq!((&stats["topics"][0]["messages"], &stats["groups"][0]["lag"]), (&1.into(), &0.into()));
}

#[test]
fn what_cannot_be_done_ends_with_2_and_says_why() {
    let shell = Shell::new();
    shell.ok("append data jobs hello");
    shell.ok("group create data g");
    for (line, why) in [
        ("pop nowhere jobs --group g", "is no store"),
        ("pop data jobs --group other", "there is no group \"other\""),
        ("pop data other --group g", "there is no topic \"other\""),
        ("pop data jobs --group g -n 0", "1 to 4096"),
        ("pop data jobs --group g --invisible 8d", "1 ms to 7 days"),
        ("pop data jobs --group g --invisible soon", "write it as 250ms"),
        ("ack data --group g 1234", "receipt"),
        ("append data .hidden hello", "topic \".hidden\""),
        ("append data jobs --file missing", "could not read \"missing\""),
        ("frobnicate data", "unrecognized subcommand"),
    ] {
        let printed = shell.run(line);
        assert_eq!((printed.code, printed.out.as_str()), (2, ""), "{line}");
        assert!(printed.err.contains(why), "{line}: {}", printed.err);
    }
    assert!(!Path::new(&shell.home.path().join("nowhere")).exists(), "a misspelt name made a store");
}

#[test]
fn a_store_that_is_open_elsewhere_is_refused() {
    let shell = Shell::new();
    let store = popstore::Store::open(shell.home.path().join("data")).unwrap();
    let printed = shell.run("append data jobs hello");
    assert_eq!(printed.code, 2);
    assert!(printed.err.contains("open elsewhere"), "{}", printed.err);
    store.close().unwrap();
    shell.ok("append data jobs hello");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let shell = Shell::new();
    shell.append_lines(
        "x".repeat(60).as_bytes().iter().map(|b| [*b, b'\n']).collect::<Vec<_>>().concat().repeat(50).as_slice(),
    );
    shell.ok("group create data g");
    let mut child = shell.command("pop data jobs --group g -n 3000 --json").spawn().unwrap();
    drop(child.stdout.take());
    let printed: Printed = child.wait_with_output().unwrap().into();
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
}
