//! Arguments and receipts: the body of the fuzz target `cli`.
//!
//! Invariants checked: any arguments of either command are taken or refused; a verb of `store-inspect` that was taken
//! ends and leaves the store as it was; text that is taken for a receipt is that receipt.

use std::cell::RefCell;
use std::ffi::OsString;

use clap::Parser;
use popstore::Receipt;
use popstore_tools::{eyes, hands};
use proptest::prelude::*;
use proptest::sample::select;

use super::{Ruin, read};
use crate::bytes::{self, CHOICE};

/// How many words a command has at most.
const WORDS_MAX: usize = 12;

const VERBS: [&str; 25] = [
    "summary",
    "segments",
    "messages",
    "queue",
    "checkpoints",
    "leases",
    "dead-letters",
    "why",
    "stats",
    "verify",
    "recover",
    "salvage",
    "export",
    "completions",
    "man",
    "append",
    "pop",
    "ack",
    "nack",
    "extend",
    "release",
    "work",
    "topic",
    "group",
    "help",
];
const OPTIONS: [&str; 43] = [
    "--json",
    "--at",
    "--reverse",
    "--all",
    "--overdue",
    "--dry-run",
    "--last",
    "--from",
    "--body",
    "--topic",
    "--queue",
    "--key",
    "--tag",
    "--grep",
    "--since",
    "--until",
    "--group",
    "--kind",
    "--index",
    "--offset",
    "--to",
    "--help",
    "--version",
    "-h",
    "--whole",
    "--file",
    "--batch",
    "--invisible",
    "--jobs",
    "--retry-after",
    "--max-reconsume-times",
    "--extend",
    "--until-empty",
    "--delay",
    "--backoff",
    "--at-limit",
    "--ordered",
    "--wait",
    "--max",
    "--queues",
    "--from-end",
    "--",
    "-",
];
const VALUES: [&str; 34] = [
    "orders",
    "mails",
    "billing",
    "audit",
    "%DLQ%billing",
    "messages",
    "checkpoints",
    "popped",
    "0",
    "1",
    "3",
    "4096",
    "18446744073709551615",
    "-1",
    "none",
    "text",
    "hex",
    "full",
    "order-2",
    "paid",
    "2h",
    "30s",
    "1.5s",
    "250ms",
    "99999999999d",
    "2026-01-31T12:00:00Z",
    "9999-12-31T23:59:59Z",
    "unlimited",
    "list",
    "redrive",
    "bash",
    "zsh",
    ".*",
    "[",
];

/// How commands begin that could be taken; the store is DATA, a directory beside it FRESH.
const EYES: [&str; 13] = [
    "summary DATA",
    "segments DATA",
    "messages DATA",
    "queue DATA orders 0",
    "checkpoints DATA",
    "leases DATA",
    "dead-letters DATA",
    "why DATA",
    "stats DATA",
    "verify DATA",
    "recover DATA --dry-run",
    "salvage DATA --to FRESH",
    "export DATA checkpoints",
];
/// The lists only read, and are carried out.
const LISTS: [&str; 3] = ["topic list DATA", "group list DATA", "dead-letters list DATA"];
const HANDS: [&str; 12] = [
    "append DATA orders",
    "pop DATA orders --group billing",
    "ack DATA",
    "nack DATA",
    "extend DATA --invisible 1s",
    "work DATA orders --group billing",
    "skip DATA orders/0/3 --group billing",
    "dead-letters redrive DATA --group billing",
    "topic create DATA orders",
    "group create DATA billing",
    "group set DATA billing",
    "group delete DATA billing",
];

/// Some words of a command, and whether they name nothing outside of the store.
fn words() -> impl Strategy<Value = (String, bool)> {
    let harmless = |words: &'static [&'static str]| select(words).prop_map(|word| (word.to_string(), true));
    let joined = (select(&OPTIONS[5..19]), "\\PC{0,12}").prop_map(|(option, text)| (format!("{option}={text}"), true));
    let valued =
        (select(&OPTIONS[..]), select(&VALUES[..])).prop_map(|(option, value)| (format!("{option} {value}"), true));
    let place = (select(&VALUES[..5]), 0..4_u32, 0..60_u64);
    prop_oneof![
        2 => harmless(&VERBS),
        2 => Just(("DATA".to_string(), true)),
        6 => harmless(&OPTIONS),
        4 => harmless(&VALUES),
        6 => valued,
        2 => place.prop_map(|(topic, queue, index)| (format!("--at {topic}/{queue}/{index}"), true)),
        2 => joined,
        1 => "\\PC{0,20}".prop_map(|text| (text, false)),
    ]
}

/// Reads the bytes as a command, and as a receipt.
pub(crate) fn cli(bytes: &[u8]) {
    thread_local!(static RUIN: RefCell<Option<Ruin>> = const { RefCell::new(None) });
    let Some((how, rest)) = bytes.split_first() else { return };
    let how = usize::from(*how);
    let begin = match how % 8 {
        0 => return receipt(rest),
        1..=4 => EYES[how / 8 % EYES.len()],
        5 => LISTS[how / 8 % LISTS.len()],
        6 => HANDS[how / 8 % HANDS.len()],
        _ => "",
    };
    let rest = bytes::each(&words(), &rest[..rest.len().min(WORDS_MAX * CHOICE)]);
    let harmless = rest.iter().all(|(_, harmless)| *harmless);
    let line = std::iter::once(begin).chain(rest.iter().map(|(word, _)| word.as_str()));
    // A text by chance is one word, with its spaces.
    let line =
        line.flat_map(
            |words| if words.contains(|c: char| !c.is_ascii()) { vec![words] } else { words.split(' ').collect() },
        );
    let line: Vec<&str> = line.filter(|word| !word.is_empty()).collect();
    RUIN.with_borrow_mut(|ruin| command(ruin.get_or_insert_with(|| Ruin::new(true)), &line, harmless));
}

fn command(ruin: &Ruin, words: &[&str], harmless: bool) {
    let fresh = ruin.beside("fresh");
    let word = |word: &&str| match *word {
        "DATA" => ruin.dir().into_os_string(),
        "FRESH" => fresh.clone().into_os_string(),
        word => OsString::from(word),
    };
    let line: Vec<OsString> = words.iter().map(word).collect();
    let called = |tool: &str| std::iter::once(OsString::from(tool)).chain(line.iter().cloned()).collect::<Vec<_>>();
    let hand = hands::Command::try_parse_from(called("popstore"));
    let eye = eyes::Command::try_parse_from(called("store-inspect"));
    let mut out = Vec::new();
    if !harmless {
        return;
    }
    // What another hand would do to the system is not for chance to say.
    if let Ok(list) = hand
        && LISTS.iter().any(|list| words.join(" ").starts_with(list))
    {
        let _ = hands::run(&list, &mut out);
    }
    if let Ok(eye) = eye
        && (words[0] != "salvage" || words.contains(&"FRESH"))
    {
        let _ = eyes::run(&eye, &mut out);
    }
    let _ = std::fs::remove_dir_all(fresh);
    assert!(read(&ruin.dir()) == ruin.whole, "{words:?} wrote to the store");
}

fn receipt(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [&*text, &digits] {
        if let Ok(receipt) = text.parse::<Receipt>() {
            assert!(receipt.to_string().eq_ignore_ascii_case(text), "{text} was taken for {receipt}");
            assert_eq!(Receipt::from_bytes(&receipt.to_bytes()).unwrap(), receipt);
        }
    }
}
