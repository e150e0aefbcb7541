//! Everything a store shows, read back into the oracle's terms.

use popstore::{EndReason, Message, Store, StoredMessage};

use crate::claims::Sight;
use crate::op::Size;
use crate::stage::{GROUPS, TOPICS};
use crate::world::{Body, Letter};

const SECTOR: u64 = 512;
/// What a record takes beside its body, key and tag included, as long as its index is short.
const OVERHEAD: u64 = 21 + 20;
const BYTES_MAX: u16 = 1400;

/// A message made from its number.
pub struct Made {
    key: String,
    bytes: Vec<u8>,
}

impl Made {
    pub fn of(body: Body) -> Self {
        let stamp = body.id.to_le_bytes();
        // Bodies hold no zeroes, so that a lost sector cannot look like a part of one.
        let bytes = (0..usize::from(body.len)).map(|at| (stamp[at % 4].wrapping_add(at as u8)) | 1).collect();
        Self { key: format!("k{:05}", body.id), bytes }
    }

    pub fn message(&self) -> Message<'_> {
        Message::new(&self.bytes).key(&self.key).tag("t")
    }
}

/// The body of a size that is asked for, to be appended at `end`.
pub fn body_of(id: u32, size: Size, end: &mut u64) -> Body {
    let len = match size {
        Size::Bytes(bytes) => bytes % BYTES_MAX,
        Size::ToSector(least) => {
            let least = u64::from(least % (BYTES_MAX - SECTOR as u16));
            let full = (*end + OVERHEAD + least).next_multiple_of(SECTOR);
            (full - *end - OVERHEAD) as u16
        }
    };
    let body = Body { id, len };
    *end += record_bytes(body);
    body
}

pub fn record_bytes(body: Body) -> u64 {
    OVERHEAD + u64::from(body.len)
}

/// What a message was made from, if it is whole.
pub fn body_in(message: &StoredMessage) -> Option<Body> {
    let id = std::str::from_utf8(message.key()).ok()?.strip_prefix('k')?.parse().ok()?;
    let body = Body { id, len: message.body().len() as u16 };
    (message.body() == Made::of(body).bytes && message.tag() == "t").then_some(body)
}

/// Reads everything.
pub fn look(store: &Store) -> Result<Sight, String> {
    let mut sight = Sight::default();
    let stats = store.stats().map_err(|error| error.to_string())?;
    for topic in &stats.topics {
        let Some(id) = TOPICS.iter().position(|name| *name == topic.name) else { continue };
        for (queue, (first, end)) in topic.queues.iter().enumerate() {
            let read = |index| match store.message(&topic.name, queue as u32, index) {
                Ok(message) => Ok(message.as_ref().and_then(body_in)),
                Err(error) => Err(format!("{}/{queue}/{index}: {error}", topic.name)),
            };
            let bodies = (*first..*end).map(read).collect::<Result<Vec<_>, _>>()?;
            sight.queues.insert((id as u8, queue as u8), (*first, bodies));
        }
    }
    for group in &stats.groups {
        let id = GROUPS.iter().position(|name| *name == group.name).ok_or("a strange group")? as u8;
        sight.groups.insert(id, [group.popped, group.acked, group.nacked]);
        let letters = letters(store, &group.name)?;
        if !letters.is_empty() {
            sight.letters.insert(id, letters);
        }
    }
    Ok(sight)
}

/// The dead-letter queue of a group: each letter, or `None` for one that was put back.
fn letters(store: &Store, name: &str) -> Result<Vec<Option<Letter>>, String> {
    let group = store.group(name).map_err(|error| error.to_string())?;
    let end = store.topic_stats(&format!("%DLQ%{name}")).map_or(0, |stats| stats.queues[0].1);
    let mut letters = vec![None; end as usize];
    for letter in group.dead_letters().map_err(|error| error.to_string())? {
        let letter = letter.map_err(|error| error.to_string())?;
        let topic = TOPICS.iter().position(|name| *name == letter.origin_topic()).ok_or("a strange origin")?;
        letters[letter.message().index() as usize] = Some(Letter {
            queue: (topic as u8, letter.origin_queue() as u8),
            index: letter.origin_index(),
            attempt: letter.attempts(),
            nacked: letter.reason() == EndReason::Nacked,
            redriven: false,
            body: body_in(letter.message()).ok_or("a letter is not what it was")?,
        });
    }
    Ok(letters)
}
