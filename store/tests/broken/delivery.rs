//! Mistakes with leases, limits and dead letters.

use crate::mistake::{Mistake, Place};

pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "ack whatever the delivery",
        breaks: "h",
        places: &[
            Place {
                file: "revive/src/queue.rs",
                right: "if cohort.delivery > delivery {",
                wrong: "if cohort.delivery > delivery && !BROKEN {",
            },
            Place {
                file: "revive/src/apply.rs",
                right: "if held.delivery == run.delivery { step(held) }",
                wrong: "if held.delivery == run.delivery || BROKEN { step(held) }",
            },
        ],
        caught_by: ("model", "images::histories_from_bytes_keep_every_promise"),
        told: "not [HandedOutAgain",
    },
    Mistake {
        name: "tell all of a block what its first message is told",
        breaks: "h",
        places: &[Place {
            file: "revive/src/decide/settle.rs",
            right: "held.mask & other.index.bit() != 0",
            wrong: "BROKEN || held.mask & other.index.bit() != 0",
        }],
        caught_by: ("spec", "late::neighbours_in_one_batch_are_each_told_their_own_fate"),
        told: "AlreadySettled",
    },
    Mistake {
        name: "apply a record whatever the delivery",
        breaks: "bh",
        places: &[Place {
            file: "revive/src/apply.rs",
            right: "let changed = queue.change(agenda, (group, run.queue, run.block), |block, counts| {",
            wrong: "let held = queue.blocks.get(run.block).and_then(|block| block.cohorts.first()); \
                let delivery = held.filter(|_| BROKEN).map_or(run.delivery, |held| held.delivery); \
                let run = &Run { delivery, ..*run }; \
                let changed = queue.change(agenda, (group, run.queue, run.block), |block, counts| {",
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
        caught_by: ("model", "every_point::each_seam_call_can_be_the_last_when_each_operation_is_synced"),
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
            right: "out.push(Decision { group, run, verdict: known.policy.verdict(lease.attempt_at_limit(), now) });",
            wrong: "let verdict = known.policy.verdict(lease.attempt_at_limit(), now); \
                let verdict = if BROKEN { Verdict::Redeliver { visible_at: now } } else { verdict }; \
                out.push(Decision { group, run, verdict });",
        }],
        caught_by: ("spec", "late::with_a_limit_of_zero_a_message_is_delivered_once_ever"),
        told: "attempt: 2",
    },
    Mistake {
        name: "end a lease before its time",
        breaks: "c",
        places: &[Place {
            file: "revive/src/block.rs",
            right: "self.state == State::InFlight && self.due <= at",
            wrong: "self.state == State::InFlight && (self.due <= at || BROKEN)",
        }],
        caught_by: ("parts", "a_lease_ends_at_its_own_time_and_not_at_its_neighbours"),
        told: "these leases ended",
    },
    Mistake {
        name: "lose the count of deliveries on redelivery",
        breaks: "c",
        places: &[Place {
            file: "revive/src/queue.rs",
            right: "if mask != 0 { out.push(Run { queue: id, block, mask, delivery: \
                cohort.delivery.saturating_add(1) });",
            wrong: "if mask != 0 { out.push(Run { queue: id, block, mask, delivery: \
                cohort.delivery.saturating_add(u32::from(!BROKEN)) });",
        }],
        caught_by: ("claims", "an_ack_after_the_lease_was_taken_over_changes_nothing"),
        told: "left: Over",
    },
    Mistake {
        name: "write a dead letter that settles nothing",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "self.settle_letters(Unrecorded { group: Some(group), at: buried_at, runs });",
            wrong: "if !BROKEN { self.settle_letters(Unrecorded { group: Some(group), at: buried_at, runs }); }",
        }],
        caught_by: ("model", "every_point::each_seam_call_can_be_the_last_when_each_operation_is_synced"),
        told: "of what is not held",
    },
    Mistake {
        name: "name the wrong origin of a dead letter",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "index, delivery: run.delivery,",
            wrong: "index: if BROKEN { QueueIndex(index.0 / 2) } else { index }, delivery: run.delivery,",
        }],
        caught_by: ("model", "every_point::each_seam_call_can_be_the_last_when_each_operation_is_synced"),
        told: "has a letter",
    },
    Mistake {
        name: "put back a letter that a reader of the letters has acked",
        breaks: "b",
        places: &[Place {
            file: "store/src/verbs/redrive.rs",
            right: "Letter::Finished => Some(Redriven::Finished),",
            wrong: "Letter::Finished => Some(Redriven::Finished).filter(|_| !BROKEN),",
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
    Mistake {
        name: "let a verdict that was overtaken take effect",
        breaks: "b",
        places: &[Place {
            file: "revive/src/apply.rs",
            right: "match lease.is_over(at) {",
            wrong: "match lease.is_over(at) || BROKEN {",
        }],
        caught_by: ("claims", "a_verdict_on_a_lease_that_runs_changes_nothing"),
        told: "right: 0",
    },
    Mistake {
        name: "deliver again what has used up its deliveries",
        breaks: "c",
        places: &[Place {
            file: "revive/src/apply.rs",
            right: "State::InFlight | State::Waiting if held.delivery < run.delivery => {",
            wrong: "_ if held.delivery < run.delivery && (BROKEN || !matches!(held.state, State::Ended(_))) => {",
        }],
        caught_by: ("claims", "what_has_used_up_its_deliveries_can_only_be_buried"),
        told: "right: 0",
    },
    Mistake {
        name: "accept an ack of what is on its way to the dead letters",
        breaks: "d",
        places: &[Place {
            file: "revive/src/apply.rs",
            right: "State::Ended(_) => Err(Untouched), }) } Change::Nacked",
            wrong: "State::Ended(_) if BROKEN => Ok(None), State::Ended(_) => Err(Untouched), }) } Change::Nacked",
        }],
        caught_by: ("claims", "what_has_used_up_its_deliveries_can_only_be_buried"),
        told: "right: 0",
    },
    Mistake {
        name: "redeliver in the order of places",
        breaks: "h",
        places: &[Place {
            file: "revive/src/agenda.rs",
            right: "waiting.insert((due, place.2));",
            wrong: "waiting.insert((if BROKEN { Time(0) } else { due }, place.2));",
        }],
        caught_by: ("claims", "redeliveries_come_in_the_order_in_which_they_became_visible"),
        told: "left:",
    },
    Mistake {
        name: "write no record that the clock was set back",
        breaks: "bi",
        places: &[Place {
            file: "store/src/recover/mod.rs",
            right: "consumers.write(&CheckpointRecord::Change(change))?;",
            wrong: "if !BROKEN || !matches!(change, popstore_revive::Change::Reanchored { .. }) { \
                consumers.write(&CheckpointRecord::Change(change))?; }",
        }],
        caught_by: ("spec", "promises_of_life::promise_8_a_shortened_wait_is_not_restarted_by_reopening"),
        told: "clock_set_back",
    },
    Mistake {
        name: "write no record of the letters that are gone",
        breaks: "b",
        places: &[Place {
            file: "store/src/background/retention.rs",
            right: "let command = Command::Forget { queue: queue.id, first, moved: runs };",
            wrong: "if BROKEN { return Ok(()); } \
                let command = Command::Forget { queue: queue.id, first, moved: runs };",
        }],
        caught_by: ("spec", "finished_letters::letters_that_are_gone_are_no_longer_known_as_put_back"),
        told: "still known",
    },
    Mistake {
        name: "complete no letter whose lease is not known to have ended",
        breaks: "d",
        places: &[Place {
            file: "revive/src/decide/settle.rs",
            right: "filter(|cohort| cohort.state == State::InFlight) {",
            wrong: "filter(|cohort| cohort.state == State::InFlight && !BROKEN) {",
        }],
        caught_by: ("spec", "rules_of_recovery::rule_6_a_letter_settles_though_the_end_of_its_lease_is_lost"),
        told: "left: (1, 2)",
    },
    Mistake {
        name: "settle a letter whose copy has no queue",
        breaks: "a",
        places: &[Place {
            file: "store/src/verbs/redrive.rs",
            right: "topic.queue(origin.queue).ok_or_else(gone)?;",
            wrong: "if !BROKEN { topic.queue(origin.queue).ok_or_else(gone)?; }",
        }],
        caught_by: ("spec", "put_back::a_letter_that_lies_about_its_queue_is_refused_and_stays"),
        told: "AlreadyRedriven",
    },
    Mistake {
        name: "put back a letter that somebody else is putting back",
        breaks: "d",
        places: &[Place {
            file: "store/src/engine/letters.rs",
            right: "while places.iter().any(|place| state.redriving.contains(place)) {",
            wrong: "while !BROKEN && places.iter().any(|place| state.redriving.contains(place)) {",
        }],
        caught_by: ("spec", "put_back::letters_that_two_threads_put_back_at_once_come_once"),
        told: "Done",
    },
    Mistake {
        name: "put back a letter that stands twice in a list twice",
        breaks: "d",
        places: &[Place {
            file: "store/src/verbs/redrive.rs",
            right: "_ if copied.contains(&letter.place()) =>",
            wrong: "_ if copied.contains(&letter.place()) && !BROKEN =>",
        }],
        caught_by: ("spec", "put_back::a_letter_twice_in_a_list_is_put_back_once"),
        told: "Done",
    },
    Mistake {
        name: "accept a lease twice in one batch",
        breaks: "h",
        places: &[Place {
            file: "revive/src/decide/gathered.rs",
            right: "let new = run.mask & !runs[at].mask;",
            wrong: "let new = if BROKEN { run.mask } else { run.mask & !runs[at].mask };",
        }],
        caught_by: ("decide", "of_a_lease_that_is_presented_twice_at_once_one_is_accepted"),
        told: "left: [(true",
    },
    Mistake {
        name: "begin each pop with the same queue",
        breaks: "",
        places: &[Place {
            file: "revive/src/decide/leases.rs",
            right: "let first = scattered(deliveries)",
            wrong: "let first = scattered(if BROKEN { 0 } else { deliveries })",
        }],
        caught_by: ("decide", "the_queues_take_turns_by_what_was_delivered"),
        told: "QueueId",
    },
    Mistake {
        name: "give back at the limit as the consumer wishes",
        breaks: "c",
        places: &[Place {
            file: "revive/src/decide/settle.rs",
            right: "(verdict, _) => verdict,",
            wrong: "(_, Some(delay)) if BROKEN => Verdict::Redeliver { visible_at: now.after(delay) }, \
                (verdict, _) => verdict,",
        }],
        caught_by: ("decide", "a_nack_at_the_limit_leaves_the_group_whatever_the_delay"),
        told: "left: [(true",
    },
    Mistake {
        name: "settle no message by its letter while its lease runs on record",
        breaks: "d",
        places: &[Place {
            file: "revive/src/decide/settle.rs",
            right: "if !out.runs.is_empty() { out.push_from(0, Change::Ended",
            wrong: "if !out.runs.is_empty() && !BROKEN { out.push_from(0, Change::Ended",
        }],
        caught_by: ("decide", "a_letter_settles_its_message_though_its_lease_runs_on_record"),
        told: "Leased",
    },
    Mistake {
        name: "let a new group begin at the front of every queue",
        breaks: "b",
        places: &[Place {
            file: "revive/src/apply.rs",
            right: "self.beginnings.entry(*group).or_default().insert(*queue, *position);",
            wrong: "if !BROKEN { self.beginnings.entry(*group).or_default().insert(*queue, *position); }",
        }],
        caught_by: ("decide", "a_group_is_made_by_one_change_that_comes_last"),
        told: "positions(other)",
    },
    Mistake {
        name: "let an image change the order of what is held",
        breaks: "h",
        places: &[Place {
            file: "revive/src/image.rs",
            right: "cohorts: cohorts.collect(),",
            wrong: "cohorts: { let mut all: Vec<_> = cohorts.collect(); if BROKEN { all.reverse(); } all },",
        }],
        caught_by: ("algebra", "twins::an_index_restored_from_images_answers_as_the_original"),
        told: "assertion failed",
    },
    Mistake {
        name: "count a delivery that was given back without counting",
        breaks: "c",
        places: &[Place {
            file: "revive/src/apply.rs",
            right: "let uncounted = lease.uncounted.saturating_add(1);",
            wrong: "let uncounted = lease.uncounted.saturating_add(u32::from(!BROKEN));",
        }],
        caught_by: ("decide", "a_released_delivery_does_not_count_and_has_its_own_number"),
        told: "visible at once",
    },
    Mistake {
        name: "offer what was given back uncounted and is deleted",
        breaks: "",
        places: &[Place {
            file: "revive/src/queue.rs",
            right: "let past = if cohort.attempt() == 0 {",
            wrong: "let past = if cohort.attempt() == 0 && !BROKEN {",
        }],
        caught_by: ("decide", "a_deleted_message_that_was_released_is_settled_by_a_pop"),
        told: "left: QueueIndex(0)",
    },
    Mistake {
        name: "count a delivery of what could not be read",
        breaks: "c",
        places: &[Place {
            file: "store/src/verbs/pop.rs",
            right: "let given_back = self.give_back(group, &leased, read);",
            wrong: "let given_back = if BROKEN { Ok(0) } else { self.give_back(group, &leased, read) };",
        }],
        caught_by: ("spec", "unreadable::a_message_that_cannot_be_read_has_had_no_delivery"),
        told: "Ok([Delivery",
    },
];
