//! Histories with crashes, against a model of the store: it keeps every promise.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../store/tests/model/acts.rs"]
mod acts;
#[path = "../bytes.rs"]
mod bytes;
#[path = "../../store/tests/model/claims.rs"]
mod claims;
#[path = "../../store/tests/model/disk.rs"]
mod disk;
#[path = "../../store/tests/model/film.rs"]
mod film;
#[path = "../../store/tests/model/images.rs"]
mod images;
#[path = "../../store/tests/model/luck.rs"]
mod luck;
#[path = "../../store/tests/model/op.rs"]
mod op;
#[path = "../../store/tests/model/oracle.rs"]
mod oracle;
#[path = "../../store/tests/model/picture.rs"]
mod picture;
#[path = "../../store/tests/model/random.rs"]
mod random;
#[path = "../../store/tests/model/stage.rs"]
mod stage;
#[path = "../../store/tests/model/strategy.rs"]
mod strategy;
#[path = "../../store/tests/model/tree.rs"]
mod tree;
#[path = "../../store/tests/model/view.rs"]
mod view;
#[path = "../../store/tests/model/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    images::crash(bytes);
});
