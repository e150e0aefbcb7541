//! A small store with everything in it, ways to damage it, and `store-inspect` run inside the test's process.
#![allow(dead_code)]

pub(crate) mod habits;
pub(crate) mod hostile;
pub(crate) mod mutation;
pub(crate) mod records;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use popstore::clock::ManualClock;
use popstore::{Delay, GroupOptions, Message, Options, Pop, Store};
use popstore_tools::{Outcome, eyes};
use serde_json::Value;
use tempfile::TempDir;

/// The files of a directory with what they hold.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A store's directory that is put back after each damage.
pub(crate) struct Ruin {
    home: TempDir,
    pub(crate) whole: Files,
}

/// What a verb printed, and its exit code.
pub(crate) struct Seen {
    pub(crate) code: u8,
    pub(crate) out: String,
}

impl Ruin {
    /// A store of several segments in both logs, with leases, retries and dead letters; closed in order, or left behind
    /// as a killed process leaves it.
    pub(crate) fn new(closed: bool) -> Self {
        Self::of(closed, fill)
    }

    /// A store with small files that was filled by hand.
    pub(crate) fn of(closed: bool, fill: impl FnOnce(&Store, &ManualClock)) -> Self {
        Self::with(closed, |options| options, fill)
    }

    /// The same with other options.
    pub(crate) fn with(
        closed: bool,
        opened: impl FnOnce(Options) -> Options,
        fill: impl FnOnce(&Store, &ManualClock),
    ) -> Self {
        let home = scratch();
        let dir = home.path().join("data");
        let clock = Arc::new(ManualClock::at(Duration::from_secs(1_700_000_000)));
        let store = opened(options(clock.clone())).open(&dir).unwrap();
        fill(&store, &clock);
        let mut whole = read(&dir);
        match closed {
            true => {
                store.close().unwrap();
                whole = read(&dir);
            }
            false => drop(store),
        }
        let ruin = Self { home, whole };
        ruin.restore();
        ruin
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A place beside the store.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Makes the directory what it was.
    pub(crate) fn restore(&self) {
        let _ = std::fs::remove_dir_all(self.dir());
        for (path, bytes) in &self.whole {
            let path = self.dir().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// A copy of these files in a directory of its own.
    pub(crate) fn copy(files: &Files) -> TempDir {
        let home = scratch();
        for (path, bytes) in files {
            let path = home.path().join("data").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Nothing at a file's end takes no space.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            std::fs::write(&path, &bytes[..used]).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
        }
        home
    }

    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) {
        std::fs::write(self.dir().join(path), bytes).unwrap();
    }

    /// Runs a verb of `store-inspect`; the directory must be as it was afterwards.
    pub(crate) fn run(&self, line: &str) -> Seen {
        let before = read(&self.dir());
        let words = line.split_whitespace().map(|word| match word {
            "data" => self.dir(),
            "fresh" => self.beside("fresh"),
            word => PathBuf::from(word),
        });
        let words = std::iter::once(PathBuf::from("store-inspect")).chain(words);
        let command = eyes::Command::try_parse_from(words).unwrap();
        let mut out = Vec::new();
        let code = match eyes::run(&command, &mut out) {
            Ok(Outcome::Fine) => 0,
            Ok(Outcome::Faults) => 1,
            Err(_) => 2,
        };
        let _ = std::fs::remove_dir_all(self.beside("fresh"));
        assert!(read(&self.dir()) == before, "{line} wrote to the store");
        Seen { code, out: String::from_utf8(out).unwrap() }
    }
}

impl Seen {
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The places that `verify --json` names: file in the store, first byte, end, and whether it is a fault.
    pub(crate) fn named(&self, dir: &Path) -> Vec<(PathBuf, u64, u64, bool)> {
        let place = |told: &Value, fault| {
            let path = Path::new(told["path"].as_str().unwrap()).strip_prefix(dir).unwrap().to_path_buf();
            let (offset, len) = (told["offset"].as_u64().unwrap(), told["len"].as_u64().unwrap());
            (path, offset, offset + len.max(1), fault)
        };
        let objects = self.objects();
        let Some((sum, faults)) = objects.split_last() else { return Vec::new() };
        let tails = sum["torn_tails"].as_array().unwrap();
        let named = faults.iter().map(|it| place(it, true)).chain(tails.iter().map(|it| place(it, false)));
        assert_eq!(sum["faults"], faults.len());
        named.collect()
    }
}

/// In memory where that can be: there are many damages to write.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Small in everything.
fn options(clock: Arc<ManualClock>) -> Options {
    let options = Store::options().segment_bytes(4096).checkpoint_segment_bytes(4096).entries_per_file(8);
    options.mark_every_bytes(2048).clock(clock)
}

fn read(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(next) = left.pop() {
        for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(dir).unwrap().to_path_buf();
            if path.is_symlink() {
                files.insert(name, std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else if path.is_dir() {
                left.push(path);
            } else {
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Appends, pops, acks, nacks, extends, lets leases run out, dead-letters and puts back.
pub(crate) fn fill(store: &Store, clock: &ManualClock) {
    let second = Duration::from_secs(1);
    store.create_topic("orders", 2).unwrap();
    let group = store.create_group("billing", GroupOptions::default().max_reconsume_times(1)).unwrap();
    let other = store.create_group("audit", GroupOptions::default().max_reconsume_times(0)).unwrap();
    for round in 0..12 {
        let bodies: Vec<String> = (0..4).map(|n| format!("{round}.{n} {}", "body ".repeat(12))).collect();
        let key = format!("order-{round}");
        let messages: Vec<_> = bodies.iter().map(|body| Message::new(body).key(&key).tag("paid")).collect();
        store.append_batch("orders", &messages).unwrap();
        store.append("mails", Message::new("hello").property("to", "them")).unwrap();
        for (n, delivery) in group.pop("orders", Pop::up_to(3).invisible_for(10 * second)).unwrap().iter().enumerate() {
            let receipt = delivery.receipt();
            let settled = match n + round {
                n if n % 4 == 0 => group.nack(receipt, Delay::After(Duration::ZERO)).unwrap(),
                n if n % 4 == 1 => group.extend(receipt, 30 * second).unwrap(),
                _ => group.ack(receipt).unwrap(),
            };
            assert!(settled.counted());
        }
        let _ = other.pop("orders", Pop::up_to(1).invisible_for(second)).unwrap();
        clock.advance(3 * second);
        store.run_pending();
    }
    let letter = group.dead_letters().unwrap().next().expect("some are dead by now").unwrap();
    let _ = group.redrive(&letter).unwrap();
    let _ = group.pop("orders", Pop::up_to(2)).unwrap();
}
