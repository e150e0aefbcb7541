//! A machine with one disk, of which the power can fail.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device;

/// A device and ext4 on it.
pub struct Machine {
    dir: PathBuf,
    disk: Mount,
    orders: UnixStream,
    answers: Lines<BufReader<UnixStream>>,
}

/// A mounted file system, unmounted when it is dropped, and its loop device detached.
pub struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path, at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).unwrap();
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(&at))?;
        Ok(Self(at))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // By name, also where a panic has left a store open.
        if let Err(why) = run(Command::new("umount").arg("-l").arg(&self.0)) {
            eprintln!("{why}");
        }
    }
}

impl Machine {
    /// Mounts what is on the device that is served there.
    ///
    /// # Errors
    /// It cannot be mounted here.
    pub fn start(dir: &Path) -> Result<Self, String> {
        let disk = Mount::new(&device::file(dir), dir.join("disk"))?;
        let orders = UnixStream::connect(device::socket(dir)).unwrap();
        let answers = BufReader::new(orders.try_clone().unwrap()).lines();
        Ok(Self { dir: dir.to_path_buf(), disk, orders, answers })
    }

    /// The root of the file system.
    pub fn disk(&self) -> &Path {
        self.disk.path()
    }

    /// Makes the next `writes` writes of marked data fail with EIO.
    pub fn fail(&mut self, writes: u32) {
        assert_eq!(self.order(&format!("fail {writes}")), "done");
    }

    /// How many writes have failed since the last call of `fail`.
    pub fn failed(&mut self) -> u32 {
        self.order("failed").parse().unwrap()
    }

    /// What is found after a power cut at this moment: the device as it was at its last flush, mounted.
    pub fn cut(&mut self) -> Mount {
        let image = self.dir.join("cut");
        assert_eq!(self.order(&format!("cut {}", image.display())), "done");
        Mount::new(&image, self.dir.join("after")).unwrap()
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answers.next().expect("the device answers").unwrap()
    }
}

/// Runs a command to its end.
///
/// # Errors
/// What it said, if it failed.
pub fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", said.trim())) }
}
