//! One history that does everything, crashed before and after every seam call, and again at every seam call of the
//! recovery that follows.

use std::collections::HashSet;

use crate::film::Film;
use crate::op::{Crash, Mode, Op, Sectors, Setup, Size};
use crate::stage::Stage;

impl Film {
    /// Crashes at every picture, in three ways, and at every `again`-th picture of the recovery once more. Returns how
    /// many crashes there were of each kind.
    fn crash_everywhere(&self, again: usize) -> (usize, usize) {
        let (mut first, mut second) = (0, 0);
        let mut known = HashSet::new();
        for (at, (step, picture)) in self.pictures.iter().enumerate() {
            for sectors in [Sectors::Old, Sectors::New, Sectors::Mixed(at as u64)] {
                if !known.insert((*step, picture.tree(sectors).fingerprint())) {
                    continue;
                }
                first += 1;
                let place = || format!("step {step}, picture {at}, {sectors:?}");
                let recovered = self.recovery(*step, picture, sectors);
                let (inside, mut stage) = recovered.map_err(|why| format!("{}: {why}", place())).unwrap();
                for (count, (phase, picture)) in inside.pictures.iter().enumerate() {
                    if (count + first) % again != 0 {
                        continue;
                    }
                    let sectors = [Sectors::Mixed(second as u64), Sectors::Old, Sectors::New][second % 3];
                    second += 1;
                    let moment = &inside.moments[*phase];
                    let recovered = Stage::new(self.setup).crash_at(moment, picture, Crash::PowerCut(sectors));
                    recovered.map_err(|why| format!("{}, again at {count}, {sectors:?}: {why}", place())).unwrap();
                }
                stage.drain().map_err(|why| format!("{}, at the end: {why}", place())).unwrap();
            }
        }
        (first, second)
    }
}

/// Append, batch over a segment's end, pop, ack, retention, nack, expiry, dead letters, redrive, snapshot, close.
fn history() -> Vec<(bool, Op)> {
    let append = |bytes| Op::Append { topic: 0, queue: 0, size: Size::Bytes(bytes) };
    let batch = |bytes| Op::AppendBatch { topic: 1, parts: vec![(0, Size::Bytes(bytes)), (1, Size::ToSector(bytes))] };
    let pop = |group, topic| Op::Pop { group, topic, messages: 7, lease_secs: 9 };
    let mut ops =
        vec![append(1300), append(300), Op::Append { topic: 0, queue: 0, size: Size::ToSector(600) }, batch(700)];
    ops.extend([pop(0, 0), Op::AckBatch { receipts: vec![0, 1, 2] }, pop(0, 1), Op::AckBatch { receipts: vec![0, 1] }]);
    ops.extend([pop(1, 0), Op::Ack { receipt: 0 }, Op::AckBatch { receipts: vec![1, 2] }]);
    ops.extend([pop(1, 1), Op::AckBatch { receipts: vec![0, 1] }, batch(900), Op::Sync, Op::Advance { secs: 1 }]);
    ops.extend([pop(0, 1), Op::Nack { receipt: 0, delay_secs: Some(3) }, Op::Advance { secs: 20 }]);
    ops.extend([pop(0, 1), Op::Ack { receipt: 0 }, Op::Advance { secs: 20 }]);
    ops.extend([Op::Redrive { group: 0, letter: 0 }, append(10)]);
    ops.extend([Op::Pop { group: 0, topic: 0, messages: 0, lease_secs: 60_000 }]);
    let mut ops: Vec<(bool, Op)> = ops.into_iter().map(|op| (true, op)).collect();
    // The checkpoint log grows until a snapshot is due.
    ops.extend((0..190).map(|secs| (false, Op::Extend { receipt: 0, secs: 60_000 + secs })));
    ops.push((false, Op::Sync));
    ops.extend([Op::Advance { secs: 1 }, append(20), pop(0, 0), Op::Ack { receipt: 0 }].map(|op| (true, op)));
    ops.extend([Op::ClockJump { secs: -500 }, Op::Reopen, append(30), pop(1, 0)].map(|op| (true, op)));
    ops
}

/// Crashes the history at every call of the seam, and each recovery at every n-th: `POPSTORE_CRASH_EVERY=1` is all of
/// them and takes minutes.
fn crash_everywhere(mode: Mode) {
    let again = std::env::var("POPSTORE_CRASH_EVERY").ok().and_then(|every| every.parse().ok()).unwrap_or(40);
    let film = Film::shoot(Setup { mode, when_done: true, queues: 2 }, true, &history());
    let (first, second) = film.crash_everywhere(again);
    println!("{mode:?}: {} pictures, {first} crashes, {second} inside a recovery", film.pictures.len());
    assert!(first > 100 && second > 100, "the history became too short");
}

#[test]
fn each_seam_call_can_be_the_last_when_each_operation_is_synced() {
    crash_everywhere(Mode::SyncEach);
}

#[test]
fn each_seam_call_can_be_the_last_when_nothing_is_synced() {
    crash_everywhere(Mode::Buffered);
}
