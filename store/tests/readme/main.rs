//! The worker of the README does what the page says, with the directory that it names.
#![allow(clippy::unwrap_used)]

mod worker;

use std::path::Path;

use popstore::Store;
use popstore::inspect::Snapshot;

/// The only test of this program: it changes the working directory.
#[test]
fn the_worker_of_the_readme_runs_as_it_stands_there() {
    let code = include_str!("worker.rs").split_once("\n\n").unwrap().1;
    let code = code.split_once("\n/// Runs it.").unwrap().0;
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    assert!(readme.contains(&format!("```rust,no_run\n{code}```")), "the README has another worker:\n{code}");

    let dir = tempfile::tempdir().unwrap();
    std::env::set_current_dir(&dir).unwrap();
    worker::run().unwrap();
    assert_eq!(Snapshot::open("orders-store").unwrap().topics()[0].name, "orders");
    let stats = Store::open("orders-store").unwrap().group("billing").unwrap().stats().unwrap();
    assert_eq!((stats.acked, stats.lag), (1, 0));
}
