//! The commands that run now, and how all of them are killed at once.
//!
//! On unix each is a process group of its own: Ctrl-C in a terminal does not reach it, and killing it takes its
//! children along.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};

#[derive(Default)]
pub(super) struct Running {
    state: Mutex<Commands>,
}

#[derive(Default)]
struct Commands {
    /// By process id. Invariant: none of them was reaped, so that no other process can have its id.
    begun: BTreeSet<u32>,
    killed: bool,
}

impl Running {
    fn state(&self) -> MutexGuard<'_, Commands> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Begins a command, unless all were killed.
    pub(super) fn begin(&self, command: &mut Command) -> io::Result<Option<Child>> {
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut state = self.state();
        if state.killed {
            return Ok(None);
        }
        let child = command.spawn()?;
        state.begun.insert(child.id());
        Ok(Some(child))
    }

    /// Waits for the end of a command.
    pub(super) fn end(&self, mut child: Child) -> io::Result<ExitStatus> {
        let waited = wait_unreaped(&child);
        self.state().begun.remove(&child.id());
        waited.and_then(|()| child.wait())
    }

    /// Kills the commands that run, and begins no more.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.killed = true;
        state.begun.iter().for_each(|id| kill_group(*id));
    }

    pub(super) fn killed(&self) -> bool {
        self.state().killed
    }
}

#[cfg(unix)]
fn kill_group(id: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // One that has ended by itself needs no killing.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_id: u32) {}

/// Waits until a command has ended, and leaves it to be reaped.
#[cfg(unix)]
fn wait_unreaped(child: &Child) -> io::Result<()> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(Pid::from_child(child)), options))?;
    Ok(())
}

#[cfg(not(unix))]
fn wait_unreaped(_child: &Child) -> io::Result<()> {
    Ok(())
}
