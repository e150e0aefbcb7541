//! What a worker tells: before an operation what it intends, after it what was acknowledged. One line of JSON each.
//!
//! A line is shorter than what a pipe takes in one piece, so a kill leaves whole lines and at most a torn last one. What
//! a worker did after its last line is among the intents that were not answered.

use serde::{Deserialize, Serialize};

/// A message: the number of its topic, queue, index.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub usize, pub u32, pub u64);

/// What is about to be done.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub enum Intent {
    /// These tokens, together or not at all.
    Append {
        topic: usize,
        tokens: Vec<u64>,
    },
    Pop {
        group: usize,
        topic: usize,
    },
    Ack {
        group: usize,
        deliveries: Vec<(Place, u32)>,
    },
    /// A nack or an extend: they change when a message comes again, and nothing that is counted.
    Postpone {
        group: usize,
        delivery: (Place, u32),
    },
    Redrive {
        group: usize,
        letter: u64,
        origin: Place,
        token: u64,
    },
}

/// What was acknowledged.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub enum Done {
    Appended(Vec<Place>),
    /// Place, attempt, token; 0 for a body that is not whole.
    Popped(Vec<(Place, u32, u64)>),
    Settled(Vec<Outcome>),
    /// The place of the copy; `None` for a letter that was put back before.
    Redriven(Option<Place>),
}

/// As [`popstore::Settled`], for a line of text.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Counted,
    LeaseOver,
    HandedOutAgain(u32),
    DeadLettered,
    Discarded,
    AlreadySettled,
    Unknown,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub enum Said {
    /// The store is open; how long recovery took, in microseconds.
    Opened {
        micros: u64,
    },
    Will(Intent),
    Did(Done),
    /// A delivery that is kept for a later life to ack: place, attempt and receipt.
    Kept(Kept),
}

#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Kept {
    pub group: usize,
    pub place: Place,
    pub attempt: u32,
    pub receipt: String,
}

/// A line: which thread said what.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Line(pub usize, pub Said);

impl From<popstore::Settled> for Outcome {
    fn from(settled: popstore::Settled) -> Self {
        use popstore::Settled;
        match settled {
            Settled::Done | Settled::Late => Self::Counted,
            Settled::LeaseOver => Self::LeaseOver,
            Settled::HandedOutAgain { attempt } => Self::HandedOutAgain(attempt),
            Settled::DeadLettered => Self::DeadLettered,
            Settled::Discarded => Self::Discarded,
            Settled::AlreadySettled => Self::AlreadySettled,
            _ => Self::Unknown,
        }
    }
}

/// Every whole line.
pub fn read(told: &[u8]) -> Vec<Line> {
    let lines = told.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.map(|line| serde_json::from_slice(line).expect("a line of the journal")).collect()
}
