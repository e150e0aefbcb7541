//! A disk that is filled and drained again and again, with some dead letters each time.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use crate::full_disk::Space;
use crate::scene::{MODES, Scene, TOPIC, secs};
use popstore::{Durability, GroupOptions, Message, Options, Retention, Settled};

/// A sixteenth of what was seen on 24 MiB with segments of 1 MiB.
const SEGMENT: u64 = 1 << 16;

fn scene(mode: Durability) -> Scene {
    let space = Arc::new(Space(AtomicI64::new(24 * SEGMENT as i64)));
    let options = Options::default().durability(mode).segment_bytes(SEGMENT).checkpoint_segment_bytes(1 << 13);
    let options = options.retention(Retention::keep().when_done()).hook(space);
    Scene::sized(options, GroupOptions::default().max_reconsume_times(0))
}

/// Appends until the disk is full, also after the store has done what it does by itself.
fn fill(scene: &Scene) -> u64 {
    let body = [b'x'; 2000];
    let (mut appended, mut refused) = (0, 0);
    while refused < 5 {
        match scene.store().append(TOPIC, Message::new(&body)) {
            Ok(_) => (appended, refused) = (appended + 1, 0),
            Err(_) => {
                scene.advance(secs(2));
                refused += 1;
            }
        }
    }
    appended
}

/// Three of a hundred messages become dead letters, the others are acked.
fn drain(scene: &Scene) {
    loop {
        let deliveries = scene.pop_up_to(33);
        let (mut acked, mut nacked): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (at, delivery) in deliveries.iter().enumerate() {
            if at == 7 { nacked.push(delivery.receipt()) } else { acked.push(delivery.receipt()) }
        }
        nacked.into_iter().for_each(|receipt| assert_eq!(scene.nack(receipt, secs(0)), Settled::Done));
        if !acked.is_empty() {
            let settled = scene.group().ack_batch(&acked).unwrap();
            assert!(settled.iter().all(|settled| *settled == Settled::Done));
        }
        scene.advance(secs(2));
        if deliveries.is_empty() {
            return;
        }
    }
}

#[test]
fn a_disk_that_is_filled_and_drained_takes_messages_again() {
    for mode in MODES {
        let mut scene = scene(mode);
        let mut rounds = Vec::new();
        for round in 0..6 {
            rounds.push(fill(&scene));
            drain(&scene);
            if round % 3 == 2 {
                scene.reopen();
            }
        }
        println!("{mode:?}: {rounds:?} messages, {} letters", scene.letters().len());
        assert!(rounds.iter().all(|appended| *appended > 100), "{mode:?}: {rounds:?} messages");
    }
}

/// What lies ready from before is too short for what must stay free from now on.
#[test]
fn appends_go_on_after_an_open_with_longer_segments() {
    for mode in MODES {
        let retention = Retention::keep().when_done();
        let options = Options::default().durability(mode).retention(retention).ready_bytes(4 * 4096);
        let mut scene = Scene::with(options, GroupOptions::default());
        scene.append_many("m", 30);
        scene.store().run_pending();
        scene.close();
        let options = scene.options.clone().segment_bytes(SEGMENT).ready_bytes(0);
        let store = scene.try_open(&options).unwrap();
        let (done, ended) = std::sync::mpsc::channel();
        let appends = std::thread::spawn(move || {
            let body = vec![b'x'; 30_000];
            for at in 0..40 {
                let body = if at % 3 == 0 { &body[..] } else { &body[..100] };
                store.append(TOPIC, Message::new(body)).unwrap();
            }
            store.close().unwrap();
            done.send(()).unwrap();
        });
        ended.recv_timeout(secs(300)).unwrap_or_else(|_| panic!("{mode:?}: an append hangs"));
        appends.join().unwrap();
    }
}
