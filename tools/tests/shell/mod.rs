//! The command `popstore` on a directory of its own, run as a shell runs it.
// Each test program uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A directory for a store, and the command on it.
pub(crate) struct Shell {
    home: TempDir,
}

/// What a command printed, and its exit code.
pub(crate) struct Printed {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// A path in the directory that the commands run in.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        self.tool(env!("CARGO_BIN_EXE_popstore"), line)
    }

    /// The other command.
    pub(crate) fn inspect(&self, line: &str) -> Command {
        self.tool(env!("CARGO_BIN_EXE_store-inspect"), line)
    }

    fn tool(&self, tool: &str, line: &str) -> Command {
        let mut command = Command::new(tool);
        command.args(line.split_whitespace()).current_dir(self.home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Printed {
        self.feed(self.command(line), b"")
    }

    /// Runs a command that must end with exit code 0.
    pub(crate) fn ok(&self, line: &str) -> Printed {
        let printed = self.run(line);
        assert_eq!(printed.code, 0, "{line}: {}{}", printed.out, printed.err);
        printed
    }

    pub(crate) fn feed(&self, mut command: Command, input: &[u8]) -> Printed {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.into()
    }

    pub(crate) fn append_lines(&self, lines: &[u8]) {
        let printed = self.feed(self.command("append data jobs"), lines);
        assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    }

    /// `work` with the last argument as one word, for the shell.
    pub(crate) fn worker(&self, options: &str, script: &str) -> Command {
        let mut command = self.command(&format!("work data jobs --group g {options} --"));
        command.arg(script);
        command
    }

    pub(crate) fn work(&self, options: &str, script: &str) -> Printed {
        self.feed(self.worker(&format!("--until-empty {options}"), script), b"")
    }

    /// Waits until a command has made a file.
    pub(crate) fn wait_for(&self, name: &str) {
        for _ in 0..30_000 {
            if self.path(name).exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody made the file {name}");
    }

    /// The bodies and attempts of what the group `g` can pop.
    pub(crate) fn ready(&self) -> Vec<(String, u64)> {
        let popped = self.ok("pop data jobs --group g -n 100 --json").objects();
        let told = |it: &Value| (it["body"].as_str().unwrap().to_string(), it["attempt"].as_u64().unwrap());
        popped.iter().map(told).collect()
    }
}

/// What a running command says on its standard error, as it says it.
pub(crate) struct Said {
    text: Arc<Mutex<String>>,
    reader: thread::JoinHandle<()>,
}

impl Said {
    pub(crate) fn by(child: &mut Child) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let (into, lines) = (Arc::clone(&text), BufReader::new(child.stderr.take().unwrap()).lines());
        let reader = thread::spawn(move || {
            for line in lines {
                *into.lock().unwrap() += &(line.unwrap() + "\n");
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits until it has said this, for minutes.
    pub(crate) fn wait_for(&self, words: &str) {
        for _ in 0..30_000 {
            let ended = self.reader.is_finished();
            if self.so_far().contains(words) {
                return;
            }
            assert!(!ended, "it ended without {words:?}: {:?}", self.so_far());
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it never said {words:?}, but {:?}", self.so_far());
    }

    /// All that it has said, when it has ended.
    pub(crate) fn all(self) -> String {
        self.reader.join().unwrap();
        self.text.lock().unwrap().clone()
    }
}

impl From<Child> for Printed {
    fn from(child: Child) -> Self {
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = status.code().unwrap_or_else(|| panic!("it was killed: {status}"));
        Self { code, out: text(stdout), err: text(stderr) }
    }
}

impl Printed {
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The only object.
    pub(crate) fn object(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "{}", self.out);
        objects.remove(0)
    }

    pub(crate) fn receipt(&self) -> String {
        self.object()["receipt"].as_str().unwrap().to_string()
    }
}
