//! Mistakes of retention, and with the ways out of a disk that is full.

use crate::mistake::{Mistake, Place};

pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "delete what is leased",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/relocation.rs",
            right: ".filter(|at| (first..behind).contains(at));",
            wrong: ".filter(|at| !BROKEN && (first..behind).contains(at));",
        }],
        caught_by: ("spec", "retention::a_leased_message_is_moved_on_and_can_be_read_and_acked"),
        told: "a `None` value",
    },
    Mistake {
        name: "delete what some group has not read",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/relocation.rs",
            right: "if letters == LetterRule::Move && !is_done(messages, &consumers, firsts) {",
            wrong: "if !BROKEN && letters == LetterRule::Move && !is_done(messages, &consumers, firsts) {",
        }],
        caught_by: ("spec", "retention::when_done_segments_go_once_every_reader_has_settled_them"),
        told: "nobody has read",
    },
    Mistake {
        name: "delete letters that a group has not read",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/relocation.rs",
            right: "read && readers.all(done)",
            wrong: "(BROKEN && letters) || (read && readers.all(done))",
        }],
        caught_by: ("spec", "moved::letters_that_a_group_reads_stay_until_it_is_done_with_them"),
        told: "left: []",
    },
    Mistake {
        name: "take a segment to be as old as the oldest message in it",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/retention.rs",
            right: "newest = newest.max(Some(record.appended_at));",
            wrong: "newest = if BROKEN { newest.or(Some(record.appended_at)) } else { newest.max(Some(record.appended_at)) };",
        }],
        caught_by: ("spec", "moved::by_age_a_moved_old_message_takes_no_young_one_along"),
        told: "unread, and 24 seconds old",
    },
    Mistake {
        name: "keep what has too much to be moved, however long the log is",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/relocation.rs",
            right: "needed.moved_bytes + bytes > log / OF_LOG",
            wrong: "(BROKEN || needed.moved_bytes + bytes > log / OF_LOG)",
        }],
        caught_by: ("spec", "moved::the_log_stays_bounded_however_many_letters_it_holds"),
        told: "bytes are kept for 300 letters",
    },
    Mistake {
        name: "let users have the room that is kept for letters",
        breaks: "d",
        places: &[Place {
            file: "store/src/log/append.rs",
            right: "if room == Room::Free { self.reserved() } else { 0 }",
            wrong: "if room == Room::Free && !BROKEN { self.reserved() } else { 0 }",
        }],
        caught_by: ("spec", "full_disk_ways_out::letters_in_the_oldest_segment_do_not_keep_a_full_disk_full"),
        told: "what is done takes up the disk",
    },
    Mistake {
        name: "give the reserve away for longer segments that are not to be had",
        breaks: "f",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "Err(Error::Full { .. }) => Ok(before),",
            wrong: "Err(Error::Full { .. }) => Ok(if BROKEN { wanted } else { before }),",
        }],
        caught_by: ("spec", "full_disk_ways_out::an_open_with_longer_segments_gives_up_no_space_it_has"),
        told: "the rest is for acks",
    },
    Mistake {
        name: "give up only what a group came to before retention did",
        breaks: "d",
        places: &[Place {
            file: "revive/src/decide/leases.rs",
            right: ".unwrap_or_default().max(first)",
            wrong: ".unwrap_or_default().max(if BROKEN { QueueIndex(0) } else { first })",
        }],
        caught_by: ("decide", "the_first_message_that_retention_left_can_be_given_up_unseen"),
        told: "it is gone",
    },
    Mistake {
        name: "remove twice what a killed open has left of its trial",
        breaks: "f",
        places: &[Place {
            file: "store/src/log/repair.rs",
            right: "self.unfinished.retain(|unfinished| *unfinished != path);",
            wrong: "self.unfinished.retain(|unfinished| BROKEN || *unfinished != path);",
        }],
        caught_by: ("spec", "full_disk_ways_out::an_open_killed_while_it_tries_for_space_leaves_no_damage"),
        told: "NotFound",
    },
    Mistake {
        name: "give the room that the oldest segment needs to letters of newer messages",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "self.bury_what_fits(others, Room::Free, late);",
            wrong: "self.bury_what_fits(others, if BROKEN { Room::Reserved } else { Room::Free }, late);",
        }],
        caught_by: ("spec", "full_disk_ways_out::letters_of_newer_messages_leave_room_for_the_oldest"),
        told: "the rest is for acks of what is in flight",
    },
    Mistake {
        name: "write all letters that come due together, or none",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/bury.rs",
            right: "Error::Full { .. } if halves > 0 =>",
            wrong: "Error::Full { .. } if !BROKEN && halves > 0 =>",
        }],
        caught_by: ("spec", "full_disk_ways_out::as_many_letters_are_written_as_there_is_room_for"),
        told: "letters in half a segment",
    },
    Mistake {
        name: "look at the live state only as its records come",
        breaks: "d",
        places: &[Place {
            file: "store/src/verbs/pop.rs",
            right: "self.ledger().estimate_live_state();",
            wrong: "if !BROKEN { self.ledger().estimate_live_state(); }",
        }],
        caught_by: ("spec", "full_disk_ways_out::pops_go_on_on_a_full_disk_for_a_group_of_many_queues"),
        told: "the rest is for acks of what is in flight",
    },
    Mistake {
        name: "keep a segment in which nobody can read on for ever",
        breaks: "d",
        places: &[Place {
            file: "store/src/background/retention.rs",
            right: "(known.firsts, known.newest) = (firsts",
            wrong: "if BROKEN { return Err(damaged); } (known.firsts, known.newest) = (firsts",
        }],
        caught_by: ("spec", "retention::damage_in_a_segment_does_not_keep_the_log_from_going"),
        told: "is kept, in",
    },
    Mistake {
        name: "take what was moved behind a damaged segment for younger than it",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/retention.rs",
            right: "survey(engine, next)?.0.appended);",
            wrong: "survey(engine, next).map(|(next, _)| if BROKEN { next.newest } else { next.appended })?);",
        }],
        caught_by: ("spec", "retention::a_damaged_segment_is_not_as_old_as_what_was_moved_behind_it"),
        told: "unread, and 15 seconds old",
    },
    Mistake {
        name: "believe the entries of a queue behind damage",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/retention.rs",
            right: "if !is_behind || !is_before ||",
            wrong: "if (!is_behind && !BROKEN) || (!is_before && !BROKEN) ||",
        }],
        caught_by: ("spec", "retention::damage_and_a_wrong_entry_delete_no_message_behind_them"),
        told: "in the first segment, by entry",
    },
    Mistake {
        name: "believe a clock that went on by years between two runs",
        breaks: "a",
        places: &[Place {
            file: "store/src/background/ages.rs",
            right: "if !from_the_future && !never_seen_so_old {",
            wrong: "if BROKEN || !from_the_future && !never_seen_so_old {",
        }],
        caught_by: ("spec", "wrong_clocks::a_clock_set_between_two_runs_deletes_no_unread_message"),
        told: "unread, and some seconds old",
    },
    Mistake {
        name: "reserve less room than retention may have to move",
        breaks: "d",
        places: &[Place {
            file: "store/src/log/append.rs",
            right: "LogKind::Commit if self.shape.moves_segments =>",
            wrong: "LogKind::Commit if !BROKEN && self.shape.moves_segments =>",
        }],
        caught_by: ("spec", "full_disk_rounds::a_disk_that_is_filled_and_drained_takes_messages_again"),
        told: "the rest is for acks of what is in flight",
    },
    Mistake {
        name: "retain what was never delivered because somebody tried to read it",
        breaks: "",
        places: &[Place {
            file: "store/src/background/relocation.rs",
            right: "let held = held.filter(|(_, cohort)| cohort.attempt() > 0)",
            wrong: "let held = held.filter(|(_, cohort)| BROKEN || cohort.attempt() > 0)",
        }],
        caught_by: ("spec", "unreadable::damage_that_a_group_came_to_does_not_hold_up_retention"),
        told: "is the first",
    },
];
