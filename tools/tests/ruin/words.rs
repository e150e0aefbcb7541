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

const VERBS: [&str; 24] = [
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

/// One word of a command, and whether it names nothing outside the store.
fn word() -> impl Strategy<Value = (String, bool)> {
    let harmless = |words: &'static [&'static str]| select(words).prop_map(|word| (word.to_string(), true));
    let joined = (select(&OPTIONS[5..19]), "\\PC{0,12}").prop_map(|(option, text)| (format!("{option}={text}"), true));
    prop_oneof![
        4 => harmless(&VERBS),
        4 => Just(("DATA".to_string(), true)),
        6 => harmless(&OPTIONS),
        6 => harmless(&VALUES),
        2 => joined,
        1 => "\\PC{0,20}".prop_map(|text| (text, false)),
    ]
}

/// Reads the bytes as a command, and as a receipt.
pub(crate) fn cli(bytes: &[u8]) {
    thread_local!(static RUIN: RefCell<Option<Ruin>> = const { RefCell::new(None) });
    let Some((how, rest)) = bytes.split_first() else { return };
    if how % 4 == 0 {
        return receipt(rest);
    }
    RUIN.with_borrow_mut(|ruin| {
        let ruin = ruin.get_or_insert_with(|| Ruin::new(true));
        command(ruin, &bytes::each(&word(), &rest[..rest.len().min(WORDS_MAX * CHOICE)]));
    });
}

fn command(ruin: &Ruin, words: &[(String, bool)]) {
    let harmless = words.iter().all(|(_, harmless)| *harmless);
    let word = |(word, _): &(String, bool)| match word.as_str() {
        "DATA" => ruin.dir().into_os_string(),
        word => OsString::from(word),
    };
    let words: Vec<OsString> = words.iter().map(word).collect();
    let called = |tool: &str| std::iter::once(OsString::from(tool)).chain(words.iter().cloned()).collect::<Vec<_>>();
    // What a hand would do to the system is not for chance to say.
    let _ = hands::Command::try_parse_from(called("popstore"));
    let Ok(command) = eyes::Command::try_parse_from(called("store-inspect")) else { return };
    if !harmless {
        return;
    }
    let mut out = Vec::new();
    let _ = eyes::run(&command, &mut out);
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
