//! What popstore promises, as tests that read as the promise.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod scene;
mod verbs;
