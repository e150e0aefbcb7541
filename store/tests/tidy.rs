//! Keeps the house in order: who may use whom, how long files are, what they begin with.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 400;
/// Of a function, from its name to its last brace.
const FUNCTION_MAX: usize = 60;
/// A longer function: one match over all changes.
const LONG_FUNCTIONS: [(&str, &str); 1] = [("revive/src/apply.rs", "change")];
/// Of the name of a test, in characters.
const NAME_MAX: usize = 60;

/// The floors of `store/src`: each folder and file there stands on one, and imports only from those below it.
const FLOORS: [&[&str]; 11] = [
    &["callback", "error", "event", "primitives"],
    &["clock"],
    &["format", "segment"],
    &["fault", "options"],
    &["log"],
    &["context"],
    &["ledger", "messages"],
    &["engine"],
    &["background", "verbs"],
    &["recover"],
    &["inspect", "store"],
];
/// What stands on all of them.
const ROOF: [&str; 3] = ["fuzzing", "lib", "salvage"];

/// Public types of `store/src` whose functions have no example yet.
const WITHOUT_EXAMPLE: [&str; 0] = [];

/// In the files of the first, nothing of the rest is named.
const FORBIDDEN: [(&str, &[&str]); 2] = [
    ("store/src/format", &["std::fs", "std::sync"]),
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

/// The rooms of `store/src` that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap();
    code.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// What a line of a room imports from above it, or from a neighbour.
fn upward<'l>(room: &str, line: &'l str) -> Option<&'l str> {
    let own = floor(room)?;
    named(line).find(|other| *other != room && floor(other).is_some_and(|other| other >= own))
}

#[test]
fn each_room_has_its_floor_and_imports_go_only_downward() {
    let src = root().join("store/src");
    for (path, text) in sources("store/src") {
        let inside = path.strip_prefix(&src).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        assert!(floor(room).is_some() || ROOF.contains(&room), "{} stands on no floor", inside.display());
        for (at, line) in text.lines().enumerate() {
            let other = upward(room, line);
            assert_eq!(other, None, "{}:{} imports upward: {line}", inside.display(), at + 1);
        }
    }
    let faults = faults(&FORBIDDEN);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_forbidden_import_would_be_found() {
    assert_eq!(upward("ledger", "use crate::messages::Topic;"), Some("messages"));
    assert_eq!(upward("format", "use crate::segment::Disk;"), Some("segment"));
    assert_eq!(upward("verbs", "use crate::engine::Engine; // crate::store"), None);
    assert_eq!(broken("use std::fs;", FORBIDDEN[0].1), Some("std::fs"));
    assert!(!faults(&[("store/src/log", &["crate::segment"])]).is_empty());
}

/// The names of the fields that structs declare among these lines, and whether other files may write them.
fn fields(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let declared = |line: &'_ str| line.starts_with("    ") && !line.starts_with("     ") && line.ends_with(',');
    text.lines().filter(move |line| declared(line)).filter_map(|line| {
        let (front, _) = line.trim().split_once(": ")?;
        let (is_open, name) = match front.strip_prefix("pub(crate) ") {
            Some(name) => (true, name),
            None => (false, front.strip_prefix("pub ").unwrap_or(front)),
        };
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then_some((name, is_open))
    })
}

/// The fields that these lines write, but those of `self` and of ranges.
fn written(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.filter(|line| !line.contains("let ")).filter_map(|line| {
        let front = [" += ", " -= ", " |= ", " = "].iter().find_map(|sign| line.split_once(sign))?.0;
        let (owner, field) = front.rsplit_once('.')?;
        (!owner.ends_with("self") && !["start", "end"].contains(&field)).then_some(field)
    })
}

/// A field that other rooms may read is written only in the room of its struct. A name that the writing room has, too, is
/// taken for its own; the root of a room is its door.
#[test]
fn no_room_writes_the_fields_of_another() {
    let src = root().join("store/src");
    let mut declared: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut own: BTreeSet<(String, String)> = BTreeSet::new();
    let sources = sources("store/src").into_iter().filter(|(path, _)| !path.to_str().unwrap().contains("golden"));
    let without_tests = |text: &str| text.split("#[cfg(test)]").next().unwrap().to_string();
    let files: Vec<(PathBuf, String)> = sources.map(|(path, text)| (path, without_tests(&text))).collect();
    let room = |path: &Path| path.strip_prefix(&src).unwrap().iter().next().unwrap().to_str().unwrap().to_string();
    for (path, text) in &files {
        let is_root = path.ends_with("mod.rs") || path.parent() == Some(&src);
        for (name, is_open) in fields(text) {
            own.insert((room(path), name.to_string()));
            if is_open && !is_root {
                declared.entry(name.to_string()).or_default().insert(room(path));
            }
        }
    }
    for (path, text) in &files {
        for field in written(text) {
            let of_another = declared.contains_key(field) && !own.contains(&(room(path), field.to_string()));
            assert!(!of_another, "{}: `{field}` is a field of {:?}", path.display(), declared[field]);
        }
    }
    let lines = "pub struct A {\n    pub(crate) b: u8,\n    c: u8,\n}\nfn d() {\n    e.b += 1;\n    self.b = 2;\n}\n";
    assert_eq!(fields(lines).collect::<Vec<_>>(), [("b", true), ("c", false)]);
    assert_eq!(written(lines).collect::<Vec<_>>(), ["b"]);
}

/// The functions among these lines, each with its length.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let named = |line: &'_ str| -> Option<usize> {
        let code = line.trim_start();
        let before = code.split_once("fn ")?.0;
        let only_words = before.chars().all(|c| c.is_alphanumeric() || "() _".contains(c));
        (only_words && !code.ends_with(['}', ';'])).then(|| line.len() - code.len())
    };
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(indent) = named(line) {
            let end = format!("{:indent$}}}", "");
            let len = lines[at..].iter().position(|line| **line == end).map_or(0, |len| len + 1);
            functions.push((word(line.split_once("fn ").unwrap().1), len));
        }
    }
    functions
}

/// The types that these lines declare outside of functions and test modules.
fn types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) ")).unwrap_or(line);
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let rest = ["struct ", "enum ", "trait ", "type "].into_iter().find_map(|kind| line.strip_prefix(kind))?;
        Some(word(rest))
    })
}

#[test]
fn the_name_of_a_type_of_the_store_names_one_thing() {
    let mut declared: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in sources("store/src").into_iter().filter(|(path, _)| !path.to_str().unwrap().contains("golden"))
    {
        for name in types(&text) {
            let other = declared.insert(name.to_string(), path.clone());
            assert!(other.is_none(), "{name} is declared in {} and {}", path.display(), other.unwrap().display());
        }
    }
    let lines = "pub(crate) struct A<'a> {\nenum B {\n    type C = u8;\n/// struct D\npub type E = u8;\n";
    assert_eq!(types(lines).collect::<Vec<_>>(), ["A", "B", "E"]);
}

#[test]
fn functions_fit_a_screen() {
    for (path, text) in ["store/src", "revive/src", "tools/src"].into_iter().flat_map(sources) {
        let file = path.strip_prefix(root()).unwrap().to_str().unwrap();
        for (name, len) in functions(&text) {
            let may = len <= FUNCTION_MAX || LONG_FUNCTIONS.contains(&(file, name));
            assert!(may, "{file}: {name} has {len} lines");
        }
    }
    let lines = "impl A {\n    pub(crate) fn a(&self) {\n        b();\n    }\n}\nfn c() {}\n";
    assert_eq!(functions(lines), [("a", 3)]);
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

/// A public item: its type, its name if it is a function, and whether its documentation has an example.
struct Item<'t> {
    of: &'t str,
    function: Option<&'t str>,
    has_example: bool,
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}

/// The public types among these lines, and the public functions of types.
fn items(text: &str) -> Vec<Item<'_>> {
    let (mut items, mut of, mut has_example) = (Vec::new(), "", false);
    for line in text.lines() {
        let line_of = |name: &'_ str| line.strip_prefix(name).map(word);
        if let Some(inherent) = line.strip_prefix("impl").filter(|line| !line.contains(" for ")) {
            let generic = inherent.starts_with('<').then(|| inherent.split_once("> ")).flatten();
            of = word(generic.map_or(inherent, |(_, rest)| rest).trim_start());
        } else if let Some(name) = ["pub struct ", "pub enum ", "pub trait "].into_iter().find_map(line_of) {
            items.push(Item { of: word(name), function: None, has_example });
        } else if let Some(rest) = line.strip_prefix("    pub fn ") {
            items.push(Item { of, function: Some(word(rest)), has_example });
        }
        match line.trim_start() {
            doc if doc.starts_with("///") => has_example |= doc.contains("```"),
            attribute if attribute.starts_with("#[") => {}
            _ => has_example = false,
        }
    }
    items
}

/// Functions of the handles have an example each; other functions may share that of their type.
#[test]
fn each_function_that_users_call_has_an_example() {
    let sources: Vec<_> = sources("store/src").into_iter().filter(|(path, _)| !path.ends_with("fuzzing.rs")).collect();
    let all: Vec<_> = sources.iter().map(|(path, text)| (path, items(text))).collect();
    let shown: Vec<&str> = all
        .iter()
        .flat_map(|(_, items)| items.iter().filter(|item| item.function.is_none() && item.has_example))
        .map(|item| item.of)
        .chain(WITHOUT_EXAMPLE)
        .collect();
    for (path, items) in &all {
        let is_handle = path.parent().unwrap().ends_with("src/store");
        for Item { of, function, has_example } in items {
            let Some(function) = function else { continue };
            let has_example = *has_example || !is_handle && shown.contains(of);
            assert!(has_example, "{}: {of}::{function} has no example", path.display());
        }
    }
}

#[test]
fn a_function_without_an_example_would_be_found() {
    let text =
        "/// ```\n#[derive(Clone)]\npub struct A<'a>(&'a u8);\nimpl<'a> A<'a> {\n    /// It\n    pub fn b() {}\n}\n";
    let items = items(text);
    let [a, b] = &items[..] else { panic!("{} items", items.len()) };
    assert_eq!((a.of, a.function, a.has_example), ("A", None, true));
    assert_eq!((b.of, b.function, b.has_example), ("A", Some("b"), false));
}

/// The name of each test among these lines.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let bodies = text.split("#[test]\n").skip(1);
    bodies.filter_map(|body| body.split_once("fn ")?.1.split('(').next())
}

#[test]
fn the_name_of_a_test_is_a_claim_of_at_most_60_characters() {
    for (path, text) in ["store", "revive", "tools"].into_iter().flat_map(sources) {
        for name in tests(&text) {
            let length = name.len();
            assert!(length <= NAME_MAX, "{}: {name} has {length} characters", path.display());
        }
    }
    assert_eq!(tests("#[test]\n#[ignore]\nfn a_claim() {\n").collect::<Vec<_>>(), ["a_claim"]);
}

/// Where the pages of the repository lie for those who read them on crates.io.
const ONLINE: &str = "https://github.com/popstore/popstore/blob/HEAD/";

/// The file that a link of a page leads to, if it is one of ours.
fn target(page: &str, link: &str) -> Option<PathBuf> {
    let link = link.split('#').next().unwrap();
    match link.strip_prefix(ONLINE) {
        Some(path) => Some(root().join(path)),
        None if link.is_empty() || link.contains("://") => None,
        None => Some(root().join(page).parent().unwrap().join(link)),
    }
}

/// The README is that of the package `popstore`, too: crates.io shows it as if it lay in `store`.
#[test]
fn each_link_leads_to_a_file_and_those_of_the_readme_are_whole() {
    let pages = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "store/FORMAT.md",
        "store/GUIDE.md",
        "store/PROMISES.md",
        "store/PROOFS.md",
        "revive/README.md",
        "tools/README.md",
        "tools/JSON.md",
        "benches/README.md",
    ];
    for page in pages {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let inline = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        let below = text.lines().filter_map(|line| Some(line.strip_prefix('[')?.split_once("]: ")?.1));
        for link in inline.chain(below) {
            assert!(page != "README.md" || link.contains("://"), "{page}: {link} is not whole");
            assert!(target(page, link).is_none_or(|path| path.exists()), "{page}: {link} leads nowhere");
        }
    }
    assert_eq!(target("store/GUIDE.md", "../README.md#limits"), Some(root().join("store/../README.md")));
    assert!(!target("README.md", &format!("{ONLINE}store/MISSING.md")).unwrap().exists());
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
