//! What popstore promises, as tests that read as the promise.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod bad_input;
mod crafted;
mod derived;
mod disk;
mod durable_answers;
mod finished_letters;
mod forge;
mod full_disk;
mod full_disk_rounds;
mod full_disk_ways_out;
mod groups;
mod inspection;
mod late;
mod linear;
mod marks;
mod memory;
mod moved;
mod moved_and_settled;
mod order_on_disk;
mod plans;
mod policies;
mod promises;
mod promises_of_life;
mod put_back;
mod retained;
mod retention;
mod rules;
mod rules_of_files;
mod rules_of_recovery;
mod scene;
mod threads;
mod unreadable;
mod users_code;
mod verbs;
mod wrong_clocks;
