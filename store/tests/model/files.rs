//! Files and folders whose making a crash interrupted are made again, and their names are durable.

use std::time::Duration;

use popstore::{Message, Pop, Settled};

use crate::disk::Recorder;
use crate::op::{Mode, Sectors, Setup};
use crate::stage::Stage;
use crate::tree::scratch;

const EACH: Setup = Setup { mode: Mode::SyncEach, when_done: false, queues: 1 };

#[test]
fn a_spare_that_a_crash_left_too_short_is_no_segment() {
    for bytes in [0, 100, 512] {
        let mut stage = Stage::ready(EACH);
        stage.store.take().unwrap().close().unwrap();
        let spare = stage.path().join("checkpoint/spare-00000000000000000000");
        std::fs::write(spare, vec![0; bytes]).unwrap();
        let store = stage.options().open(stage.path()).unwrap();
        store.append("orders", Message::new("a")).unwrap();
        let group = store.group("billing").unwrap();
        let receipt = group.pop("orders", Pop::up_to(1)).unwrap()[0].receipt();
        for secs in 1..250 {
            let told = group.extend(receipt, Duration::from_secs(secs)).unwrap();
            assert_eq!(told, Settled::Done);
        }
        drop((group, store));
        stage.options().open(stage.path()).unwrap_or_else(|error| panic!("{bytes}: {error}"));
    }
}

#[test]
fn a_store_in_a_new_directory_does_not_vanish_with_it() {
    let above = scratch();
    let recorder = Recorder::new(above.path());
    let stage = Stage::new(EACH);
    let store = stage.options().hook(recorder.clone()).open(above.path().join("new/data")).unwrap();
    store.append("orders", Message::new("a")).unwrap();
    let left = recorder.picture().tree(Sectors::Old).plant();
    let store = stage.options().open(left.path().join("new/data")).unwrap();
    assert_eq!(store.message("orders", 0, 0).unwrap().unwrap().body(), b"a");
}
