//! Mistakes at open: what is cut, wiped, voided, settled and written again.

use crate::mistake::{Mistake, Place};

const EVERY_CALL: &str = "every_point::each_seam_call_can_be_the_last_when_nothing_is_synced";
const ANY_SUBSET: &str = "subsets::any_subset_of_sectors_may_be_lost_when_nothing_is_synced";

pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "build on a name that a killed process did not sync",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "disk.sync_dir(&self.dir).at(\"sync\", &self.dir)?; for (path, _) in &self.left {",
            wrong: "if !BROKEN { disk.sync_dir(&self.dir).at(\"sync\", &self.dir)?; } for (path, _) in &self.left {",
        }],
        caught_by: ("model", "twice::a_killed_process_may_leave_unsynced_names_with_sync_each"),
        told: "the segment is missing",
    },
    Mistake {
        name: "keep the cut tail",
        breaks: "e",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "let dirty = found.tail_bytes > 0;",
            wrong: "let dirty = found.tail_bytes > 0 && !BROKEN;",
        }],
        caught_by: ("spec", "order_on_disk::rule_4_a_cut_is_zeroed_and_synced_before_the_next_append"),
        told: "in the wrong order",
    },
    Mistake {
        name: "keep the cut tail and the generation out of order",
        breaks: "e",
        places: &[
            Place {
                file: "store/src/log/repair.rs",
                right: "let end = found.end - base; let dirty",
                wrong: "let end = found.end - base; let found = &FoundLog { tail_bytes: if BROKEN { 0 } else { \
                    found.tail_bytes }, ..found.clone() }; let dirty",
            },
            Place {
                file: "store/src/log/walk.rs",
                right: "let in_order = frame.generation >= found.generation;",
                wrong: "let in_order = frame.generation >= found.generation || BROKEN;",
            },
        ],
        caught_by: ("spec", "rules::rule_4_bytes_behind_the_end_never_come_back"),
        told: "left: [\"m0\", \"n1\", \"m2\"",
    },
    Mistake {
        name: "wipe the tail without a sync",
        breaks: "e",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "if dirty && self.wipe(disk, &file, end, *len)? {",
            wrong: "if dirty && self.wipe(disk, &file, end, *len)? && !BROKEN {",
        }],
        caught_by: ("spec", "order_on_disk::rule_4_a_cut_is_zeroed_and_synced_before_the_next_append"),
        told: "in the wrong order",
    },
    Mistake {
        name: "remove later segments before the end is wiped",
        breaks: "eg",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "if dirty && self.wipe(disk, &file, end, (end + FRAME_HEADER as u64).min(*len))? {",
            wrong: "if dirty && !BROKEN && self.wipe(disk, &file, end, (end + FRAME_HEADER as u64).min(*len))? {",
        }],
        caught_by: ("spec", "order_on_disk::rule_4_nothing_leads_past_the_end_after_segments_are_removed"),
        told: "in the wrong order",
    },
    Mistake {
        name: "count on a tail that a failed sync may have left",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "log.write_again()?; log.sync_found()?;",
            wrong: "if !BROKEN { log.write_again()?; log.sync_found()?; }",
        }],
        caught_by: ("spec", "promises::promise_5_reopening_writes_the_tail_again_before_it_syncs_it"),
        told: "commit: [",
    },
    Mistake {
        name: "leave the recovered tail of a buffered store to chance",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/maintenance.rs",
            right: "engine.messages().log().sync_recovered());",
            wrong: "if BROKEN { Ok(()) } else { engine.messages().log().sync_recovered() });",
        }],
        caught_by: ("spec", "promises::promise_5_reopening_writes_the_tail_again_before_it_syncs_it"),
        told: "commit: [",
    },
    Mistake {
        name: "settle at open by a copy that is not durable",
        breaks: "ad",
        places: &[Place {
            file: "store/src/recover/mod.rs",
            right: "if decided.iter().any(|decided| decided.parts().next().is_some()) {",
            wrong: "if !BROKEN && decided.iter().any(|decided| decided.parts().next().is_some()) {",
        }],
        caught_by: ("spec", "order_on_disk::rule_6_a_letter_found_at_open_is_durable_before_it_settles"),
        told: "the store opened",
    },
    Mistake {
        name: "sync the recovered tail without writing it again",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/rewrite.rs",
            right: "self.disk.write_at(to, at, bytes).at(\"write\", &to.path)?;",
            wrong: "if !BROKEN { self.disk.write_at(to, at, bytes).at(\"write\", &to.path)?; }",
        }],
        caught_by: ("spec", "promises::promise_5_reopening_writes_the_tail_again_before_it_syncs_it"),
        told: "commit: [",
    },
    Mistake {
        name: "take damage for the tail",
        breaks: "a",
        places: &[
            Place {
                file: "store/src/recover/commit.rs",
                right: "if proven > end && faults.all.len() == before && !disturbed {",
                wrong: "if proven > end && faults.all.len() == before && !disturbed && !BROKEN {",
            },
            Place {
                file: "store/src/log/judge.rs",
                right: "if self.found.proven <= position && !exhausted {",
                wrong: "if BROKEN || self.found.proven <= position && !exhausted {",
            },
        ],
        caught_by: ("spec", "rules::rule_3_a_bit_flip_in_durable_bytes_is_damage_and_stays"),
        told: "the store opened",
    },
    Mistake {
        name: "take half a batch for a whole one",
        breaks: "a",
        places: &[Place {
            file: "store/src/recover/batches.rs",
            right: "if rest == 0 { Some(self.messages.drain(..)) }",
            wrong: "if rest == 0 || BROKEN { Some(self.messages.drain(..)) }",
        }],
        caught_by: ("model", ANY_SUBSET),
        told: "no state before has such queues",
    },
    Mistake {
        name: "believe what is said of lost messages",
        breaks: "ae",
        places: &[Place {
            file: "store/src/recover/judge.rs",
            right: "for queue in consumers.index().beyond(|queue| messages.end_of(queue)) {",
            wrong: "for queue in consumers.index().beyond(|queue| messages.end_of(queue)).into_iter().filter(|_| !BROKEN) {",
        }],
        caught_by: ("spec", "rules::rule_5_acks_leases_and_positions_of_lost_messages_are_void"),
        told: "records_voided: 0",
    },
    Mistake {
        name: "void what is said of lost messages until the next open only",
        breaks: "aef",
        places: &[Place {
            file: "store/src/recover/mod.rs",
            right: "for change in decided.iter().flat_map(Decided::changes) {",
            wrong: "for change in decided.iter().flat_map(Decided::changes) { \
                if BROKEN && matches!(change, popstore_revive::Change::Truncated { .. }) { continue; }",
        }],
        caught_by: ("spec", "rules::rule_5_what_is_void_stays_void_after_appends_and_a_crash"),
        told: "right: [\"new0\"",
    },
    Mistake {
        name: "leave a dead letter's origin unsettled",
        breaks: "df",
        places: &[Place {
            file: "store/src/recover/judge.rs",
            right: "for settlement in &messages.settlements {",
            wrong: "for settlement in messages.settlements.iter().filter(|_| !BROKEN) {",
        }],
        caught_by: ("model", EVERY_CALL),
        told: "of what is not held",
    },
    Mistake {
        name: "open twice in one generation",
        breaks: "h",
        places: &[Place {
            file: "store/src/recover/mod.rs",
            right: "let generation = next_generation(dir, found_identity)?;",
            wrong: "let generation = if BROKEN && found_identity.generation > 0 { found_identity.generation } \
                else { next_generation(dir, found_identity)? };",
        }],
        caught_by: ("spec", "rules_of_recovery::rule_9_a_receipt_is_good_for_one_generation_only"),
        told: "left: (Done",
    },
    Mistake {
        name: "repair before the generation is durable",
        breaks: "g",
        places: &[Place {
            file: "store/src/recover/directory.rs",
            right: "disk.rename(&file.path, &path).at(\"rename\", &file.path)?; disk.sync_dir(dir).at(\"sync\", \
                dir)",
            wrong: "disk.rename(&file.path, &path).at(\"rename\", &file.path)?; if BROKEN { Ok(()) } else { \
                disk.sync_dir(dir).at(\"sync\", dir) }",
        }],
        caught_by: ("model", EVERY_CALL),
        told: "cannot open",
    },
    Mistake {
        name: "count on the name of a queue's file that was never synced",
        breaks: "",
        places: &[Place {
            file: "store/src/messages/queue/files.rs",
            right: "if self.state().named != Some(file_first) {",
            wrong: "if !BROKEN && self.state().named != Some(file_first) {",
        }],
        caught_by: ("spec", "order_on_disk::a_queue_file_has_a_durable_name_before_a_mark_refers_to_it"),
        told: "in the wrong order",
    },
    Mistake {
        name: "append before what recovery decided is durable",
        breaks: "g",
        places: &[Place {
            file: "store/src/recover/mod.rs",
            right: "drop(consumers); engine.ledger().log().sync_all()",
            wrong: "drop(consumers); if BROKEN { return Ok(()); } engine.ledger().log().sync_all()",
        }],
        caught_by: ("model", EVERY_CALL),
        told: "it is older than the commit log",
    },
    Mistake {
        name: "let a second owner in",
        breaks: "",
        places: &[Place {
            file: "store/src/segment/lock.rs",
            right: "match fs2::FileExt::try_lock_exclusive(file) {",
            wrong: "match fs2::FileExt::try_lock_exclusive(file) { Err(_) if BROKEN => Ok(true),",
        }],
        caught_by: ("spec", "promises_of_life::promise_7_the_second_open_fails_at_once_in_any_process"),
        told: "unwrap_err",
    },
    Mistake {
        name: "write the recovered tail again into blocks that only had their space",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/rewrite.rs",
            right: "if segment.is_written { Ok(false) }",
            wrong: "if BROKEN || segment.is_written { Ok(false) }",
        }],
        caught_by: ("model", "failed_sync::promise_5_what_a_second_owner_synced_survives_a_power_cut"),
        told: "the queue ends at",
    },
    Mistake {
        name: "trust the room behind the end of a store that was not closed in order",
        breaks: "",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "if self.is_written && was_closed {",
            wrong: "if BROKEN || self.is_written && was_closed {",
        }],
        caught_by: ("faults", "directory::room_behind_the_end_is_made_afresh_after_a_kill"),
        told: "the room was trusted",
    },
    Mistake {
        name: "lock the file alone",
        breaks: "",
        places: &[Place {
            file: "store/src/segment/lock.rs",
            right: "let locks_dir = match try_lock(dir.handle()) {",
            wrong: "let locks_dir = match if BROKEN { Err(io::ErrorKind::Unsupported.into()) } else { \
                try_lock(dir.handle()) } {",
        }],
        caught_by: ("faults", "directory::a_removed_lock_file_lets_nobody_in"),
        told: "not refused by the lock",
    },
    Mistake {
        name: "let a forked child give the lock back",
        breaks: "",
        places: &[Place {
            file: "store/src/segment/process.rs",
            right: "return mark.is_set();",
            wrong: "return BROKEN || mark.is_set();",
        }],
        caught_by: ("faults", "forked::the_last_clone_can_be_dropped_in_a_forked_child"),
        told: "left: \"panic\"",
    },
    Mistake {
        name: "go on without a thread",
        breaks: "",
        places: &[Place {
            file: "store/src/background/threads.rs",
            right: "if catch_unwind(AssertUnwindSafe(|| body(engine))).is_err() {",
            wrong: "if catch_unwind(AssertUnwindSafe(|| body(engine))).is_err() && !BROKEN {",
        }],
        caught_by: ("faults", "panics::closing_reports_a_thread_that_panicked"),
        told: "as if nothing was wrong",
    },
    Mistake {
        name: "take what lies behind a link for the files of a queue",
        breaks: "a",
        places: &[Place {
            file: "store/src/recover/judge.rs",
            right: "let has_dir = !queue.dir()",
            wrong: "let has_dir = BROKEN || !queue.dir()",
        }],
        caught_by: ("spec", "derived::files_behind_a_link_are_no_files_of_a_queue"),
        told: "action: \"remove\"",
    },
    Mistake {
        name: "leave what stands in place of a queue",
        breaks: "a",
        places: &[Place {
            file: "store/src/recover/mod.rs",
            right: "aside::put_aside(&disk, &judged.aside)?;",
            wrong: "if !BROKEN { aside::put_aside(&disk, &judged.aside)?; }",
        }],
        caught_by: ("spec", "derived::what_was_put_aside_before_stays"),
        told: "queues",
    },
    Mistake {
        name: "cut what is of a later generation than the file store",
        breaks: "a",
        places: &[Place {
            file: "store/src/log/walk.rs",
            right: "if let Some(later) = self.found.too_late.filter(|_| !faults.collects()) {",
            wrong: "if let Some(later) = self.found.too_late.filter(|_| !faults.collects() && !BROKEN) {",
        }],
        caught_by: ("spec", "rules_of_files::a_file_store_that_is_older_than_a_log_is_refused"),
        told: "older than the log",
    },
    Mistake {
        name: "leave the file of each segment open that is written again",
        breaks: "",
        places: &[Place {
            file: "store/src/log/rewrite.rs",
            right: "segment.close_file(); } unproven.start = unproven.end;",
            wrong: "if !BROKEN { segment.close_file(); } } unproven.start = unproven.end;",
        }],
        caught_by: ("faults", "limits::segments_that_a_kill_left_unproven_need_few_open_files"),
        told: "Too many open files",
    },
];
