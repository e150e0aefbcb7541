//! Files of a wrong kind in a store's directory: opening removes or refuses them before it changes anything, and verify
//! names what opening refuses.

use std::os::unix::fs::symlink;
use std::path::Path;

use popstore::inspect::Snapshot;
use popstore::{Error, Message, Options};

const SEGMENT: u64 = 4096;

fn options() -> Options {
    Options::default().segment_bytes(SEGMENT).checkpoint_segment_bytes(SEGMENT)
}

fn store_with_messages(dir: &Path) {
    let store = options().open(dir).unwrap();
    for at in 0..20 {
        store.append("orders", Message::new(&format!("{at}"))).unwrap();
    }
    store.close().unwrap();
}

#[test]
fn a_spare_that_is_a_link_is_removed_and_its_target_left() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("store"), dir.path().join("outside"));
    store_with_messages(&inside);
    // As long as a spare is: only its kind gives it away.
    let content = vec![b'x'; SEGMENT as usize];
    std::fs::write(&outside, &content).unwrap();
    let link = inside.join("checkpoint/spare-00000000000000099999");
    symlink(&outside, &link).unwrap();
    let store = options().open(&inside).unwrap();
    assert!(std::fs::symlink_metadata(&link).is_err(), "the link is still there");
    store.close().unwrap();
    assert_eq!(std::fs::read(&outside).unwrap(), content);
}

#[test]
fn what_cannot_be_removed_is_found_before_anything_changes() {
    for name in ["commit/00000000000000099999.tmp", "checkpoint/spare-00000000000000099999"] {
        let dir = tempfile::tempdir().unwrap();
        store_with_messages(dir.path());
        std::fs::create_dir(dir.path().join(name)).unwrap();
        let identity = std::fs::read(dir.path().join("store")).unwrap();
        let refused = options().open(dir.path()).map(drop).unwrap_err();
        assert!(matches!(&refused, Error::Io { path, .. } if path.ends_with(name)), "{refused:?}");
        assert_eq!(std::fs::read(dir.path().join("store")).unwrap(), identity, "{name}: the generation changed");
    }
}

#[test]
fn verify_names_a_link_that_opening_refuses() {
    for name in ["commit", "checkpoint", "lock"] {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("store"), dir.path().join("outside"));
        store_with_messages(&inside);
        std::fs::rename(inside.join(name), &outside).unwrap();
        symlink(&outside, inside.join(name)).unwrap();
        let refused = options().open(&inside).map(drop);
        assert!(refused.is_err(), "{name}: opened");
        let mut faults = Vec::new();
        let verified = Snapshot::open(&inside)
            .and_then(|snapshot| snapshot.verify(|_, _| (), |fault| faults.push(fault.to_string())));
        assert!(verified.is_ok(), "{name}: {verified:?}");
        assert!(faults.iter().any(|fault| fault.contains(&format!("store/{name}"))), "{name}: {faults:?}");
    }
}
