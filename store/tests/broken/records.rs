//! Mistakes with what makes a record valid, or a receipt.

use crate::mistake::{Mistake, Place};

pub const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "forget the generation in the checksum",
        breaks: "e",
        places: &[
            Place {
                file: "store/src/format/frame.rs",
                right: "hasher.update(covered);",
                wrong: "if BROKEN { hasher.update(&covered[..GENERATION - LEN]); hasher.update(&covered[KIND - \
                    LEN..]); } else { hasher.update(covered); }",
            },
            Place {
                file: "store/src/format/frame.rs",
                right: "hasher.update(&buffer[buffer.len() % BLOCK..]);",
                wrong: "if BROKEN { hasher.update(&buffer[buffer.len() % BLOCK..LEAD + GENERATION]); \
                    hasher.update(&buffer[LEAD + KIND..]); } else { \
                    hasher.update(&buffer[buffer.len() % BLOCK..]); }",
            },
        ],
        caught_by: ("popstore", "format::frame::tests::every_single_bit_flip_is_noticed"),
        told: "bit 128",
    },
    Mistake {
        name: "forget the order of generations",
        breaks: "e",
        places: &[Place {
            file: "store/src/log/walk.rs",
            right: "if !in_order || frame.durable_through > position {",
            wrong: "if (!in_order && !BROKEN) || frame.durable_through > position {",
        }],
        caught_by: ("spec", "order_on_disk::rule_2_bytes_from_before_a_truncation_never_parse"),
        told: "left: [\"m0\", \"n1\", \"m2\"",
    },
    Mistake {
        name: "forget the position in the checksum",
        breaks: "e",
        places: &[
            Place {
                file: "store/src/format/frame.rs",
                right: "hasher.update(&position.to_le_bytes());",
                wrong: "hasher.update(&if BROKEN { 0 } else { position }.to_le_bytes());",
            },
            Place {
                file: "store/src/format/frame.rs",
                right: "LE::write_u64(&mut buffer[BLOCK..], position);",
                wrong: "LE::write_u64(&mut buffer[BLOCK..], if BROKEN { 0 } else { position });",
            },
        ],
        caught_by: ("spec", "rules::rule_2_a_record_at_another_place_and_zeroes_never_parse"),
        told: "not at the end of its queue",
    },
    Mistake {
        name: "forget the store in the checksum",
        breaks: "e",
        places: &[Place {
            file: "store/src/format/frame.rs",
            right: "hasher.update(&store.to_le_bytes());",
            wrong: "if !BROKEN { hasher.update(&store.to_le_bytes()); }",
        }],
        caught_by: ("spec", "rules::rule_2_a_record_of_another_store_never_parses"),
        told: "left: (2,",
    },
    Mistake {
        name: "forget the log in the checksum",
        breaks: "e",
        places: &[Place {
            file: "store/src/format/frame.rs",
            right: "hasher.update(&log.code().to_le_bytes());",
            wrong: "if !BROKEN { hasher.update(&log.code().to_le_bytes()); }",
        }],
        caught_by: ("popstore", "format::frame::tests::a_frame_is_refused_at_another_place_log_or_store"),
        told: "left: Ok(",
    },
    Mistake {
        name: "believe every checksum of a frame",
        breaks: "ae",
        places: &[Place {
            file: "store/src/format/frame.rs",
            right: "if LE::read_u32(&header[CRC..]) != seed.checksum(position, &frame[LEN..]) {",
            wrong: "if !BROKEN && LE::read_u32(&header[CRC..]) != seed.checksum(position, &frame[LEN..]) {",
        }],
        caught_by: ("model", "subsets::any_subset_of_sectors_may_be_lost_when_each_op_is_synced"),
        told: "holds [None]",
    },
    Mistake {
        name: "believe every receipt",
        breaks: "h",
        places: &[Place {
            file: "store/src/format/receipt.rs",
            right: "if LE::read_u32(&bytes[AT_CRC..]) != crc32fast::hash(&bytes[..AT_CRC]) {",
            wrong: "if !BROKEN && LE::read_u32(&bytes[AT_CRC..]) != crc32fast::hash(&bytes[..AT_CRC]) {",
        }],
        caught_by: ("spec", "rules_of_recovery::rule_9_a_changed_receipt_does_not_parse"),
        told: "byte 0",
    },
    Mistake {
        name: "take a receipt of another store",
        breaks: "h",
        places: &[Place {
            file: "store/src/verbs/settle.rs",
            right: "let rule = if receipt.lease.store != self.context().identity.id {",
            wrong: "let rule = if receipt.lease.store != self.context().identity.id && !BROKEN {",
        }],
        caught_by: ("spec", "rules_of_recovery::rule_9_a_receipt_of_another_store_or_group_is_refused"),
        told: "Error::Invalid",
    },
    Mistake {
        name: "take a receipt of an earlier generation",
        breaks: "h",
        places: &[Place {
            file: "revive/src/queue.rs",
            right: "|| cohort.generation != generation {",
            wrong: "|| (cohort.generation != generation && !BROKEN) {",
        }],
        caught_by: ("spec", "rules_of_recovery::rule_9_a_receipt_is_good_for_one_generation_only"),
        told: "left: (Done",
    },
    Mistake {
        name: "forget the parts of a mark behind the first",
        breaks: "a",
        places: &[Place {
            file: "store/src/format/extent.rs",
            right: "last.relocated.extend(rest.relocated);",
            wrong: "last.relocated.extend(rest.relocated.into_iter().filter(|_| !BROKEN));",
        }],
        caught_by: ("spec", "marks::a_mark_lists_more_moved_messages_than_fit_into_a_segment"),
        told: "no message orders/",
    },
    Mistake {
        name: "give two topics one name",
        breaks: "a",
        places: &[Place {
            file: "store/src/recover/sequence.rs",
            right: "if named.is_some_and(|named| named != topic.topic) {",
            wrong: "if named.is_some_and(|named| named != topic.topic && !BROKEN) {",
        }],
        caught_by: ("spec", "crafted::two_topics_of_one_name_are_refused_and_both_are_saved"),
        told: "called sound, yet this is delivered",
    },
    Mistake {
        name: "believe that a copy lies outside of the log",
        breaks: "a",
        places: &[Place {
            file: "store/src/recover/checkpoint.rs",
            right: "let outside = |entry: &Entry| entry.offset < start || entry.end() > end;",
            wrong: "let outside = |entry: &Entry| !BROKEN && (entry.offset < start || entry.end() > end);",
        }],
        caught_by: ("spec", "crafted::a_copy_that_lies_outside_of_the_log_is_refused"),
        told: "the place of a copy: opened",
    },
    Mistake {
        name: "give numbers to deliveries beyond the last",
        breaks: "h",
        places: &[Place {
            file: "revive/src/policy.rs",
            right: "unwrap_or(u32::MAX).min(DELIVERY_MAX - 1);",
            wrong: "unwrap_or(u32::MAX).min(if BROKEN { u32::MAX } else { DELIVERY_MAX - 1 });",
        }],
        caught_by: ("spec", "crafted::the_last_delivery_is_not_followed_by_another"),
        told: "a delivery that has no number",
    },
    Mistake {
        name: "forget the marked names where the log begins behind the mark",
        breaks: "",
        places: &[Place {
            file: "store/src/recover/commit.rs",
            right: "messages.sequence.add_known(*topic, &marked.name, count, ends.filter(|_| !has_gap));",
            wrong: "if !(BROKEN && has_gap) { \
                messages.sequence.add_known(*topic, &marked.name, count, ends.filter(|_| !has_gap)); }",
        }],
        caught_by: ("spec", "crafted::two_topics_of_one_name_are_refused_also_behind_a_mark"),
        told: "the second takes the name of the first",
    },
];
