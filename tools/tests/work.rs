//! The verb `work`: a command for each message, and how it stops.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod shell;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use shell::{Printed, Said, Shell};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits, in a script, until the test makes the file `go`; for minutes.
const WAIT_FOR_GO: &str = "for n in $(seq 3000); do test -e go && break; sleep 0.1; done";

fn assert_closed_in_order(shell: &Shell) {
    let store = popstore::Store::open(shell.path("data")).unwrap();
    assert!(store.recovery().clean, "{:?}", store.recovery());
}

#[test]
fn three_lines_of_shell_are_a_job_queue_with_dead_letters() {
    let shell = Shell::new();
    shell.append_lines(b"good\nbad\nworse\n");
    let printed = shell.work("--max-reconsume-times 2 --jobs 2 --json", "grep -q good");
    assert_eq!(printed.code, 1, "{}", printed.err);
    let done = printed.object();
    assert_eq!((&done["acked"], &done["nacked"], &done["dead_lettered"]), (&1.into(), &6.into(), &2.into()));
    shell.ok("dead-letters redrive data --group g");
    let printed = shell.work("--json", "cat");
    assert_eq!(printed.code, 0, "{}", printed.err);
    assert!(printed.out.contains("bad") && printed.out.contains("worse"));
}

/// A slip of the pen used up the deliveries of all messages in an instant.
#[test]
fn a_shell_without_the_program_ends_the_work_not_the_messages() {
    let shell = Shell::new();
    shell.append_lines(b"a\nb\nc\n");
    fs::write(shell.path("plain"), "no program").unwrap();
    for (line, why) in [
        ("no-such-program --at all", "there is no such program"),
        ("true && no-such-program", "exit code 127"),
        ("if true; then ./plain; fi", "exit code 126"),
    ] {
        let printed = shell.work("--max-reconsume-times 5", line);
        assert_eq!(printed.code, 2, "{}", printed.err);
        assert!(printed.err.contains(line) && printed.err.contains(why), "{}", printed.err);
    }
    assert_eq!(shell.ready(), [("a".into(), 1), ("b".into(), 1), ("c".into(), 1)]);
}

#[test]
fn until_empty_waits_for_what_waits_for_its_retry() {
    let shell = Shell::new();
    shell.append_lines(b"a\nb\n");
    let script = "test $POPSTORE_ATTEMPT -gt 2";
    let printed = shell.work("--jobs 3 --retry-after 0.3s --json", script);
    let done = printed.object();
    assert_eq!((&done["acked"], &done["nacked"]), (&2.into(), &4.into()), "{}", printed.err);
}

#[test]
fn a_command_is_told_what_it_works_on() {
    let shell = Shell::new();
    shell.ok("append data jobs hello --key k1 --tag t1");
    let script = "echo $POPSTORE_TOPIC $POPSTORE_QUEUE $POPSTORE_INDEX $POPSTORE_KEY $POPSTORE_TAG $POPSTORE_ATTEMPT";
    assert_eq!(shell.work("", script).out, "jobs 0 0 k1 t1 1\n");
}

/// The lease is so long that no machine is too slow to extend it; the command ends when it sees that.
#[test]
fn a_lease_is_extended_as_long_as_its_command_runs() {
    let shell = Shell::new();
    shell.ok("append data jobs slow");
    shell.ok("group create data g --invisible 45s");
    let look = format!("{} checkpoints data --kind extended --json", env!("CARGO_BIN_EXE_store-inspect"));
    let script = format!("for n in $(seq 3000); do {look} | grep -q until && exit 0; sleep 0.1; done; exit 1");
    let printed = shell.work("--json", &script);
    let done = printed.object();
    assert_eq!((&done["acked"], &done["too_late"]), (&1.into(), &0.into()), "{}", printed.err);
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    let extended = Printed::from(shell.inspect("checkpoints data --kind extended --json").spawn().unwrap());
    let at = |field: &str| humantime::parse_rfc3339(extended.objects()[0][field].as_str().unwrap()).unwrap();
    assert_eq!(at("until").duration_since(at("happened_at")).unwrap(), Duration::from_secs(45));
}

#[test]
fn a_lease_that_ends_under_its_command_is_reported_at_once() {
    let shell = Shell::new();
    shell.ok("append data jobs slow");
    let script = "test $POPSTORE_ATTEMPT -gt 1 && exec touch second; for n in $(seq 3000); do test -e go && exit; sleep 0.1; done";
    let mut worker = shell.worker("--jobs 2 --no-extend --invisible 1s --until-empty --json", script);
    let mut child = worker.spawn().unwrap();
    let said = Said::by(&mut child);
    // Its command still runs.
    said.wait_for("the lease of jobs/0/0, attempt 1, ended");
    shell.wait_for("second");
    fs::write(shell.path("go"), "").unwrap();
    let printed = Printed::from(child);
    let done = printed.object();
    assert_eq!((printed.code, &done["acked"], &done["too_late"]), (1, &1.into(), &1.into()));
    let said = said.all();
    assert_eq!(said.matches("attempt 1").count(), 1, "{said}");
}

#[test]
fn to_ask_for_what_is_done_anyway_is_no_error() {
    let shell = Shell::new();
    shell.ok("append data jobs one");
    assert_eq!(shell.work("--extend", "true").code, 0);
    assert_eq!(shell.work("--extend --no-extend", "true").code, 2);
}

/// A program that cannot be started as long as the file is open, as when it is being replaced; at other times it is EAGAIN.
#[cfg(target_os = "linux")]
fn busy_program(shell: &Shell) -> Option<File> {
    fs::write(shell.path("program"), "#!/bin/sh\ncat >> done\n").unwrap();
    fs::set_permissions(shell.path("program"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let open = File::options().append(true).open(shell.path("program")).unwrap();
    let started = Command::new(shell.path("program")).stdin(Stdio::null()).current_dir(shell.path("")).status();
    if started.is_ok() {
        println!("not run: this system starts programs that are being written");
    }
    started.is_err().then_some(open)
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_cannot_be_started_yet_costs_no_delivery() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\nthree\n");
    let Some(busy) = busy_program(&shell) else { return };
    let line = "work data jobs --group g --max-reconsume-times 0 --no-extend --invisible 45s --until-empty --json";
    let mut child = shell.command(&format!("{line} -- ./program now")).spawn().unwrap();
    let said = Said::by(&mut child);
    said.wait_for("could not start the command on jobs/0/0, trying again: Text file busy");
    // The message stays leased meanwhile.
    let extended = || Printed::from(shell.inspect("checkpoints data --kind extended --json").spawn().unwrap());
    for _ in 0..3000 {
        if !extended().out.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    drop(busy);
    let printed = Printed::from(child);
    let done = printed.object();
    let counts = ["acked", "nacked", "too_late", "dead_lettered"].map(|count| done[count].as_u64().unwrap());
    assert_eq!((printed.code, counts), (0, [3, 0, 0, 0]), "{}", said.all());
    assert_eq!(fs::read_to_string(shell.path("done")).unwrap(), "onetwothree");
    assert!(!extended().objects().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_message_that_was_not_begun_is_released_whatever_its_limit() {
    for limit in [1, 0] {
        let shell = Shell::new();
        shell.append_lines(b"one\n");
        let Some(_busy) = busy_program(&shell) else { return };
        let line = format!("work data jobs --group g --max-reconsume-times {limit} --invisible 1h --json");
        let mut child = shell.command(&format!("{line} -- ./program now")).spawn().unwrap();
        let said = Said::by(&mut child);
        said.wait_for("trying again");
        signal(&child, Signal::TERM);
        let printed = Printed::from(child);
        let (done, said) = (printed.object(), said.all());
        let counts = ["nacked", "released", "dead_lettered"].map(|count| done[count].as_u64().unwrap());
        assert_eq!((printed.code, counts), (0, [0, 1, 0]), "{said}");
        assert_closed_in_order(&shell);
        assert_eq!(shell.ready(), [("one".to_string(), 1)], "{limit}");
        assert_eq!(shell.ok("dead-letters list data --group g").out, "0 dead letters\n");
    }
}

#[test]
fn a_command_that_does_not_read_a_long_input_is_no_error() {
    let shell = Shell::new();
    let whole = shell.feed(shell.command("append data jobs --whole"), &vec![b'x'; 1 << 20]);
    assert_eq!(whole.code, 0, "{}", whole.err);
    assert_eq!(shell.work("", "true").code, 0);
}

#[test]
fn on_sigterm_running_commands_finish_and_no_more_are_popped() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\nthree\n");
    let script = format!("touch begun; {WAIT_FOR_GO}; cat >> done");
    let mut child = shell.worker("--json", &script).spawn().unwrap();
    let said = Said::by(&mut child);
    shell.wait_for("begun");
    signal(&child, Signal::TERM);
    said.wait_for("stopping when the running commands are done");
    fs::write(shell.path("go"), "").unwrap();
    let printed = Printed::from(child);
    assert_eq!(printed.code, 0, "{}", said.all());
    assert_eq!((&printed.object()["acked"], &printed.object()["nacked"]), (&1.into(), &0.into()));
    assert_eq!(fs::read_to_string(shell.path("done")).unwrap(), "one");
    assert_closed_in_order(&shell);
    assert_eq!(shell.ready(), [("two".to_string(), 1), ("three".to_string(), 1)]);
}

#[test]
fn ctrl_c_in_a_terminal_does_not_reach_the_commands() {
    let shell = Shell::new();
    shell.append_lines(b"one\n");
    let mut worker = shell.worker("--json", &format!("touch begun; {WAIT_FOR_GO}; touch done"));
    let mut child = worker.process_group(0).spawn().unwrap();
    let said = Said::by(&mut child);
    shell.wait_for("begun");
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    said.wait_for("stopping");
    fs::write(shell.path("go"), "").unwrap();
    let printed = Printed::from(child);
    assert_eq!((printed.code, &printed.object()["acked"]), (0, &1.into()), "{}", said.all());
    assert!(shell.path("done").exists());
    assert_closed_in_order(&shell);
}

#[test]
fn a_worker_that_waits_for_messages_stops_at_once() {
    let shell = Shell::new();
    shell.append_lines(b"one\n");
    let child = shell.worker("--jobs 4 --json", "touch begun").spawn().unwrap();
    shell.wait_for("begun");
    thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    let printed = Printed::from(child);
    assert_eq!((printed.code, &printed.object()["acked"]), (0, &1.into()), "{}", printed.err);
    assert_closed_in_order(&shell);
}

#[test]
fn a_second_signal_kills_the_commands_and_gives_messages_back() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\nthree\n");
    // The output of the child goes elsewhere, so that nobody waits for its end.
    let child = format!("({WAIT_FOR_GO}; touch survived) > /dev/null 2>&1 &");
    let script = format!("{child} touch begun$POPSTORE_INDEX; wait");
    let mut child = shell.worker("--jobs 2 --json --retry-after 1h", &script).spawn().unwrap();
    let said = Said::by(&mut child);
    shell.wait_for("begun0");
    shell.wait_for("begun1");
    signal(&child, Signal::TERM);
    said.wait_for("stopping");
    // One that comes soon behind the first is the same as that, however late the worker notices.
    while child.try_wait().unwrap().is_none() {
        signal(&child, Signal::INT);
        thread::sleep(Duration::from_millis(300));
    }
    let printed = Printed::from(child);
    assert!(!shell.path("survived").exists(), "it waited for the commands");
    assert_eq!((printed.code, &printed.object()["nacked"]), (1, &2.into()), "{}", said.all());
    assert_closed_in_order(&shell);
    let mut ready = shell.ready();
    ready.sort();
    assert_eq!(ready, [("one".to_string(), 2), ("three".to_string(), 1), ("two".to_string(), 2)]);
    fs::write(shell.path("go"), "").unwrap();
    thread::sleep(Duration::from_secs(2));
    assert!(!shell.path("survived").exists(), "a child of the command lives on");
}

#[test]
fn signals_that_come_together_are_one() {
    let shell = Shell::new();
    shell.append_lines(b"one\n");
    let mut child = shell.worker("--json", &format!("touch begun; {WAIT_FOR_GO}")).spawn().unwrap();
    let said = Said::by(&mut child);
    shell.wait_for("begun");
    // Both reach it at the same moment, when it goes on.
    [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT].into_iter().for_each(|one| signal(&child, one));
    said.wait_for("stopping");
    fs::write(shell.path("go"), "").unwrap();
    let printed = Printed::from(child);
    assert_eq!((printed.code, &printed.object()["acked"]), (0, &1.into()), "{}", said.all());
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let shell = Shell::new();
    shell.append_lines(b"one\ntwo\n");
    let printed = shell.work("", "true");
    assert_eq!(printed.err, "popstore: 2 acked, 0 nacked, 0 too late, 0 dead-lettered\n");

    shell.append_lines(b"one\ntwo\n");
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let script = WAIT_FOR_GO.replace("go", "go$POPSTORE_INDEX");
    let mut worker = shell.worker("--until-empty", &script);
    worker.stdout(Stdio::null()).stderr(File::options().write(true).open(name).unwrap());
    worker.env("TERM", "xterm");
    let mut child = worker.spawn().unwrap();
    // Ours is closed with it; then the end of the command is the end of the terminal, which linux calls an error.
    drop(worker);
    let (mut terminal, mut shown, mut bytes) = (File::from(terminal), String::new(), [0; 1024]);
    for (line, go) in
        [("0 acked, 0 nacked, 0 too late, 1 running", "go2"), ("1 acked, 0 nacked, 0 too late, 1 running", "go3")]
    {
        while !shown.contains(line) {
            let len = terminal.read(&mut bytes).unwrap_or_else(|error| panic!("{line}: {error}: {shown}"));
            shown += &String::from_utf8_lossy(&bytes[..len]);
        }
        fs::write(shell.path(go), "").unwrap();
    }
    let mut rest = Vec::new();
    let _ = terminal.read_to_end(&mut rest);
    assert!(child.wait().unwrap().success());
}

#[test]
fn until_empty_does_not_wait_for_leases_of_other_topics() {
    let shell = Shell::new();
    shell.append_lines(b"one\n");
    shell.ok("append data other two");
    shell.ok("group create data g");
    shell.ok("pop data other --group g --invisible 1h");
    let done = shell.work("--json", "true").object();
    assert_eq!(done["acked"], 1);
}
