//! Starts workers and kills them, and asks after each kill whether anything is missing.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use popstore::clock::{Clock, SystemClock};
use serde_json::Value;

use crate::journal::{self, Kept, Line, Said};
use crate::look::look;
use crate::oracle::Oracle;
use crate::reckoning::reckon;
use crate::report::{Tally, progress};
use crate::worker;
use crate::world::Chance;

/// Everything runs out after so many kills.
const RECKON_EVERY: u64 = 20;
/// A store has so many lives, then a new one is born.
const KILLS_OF_A_STORE: u64 = 100;
/// How many receipts are kept for later lives.
const KEPT_MAX: usize = 24;

pub struct Supervisor {
    home: Option<tempfile::TempDir>,
    dir: PathBuf,
    seed: u64,
    kills: u64,
    chance: Chance,
    oracle: Oracle,
    /// Whether a worker ever said that the store is open.
    born: bool,
    kept: Vec<Kept>,
    tally: Tally,
}

impl Supervisor {
    pub fn new(seed: u64, kills: u64) -> Self {
        let home = tempfile::Builder::new().prefix("popstore-soak-").tempdir().unwrap();
        let mut supervisor = Self {
            dir: home.path().to_path_buf(),
            home: Some(home),
            seed,
            kills,
            chance: Chance(seed),
            oracle: Oracle::default(),
            born: false,
            kept: Vec::new(),
            tally: Tally::default(),
        };
        supervisor.give_birth();
        supervisor
    }

    pub fn run(mut self) {
        let _ = writeln!(io::stderr(), "{} kills, POPSTORE_SEED={}", self.kills, self.seed);
        let clock = SystemClock::start();
        let began_at = clock.now();
        let bar = progress(self.kills);
        while self.tally.kills < self.kills {
            self.live();
            self.verify();
            if self.born {
                let view = look(&self.dir, &self.oracle.looked).unwrap();
                self.oracle.judge(&view);
            }
            let last = self.tally.kills == self.kills;
            if self.tally.kills.is_multiple_of(RECKON_EVERY) || last {
                self.tally.lives += 1;
                self.tally.reckonings += 1;
                reckon(&self.dir, self.tally.lives, &mut self.oracle, &mut self.chance);
                self.born = true;
                self.verify();
            }
            bar.set_position(self.tally.kills);
            let counts = &self.oracle.counts;
            bar.set_message(format!("{} messages, {} deliveries", counts.appended, counts.deliveries));
            if self.tally.kills.is_multiple_of(KILLS_OF_A_STORE) && !last {
                self.give_birth();
            }
        }
        bar.finish_and_clear();
        self.tally.add(self.oracle.counts);
        let took = clock.now().since(began_at);
        self.tally.show(self.seed, took);
    }

    /// From now on a directory that does not exist yet.
    fn give_birth(&mut self) {
        self.tally.add(std::mem::take(&mut self.oracle).counts);
        if self.born {
            std::fs::remove_dir_all(&self.dir).unwrap();
        }
        self.tally.stores += 1;
        let home = self.home.as_ref().expect("it is given away at the end only");
        self.dir = home.path().join(format!("store-{}", self.tally.stores));
        self.born = false;
        self.kept.clear();
    }

    /// A worker's life, and what it told.
    fn live(&mut self) {
        self.tally.lives += 1;
        let (mut child, mut pipe) = self.start();
        let (says_open, is_open) = mpsc::channel();
        let told = thread::spawn(move || -> io::Result<Vec<u8>> {
            let mut told = Vec::new();
            pipe.read_until(b'\n', &mut told)?;
            let _ = says_open.send(());
            pipe.read_to_end(&mut told).map(|_| told)
        });
        if self.chance.one_in(3) {
            // While it opens the store, or right behind that.
            thread::sleep(Duration::from_micros(self.chance.below(12_000)));
        } else {
            // A worker that ends instead is found out below.
            let _ = is_open.recv_timeout(Duration::from_secs(60));
            let more = if self.chance.one_in(2) { 145_000 } else { 40_000 };
            thread::sleep(Duration::from_micros(self.chance.below(more)));
        }
        let early = child.try_wait().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        let failed = early.is_some() || status.code() == Some(worker::FAILED);
        assert!(!failed, "the worker ended by itself: {status}");
        self.tally.kills += 1;
        let lines = journal::read(&told.join().unwrap().unwrap());
        let opened = lines.iter().find_map(|Line(_, said)| match said {
            Said::Opened { micros } => Some(Duration::from_micros(*micros)),
            _ => None,
        });
        match opened {
            Some(took) => self.tally.recoveries.push(took),
            None => self.tally.kills_in_recovery += 1,
        }
        self.born |= opened.is_some();
        for line in lines {
            if let Line(_, Said::Kept(kept)) = &line {
                self.keep(kept.clone());
            }
            self.oracle.hear(line);
        }
        self.oracle.life_is_over();
    }

    fn start(&mut self) -> (Child, BufReader<ChildStdout>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--nocapture"]).stdout(Stdio::piped()).stdin(Stdio::null());
        command.env(worker::DIR, &self.dir).env(worker::LIFE, self.tally.lives.to_string());
        command.env(worker::SEED, (self.chance.next() >> 1).to_string());
        command.env(worker::KEPT, serde_json::to_string(&self.kept).unwrap());
        let mut child = command.spawn().unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim_end() != worker::BEGIN {
            line.clear();
            assert_ne!(pipe.read_line(&mut line).unwrap(), 0, "the worker did not begin: {:?}", child.wait());
        }
        (child, pipe)
    }

    /// Later lives come with receipts of many earlier ones.
    fn keep(&mut self, kept: Kept) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(kept);
        } else {
            let at = self.chance.below(KEPT_MAX as u64) as usize;
            self.kept[at] = kept;
        }
    }

    fn verify(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_store-inspect"));
        let output = command.arg("verify").arg(&self.dir).arg("--json").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        // A store that was never open may be none yet.
        if !self.born && output.status.code() == Some(2) {
            return;
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "verify after {} kills: {told}{errors}", self.tally.kills);
        let sum: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        self.tally.torn_tails += sum["torn_tails"].as_array().unwrap().len() as u64;
    }
}

impl Drop for Supervisor {
    /// What failed is left for a look.
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(home) = self.home.take()
        {
            let seed = self.seed;
            let _ = writeln!(io::stderr(), "seed {seed}, life {}: see {:?}", self.tally.lives, self.dir);
            let _ = home.keep();
        }
    }
}
