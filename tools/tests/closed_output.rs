//! A closed output hides no result: the work is all done, or stopped with an exit code and a word that say so.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use popstore::{Durability, GroupOptions, Message, Pop, Store};
use shell::{Printed, Shell};

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    OwnedFd::from(writer).into()
}

/// Exit code and standard error of a command whose output is closed before it begins.
fn unread(mut command: Command) -> (i32, String) {
    let printed = Printed::from(command.stdin(Stdio::null()).stdout(closed()).spawn().unwrap());
    (printed.code, printed.err)
}

/// Reads one line, then closes the output.
fn read_one_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

/// A store with more messages than a pipe and a buffer hold, of which the first are dead letters.
fn filled(dead: usize) -> Shell {
    let shell = Shell::new();
    let store = Store::options().durability(Durability::Buffered).open(shell.path("data")).unwrap();
    for _ in 0..5 {
        store.append_batch("jobs", &vec![Message::new("x").key("k"); 1000]).unwrap();
    }
    let group = store.create_group("g", GroupOptions::default().max_reconsume_times(0)).unwrap();
    if dead > 0 {
        for delivery in group.pop("jobs", Pop::up_to(dead as u32).invisible_for(Duration::from_secs(3600))).unwrap() {
            assert!(group.nack(delivery.receipt(), Duration::ZERO).unwrap().counted());
        }
        while group.dead_letters().unwrap().count() < dead {
            std::thread::yield_now();
        }
    }
    drop(group);
    store.close().unwrap();
    shell
}

/// Damages the first message.
fn damage(shell: &Shell) {
    let segment = shell.path("data/commit/00000000000000000000");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[150] ^= 1;
    fs::write(&segment, bytes).unwrap();
}

#[test]
fn an_append_whose_reader_goes_away_appends_everything() {
    let shell = Shell::new();
    fs::write(shell.path("lines"), b"x\n".repeat(20_000)).unwrap();
    let mut child = shell.command("append data jobs --json --file lines").spawn().unwrap();
    assert!(read_one_line(&mut child).contains("\"index\":0"));
    let printed = Printed::from(child);
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    assert_eq!(shell.ok("topic list data --json").object()["messages"], 20_000);
}

#[test]
fn a_redrive_whose_reader_goes_away_puts_back_everything() {
    let shell = filled(3000);
    let mut child = shell.command("dead-letters redrive data --group g --json").spawn().unwrap();
    assert!(read_one_line(&mut child).contains("origin_index"));
    let printed = Printed::from(child);
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    assert_eq!(shell.ok("dead-letters list data --group g").out, "0 dead letters\n");
}

#[test]
fn a_pop_whose_receipts_nobody_reads_says_so() {
    let shell = filled(0);
    for (n, popped) in [(1, "1 message"), (3000, "3000 messages")] {
        let (code, err) = unread(shell.command(&format!("pop data jobs --group g -n {n} --json")));
        assert!(code == 2 && err.contains(&format!("{popped} popped")), "{code} {err}");
    }
}

#[test]
fn a_verdict_is_the_same_without_a_reader() {
    let shell = filled(0);
    let verbs = ["verify data", "summary data", "stats data", "why data --at jobs/0/4000", "recover data --dry-run"];
    let verdicts = || {
        let verbs = verbs.iter().flat_map(|verb| [verb.to_string(), format!("{verb} --json")]);
        verbs.map(|verb| (unread(shell.inspect(&verb)).0, verb)).collect::<Vec<_>>()
    };
    assert!(verdicts().iter().all(|(code, _)| *code == 0), "{:?}", verdicts());
    damage(&shell);
    let found: Vec<_> = verdicts().into_iter().filter(|(code, _)| *code == 1).map(|(_, verb)| verb).collect();
    assert!(found.contains(&"verify data".into()) && found.contains(&"stats data --json".into()), "{found:?}");
    assert_eq!(unread(shell.inspect("salvage data --to fresh")).0, 1);
    assert!(shell.path("fresh/store").exists());
}

#[test]
fn a_list_that_stops_says_that_it_is_not_all() {
    let shell = filled(3000);
    for verb in
        ["messages data", "checkpoints data --json", "queue data jobs 0", "dead-letters data", "export data messages"]
    {
        let mut child = shell.inspect(verb).spawn().unwrap();
        read_one_line(&mut child);
        let printed = Printed::from(child);
        assert!(printed.code == 2 && printed.err.contains("not everything is listed"), "{verb}: {}", printed.err);
    }
    let mut child = shell.command("dead-letters list data --group g").spawn().unwrap();
    read_one_line(&mut child);
    assert_eq!(Printed::from(child).code, 2);
    // What is short is all listed before anybody can see that the output is closed.
    assert_eq!(unread(shell.inspect("messages data --last 1")), (0, String::new()));
}

#[test]
fn settling_without_a_reader_exits_by_what_was_settled() {
    let shell = filled(0);
    let receipt = shell.ok("pop data jobs --group g --invisible 1h --json").receipt();
    assert_eq!(unread(shell.command(&format!("extend data {receipt} --invisible 1h"))), (0, String::new()));
    assert_eq!(unread(shell.command(&format!("ack data {receipt} --json"))), (0, String::new()));
    assert_eq!(unread(shell.command(&format!("ack data {receipt}"))), (1, String::new()));
    for made in ["topic create data wide --queues 3", "group create data other --json", "topic list data"] {
        assert_eq!(unread(shell.command(made)), (0, String::new()), "{made}");
    }
}

#[test]
fn pages_of_help_may_be_closed() {
    let shell = Shell::new();
    for page in ["man", "completions bash", "--help", "work --help"] {
        assert_eq!(unread(shell.command(page)), (0, String::new()), "{page}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_no_success() {
    let shell = filled(0);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let mut appended = shell.command("append data jobs hello --json");
    let printed = Printed::from(appended.stdin(Stdio::null()).stdout(full()).spawn().unwrap());
    // Who repeats it on exit code 2 must not find the message twice.
    assert!(printed.code == 1 && printed.err.contains("warning: it is done"), "{}", printed.err);
    assert_eq!(shell.ok("topic list data --json").object()["messages"], 5001);
    for verb in ["verify data", "messages data", "man", "--help"] {
        let printed = Printed::from(shell.inspect(verb).stdin(Stdio::null()).stdout(full()).spawn().unwrap());
        assert!(printed.code == 2 && printed.err.contains("could not write the output"), "{verb}: {}", printed.err);
    }
}

/// Every line below writes to its standard error.
#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let shell = filled(0);
    shell.ok("append data other hello");
    damage(&shell);
    let commands = [
        (2, shell.command("pop data jobs --group missing")),
        (2, shell.command("frobnicate")),
        (0, shell.command("work data other --group g --until-empty -- true")),
        (2, shell.inspect("verify missing")),
        (1, shell.inspect("messages data --json")),
        (1, shell.inspect("why data --at jobs/0/0")),
    ];
    for (code, mut command) in commands {
        let mut child = command.stdin(Stdio::null()).stderr(closed()).spawn().unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{command:?}: {out}");
    }
}
