//! What happens on the machine: two owners, a write that fails between them, and a power cut.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use popstore::inspect::Snapshot;
use popstore::{Durability, Error, Group, GroupOptions, Message, Options, Pop, Settled, Store};

use crate::device::MARKER;
use crate::machine::{Machine, Mount};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const HOUR: Duration = Duration::from_secs(3600);
const MODES: [Durability; 3] = [Durability::SyncEach, Durability::SyncEvery(HOUR), Durability::Buffered];

/// The log whose write fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fails {
    Commit,
    Checkpoint,
}

/// How the second owner is promised that everything is durable.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Sync,
    Close,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    first: Durability,
    second: Durability,
    fails: Fails,
    ends: Ends,
    /// How many messages are durable before the failure, and how many more come before it.
    durable: u64,
    more: u64,
    /// How many writes fail.
    writes: u32,
}

/// What the owners were promised.
#[derive(Debug, Default)]
struct Promised {
    /// Messages 0 to this are durable, and among them those before `acked` are done.
    messages: u64,
    acked: u64,
}

/// Plays every case on one machine, each in a directory of its own, and fails if the cut of any shows damage.
pub fn all(machine: &mut Machine) {
    let (mut cuts, mut damaged) = (0, String::new());
    for case in cases() {
        let dir = machine.disk().join("store");
        let (promised, after) = play(machine, &dir, case);
        cuts += 1;
        if let Err(why) = promised.check(&after.path().join("store")) {
            writeln!(damaged, "{case:?}: {why}").unwrap();
        }
        drop(after);
        std::fs::remove_dir_all(&dir).unwrap();
    }
    println!("{cuts} power cuts, {} of them with damage", damaged.lines().count());
    assert!(damaged.is_empty(), "{} of {cuts} power cuts show damage:\n{damaged}", damaged.lines().count());
}

/// Every pair of durabilities, and sizes that put the failed write into the first page of a log and far behind it.
fn cases() -> Vec<Case> {
    let logs = [Fails::Commit, Fails::Checkpoint];
    let ways = logs.into_iter().flat_map(|fails| [Ends::Sync, Ends::Close].map(|ends| (fails, ends)));
    let pairs = MODES.into_iter().flat_map(|first| MODES.map(|second| (first, second)));
    let mut cases = Vec::new();
    for (first, second) in pairs {
        for (fails, ends) in ways.clone() {
            let case = |(durable, more, writes)| Case { first, second, fails, ends, durable, more, writes };
            cases.push(case((7, 90, 1)));
            if first != Durability::SyncEach {
                cases.extend([(0, 12, 2), (150, 400, 2)].map(case));
            }
        }
    }
    cases
}

/// Plays the two owners up to the moment of the power cut.
fn play(machine: &mut Machine, dir: &Path, case: Case) -> (Promised, Mount) {
    let (store, group) = open(dir, case.first);
    let mut promised = Promised::default();
    promised.live(&store, &group, case.durable);
    store.sync().unwrap();
    match case.fails {
        Fails::Commit => {
            machine.fail(case.writes);
            // An append that meets the failure is not acknowledged.
            let _ = (0..case.more).try_for_each(|_| promised.append(&store));
        }
        Fails::Checkpoint => {
            promised.live(&store, &group, case.more);
            machine.fail(case.writes);
            let marked = std::str::from_utf8(MARKER).unwrap();
            assert!(store.create_group(marked, GroupOptions::default()).is_err(), "{case:?}");
        }
    }
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })), "{case:?}");
    assert!(machine.failed() > 0, "{case:?}");
    drop((store, group));
    machine.fail(0);

    let (store, group) = open(dir, case.second);
    let found = store.topic_stats(TOPIC).unwrap().queues[0].1;
    // No process died, so what was acknowledged is there, and perhaps what was refused.
    assert!(found >= promised.messages, "{case:?}: {found} of {} messages", promised.messages);
    promised.messages = found;
    promised.live(&store, &group, 5);
    match case.ends {
        Ends::Sync => store.sync().unwrap(),
        Ends::Close => store.clone().close().unwrap(),
    }
    (promised, machine.cut())
}

fn open(dir: &Path, durability: Durability) -> (Store, Group) {
    let options = Store::options().durability(durability).segment_bytes(1 << 20).checkpoint_segment_bytes(1 << 15);
    let store = options.open(dir).unwrap();
    let settings = GroupOptions::default().without_limit().invisible_for(HOUR);
    let group = store.create_group(GROUP, settings).unwrap();
    (store, group)
}

fn body(index: u64) -> String {
    let marker = std::str::from_utf8(MARKER).unwrap();
    format!("{index:06} {marker} {}", "x".repeat(300 + (index as usize * 577) % 2500))
}

impl Promised {
    /// Appends messages, and does half of them.
    fn live(&mut self, store: &Store, group: &Group, messages: u64) {
        for _ in 0..messages {
            self.append(store).unwrap();
            if self.messages.is_multiple_of(2) {
                let popped = group.pop(TOPIC, Pop::up_to(1)).unwrap();
                assert_eq!(popped[0].message().index(), self.acked);
                assert_eq!(group.ack(popped[0].receipt()).unwrap(), Settled::Done);
                self.acked += 1;
            }
        }
    }

    fn append(&mut self, store: &Store) -> popstore::Result<()> {
        let appended = store.append(TOPIC, Message::new(&body(self.messages)))?;
        assert_eq!(appended.index, self.messages);
        self.messages += 1;
        Ok(())
    }

    /// What is wrong with the store that was found after the cut.
    fn check(&self, dir: &Path) -> Result<(), String> {
        let snapshot = Snapshot::open(dir).map_err(|error| format!("cannot be inspected: {error}"))?;
        let mut faults = Vec::new();
        let verified = snapshot.verify(|_, _| {}, |fault| faults.push(fault.to_string()));
        verified.map_err(|error| format!("cannot be verified: {error}"))?;
        if let Some(fault) = faults.first() {
            return Err(format!("{} faults: {fault}", faults.len()));
        }
        let options = Options::default().durability(Durability::SyncEach);
        let store = options.open(dir).map_err(|error| format!("cannot be opened: {error}"))?;
        for index in 0..self.messages {
            match store.message(TOPIC, 0, index) {
                Ok(Some(message)) if message.body() == body(index).as_bytes() => {}
                Ok(_) => return Err(format!("message {index} of {} is lost", self.messages)),
                Err(error) => return Err(format!("message {index} cannot be read: {error}")),
            }
        }
        let group = store.group(GROUP).map_err(|error| format!("the group is lost: {error}"))?;
        let left = group.pop(TOPIC, Pop::up_to(1000)).unwrap();
        let left: Vec<u64> = left.iter().map(|delivery| delivery.message().index()).collect();
        if !left.iter().copied().eq(self.acked..self.messages) {
            return Err(format!("{} to {} should be left, and {left:?} are", self.acked, self.messages));
        }
        store.close().map_err(|error| format!("cannot be closed: {error}"))
    }
}
