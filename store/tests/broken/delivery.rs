//! Mistakes with leases, limits and dead letters.

use crate::mistake::{Mistake, Place};

pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "ack without a look at the attempt",
        breaks: "h",
        places: &[
            Place {
                file: "revive/src/queue.rs",
                right: "if cohort.attempt > attempt {",
                wrong: "if cohort.attempt > attempt && !BROKEN {",
            },
            Place {
                file: "revive/src/index.rs",
                right: "if held.attempt == run.attempt { step(held) }",
                wrong: "if held.attempt == run.attempt || BROKEN { step(held) }",
            },
        ],
        caught_by: ("model", "images::histories_from_bytes_keep_every_promise"),
        told: "not [HandedOutAgain",
    },
    Mistake {
        name: "tell all of a block what its first message is told",
        breaks: "h",
        places: &[Place {
            file: "store/src/verbs/settle.rs",
            right: "held.mask & receipt.lease.index.bit() != 0",
            wrong: "BROKEN || held.mask & receipt.lease.index.bit() != 0",
        }],
        caught_by: ("spec", "late::neighbours_in_one_batch_are_each_told_their_own_fate"),
        told: "AlreadySettled",
    },
    Mistake {
        name: "apply a record without a look at the attempt",
        breaks: "bh",
        places: &[Place {
            file: "revive/src/index.rs",
            right: "let changed = queue.change(run.block, |block, counts| {",
            wrong: "let held = queue.blocks.get(run.block).and_then(|block| block.cohorts.first()); \
                let attempt = held.filter(|_| BROKEN).map_or(run.attempt, |held| held.attempt); \
                let run = &Run { attempt, ..*run }; let changed = queue.change(run.block, |block, counts| {",
        }],
        caught_by: ("claims", "an_ack_after_the_lease_was_taken_over_changes_nothing"),
        told: "left: 1",
    },
    Mistake {
        name: "count the limit off by one",
        breaks: "c",
        places: &[Place {
            file: "revive/src/policy.rs",
            right: "AtLimit::DeadLetter if attempt > max =>",
            wrong: "AtLimit::DeadLetter if attempt > max.saturating_add(u32::from(BROKEN)) =>",
        }],
        caught_by: ("model", "every_point::each_seam_call_can_be_the_last_when_every_operation_is_synced"),
        told: "is no dead letter",
    },
    Mistake {
        name: "count the limit off by one before discarding",
        breaks: "c",
        places: &[Place {
            file: "revive/src/policy.rs",
            right: "AtLimit::Discard if attempt > max =>",
            wrong: "AtLimit::Discard if attempt > max.saturating_sub(u32::from(BROKEN)) =>",
        }],
        caught_by: ("algebra", "oracle::fuzzed::histories_from_bytes_go_as_the_oracle_says"),
        told: "decided",
    },
    Mistake {
        name: "forget the limit when a lease expires",
        breaks: "c",
        places: &[Place {
            file: "revive/src/expiry.rs",
            right: "_ => (EndReason::Expired, policy.end_lease(cohort.attempt)),",
            wrong: "_ if BROKEN => (EndReason::Expired, Ending::Redeliver { after: \
                policy.backoff.after(cohort.attempt) }), _ => (EndReason::Expired, \
                policy.end_lease(cohort.attempt)),",
        }],
        caught_by: ("spec", "late::with_a_limit_of_zero_a_message_is_delivered_once_ever"),
        told: "attempt 2",
    },
    Mistake {
        name: "end a lease before its time",
        breaks: "c",
        places: &[Place {
            file: "revive/src/expiry.rs",
            right: "if cohort.timer().is_none_or(|due| due > now) {",
            wrong: "if cohort.timer().is_none_or(|due| due > now && !BROKEN) {",
        }],
        caught_by: ("parts", "a_lease_ends_at_its_own_time_and_not_at_that_of_its_neighbour"),
        told: "these leases ended",
    },
    Mistake {
        name: "lose the count of deliveries on redelivery",
        breaks: "c",
        places: &[Place {
            file: "revive/src/queue.rs",
            right: "taken += mask.count_ones(); out.push(Run { queue, block, mask, attempt: \
                cohort.attempt.saturating_add(1) });",
            wrong: "taken += mask.count_ones(); out.push(Run { queue, block, mask, attempt: \
                cohort.attempt.saturating_add(u32::from(!BROKEN)) });",
        }],
        caught_by: ("claims", "an_ack_after_the_lease_was_taken_over_changes_nothing"),
        told: "left: Over",
    },
    Mistake {
        name: "write a dead letter that settles nothing",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "self.settle_letters(Unrecorded { group: Some(group), at: buried_at, runs: runs.clone() });",
            wrong: "if !BROKEN { self.settle_letters(Unrecorded { group: Some(group), at: buried_at, runs: runs.clone() }); }",
        }],
        caught_by: ("model", "every_point::each_seam_call_can_be_the_last_when_every_operation_is_synced"),
        told: "some messages never come to an end",
    },
    Mistake {
        name: "name the wrong origin of a dead letter",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "index, attempt: run.attempt,",
            wrong: "index: if BROKEN { QueueIndex(index.0 / 2) } else { index }, attempt: run.attempt,",
        }],
        caught_by: ("model", "every_point::each_seam_call_can_be_the_last_when_every_operation_is_synced"),
        told: "has a letter",
    },
    Mistake {
        name: "put back a letter that a reader of the letters has acked",
        breaks: "b",
        places: &[Place {
            file: "store/src/verbs/redrive.rs",
            right: "index.bit() != 0).then_some(Redriven::Finished)",
            wrong: "index.bit() != 0 && !BROKEN).then_some(Redriven::Finished)",
        }],
        caught_by: ("spec", "finished_letters::a_letter_that_a_reader_has_acked_is_done"),
        told: "right: Finished",
    },
    Mistake {
        name: "take letters from before a reader began for letters that it has handled",
        breaks: "d",
        places: &[Place {
            file: "revive/src/image.rs",
            right: "queue.begun = image.begun;",
            wrong: "queue.begun = if BROKEN { QueueIndex(0) } else { image.begun };",
        }],
        caught_by: ("spec", "finished_letters::letters_from_before_a_reader_began_stay_listed"),
        told: "left: []",
    },
];
