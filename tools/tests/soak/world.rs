//! What there is: topics, groups that read them, messages whose body tells itself, and chance.

use std::time::Duration;

use popstore::{Backoff, Durability, GroupOptions, Options, Retention, Store};

/// The topics, with their number of queues.
pub const TOPICS: [(&str, u32); 2] = [("orders", 3), ("parcels", 1)];

/// A group that reads some of the topics.
pub struct Reader {
    pub name: &'static str,
    pub letters: &'static str,
    pub topics: &'static [usize],
    pub max_reconsume_times: Option<u32>,
}

pub const GROUPS: [Reader; 3] = [
    Reader { name: "once", letters: "%DLQ%once", topics: &[0], max_reconsume_times: Some(0) },
    Reader { name: "thrice", letters: "%DLQ%thrice", topics: &[0, 1], max_reconsume_times: Some(2) },
    Reader { name: "always", letters: "%DLQ%always", topics: &[1], max_reconsume_times: None },
];

impl Reader {
    /// How often it is given a message at most.
    pub fn deliveries_max(&self) -> u32 {
        self.max_reconsume_times.map_or(u32::MAX, |times| times + 1)
    }

    pub fn options(&self) -> GroupOptions {
        let options = GroupOptions::default().invisible_for(millis(100));
        match self.max_reconsume_times {
            Some(times) => options.max_reconsume_times(times),
            None => options.without_limit().backoff(Backoff::Exponential { first: millis(2), cap: millis(40) }),
        }
    }
}

/// Every group with every topic it reads.
pub fn readings() -> impl Iterator<Item = (usize, usize)> {
    let groups = GROUPS.iter().enumerate();
    groups.flat_map(|(group, reader)| reader.topics.iter().map(move |topic| (group, *topic)))
}

pub fn topic_of(name: &str) -> Option<usize> {
    TOPICS.iter().position(|(topic, _)| *topic == name)
}

pub fn group_of(name: &str) -> Option<usize> {
    GROUPS.iter().position(|group| group.name == name)
}

/// How a store is opened in this life: every third another durability, every fourth without retention.
pub fn options(life: u64) -> Options {
    let durability = match life % 3 {
        0 => Durability::SyncEach,
        1 => Durability::SyncEvery(millis(5)),
        _ => Durability::Buffered,
    };
    let retention = if life % 4 == 3 { Retention::keep() } else { Retention::keep().when_done() };
    let options = Store::options().durability(durability).segment_bytes(256 << 10).checkpoint_segment_bytes(16 << 10);
    options.mark_every_bytes(64 << 10).entries_per_file(64).retention(retention)
}

pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The body that belongs to a token: the token, and a filling that follows from it.
pub fn body(token: u64) -> Vec<u8> {
    let mut chance = Chance(token);
    let len = 16 + if chance.one_in(20) { chance.below(8000) } else { chance.below(600) } as usize;
    let mut body = format!("{token:016x}").into_bytes();
    while body.len() < len {
        body.extend(chance.next().to_le_bytes());
    }
    body.truncate(len);
    body
}

/// The token of a body, if the body is whole.
pub fn token(found: &[u8]) -> Option<u64> {
    let token = u64::from_str_radix(std::str::from_utf8(found.get(..16)?).ok()?, 16).ok()?;
    (body(token) == found).then_some(token)
}

/// A stream of numbers that follows from where it begins (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        millis(range.start + self.below(range.end - range.start))
    }
}

#[test]
fn a_body_with_any_byte_changed_has_no_token() {
    let whole = body(77);
    assert_eq!(token(&whole), Some(77));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert_eq!(token(&changed), None, "byte {at}");
    }
    assert_eq!(token(&whole[..whole.len() - 1]), None);
}
