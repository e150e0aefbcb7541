//! Tests that are run with a mistake switched on, and without one.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::mistake::Mistake;
use crate::workshop::{SWITCH, Tests};

/// So many tests run at a time.
const AT_ONCE: usize = 2;
/// No test takes longer, unless a mistake makes it hang.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Without a mistake every test passes: nothing else would be proven by its failing with one.
pub fn expect_sound(tests: &Tests, mistakes: &[&Mistake]) {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Mistake { caught_by: (binary, test), .. } in mistakes {
        wanted.entry(binary).or_default().insert(test);
    }
    for (binary, names) in wanted {
        let mut command = tests.command(binary);
        let output = command.arg("--exact").args(&names).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let passed = told.contains(&format!("test result: ok. {} passed", names.len()));
        assert!(output.status.success() && passed, "{binary} fails without a mistake, or lacks {names:?}:\n{told}");
    }
}

/// Tries every mistake. Returns those that no test caught, and what was seen instead.
pub fn missed(tests: &Tests, mistakes: &[&Mistake]) -> Vec<String> {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(mistake) = mistakes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match caught(tests, mistake) {
                        Ok(()) => println!("{}: caught by {}", mistake.name, mistake.caught_by.1),
                        Err(why) => missed.lock().unwrap().push(format!("{}: {why}", mistake.name)),
                    }
                }
            });
        }
    });
    missed.into_inner().unwrap()
}

fn caught(tests: &Tests, mistake: &Mistake) -> Result<(), String> {
    let (binary, test) = mistake.caught_by;
    let mut command = tests.command(binary);
    command.args(["--exact", test]).env(SWITCH, mistake.name);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (told, ended) = listen(child);
    if !ended {
        return Err(format!("{test} hangs"));
    }
    if !told.contains(&format!("test {test} ... FAILED")) {
        return Err(format!("{test} does not fail:\n{told}"));
    }
    match told.contains(mistake.told) {
        true => Ok(()),
        false => Err(format!("{test} does not tell {:?}, but:\n{told}", mistake.told)),
    }
}

/// What a test prints, and whether it ends by itself.
fn listen(mut child: Child) -> (String, bool) {
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut told = Vec::new();
        std::io::Read::read_to_end(&mut out, &mut told).map(|_| String::from_utf8_lossy(&told).into_owned())
    });
    let mut waited = Duration::ZERO;
    while child.try_wait().unwrap().is_none() && waited < LIMIT {
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    let ended = child.try_wait().unwrap().is_some();
    if !ended {
        let _ = child.kill();
    }
    let _ = child.wait();
    (reader.join().unwrap().unwrap(), ended)
}
