//! The copy of the sources with all mistakes in it, and the tests that are built from it.
//!
//! The copy stays where it is between runs; a file is written only if it changes, so that nothing is built twice.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::mistake::{Mistake, Place};

/// The variable that names the mistake that is switched on.
pub const SWITCH: &str = "POPSTORE_BROKEN";
/// What is copied; of the rest of the workspace nothing is needed.
const SOURCES: [&str; 6] = ["Cargo.lock", "Cargo.toml", "fuzz/bytes.rs", "fuzz/seeds/merge", "revive", "store"];
/// What would be built for nothing: this test, and those that need the crates in `UNUSED`.
const LEFT_OUT: [&str; 4] = ["store/tests/broken", "store/tests/loom", "store/tests/tidy.rs", "store/examples"];
const UNUSED: [&str; 3] =
    ["comfy-table.workspace = true\n", "loom.workspace = true\n", "serde_json.workspace = true\n"];

const SWITCHBOARD: &str = r#"
/// Whether this mistake is switched on.
pub(crate) fn broken(mistake: &str) -> bool {
    static ON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("POPSTORE_BROKEN").unwrap_or_default()) == mistake
}
"#;

/// Every file and what it holds.
pub type Sources = BTreeMap<PathBuf, Vec<u8>>;

/// The test binaries by name; each is run in its package's directory.
pub struct Tests {
    binaries: BTreeMap<String, PathBuf>,
    root: PathBuf,
}

impl Tests {
    pub fn command(&self, binary: &str) -> Command {
        let path = self.binaries.get(binary).unwrap_or_else(|| panic!("no test binary is called {binary:?}"));
        let package = if matches!(binary, "algebra" | "claims" | "decide" | "parts" | "popstore_revive") {
            "revive"
        } else {
            "store"
        };
        let mut command = Command::new(path);
        command.current_dir(self.root.join(package)).env_remove(SWITCH).env("RUST_BACKTRACE", "0");
        command
    }
}

/// Copies, breaks and builds.
pub fn build(mistakes: &[&Mistake]) -> Tests {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken");
    let mut sources = originals();
    expect_sound(mistakes, &sources);
    mistakes.iter().for_each(|mistake| break_in(mistake, &mut sources));
    for lib in ["revive/src/lib.rs", "store/src/lib.rs"] {
        change(&mut sources, lib, |text| text + SWITCHBOARD);
    }
    slim(&mut sources);
    plant(&root, &sources);
    Tests { binaries: cargo(&root), root }
}

/// Every file that is copied, as it is.
pub fn originals() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    let mut sources = BTreeMap::new();
    SOURCES.iter().for_each(|source| read(&root, Path::new(source), &mut sources));
    sources
}

/// Each mistake has its places in the sources, and a test that is there.
pub fn expect_sound(mistakes: &[&Mistake], sources: &Sources) {
    for mistake in mistakes {
        expect_once(mistake, sources);
        let (binary, test) = mistake.caught_by;
        assert!(has_test(sources, binary, test), "{:?}: {binary} has no test {test}", mistake.name);
    }
}

fn has_test(sources: &Sources, binary: &str, test: &str) -> bool {
    let mut names = test.rsplit("::").filter(|name| *name != "tests");
    let name = format!("fn {}(", names.next().unwrap());
    let file = names.next().unwrap_or(binary);
    let holds = |path: &Path| {
        let is_its_own = path.file_stem().is_some_and(|stem| stem == file) || path.ends_with(format!("{file}/mod.rs"));
        is_its_own && text(sources, path.to_str().unwrap()).contains(&name)
    };
    sources.keys().any(|path| holds(path))
}

fn read(root: &Path, path: &Path, sources: &mut Sources) {
    if LEFT_OUT.iter().any(|left_out| path == Path::new(left_out)) {
        return;
    }
    let full = root.join(path);
    if full.is_dir() {
        for entry in fs::read_dir(full).unwrap() {
            read(root, &path.join(entry.unwrap().file_name()), sources);
        }
    } else {
        sources.insert(path.to_path_buf(), fs::read(full).unwrap());
    }
}

fn text(sources: &Sources, file: &str) -> String {
    let bytes = sources.get(Path::new(file)).unwrap_or_else(|| panic!("there is no {file}"));
    String::from_utf8(bytes.clone()).unwrap()
}

fn change(sources: &mut Sources, file: &str, change: impl FnOnce(String) -> String) {
    let changed = change(text(sources, file));
    sources.insert(PathBuf::from(file), changed.into_bytes());
}

/// A mistake that does not fit the source any more would prove nothing.
fn expect_once(mistake: &Mistake, sources: &Sources) {
    for Place { file, right, .. } in mistake.places {
        let times = places_of(right, &text(sources, file)).len();
        assert_eq!(times, 1, "{:?}: {file} holds this {times} times, not once:\n{right}", mistake.name);
    }
}

/// Where these words stand in a text, whatever space is between them.
fn places_of(words: &str, text: &str) -> Vec<Range<usize>> {
    let first = words.split_whitespace().next().unwrap();
    let place = |start: usize| {
        let mut rest = text[start..].strip_prefix(first)?;
        for word in words.split_whitespace().skip(1) {
            rest = rest.strip_prefix(char::is_whitespace)?.trim_start().strip_prefix(word)?;
        }
        Some(start..text.len() - rest.len())
    };
    text.match_indices(first).filter_map(|(start, _)| place(start)).collect()
}

fn break_in(mistake: &Mistake, sources: &mut Sources) {
    for Place { file, right, wrong } in mistake.places {
        let switch = format!("crate::broken({:?})", mistake.name);
        change(sources, file, |text| {
            let places = places_of(right, &text);
            let [place] = &places[..] else { panic!("{:?}: another mistake is at its place", mistake.name) };
            [&text[..place.start], &wrong.replace("BROKEN", &switch), &text[place.end..]].concat()
        });
    }
}

/// Takes out of the manifests what is not there or not needed.
fn slim(sources: &mut Sources) {
    change(sources, "Cargo.toml", |text| {
        text.replace(r#", "tools", "benches""#, "").replace(r#"exclude = ["fuzz"]"#, "")
    });
    for unused in UNUSED {
        change(sources, "store/Cargo.toml", |text| text.replace(unused, ""));
    }
}

fn plant(root: &Path, sources: &Sources) {
    let mut before = BTreeMap::new();
    SOURCES
        .iter()
        .filter(|source| root.join(source).exists())
        .for_each(|source| read(root, Path::new(source), &mut before));
    // What was moved is not left where it was.
    for gone in before.keys().filter(|path| !sources.contains_key(*path)) {
        fs::remove_file(root.join(gone)).unwrap();
    }
    for (path, bytes) in sources {
        let path = root.join(path);
        // Cargo takes what it does not need any more out of its copy of the lock file.
        let keeps = path.ends_with("Cargo.lock") && path.exists();
        if !keeps && fs::read(&path).ok().as_ref() != Some(bytes) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
}

fn cargo(root: &Path) -> BTreeMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--no-run", "--offline", "--message-format=json", "--lib"]);
    command.args(["--test", "model", "--test", "faults", "--test", "spec"]);
    command.args(["--test", "algebra", "--test", "claims", "--test", "decide", "--test", "parts"]);
    command.current_dir(root).env("CARGO_TARGET_DIR", root.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
    let built = command.stderr(Stdio::inherit()).output().unwrap();
    let messages = String::from_utf8(built.stdout).unwrap();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut binaries = BTreeMap::new();
    for message in messages {
        if let Some(why) = message["message"]["rendered"].as_str().filter(|_| !built.status.success()) {
            eprintln!("{why}");
        }
        if let (Some(binary), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) {
            binaries.insert(name.to_string(), PathBuf::from(binary));
        }
    }
    assert!(built.status.success(), "the broken store cannot be built");
    binaries
}
