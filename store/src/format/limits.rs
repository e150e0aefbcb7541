//! The bounds of names and numbers of records, for every reader: those that the public API has, too.

use popstore_revive::QueueId;

use super::Rule;
use super::varint::Fields;

/// The most queues a topic can have.
pub(crate) const QUEUES_MAX: u32 = 1024;
/// The longest name that users may give.
pub(crate) const NAME_MAX: usize = 127;
/// What the names of dead-letter queues start with.
pub(crate) const DEAD_LETTERS: &str = "%DLQ%";
/// The lease of a group, in microseconds: 1 ms to 7 days.
pub(super) const LEASE_MICROS: std::ops::RangeInclusive<u64> = 1_000..=7 * 86_400_000_000;
/// The most rungs of a backoff ladder.
pub(crate) const RUNGS_MAX: usize = 256;

/// Whether users may give this name to a topic or a group.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['.', '%'])
}

/// Whether a topic can have this name, dead-letter queues included. It becomes a directory.
pub(crate) fn is_topic_name(name: &str) -> bool {
    is_name(name.strip_prefix(DEAD_LETTERS).unwrap_or(name))
}

pub(super) fn topic_name<'a>(fields: &mut Fields<'a>) -> Result<&'a str, Rule> {
    Some(fields.text()?).filter(|name| is_topic_name(name)).ok_or(Rule::Field("topic name"))
}

pub(super) fn group_name<'a>(fields: &mut Fields<'a>) -> Result<&'a str, Rule> {
    Some(fields.text()?).filter(|name| is_name(name)).ok_or(Rule::Field("group name"))
}

/// The number of a topic or a group that exists. The largest has no successor, so none gets it.
pub(super) fn number(fields: &mut Fields<'_>, field: &'static str) -> Result<u32, Rule> {
    Some(fields.u32()?).filter(|number| *number != u32::MAX).ok_or(Rule::Field(field))
}

#[inline(always)]
pub(super) fn queue(fields: &mut Fields<'_>) -> Result<QueueId, Rule> {
    let queue = QueueId { topic: popstore_revive::TopicId(fields.u32()?), queue: fields.u32()? };
    if queue.queue < QUEUES_MAX { Ok(queue) } else { Err(Rule::Field("queue")) }
}

/// The place of a message. No queue has one at the last number, since its end is a number, too.
#[inline(always)]
pub(super) fn index(fields: &mut Fields<'_>) -> Result<popstore_revive::QueueIndex, Rule> {
    let index = fields.u64()?;
    if index < u64::MAX { Ok(popstore_revive::QueueIndex(index)) } else { Err(Rule::Field("index")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_public_api_takes() {
        let long = "x".repeat(NAME_MAX);
        for name in ["a", "A-z_0.9%", long.as_str()] {
            assert!(is_name(name) && is_topic_name(name) && is_topic_name(&format!("{DEAD_LETTERS}{name}")), "{name}");
        }
        for name in ["", ".", ".a", "%a", "a/b", "a b", "a\0b", "\u{e4}", "%DLQ%", "%DLQ%.a", &format!("{long}x")] {
            assert!(!is_name(name) && !is_topic_name(name), "{name}");
        }
    }
}
