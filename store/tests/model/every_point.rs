//! One history that does everything, crashed before and after every seam call, and again at every seam call of the
//! recovery that follows.

use std::collections::HashSet;

use crate::op::{Crash, Mode, Op, Sectors, Setup, Size};
use crate::picture::Picture;
use crate::stage::{Moment, POLICY, Stage};

/// The moments of a history, and the pictures taken between them.
struct Film {
    setup: Setup,
    moments: Vec<Moment>,
    pictures: Vec<(usize, Picture)>,
}

impl Film {
    /// Plays a history; the steps marked with `true` are filmed.
    fn shoot(setup: Setup, ops: &[(bool, Op)]) -> Self {
        let mut stage = Stage::new(setup);
        let mut film = Self { setup, moments: Vec::new(), pictures: Vec::new() };
        let mut step = |stage: &mut Stage, filmed: bool, act: &mut dyn FnMut(&mut Stage)| {
            let before = stage.oracle.clone();
            if filmed {
                stage.recorder.film();
            }
            act(stage);
            let pictures = stage.recorder.end_film();
            let at = film.moments.len();
            film.pictures.extend(pictures.into_iter().map(|(_, picture)| (at, picture)));
            film.moments.push(Moment { before, after: stage.oracle.clone(), now: stage.now });
        };
        step(&mut stage, true, &mut |stage| stage.open().unwrap());
        step(&mut stage, true, &mut |stage| stage.create_topic(0, 1));
        step(&mut stage, true, &mut |stage| stage.create_topic(1, 2));
        step(&mut stage, true, &mut |stage| stage.change_group(0, POLICY));
        step(&mut stage, true, &mut |stage| stage.change_group(1, POLICY));
        for (filmed, op) in ops {
            step(&mut stage, *filmed, &mut |stage| stage.perform(op).map_err(|why| format!("{op:?}: {why}")).unwrap());
        }
        film
    }

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
                let mut stage = Stage::new(self.setup);
                stage.filming = true;
                let moment = &self.moments[*step];
                let place = || format!("step {step}, picture {at}, {sectors:?}");
                let recovered = stage.crash_at(moment, picture, Crash::PowerCut(sectors));
                recovered.map_err(|why| format!("{}: {why}", place())).unwrap();
                let inside = stage.recorder.end_film();
                let (oracle, now) = stage.recovered.take().unwrap();
                let reborn = Moment { before: oracle, after: stage.oracle.clone(), now };
                for (count, (phase, picture)) in inside.iter().enumerate() {
                    if (count + first) % again != 0 {
                        continue;
                    }
                    let sectors = [Sectors::Mixed(second as u64), Sectors::Old, Sectors::New][second % 3];
                    second += 1;
                    let moment = if *phase == 0 { moment } else { &reborn };
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
    let film = Film::shoot(Setup { mode, when_done: true, queues: 2 }, &history());
    let (first, second) = film.crash_everywhere(again);
    println!("{mode:?}: {} pictures, {first} crashes, {second} inside a recovery", film.pictures.len());
    assert!(first > 100 && second > 100, "the history became too short");
}

#[test]
fn each_seam_call_can_be_the_last_when_every_operation_is_synced() {
    crash_everywhere(Mode::SyncEach);
}

#[test]
fn each_seam_call_can_be_the_last_when_nothing_is_synced() {
    crash_everywhere(Mode::Buffered);
}
