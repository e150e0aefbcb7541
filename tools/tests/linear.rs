//! The work of `store-inspect` grows with the files of the store and not with their square: counted in reads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/bytes.rs"]
mod bytes;
mod ruin;

use popstore::{Durability, Message, Options};
use ruin::Ruin;

/// What four times the files may cost, in units of what they cost once: the square would be 16.
const TIMES_MAX: u64 = 6;

/// The reads of this thread so far.
fn reads() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscr:")).unwrap().trim().parse().unwrap()
}

/// How many reads a verb takes for a store of so many segments, the first of which holds the one message of a topic.
fn cost(segments: usize, verb: &str) -> u64 {
    let buffered = |options: Options| options.durability(Durability::Buffered).segment_bytes(4096);
    let ruin = Ruin::with(true, buffered, |store, _| {
        store.append("rare", Message::new("one")).unwrap();
        for _ in 0..segments {
            store.append("orders", Message::new(&[7; 3000])).unwrap();
        }
    });
    let before = reads();
    let seen = ruin.run(verb);
    assert_eq!((seen.code, seen.out.lines().count()), (0, 1), "{}", seen.out);
    reads() - before
}

#[test]
fn messages_from_the_newest_on_read_each_segment_once() {
    for verb in ["messages data --topic rare --reverse", "messages data --topic rare --last 3"] {
        let (small, large) = (cost(100, verb), cost(400, verb));
        assert!(large <= TIMES_MAX * small, "{verb}: {small} for the small store, {large} for the large one");
    }
}
