//! Evidence that the store survives what its disk and its neighbours do to it.
//!
//! Faults come in through the seam: sync, write, create, open, rename, remove and mmap fail with EIO, ENOSPC, EMFILE or
//! ENOMEM at every call of a scripted run (`every_call`) and of a recovery (`recovery`). There is no fallocate and no
//! ftruncate to fail: the store makes room by writing zeroes, and a file gets shorter only when it is made anew. Then
//! there are a real file system that is full (`small_disk`), files that another program truncates or deletes
//! (`meddling`), and a directory that cannot be written to (`read_only`).
//!
//! Claims checked in each case: a call ends with a result or a typed error; a failed write or sync of what a log holds
//! poisons the store, and then nothing is acknowledged while reads go on; after every other fault the store works on as
//! soon as the disk does; and a store that is opened again has everything that was acknowledged, each dead letter
//! once, and no delivery count that went down.
#![cfg(unix)]
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod canaries;
mod case;
mod child;
mod directory;
#[allow(dead_code)]
#[path = "../spec/disk.rs"]
mod disk;
mod every_call;
mod failed_syncs;
mod fault;
mod forked;
mod limits;
mod meddling;
mod odd_files;
mod oracle;
mod panics;
mod play;
mod read_only;
mod recovery;
#[path = "../spec/scene.rs"]
mod scene;
mod script;
mod small_disk;
mod threads;
mod verbs;
