//! A directory that cannot be written to: no store opens there, and a snapshot does.

use std::path::Path;

use crate::child;
use popstore::inspect::Snapshot;
use popstore::{Error, Message, Store};

const TEST: &str = "read_only::a_read_only_directory_is_refused_and_read_by_a_snapshot";

#[test]
fn a_read_only_directory_is_refused_and_read_by_a_snapshot() {
    if let Some(dir) = child::dir() {
        return look(&dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    store.append("orders", Message::new("a")).unwrap();
    store.close().unwrap();
    let path = dir.path().display();
    let mount = format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}");
    let shell = ["unshare", "-rm"];
    if !child::can(&shell, &["sh".as_ref(), "-c".as_ref(), mount.as_ref()]) {
        return println!("skipped {TEST}: cannot do \"unshare -rm {mount}\" here");
    }
    child::expect_passed(&child::run(&shell, &mount, TEST, dir.path()));
    assert_eq!(Store::open(dir.path().join("store")).unwrap().recovery().generation, 2, "nothing was changed");
}

fn look(dir: &Path) {
    let store = dir.join("store");
    for missing in ["store", "new", "new/below"] {
        let path = dir.join(missing);
        match Store::open(&path) {
            Err(Error::Io { path: named, source, .. }) => {
                assert!(named.starts_with(dir.join(missing.split('/').next().unwrap())), "{named:?}");
                assert_eq!(source.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            }
            other => panic!("{path:?}: {other:?}"),
        }
    }
    let snapshot = Snapshot::open(&store).unwrap();
    assert_eq!(snapshot.faults(), []);
    assert_eq!(snapshot.messages("orders").map(|message| message.unwrap().body).collect::<Vec<_>>(), [b"a"]);
}
