//! Nothing that a record holds reaches the terminal raw, whichever verb prints it.
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use popstore::{GroupOptions, Message, Pop, Store, fuzzing};
use shell::{Printed, Shell};

/// Sets a title, clears the screen in two ways, turns the direction, ends lines, takes no width.
const HOSTILE: &str = "\u{1b}]0;x\u{7}\u{9b}2J\u{61c}\u{202e}\u{2066}\u{2028}\u{200b}\r\n\u{7f}\u{feff}";

fn is_raw(c: char) -> bool {
    let steers = c.is_control() && c != '\n';
    steers || HOSTILE.chars().any(|hostile| hostile == c && !c.is_ascii())
}

/// A store of hostile messages: one acked, one dead-lettered, one in flight, one not popped.
fn hostile_messages(shell: &Shell, topic: &str, group: &str) {
    let store = Store::open(shell.path("data")).unwrap();
    for _ in 0..4 {
        let message = Message::new(HOSTILE).key(HOSTILE).tag(HOSTILE);
        store.append(topic, message.property(HOSTILE, HOSTILE)).unwrap();
    }
    let group = store.create_group(group, GroupOptions::default().max_reconsume_times(0)).unwrap();
    let popped = group.pop(topic, Pop::up_to(3).invisible_for(Duration::from_secs(3600))).unwrap();
    assert!(group.ack(popped[0].receipt()).unwrap().counted());
    assert!(group.nack(popped[1].receipt(), Duration::ZERO).unwrap().counted());
    while group.dead_letters().unwrap().next().is_none() {
        std::thread::yield_now();
    }
    drop((group, popped));
    store.close().unwrap();
}

/// The segments of both logs.
fn segments(shell: &Shell) -> Vec<PathBuf> {
    let of = |log| fs::read_dir(shell.path(log)).unwrap().map(|entry| entry.unwrap().path());
    of("data/commit").chain(of("data/checkpoint")).collect()
}

/// Gives topics and groups another name of the same length, with right checksums. Returns how often.
fn rename(path: &Path, from: &str, to: &str) -> usize {
    let mut bytes = fs::read(path).unwrap();
    let at: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    for at in &at {
        let start = fuzzing::checked_at(&bytes, *at).unwrap();
        bytes[*at..at + to.len()].copy_from_slice(to.as_bytes());
        fuzzing::repair(&mut bytes, start);
    }
    fs::write(path, bytes).unwrap();
    at.len()
}

fn verbs(topic: &str, group: &str) -> Vec<Vec<String>> {
    let lines = [
        "summary",
        "segments",
        "messages",
        "messages --last 2 --reverse",
        "checkpoints",
        "leases",
        "dead-letters --all",
        "stats",
        "verify",
        "recover --dry-run",
        "queue TOPIC 0",
        "queue MISSING 0",
        "why --topic TOPIC --index 0",
        "why --topic TOPIC --index 1 --group GROUP",
        "why --topic TOPIC --index 7",
        "why --key MISSING",
        "messages --topic MISSING",
        "leases --group MISSING",
        "salvage --to fresh",
    ];
    let word = |word: &str| match word {
        "TOPIC" => topic.to_string(),
        "GROUP" => group.to_string(),
        "MISSING" => format!("missing {HOSTILE}"),
        word => word.to_string(),
    };
    lines.iter().map(|line| line.split(' ').map(word).collect()).collect()
}

/// What the command printed, anywhere; nothing of it is raw.
fn printed(mut command: Command, words: &[String]) -> String {
    let (verb, rest) = words.split_first().unwrap();
    let printed = Printed::from(command.arg(verb).arg("data").args(rest).spawn().unwrap());
    let all = printed.out + &printed.err;
    let raw: Vec<char> = all.chars().filter(|c| is_raw(*c)).collect();
    assert!(raw.is_empty(), "{words:?} prints {raw:?}: {all:?}");
    all
}

/// Runs every verb that reads on the store.
fn all_verbs(shell: &Shell, topic: &str, group: &str) -> String {
    let mut all = String::new();
    for words in verbs(topic, group) {
        all += &printed(shell.inspect(""), &words);
    }
    for line in ["topic list", "group list", "dead-letters list --group"] {
        let mut words: Vec<String> = line.split(' ').map(String::from).collect();
        let mut command = shell.command("");
        command.arg(words.remove(0));
        if words.len() > 1 {
            words.push(group.to_string());
        }
        all += &printed(command, &words);
    }
    all
}

#[test]
fn messages_of_any_bytes_are_printed_as_text() {
    let shell = Shell::new();
    hostile_messages(&shell, "jobs", "g");
    let all = all_verbs(&shell, "jobs", "g");
    for shown in [r"key=\u{1b}]0;x\u{7}\u{9b}2J", r"\u{61c}\u{202e}\u{2066}\u{2028}\u{200b}\r\n\u{7f}\u{feff}"] {
        assert!(all.matches(shown).count() > 10, "{shown}: {all}");
    }
    shell.ok("group set data g --max-reconsume-times 1");
    for line in ["pop data jobs --group g", "dead-letters redrive data --group g"] {
        let printed = shell.ok(line);
        assert!(!printed.out.chars().any(is_raw) && printed.out.contains(r"\u{1b}"), "{line}: {:?}", printed.out);
    }
}

#[test]
fn names_of_crafted_records_are_printed_as_text() {
    let shell = Shell::new();
    let (topic, group) = ("t".repeat(HOSTILE.len()), "g".repeat(HOSTILE.len()));
    hostile_messages(&shell, &topic, &group);
    let named = |name: &str| segments(&shell).iter().map(|path| rename(path, name, HOSTILE)).sum::<usize>();
    assert!(named(&topic) > 0 && named(&group) > 0);
    all_verbs(&shell, HOSTILE, HOSTILE);
    // Whether such a store is refused or not: the reason is text, too.
    printed(shell.command(""), &["append", "jobs", "hello"].map(String::from));
}

#[test]
fn damage_in_hostile_places_is_reported_as_text() {
    let shell = Shell::new();
    hostile_messages(&shell, "jobs", "g");
    let segment = shell.path("data/commit/00000000000000000000");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let hostile = format!("data{HOSTILE}");
    fs::rename(shell.path("data"), shell.path(&hostile)).unwrap();
    for verb in ["verify", "messages", "summary", "recover --dry-run", "why --at jobs/0/0"] {
        let mut words = verb.split(' ');
        let mut command = shell.inspect("");
        let printed = Printed::from(command.arg(words.next().unwrap()).arg(&hostile).args(words).spawn().unwrap());
        let all = printed.out + &printed.err;
        assert!(!all.chars().any(is_raw) && !all.is_empty(), "{verb}: {all:?}");
    }
    let printed = Printed::from(shell.command("pop").args([&hostile, "jobs", "--group", "g"]).spawn().unwrap());
    assert!(!printed.err.chars().any(is_raw), "{:?}", printed.err);
}
