//! The limit: the work that cannot be avoided, and nothing else. It makes no promise.
//!
//! Buffered: a map of a file that was filled with zeros, mapped afresh and populated; an append copies the body behind a
//! header of 16 bytes, checksums it and writes an index entry of 20 bytes. A pop looks up the entries and reads the
//! bodies through the map; it and an ack set bits and write a checksummed record of 40 bytes each.
//!
//! Durable: one thread writes what all producers together append at once, in whole pages as the probe of bare syncs does,
//! and syncs: a group commit that never misses anyone. The others sleep. Consumers write a page each time, and share the
//! syncs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use memmap2::{Advice, MmapMut};

use super::{Class, Consumer, Contender, Opened, Popped, Producer, Setup, Sync};
use crate::bodies::Batch;

const HEADER: usize = 16;
const ENTRY: usize = 20;
const RECORD: usize = 40;
/// Room for the records of the consumers, gone round.
const RECORDS_BYTES: u64 = 4 << 20;
const PAGE: usize = 4096;
const SYNCED_BYTES: u64 = 64 << 20;

pub(crate) struct Limit;

impl Contender for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn class(&self) -> Class {
        Class::Limit
    }

    fn open(&self, setup: &Setup) -> Box<dyn Opened> {
        let log_bytes = setup.messages_max * (setup.body_bytes + HEADER as u64);
        let synced = (setup.sync == Sync::Each).then(|| zeros(setup, "synced", SYNCED_BYTES));
        let at = Position { log: map(&zeros(setup, "log", log_bytes)), ..Position::empty(setup) };
        let synced = synced.map(|file| Syncs { file, state: Mutex::default(), done: Condvar::new() });
        Box::new(Prepared { at: Mutex::new(at), synced, producers: setup.producers as usize })
    }
}

/// A file of zeros, on the disk.
fn zeros(setup: &Setup, name: &str, bytes: u64) -> File {
    let path = setup.dir.join(name);
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(path).expect("a file can be made");
    let piece = vec![0; 1 << 20];
    for at in (0..bytes.next_multiple_of(4096)).step_by(piece.len()) {
        file.write_all_at(&piece, at).expect("the disk has space");
    }
    file.sync_all().expect("synced");
    file
}

#[allow(unsafe_code, reason = "maps a file of this run's own directory, which nobody else opens or truncates")]
fn map(file: &File) -> MmapMut {
    // SAFETY: the file was made by this run in a directory of its own; nobody else opens, truncates or maps it.
    let map = unsafe { MmapMut::map_mut(file) }.expect("mapped");
    map.advise(Advice::PopulateWrite).expect("populated");
    map
}

/// The maps, and how far they are filled.
struct Position {
    log: MmapMut,
    index: MmapMut,
    records: MmapMut,
    leased: Vec<u64>,
    log_end: usize,
    appended: usize,
    popped: usize,
    record: usize,
}

impl Position {
    fn empty(setup: &Setup) -> Self {
        let (index, records) = (setup.messages_max * ENTRY as u64, RECORDS_BYTES);
        Self {
            log: MmapMut::map_anon(4096).expect("mapped"),
            index: map(&zeros(setup, "index", index)),
            records: map(&zeros(setup, "records", records)),
            leased: vec![0; setup.messages_max as usize / 64 + 1],
            log_end: 0,
            appended: 0,
            popped: 0,
            record: 0,
        }
    }

    fn append(&mut self, body: &[u8]) {
        let start = self.log_end;
        let end = start + HEADER + body.len();
        self.log[start + HEADER..end].copy_from_slice(body);
        let sum = crc32fast::hash(body);
        let header = &mut self.log[start..start + HEADER];
        header[..8].copy_from_slice(&(start as u64).to_le_bytes());
        header[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[12..].copy_from_slice(&sum.to_le_bytes());
        let entry = &mut self.index[self.appended * ENTRY..][..ENTRY];
        entry[..8].copy_from_slice(&(start as u64).to_le_bytes());
        entry[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&sum.to_le_bytes());
        (self.log_end, self.appended) = (end, self.appended + 1);
    }

    fn body(&self, at: usize) -> &[u8] {
        let entry = &self.index[at * ENTRY..][..ENTRY];
        let start = u64::from_le_bytes(entry[..8].try_into().expect("eight bytes")) as usize;
        let bytes = u32::from_le_bytes(entry[8..12].try_into().expect("four bytes")) as usize;
        &self.log[start + HEADER..][..bytes]
    }

    fn record(&mut self, from: usize, end: usize) {
        for at in from..end {
            self.leased[at / 64] ^= 1 << (at % 64);
        }
        let mut record = [0; RECORD];
        record[8..16].copy_from_slice(&(from as u64).to_le_bytes());
        record[16..24].copy_from_slice(&(end as u64).to_le_bytes());
        let sum = crc32fast::hash(&record[8..]);
        record[..4].copy_from_slice(&sum.to_le_bytes());
        self.records[self.record..self.record + RECORD].copy_from_slice(&record);
        self.record = if self.record + 2 * RECORD > self.records.len() { 0 } else { self.record + RECORD };
    }
}

struct Prepared {
    at: Mutex<Position>,
    synced: Option<Syncs>,
    producers: usize,
}

impl Opened for Prepared {
    fn producer<'a>(&'a self, batches: &'a [Batch<'a>]) -> Box<dyn Producer + 'a> {
        match &self.synced {
            Some(syncs) if batches[0].len() < 1000 => {
                let bytes = batches[0].iter().map(|body| body.len() + HEADER).sum::<usize>() * self.producers;
                Box::new(Syncer { syncs, bytes: vec![1; bytes.next_multiple_of(PAGE)] })
            }
            _ if self.producers == 1 => {
                Box::new(Copier { at: Shared::Held(self.at.lock().expect("no panic under the lock")), batches })
            }
            _ => Box::new(Copier { at: Shared::Locked(&self.at), batches }),
        }
    }

    fn consumer(&self) -> Box<dyn Consumer + '_> {
        let syncer = self.synced.as_ref().map(|syncs| Syncer { syncs, bytes: vec![1; PAGE] });
        Box::new(Reader { at: &self.at, syncer, held: 0..0 })
    }
}

/// Alone there is nothing to lock.
enum Shared<'a> {
    Held(MutexGuard<'a, Position>),
    Locked(&'a Mutex<Position>),
}

struct Copier<'a> {
    at: Shared<'a>,
    batches: &'a [Batch<'a>],
}

impl Producer for Copier<'_> {
    fn append(&mut self, batch: usize) {
        let batch = &self.batches[batch % self.batches.len()];
        match &mut self.at {
            Shared::Held(at) => batch.iter().for_each(|body| at.append(body)),
            Shared::Locked(at) => {
                let mut at = at.lock().expect("no panic under the lock");
                batch.iter().for_each(|body| at.append(body));
            }
        }
    }
}

/// Syncs that all who wait share.
struct Syncs {
    file: File,
    state: Mutex<Synced>,
    done: Condvar,
}

#[derive(Default)]
struct Synced {
    /// Where the next bytes go.
    at: u64,
    /// How many were written, and how many of those are durable.
    written: u64,
    durable: u64,
    running: bool,
}

impl Syncs {
    /// Writes behind what was written before, and returns when it is durable.
    fn write(&self, bytes: &[u8]) {
        let mut state = self.state.lock().expect("no panic under the lock");
        self.file.write_all_at(bytes, state.at).expect("written");
        state.at = (state.at + bytes.len() as u64) % (SYNCED_BYTES - bytes.len() as u64);
        state.written += 1;
        let mine = state.written;
        while state.durable < mine {
            if state.running {
                state = self.done.wait(state).expect("no panic under the lock");
                continue;
            }
            state.running = true;
            let through = state.written;
            drop(state);
            self.file.sync_data().expect("synced");
            state = self.state.lock().expect("no panic under the lock");
            (state.durable, state.running) = (through, false);
            self.done.notify_all();
        }
    }
}

struct Syncer<'a> {
    syncs: &'a Syncs,
    bytes: Vec<u8>,
}

impl Producer for Syncer<'_> {
    fn append(&mut self, _: usize) {
        self.syncs.write(&self.bytes);
    }
}

struct Reader<'a> {
    at: &'a Mutex<Position>,
    syncer: Option<Syncer<'a>>,
    held: std::ops::Range<usize>,
}

impl Reader<'_> {
    fn record(&mut self, from: usize, end: usize) {
        self.at.lock().expect("no panic under the lock").record(from, end);
        if let Some(syncer) = &mut self.syncer {
            syncer.append(0);
        }
    }
}

impl Consumer for Reader<'_> {
    fn pop(&mut self, messages_max: usize, _: Duration) -> Popped {
        let mut at = self.at.lock().expect("no panic under the lock");
        let from = at.popped;
        let end = (from + messages_max).min(at.appended);
        at.popped = end;
        let mut popped = Popped::default();
        (from..end).for_each(|message| popped.add(at.body(message)));
        drop(at);
        self.held = from..end;
        if from < end {
            self.record(from, end);
        }
        popped
    }

    fn ack_each(&mut self) {
        for at in self.held.clone() {
            self.record(at, at + 1);
        }
    }

    fn ack_as_one(&mut self) {
        if !self.held.is_empty() {
            self.record(self.held.start, self.held.end);
        }
    }
}
