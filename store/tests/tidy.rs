//! Keeps the house in order: who may use whom, how long files are, what they begin with.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;

/// In the files of the first, nothing of the rest is named.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    ("store/src/format", &["crate::", "!crate::format", "!crate::clock", "!crate::error", "std::fs", "std::sync"]),
    ("store/src/segment", &["crate::", "!crate::segment", "!crate::primitives"]),
    (
        "store/src/log",
        &[
            "crate::",
            "!crate::format",
            "!crate::segment",
            "!crate::log",
            "!crate::error",
            "!crate::fault",
            "!crate::clock",
            "!crate::primitives",
        ],
    ),
    ("revive/src", &["std::fs", "std::thread", "std::time::Instant", "std::time::SystemTime", "std::sync", "std::net"]),
];

/// Marks of something unfinished, put together so that this file is not found by itself.
const UNFINISHED: [(&str, &str); 5] = [("dbg", "!("), ("FIX", "ME"), ("TO", "DO"), ("todo", "!("), ("XX", "X")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The source files below a directory, with their text.
fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(dir)];
    while let Some(dir) = left.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The first word of the rules that a line breaks; words behind a `!` are allowed although another forbids them.
fn broken<'r>(line: &str, rules: &[&'r str]) -> Option<&'r str> {
    let line = line.split("//").next().unwrap();
    let allowed: Vec<&str> = rules.iter().filter_map(|rule| rule.strip_prefix('!')).collect();
    let stripped = allowed.iter().fold(line.to_string(), |line, word| line.replace(word, ""));
    rules.iter().filter(|rule| !rule.starts_with('!')).find(|rule| stripped.contains(*rule)).copied()
}

fn faults(rules: &[(&str, &[&str])]) -> Vec<String> {
    let mut faults = Vec::new();
    for (dir, rules) in rules {
        for (path, text) in sources(dir) {
            let lines = text.lines().enumerate();
            let found = lines.filter_map(|(at, line)| broken(line, rules).map(|word| (at + 1, word)));
            faults.extend(found.map(|(at, word)| format!("{}:{at} uses {word}", path.display())));
        }
    }
    faults
}

#[test]
fn imports_go_one_way() {
    let faults = faults(&FORBIDDEN);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_forbidden_import_would_be_found() {
    assert_eq!(broken("use crate::segment::Disk;", FORBIDDEN[0].1), Some("crate::"));
    assert_eq!(broken("use crate::format::frame; // crate::log", FORBIDDEN[0].1), None);
    assert!(!faults(&[("store/src/log", &["crate::segment"])]).is_empty());
}

#[test]
fn files_are_short_begin_with_what_they_are_for_and_are_ascii() {
    for (path, text) in ["store/src", "revive/src", "tools/src"].into_iter().flat_map(sources) {
        let path = path.display();
        assert!(text.lines().count() <= LINES_MAX, "{path} has {} lines", text.lines().count());
        assert!(text.starts_with("//!"), "{path} does not say what it is for");
        assert!(text.is_ascii(), "{path} is not ASCII");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    for (path, text) in ["store/src", "revive/src", "tools/src", "store/tests", "revive/tests", "tools/tests"]
        .into_iter()
        .flat_map(sources)
    {
        for (one, other) in UNFINISHED {
            assert!(!text.contains(&format!("{one}{other}")), "{} holds {one}{other}", path.display());
        }
    }
}
