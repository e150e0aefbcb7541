//! What popstore promises, as tests that read as the promise.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod bad_input;
mod crafted;
mod derived;
mod disk;
mod finished_letters;
mod forge;
mod found;
mod found_by_breaking;
mod found_by_killing;
mod full_disk;
mod full_disk_rounds;
mod full_disk_ways_out;
mod groups;
mod late;
mod linear;
mod memory;
mod moved;
mod order_on_disk;
mod plans;
mod policies;
mod promises;
mod promises_of_life;
mod put_back;
mod retention;
mod rules;
mod rules_of_files;
mod rules_of_recovery;
mod scene;
mod survivors;
mod threads;
mod told;
mod unreadable;
mod users_code;
mod verbs;
mod wrong_clocks;
