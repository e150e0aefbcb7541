//! What can happen to a store, as data: one vocabulary for generated, fuzzed and written histories.

/// How a history is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub mode: Mode,
    /// Segments go when every group is done with them.
    pub when_done: bool,
    /// The queues of the second topic, 1 or 2; the first topic has one.
    pub queues: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    SyncEach,
    SyncEvery,
    Buffered,
}

/// The length of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Bytes(u16),
    /// At least so long, and so that the record ends at a sector's end if it lies behind the one before.
    ToSector(u16),
}

/// How the disk looks after the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sectors {
    /// Nothing that was not synced is there.
    Old,
    /// Everything is.
    New,
    /// Each sector, length and name has its own luck.
    Mixed(u64),
}

/// One step of a history. Topics, queues, groups, receipts and letters are taken modulo what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Append {
        topic: u8,
        queue: u8,
        size: Size,
    },
    AppendBatch {
        topic: u8,
        parts: Vec<(u8, Size)>,
    },
    Pop {
        group: u8,
        topic: u8,
        messages: u8,
        lease_secs: u16,
    },
    /// Receipts count back from the newest; stale ones are among them.
    Ack {
        receipt: u8,
    },
    AckBatch {
        receipts: Vec<u8>,
    },
    /// Without a delay, the group's backoff.
    Nack {
        receipt: u8,
        delay_secs: Option<u16>,
    },
    Release {
        receipt: u8,
        delay_secs: u16,
    },
    Extend {
        receipt: u8,
        secs: u16,
    },
    Advance {
        secs: u16,
    },
    /// The wall clock is found to be wrong when the store is opened next.
    ClockJump {
        secs: i32,
    },
    ChangeGroup {
        group: u8,
        limit: Option<u32>,
        discard: bool,
        ordered: bool,
        backoff_secs: u16,
    },
    Redrive {
        group: u8,
        letter: u8,
    },
    Sync,
    Reopen,
    /// The process dies at that seam call from now on.
    Kill {
        calls: u16,
    },
    /// The power fails at that seam call from now on. One that comes before it happened waits for its end, and counts
    /// from there: so it falls into the recovery, or behind it.
    PowerCut {
        calls: u16,
        sectors: Sectors,
    },
}

/// What ends the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Kill,
    PowerCut(Sectors),
}

impl Crash {
    /// What the next process finds of what was not synced.
    pub fn sectors(self) -> Sectors {
        match self {
            Self::Kill => Sectors::New,
            Self::PowerCut(sectors) => sectors,
        }
    }
}
