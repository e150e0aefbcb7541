//! Runs a test of this binary again in a process of its own: on another file system, as another user, or to die alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DIR: &str = "POPSTORE_FAULTS_DIR";

/// The directory this process was given, if it is such a child.
pub fn dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Runs the test of this name again with `dir`, by a shell that does `first` before.
pub fn run(shell: &[&str], first: &str, test: &str, dir: &Path) -> Output {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["sh", "-c", &format!("{first} && exec \"$@\""), "sh"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    command.env(DIR, dir).env("RUST_BACKTRACE", "0").output().expect("a shell")
}

/// Whether a command can be run here.
pub fn can(command: &[&str], arguments: &[&OsStr]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

pub fn expect_passed(output: &Output) {
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{}: {told}", output.status);
}
