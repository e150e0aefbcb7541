//! Dead letters, with their origin and history, and how they are put back to where they came from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use popstore_revive::{EndReason, Gathered, Letter, QueueId, QueueIndex};

use crate::clock;
use crate::engine::{Engine, Unrecorded};
use crate::error::{Error, Result};
use crate::format::commit::{Cause, MessageRecord, Settlement};
use crate::ledger::GroupEntry;
use crate::log::Room;
use crate::messages::{StoredMessage, Topic, dead_letters_of};

/// A message that used up its deliveries, with its history.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # let once = GroupOptions::default().max_reconsume_times(0);
/// # let billing = store.create_group("billing", once)?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # let popped = billing.pop("orders", Pop::up_to(1))?;
/// # let _ = billing.nack(popped[0].receipt(), std::time::Duration::ZERO)?;
/// # while billing.dead_letters()?.next().is_none() { std::thread::yield_now(); }
/// let letter = billing.dead_letters()?.next().unwrap()?;
/// assert_eq!((letter.origin_topic(), letter.origin_index(), letter.attempts()), ("orders", 0, 1));
/// assert_eq!(letter.reason(), EndReason::Nacked);
/// println!("popped at {:?}, dead-lettered at {:?}", letter.popped_at(), letter.buried_at());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetter {
    store: u128,
    message: StoredMessage,
    settlement: Settlement,
    origin: Arc<str>,
}

/// What became of a letter that was to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Redriven {
    /// It is a new message at the end of this queue of its old topic.
    Done {
        /// The queue.
        queue: u32,
        /// Its place there.
        index: u64,
    },
    /// It was put back before; nothing changed.
    AlreadyRedriven,
    /// Every group that reads the dead-letter queue has finished with it; nothing changed.
    Finished,
}

impl DeadLetter {
    /// The letter itself: key, tag, properties and body are those of the original.
    pub fn message(&self) -> &StoredMessage {
        &self.message
    }

    /// The topic it came from.
    pub fn origin_topic(&self) -> &str {
        &self.origin
    }

    /// The queue it came from.
    pub fn origin_queue(&self) -> u32 {
        self.settlement.queue.queue
    }

    /// Its place in that queue.
    pub fn origin_index(&self) -> u64 {
        self.settlement.index.0
    }

    /// How often it was delivered, without the deliveries that do not count.
    pub fn attempts(&self) -> u32 {
        self.settlement.attempts()
    }

    /// Why its last lease ended.
    pub fn reason(&self) -> EndReason {
        match self.settlement.cause {
            Cause::DeadLetter(reason) => reason,
            Cause::Redrive => EndReason::Expired,
        }
    }

    /// When the original was appended.
    pub fn appended_at(&self) -> SystemTime {
        clock::wall(self.settlement.appended_at)
    }

    /// When it was delivered last.
    pub fn popped_at(&self) -> SystemTime {
        clock::wall(self.settlement.popped_at)
    }

    /// When it was dead-lettered.
    pub fn buried_at(&self) -> SystemTime {
        self.message.appended_at()
    }
}

impl DeadLetter {
    /// The letter that a message is, unless it is none.
    pub(crate) fn of(engine: &Engine, message: StoredMessage) -> Option<Self> {
        let settlement = message.settlement().copied()?;
        let origin = engine.messages().topics().by_id(settlement.queue.topic);
        let origin = origin.map_or_else(|| "".into(), |topic| Arc::clone(&topic.name));
        Some(Self { store: engine.context().identity.id, message, settlement, origin })
    }

    fn place(&self) -> (QueueId, QueueIndex) {
        (self.message.run().queue, QueueIndex(self.message.index()))
    }

    /// Its place as people write it.
    fn name(&self) -> String {
        format!("{}/{}", self.message.topic(), self.message.index())
    }
}

impl Engine {
    /// Puts letters back, at the price of one sync, with an outcome for each.
    pub(crate) fn redrive(&self, group: &GroupEntry, letters: &[DeadLetter]) -> Result<Vec<Result<Redriven>>> {
        self.context().check()?;
        let of_group = dead_letters_of(&group.name);
        let id = self.context().identity.id;
        let is_ours = |letter: &DeadLetter| letter.store == id && letter.message.topic() == of_group;
        if let Some(other) = letters.iter().find(|letter| !is_ours(letter)) {
            return Err(Error::invalid("dead letter", other.name(), "it must be of this store and this group"));
        }
        let at = self.context().time()?;
        let log = self.messages().log();
        // Nobody else puts one of them back meanwhile, and no mark passes a copy that is not on record.
        let settling = self.letters().begin_redrive(letters.iter().map(DeadLetter::place).collect(), || log.appended());
        let mut outcomes = Vec::with_capacity(letters.len());
        // Order matters: a letter whose copy has no record yet counts as put back.
        self.record_settlements()?;
        let (mut copied, mut end) = (BTreeSet::new(), 0);
        for letter in letters {
            let done = match self.listed(letter) {
                _ if copied.contains(&letter.place()) => Ok(Redriven::AlreadyRedriven),
                Some(off) => Ok(off),
                None => self.append_again(letter, at).map(|(done, behind)| {
                    copied.insert(letter.place());
                    end = behind;
                    done
                }),
            };
            outcomes.push(done);
        }
        if !copied.is_empty() {
            log.sync_through(end)?;
            let copies = letters.iter().filter(|letter| copied.contains(&letter.place()));
            let runs = Gathered::all(copies.map(|letter| letter.message.run()));
            self.settle_letters(Unrecorded { group: None, at, runs });
        }
        drop(settling);
        self.messages().raise(letters.iter().map(|letter| letter.settlement.queue));
        Ok(outcomes)
    }

    /// Why a letter is off the list, if it is.
    fn listed(&self, letter: &DeadLetter) -> Option<Redriven> {
        let (queue, index) = letter.place();
        match self.consumers().index().letter(queue, index) {
            Letter::Listed => None,
            Letter::Redriven => Some(Redriven::AlreadyRedriven),
            Letter::Finished => Some(Redriven::Finished),
        }
    }

    /// Appends what a letter holds to the topic it came from. Returns the log's end, too.
    fn append_again(&self, letter: &DeadLetter, at: popstore_revive::Time) -> Result<(Redriven, u64)> {
        let origin = letter.settlement.queue;
        let gone = || Error::unknown("topic", &letter.origin);
        let topic: Arc<Topic> = self.messages().topics().by_id(origin.topic).ok_or_else(gone)?;
        let (queue, index) = letter.place();
        // Order matters: what retention has deleted is gone before it is forgotten that it was put back.
        if !self.messages().has(queue, index)? {
            return Err(Error::unknown("dead letter", &letter.name()));
        }
        // A letter that lies about its origin is not settled by a copy that could not be written.
        topic.queue(origin.queue).ok_or_else(gone)?;
        let settlement =
            Settlement { cause: Cause::Redrive, queue, index, delivery: 0, uncounted: 0, ..letter.settlement };
        let record =
            MessageRecord { appended_at: at, queue: origin, settlement: Some(settlement), ..letter.message.record() };
        let mut done = Redriven::AlreadyRedriven;
        let end = self.messages().append(&topic, std::iter::once(record), Room::Free, |appended| {
            done = Redriven::Done { queue: appended.queue, index: appended.index };
        })?;
        Ok((done, end))
    }
}
