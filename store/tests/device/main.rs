//! A real file system on a device that fails: ext4 on a loop device whose file is served by FUSE.
//!
//! A model of a disk has only the behaviour that its author knew of. Here the kernel's own write-back fails: one write of
//! a sync ends with EIO, the store is poisoned and dropped, a second owner opens it and is promised that everything is
//! durable; then the power fails. What was on the device at its last flush is mounted again, with nothing of it in the
//! page cache, and must hold what either owner was promised (promise 5 and rule 7 of recovery in `FORMAT.md`).
//!
//! Three processes take part: the test starts itself in a mount namespace of its own as the `device`, which starts itself
//! once more in one below it, as the `machine` with its stores. Mounts end with their namespace and loop devices with
//! their mount, also when a process is killed. The device's namespace does not have what is mounted from it: the end of
//! a namespace waits for the disk, and the device could not serve it while it ends.
#![cfg(target_os = "linux")]
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

#[path = "../faults/child.rs"]
mod child;
mod device;
mod machine;
mod story;

use std::path::Path;
use std::process::Output;

use device::Device;
use machine::Machine;

const TEST: &str = "what_a_second_owner_synced_survives_a_power_cut";

#[test]
fn what_a_second_owner_synced_survives_a_power_cut() {
    let Some(dir) = child::dir() else { return start() };
    if device::is_served(&dir) {
        return match Machine::start(&dir) {
            Ok(mut machine) => story::all(&mut machine),
            Err(why) => not_run(&why),
        };
    }
    match Device::start(&dir) {
        Ok(device) => passed(&device.serve(|| in_a_namespace(&dir))),
        Err(why) => not_run(&why),
    }
}

fn start() {
    let lacks = ["/dev/fuse", "/dev/loop-control"].into_iter().find(|path| !Path::new(path).exists());
    if let Some(path) = lacks {
        return not_run(&format!("there is no {path}"));
    }
    if !child::can(&["unshare", "-m", "true"], &[]) {
        return not_run("\"unshare -m\" is refused");
    }
    let dir = tempfile::tempdir().unwrap();
    passed(&in_a_namespace(dir.path()));
}

fn in_a_namespace(dir: &Path) -> Output {
    child::run(&["unshare", "-m"], "true", TEST, dir)
}

fn passed(output: &Output) {
    child::expect_passed(output);
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

fn not_run(why: &str) {
    println!("not run: needs root, /dev/fuse, loop devices, mkfs.ext4: {why}");
}
