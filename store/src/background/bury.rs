//! Writes dead letters: a message that has used up its deliveries is copied to the dead-letter queue of its group.
//!
//! The copy in the commit log names its origin and thereby settles it: there is no moment at which a crash could find
//! the letter written and the original still due, or the other way round. The record in the checkpoint log that
//! follows only saves recovery the search.
//!
//! On a full disk letters may use the room that is reserved for the store's own records, but only those of the oldest
//! segment: it alone can be deleted, which makes space for all others, and the room must not be used up before that.

use std::collections::BTreeMap;

use popstore_revive::{Burying, Gathered, GroupId, QueueId, QueueIndex, Run, State, Time};

use crate::engine::{Engine, RETRY_AFTER, Unrecorded};
use crate::error::{Error, Result};
use crate::event::StoreEvent;
use crate::format::commit::{Cause, MessageRecord, Settlement};
use crate::log::Room;
use crate::messages::{StoredMessage, dead_letters_of, record_bytes_max};

/// How many letters are written and synced as one, and how many bytes at most; never more than fit into a segment.
const LETTERS_MAX: usize = 1024;
const LETTER_BYTES_MAX: u64 = 1 << 20;

/// The messages that cannot be buried now, and why.
type Late = Vec<(Burying, String)>;

/// A letter about to be written.
struct Letter {
    original: StoredMessage,
    settlement: Settlement,
}

impl Engine {
    /// Copies messages to their groups' dead-letter queues and settles them there. Those that cannot be buried now are due
    /// again later.
    pub(crate) fn bury(&self, burials: &[Burying]) {
        let bytes_max = LETTER_BYTES_MAX.min(self.messages().message_room()) as usize;
        let (mut letters, mut late): (Vec<(Burying, Letter)>, Late) = Default::default();
        let mut bytes = 0;
        for burying in burials {
            for index in burying.run.indexes() {
                let one = Burying { run: Run { mask: index.bit(), ..burying.run }, ..*burying };
                let letter = match self.letter_of(&one, index) {
                    Ok(letter) => letter,
                    Err(error) => {
                        late.push((one, error.to_string()));
                        continue;
                    }
                };
                let more = record_bytes_max(&letter.original.record());
                if letters.len() >= LETTERS_MAX || (bytes + more > bytes_max && !letters.is_empty()) {
                    self.bury_some(std::mem::take(&mut letters), &mut late);
                    bytes = 0;
                }
                bytes += more;
                letters.push((one, letter));
            }
        }
        self.bury_some(letters, &mut late);
        self.delay(late);
    }

    fn letter_of(&self, burying: &Burying, index: QueueIndex) -> Result<Letter> {
        let Burying { group, run, uncounted, reason, popped_at } = *burying;
        let missing = || Error::unknown("topic", &format!("number {}", run.queue.topic.0));
        let topic = self.messages().topics().by_id(run.queue.topic).ok_or_else(missing)?;
        let queue = topic.queue(run.queue.queue).ok_or_else(missing)?;
        let original = self.messages().fetch(&topic, queue, index)?;
        let original = original.ok_or_else(|| self.messages().missing(&topic, index))?;
        let settlement = Settlement {
            cause: Cause::DeadLetter(reason),
            group,
            queue: run.queue,
            index,
            delivery: run.delivery,
            uncounted,
            popped_at,
            appended_at: original.appended_time(),
        };
        Ok(Letter { original, settlement })
    }

    fn bury_some(&self, mut letters: Vec<(Burying, Letter)>, late: &mut Late) {
        // Order matters: oldest first, since a full disk may have room for some of them only.
        letters.sort_by_key(|(burying, letter)| (burying.group, letter.original.position()));
        let oldest_end = self.messages().log().oldest_end();
        for of_group in letters.chunk_by(|one, other| one.0.group == other.0.group) {
            // Only the oldest segment can be deleted. The letters of others must not use up the room that this takes.
            let (oldest, others) =
                of_group.split_at(of_group.partition_point(|(_, letter)| letter.original.position() < oldest_end));
            self.bury_what_fits(oldest, Room::Reserved, late);
            self.bury_what_fits(others, Room::Free, late);
        }
    }

    /// On a full disk as many as there is room for. Returns whether that is all of them.
    fn bury_what_fits(&self, letters: &[(Burying, Letter)], room: Room, late: &mut Late) -> bool {
        let error = match self.bury_for(letters, room) {
            Ok(()) => return true,
            Err(error) => error,
        };
        let halves = letters.len() / 2;
        let (buried, left) = match &error {
            Error::Full { .. } if halves > 0 => letters.split_at(halves),
            _ => (&letters[..0], letters),
        };
        if !buried.is_empty() && self.bury_what_fits(buried, room, late) {
            return self.bury_what_fits(left, room, late);
        }
        late.extend(left.iter().map(|(burying, _)| (*burying, error.to_string())));
        false
    }

    fn bury_for(&self, letters: &[(Burying, Letter)], room: Room) -> Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        let group: GroupId = letters[0].0.group;
        // A group that was removed meanwhile takes its messages with it.
        let Some(name) = self.consumers().groups().get(&group).map(|entry| dead_letters_of(&entry.name)) else {
            return Ok(());
        };
        // Order matters: the leases that end here are durable before the letters, in every mode. A letter that outlived
        // them would be written once more after a power cut.
        self.ledger().log().sync_all()?;
        let topic = self.messages().make_topic(&name, 1, room)?;
        let buried_at = self.context().now();
        let log = self.messages().log();
        // Order matters: a message that has its letter already, or was given up meanwhile, is no longer at its limit then.
        self.record_settlements()?;
        let letters = self.still_to_bury(letters);
        if letters.is_empty() {
            return Ok(());
        }
        let records = letters.iter().map(|(_, letter)| MessageRecord {
            appended_at: buried_at,
            queue: QueueId { topic: topic.id, queue: 0 },
            settlement: Some(letter.settlement),
            ..letter.original.record()
        });
        let settling = self.letters().begin(|| log.appended());
        let end = self.messages().append(&topic, records, room, |_| {})?;
        // Order matters: the copy is durable before the original is settled, in every mode.
        log.sync_through(end)?;
        topic.signal.raise();
        let runs = Gathered::all(letters.iter().map(|(burying, _)| burying.run));
        self.settle_letters(Unrecorded { group: Some(group), at: buried_at, runs });
        drop(settling);
        Ok(())
    }

    /// The letters of messages that have used up their deliveries and are not buried yet.
    fn still_to_bury<'l>(&self, letters: &'l [(Burying, Letter)]) -> Vec<&'l (Burying, Letter)> {
        let consumers = self.consumers();
        let ended = |Burying { group, run, .. }: &Burying| {
            let mut held = run.indexes().filter_map(|index| consumers.index().held(*group, run.queue, index));
            held.any(|held| matches!(held.state, State::Ended(_)) && held.delivery == run.delivery)
        };
        letters.iter().filter(|(burying, _)| ended(burying)).collect()
    }

    /// All of them are due again at one time, so that they are tried, and reported, together.
    fn delay(&self, late: Late) {
        let now: Time = self.context().now();
        let mut consumers = self.consumers();
        let mut delayed: BTreeMap<(String, String), u32> = BTreeMap::new();
        if !late.is_empty() {
            consumers.retry_burials_at(now.after(RETRY_AFTER));
        }
        for (burying, reason) in late {
            let group = consumers.groups().get(&burying.group).map_or("", |entry| &entry.name).to_string();
            *delayed.entry((group, reason)).or_default() += burying.run.len();
        }
        drop(consumers);
        for ((group, reason), messages) in delayed {
            if self.context().check().is_ok() {
                self.context().emit(&StoreEvent::DeadLetterDelayed { group, messages, reason });
            }
        }
    }
}
