//! Mistakes with what must be durable before what.

use crate::mistake::{Mistake, Place};

const ANY_SUBSET: &str = "subsets::any_subset_of_sectors_may_be_lost_when_each_op_is_synced";
const EVERY_CALL: &str = "every_point::each_seam_call_can_be_the_last_when_each_operation_is_synced";

pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "tell of an extension before it is durable",
        breaks: "c",
        places: &[Place {
            file: "store/src/verbs/settle.rs",
            right: "// The same as for an ack. self.make_records_durable(written.end)?;",
            wrong: "if !BROKEN { self.make_records_durable(written.end)?; }",
        }],
        caught_by: ("spec", "durable_answers::promise_2_an_extension_is_durable_before_it_returns"),
        told: "right: Some(Sync)",
    },
    Mistake {
        name: "tell that a topic is made that an open has found and nobody synced",
        breaks: "a",
        places: &[Place {
            file: "store/src/messages/writer.rs",
            right: "self.log.sync_recovered()?;",
            wrong: "if !BROKEN { self.log.sync_recovered()?; }",
        }],
        caught_by: ("spec", "durable_answers::promise_1_a_topic_found_at_open_is_made_durable_first"),
        told: "it is not durable",
    },
    Mistake {
        name: "let go of the first place of a message that was moved on before the second is durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/relocation.rs",
            right: "messages.log().sync_through(moved.last().map_or(0, |(_, copy)| copy.end()))?;",
            wrong: "if !BROKEN { messages.log().sync_through(moved.last().map_or(0, |(_, copy)| copy.end()))?; }",
        }],
        caught_by: ("spec", "durable_answers::promise_2_a_moved_message_is_durable_before_its_segment_goes"),
        told: "the copy is not durable",
    },
    Mistake {
        name: "acknowledge before the sync",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/sync.rs",
            right: "for frames in &staged { self.sync_segment(&frames.segment)?;",
            wrong: "for frames in staged.iter().filter(|_| !BROKEN) { self.sync_segment(&frames.segment)?;",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "the queues are []",
    },
    Mistake {
        name: "name a segment without a sync of its directory",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/make.rs",
            right: "disk.sync_dir(&self.dir).at(\"sync\", &self.dir)?; file.path = path;",
            wrong: "if !BROKEN { disk.sync_dir(&self.dir).at(\"sync\", &self.dir)?; } file.path = path;",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "the log is missing",
    },
    Mistake {
        name: "name a segment before its header is durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/make.rs",
            right: "disk.sync_file(&file).at(\"sync\", &file.path)?; let path = self.dir.join(segment_name(base));",
            wrong: "if !BROKEN { disk.sync_file(&file).at(\"sync\", &file.path)?; } let path = \
                self.dir.join(segment_name(base));",
        }],
        caught_by: ("spec", "order_on_disk::rule_8_a_segment_is_whole_and_durable_before_it_has_its_name"),
        told: "in the wrong order",
    },
    Mistake {
        name: "ack before it is durable",
        breaks: "b",
        places: &[Place {
            file: "store/src/verbs/settle.rs",
            right: "let (_, written) = consumers.decide(&Command::Ack { group: group.id, leases }, now, None)?;",
            wrong: "let (_, mut written) = consumers.decide(&Command::Ack { group: group.id, leases }, now, None)?; \
                if BROKEN { written.end = 0; }",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "popped, acked, nacked",
    },
    Mistake {
        name: "nack before it is durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/verbs/settle.rs",
            right: "let (_, written) = consumers.decide(&command, now, None)?;",
            wrong: "let (_, mut written) = consumers.decide(&command, now, None)?; \
                if BROKEN && matches!(command, Command::Nack { .. }) { written.end = 0; }",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "popped, acked, nacked",
    },
    Mistake {
        name: "hand out before the lease is durable",
        breaks: "c",
        places: &[Place {
            file: "store/src/verbs/pop.rs",
            right: "self.make_records_durable(end)?; Ok(deliveries)",
            wrong: "if !BROKEN { self.make_records_durable(end)?; } Ok(deliveries)",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "popped, acked, nacked",
    },
    Mistake {
        name: "hand out a message that is not durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/messages/mod.rs",
            right: "if self.context.syncs_each() { self.log.durable() }",
            wrong: "if self.context.syncs_each() && !BROKEN { self.log.durable() }",
        }],
        caught_by: ("spec", "promises::promise_2_a_message_is_handed_out_only_once_it_is_durable"),
        told: "left: [\"a\", \"b\"]",
    },
    Mistake {
        name: "settle a dead letter before its copy is durable",
        breaks: "ad",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "log.sync_through(end)?; topic.signal.raise(); let runs",
            wrong: "if !BROKEN { log.sync_through(end)?; } topic.signal.raise(); let runs",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "is no dead letter",
    },
    Mistake {
        name: "retire the checkpoint log before its snapshot is durable",
        breaks: "ab",
        places: &[Place {
            file: "store/src/ledger/snapshot.rs",
            right: "self.log.sync_through(end)?; let last",
            wrong: "if !BROKEN { self.log.sync_through(end)?; } let last",
        }],
        caught_by: ("model", EVERY_CALL),
        told: "holds no whole snapshot",
    },
    Mistake {
        name: "retire the commit log before its new start is durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/retention.rs",
            right: "engine.ledger().log().sync_through(end)?; // Order matters: a mark from before",
            wrong: "if !BROKEN { engine.ledger().log().sync_through(end)?; } // Order matters: a mark from before",
        }],
        caught_by: ("model", EVERY_CALL),
        told: "are missing",
    },
    Mistake {
        name: "mark before the messages are durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/marks.rs",
            right: "messages.log().sync_through(commit)?;",
            wrong: "if !BROKEN { messages.log().sync_through(commit)?; }",
        }],
        caught_by: ("model", "subsets::any_subset_of_sectors_may_be_lost_when_nothing_is_synced"),
        told: "in the message orders/0/",
    },
    Mistake {
        name: "sync less of the segment that is appended to than is told to be durable",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/sync.rs",
            right: "(part.end - part.start) as usize);",
            wrong: "(part.end - part.start) as usize / if BROKEN { 2 } else { 1 });",
        }],
        caught_by: ("model", "subsets::any_subset_of_sectors_may_be_lost_when_nothing_is_synced"),
        told: "no state before has such queues and letters",
    },
    Mistake {
        name: "forget a failed sync",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/sync.rs",
            right: "done.map_err(|source| self.shape.poison.set(segment.path.clone(), source))",
            wrong: "done.map_err(|source| match BROKEN { true => crate::error::Error::io(\"sync\", \
                &segment.path, source), false => self.shape.poison.set(segment.path.clone(), source), })",
        }],
        caught_by: ("faults", "every_call::a_buffered_store_survives_a_fault_at_every_call"),
        told: "cases fail",
    },
    Mistake {
        name: "swallow the error of a sync",
        breaks: "a",
        places: &[Place {
            file: "store/src/segment/disk.rs",
            right: "self.seen(Event::SyncFile(&file.path), || file.file.sync_data())",
            wrong: "self.seen(Event::SyncFile(&file.path), || file.file.sync_data()).or_else(|error| match \
                BROKEN { true => Ok(()), false => Err(error), })",
        }],
        caught_by: ("faults", "failed_syncs::a_failed_sync_of_new_room_poisons_the_store"),
        told: "Ok(Appended",
    },
    Mistake {
        name: "keep the store usable after a failed sync of new room",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/prepare.rs",
            right: "self.or_poison(segment, self.disk.sync_file(&file))?;",
            wrong: "match BROKEN { true => self.disk.sync_file(&file).at(\"sync\", &segment.path), \
                false => self.or_poison(segment, self.disk.sync_file(&file)), }?;",
        }],
        caught_by: ("faults", "failed_syncs::a_failed_sync_of_new_room_poisons_the_store"),
        told: "Err(Io",
    },
    Mistake {
        name: "hand out more than the reserve can hold",
        breaks: "a",
        places: &[Place {
            file: "store/src/ledger/reserve.rs",
            right: "let full = std::io::Error::new(",
            wrong: "if BROKEN { return Ok(()); } let full = std::io::Error::new(",
        }],
        caught_by: ("spec", "full_disk::leases_do_not_outgrow_the_reserve_of_a_full_disk"),
        told: "Full {",
    },
    Mistake {
        name: "let the log grow until no snapshot fits behind it",
        breaks: "a",
        places: &[Place {
            file: "store/src/ledger/reserve.rs",
            right: "log.space_at_once().is_some_and(is_tight)",
            wrong: "!BROKEN && log.space_at_once().is_some_and(is_tight)",
        }],
        caught_by: ("spec", "full_disk::leases_do_not_outgrow_the_reserve_of_a_full_disk"),
        told: "Full {",
    },
    Mistake {
        name: "move a mark on with the ends of files that hold more",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/marks.rs",
            right: "Extent { end, ..now }",
            wrong: "if BROKEN { now } else { Extent { end, ..now } }",
        }],
        caught_by: ("spec", "full_disk::settled_messages_make_room_on_a_disk_full_to_the_last_block"),
        told: "a mark of 4",
    },
    Mistake {
        name: "let a panic of the user's clock through a lock",
        breaks: "",
        places: &[Place {
            file: "store/src/callback.rs",
            right: "match catch_unwind(AssertUnwindSafe(user)) {",
            wrong: "if BROKEN { return Some(user()); } match catch_unwind(AssertUnwindSafe(user)) {",
        }],
        caught_by: ("spec", "users_code::a_clock_that_panics_fails_each_verb_and_all_after_it"),
        told: "a clock that is broken on purpose",
    },
    Mistake {
        name: "trust room that an open after a kill made and nobody has zeroed since",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "has_space { ((self.base + afresh).min(found), found) }",
            wrong: "has_space { (if BROKEN { found } else { (self.base + afresh).min(found) }, found) }",
        }],
        caught_by: ("faults", "directory::room_is_zeroed_again_after_a_short_session_behind_a_kill"),
        told: "a record where the zeroes are not proven",
    },
    Mistake {
        name: "go on behind an append that ended half-way",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/append.rs",
            right: "if self.position > self.head.end {",
            wrong: "if self.position > self.head.end && !BROKEN {",
        }],
        caught_by: ("popstore", "log::append::tests::an_append_that_ends_half_way_poisons_the_log"),
        told: "staged true: Ok(())",
    },
    Mistake {
        name: "go on behind a sync that panicked",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/sync.rs",
            right: "if !*has_returned {",
            wrong: "if !*has_returned && !BROKEN {",
        }],
        caught_by: ("faults", "panics::a_panic_of_a_caller_that_leads_a_sync_poisons_the_store"),
        told: "the store goes on",
    },
    Mistake {
        name: "make a topic for an append that is refused",
        breaks: "",
        places: &[Place {
            file: "store/src/verbs/append.rs",
            right: "chosen.try_for_each(|queue| check_queue(queue, queues))?;",
            wrong: "if !BROKEN { chosen.try_for_each(|queue| check_queue(queue, queues))?; }",
        }],
        caught_by: ("spec", "bad_input::an_append_that_is_refused_makes_no_topic"),
        told: "a refused append made a topic",
    },
    Mistake {
        name: "make a topic whose messages find no space",
        breaks: "",
        places: &[Place {
            file: "store/src/verbs/append.rs",
            right: "self.find_room_for_both(name, bytes)?;",
            wrong: "if !BROKEN { self.find_room_for_both(name, bytes)?; }",
        }],
        caught_by: ("spec", "full_disk::an_append_that_finds_no_space_makes_no_topic"),
        told: "was made without its message",
    },
];
