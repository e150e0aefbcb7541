//! A process is killed between the change of a name and the sync of its directory; the next one builds on what it
//! finds, and then the power fails: what the first one had not synced is still not.

use std::collections::HashSet;

use crate::film::Film;
use crate::op::{Crash, Mode, Op, Sectors, Setup, Size};
use crate::picture::{Inode, Picture};
use crate::stage::{Moment, Stage};

fn names_pending(picture: &Picture) -> bool {
    picture.inodes.values().any(|inode| matches!(inode, Inode::Dir { pending, .. } if !pending.is_empty()))
}

/// Segments are rolled, told anew, retired and given a new life.
fn history() -> Vec<(bool, Op)> {
    let append = |bytes| Op::Append { topic: 0, queue: 0, size: Size::Bytes(bytes) };
    let mut ops: Vec<(bool, Op)> = (0..7).map(|_| (true, append(900))).collect();
    ops.extend([(true, Op::Advance { secs: 1 }), (false, append(9))]);
    ops.push((false, Op::Pop { group: 0, topic: 0, messages: 0, lease_secs: 60_000 }));
    for round in 0..2 {
        ops.extend((0..190).map(|secs| (false, Op::Extend { receipt: 0, secs: 60_000 + round * 200 + secs })));
        ops.extend([(false, Op::Sync), (true, Op::Advance { secs: 1 })]);
    }
    ops
}

/// What the next process does.
fn after() -> Vec<Op> {
    let append = |bytes| Op::Append { topic: 0, queue: 0, size: Size::Bytes(bytes) };
    vec![append(1300), append(1300), append(1300), Op::Advance { secs: 1 }]
}

fn killed_then_cut(mode: Mode) {
    let setup = Setup { mode, when_done: false, queues: 1 };
    let film = Film::shoot(setup, false, &history());
    let (mut known, mut kills, mut cuts, mut failures) = (HashSet::new(), 0, 0, Vec::new());
    for (at, (step, picture)) in film.pictures.iter().enumerate() {
        let seen = (picture.tree(Sectors::Old).fingerprint(), picture.tree(Sectors::New).fingerprint());
        if !names_pending(picture) || !known.insert(seen) {
            continue;
        }
        kills += 1;
        let mut stage = Stage::new(setup);
        stage.filming = true;
        let moment = film.moments[*step].clone();
        stage.crash_at(&moment, picture, Crash::Kill).map_err(|why| format!("picture {at}: {why}")).unwrap();
        let (before, now) = stage.recovered.take().unwrap();
        let mut moments = vec![moment, Moment { before, after: stage.oracle.clone(), now }];
        let mut pictures = stage.recorder.end_film();
        for op in after() {
            let before = stage.oracle.clone();
            stage.recorder.film();
            stage.perform(&op).unwrap();
            pictures.extend(stage.recorder.end_film().into_iter().map(|(_, picture)| (moments.len(), picture)));
            pictures.push((moments.len(), stage.recorder.picture()));
            moments.push(Moment { before, after: stage.oracle.clone(), now: stage.now });
        }
        for (count, (phase, picture)) in pictures.iter().enumerate() {
            let sectors = if count % 2 == 0 { Sectors::Old } else { Sectors::Mixed(count as u64) };
            cuts += 1;
            let cut = Stage::new(setup).crash_at(&moments[*phase], picture, Crash::PowerCut(sectors));
            if let Err(why) = cut {
                failures.push(format!(
                    "killed at {at} in step {step}, cut at {count} in phase {phase}, {sectors:?}: {why}"
                ));
            }
        }
    }
    println!("{mode:?}: {kills} kills, {cuts} power cuts after them");
    assert!(
        failures.is_empty(),
        "{} of {cuts} fail:\n{}",
        failures.len(),
        failures[..failures.len().min(12)].join("\n")
    );
}

#[test]
fn a_killed_process_may_leave_unsynced_names_with_sync_each() {
    killed_then_cut(Mode::SyncEach);
}

#[test]
fn a_killed_process_may_leave_unsynced_names_without_syncs() {
    killed_then_cut(Mode::Buffered);
}
