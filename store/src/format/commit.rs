//! The records of the commit log.

use popstore_revive::{Command, EndReason, GroupId, QueueId, QueueIndex, Run, Time, TopicId};

use super::Rule;
use super::delivery::{delivery, put_delivery};
use super::frame::{FRAME_HEADER, Frame, KIND_END};
use super::limits;
use super::varint::{Fields, VARINT_MAX, put, put_bytes};

const KIND_MESSAGE: u8 = 2;
const KIND_TOPIC: u8 = 3;

const FLAG_DELIVER_AT: u64 = 1 << 0;
const FLAG_MESSAGE_ID: u64 = 1 << 1;
const FLAG_ORDER_KEY: u64 = 1 << 2;
const FLAG_SETTLEMENT: u64 = 1 << 3;
const FLAG_RELOCATED: u64 = 1 << 4;
const FLAGS_KNOWN: u64 = (1 << 5) - 1;

/// More than a message record takes beside its key, tag, properties and body.
pub(crate) const MESSAGE_OVERHEAD_MAX: usize = FRAME_HEADER + 18 * VARINT_MAX;
/// More than a topic record takes beside the name.
pub(crate) const TOPIC_OVERHEAD_MAX: usize = FRAME_HEADER + 3 * VARINT_MAX;

/// A record of the commit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitRecord<'a> {
    /// The segment ends here.
    End,
    /// A topic exists. Written before its first message and again in each segment that has messages of it.
    Topic(TopicRecord<'a>),
    Message(MessageRecord<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicRecord<'a> {
    pub(crate) topic: TopicId,
    pub(crate) queues: u32,
    pub(crate) name: &'a str,
}

/// A message as it lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageRecord<'a> {
    /// How many messages of the same batch follow: a batch that does not count down to 0 never happened.
    pub(crate) rest: u32,
    /// When it was appended, to the millisecond.
    pub(crate) appended_at: Time,
    pub(crate) queue: QueueId,
    pub(crate) index: QueueIndex,
    /// A copy made by retention: it stands for the message at its place and takes no new one.
    pub(crate) relocated: bool,
    /// What appending it settles.
    pub(crate) settlement: Option<Settlement>,
    pub(crate) key: &'a [u8],
    pub(crate) tag: &'a str,
    /// Names and values, each with its length before it.
    pub(crate) properties: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// What a message's existence settles, and for a dead letter its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) cause: Cause,
    pub(crate) group: GroupId,
    /// The place of the original.
    pub(crate) queue: QueueId,
    pub(crate) index: QueueIndex,
    /// Its last delivery, 0 for a redriven letter.
    pub(crate) delivery: u32,
    /// How many of its deliveries do not count.
    pub(crate) uncounted: u32,
    pub(crate) popped_at: Time,
    pub(crate) appended_at: Time,
}

/// Why a message was written on behalf of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is a dead letter; the original leaves its group.
    DeadLetter(EndReason),
    /// It is a dead letter put back; the letter is redriven.
    Redrive,
}

impl Settlement {
    pub(crate) fn run(&self) -> Run {
        Run::one(self.queue, self.index, self.delivery)
    }

    /// How many of the original's deliveries count.
    pub(crate) fn attempts(&self) -> u32 {
        self.delivery.saturating_sub(self.uncounted)
    }

    /// What it is for the core; `runs` is [`Settlement::run`].
    pub(crate) fn command<'r>(&self, runs: &'r [Run]) -> Command<'r> {
        match self.cause {
            Cause::DeadLetter(_) => Command::Bury { group: self.group, runs },
            Cause::Redrive => Command::Redrive { letters: runs },
        }
    }
}

pub(crate) fn encode_topic(record: &TopicRecord<'_>, out: &mut Vec<u8>) {
    super::frame::open(out, KIND_TOPIC);
    put(out, u64::from(record.topic.0));
    put(out, u64::from(record.queues));
    put_bytes(out, record.name.as_bytes());
}

/// Appends the frame up to the body, un-sealed. The body follows it in the log.
pub(crate) fn encode_message(record: &MessageRecord<'_>, out: &mut Vec<u8>) {
    super::frame::open(out, KIND_MESSAGE);
    let settles = if record.settlement.is_some() { FLAG_SETTLEMENT } else { 0 };
    let relocated = if record.relocated { FLAG_RELOCATED } else { 0 };
    put(out, u64::from(record.rest));
    put(out, record.appended_at.0 / 1000);
    put(out, u64::from(record.queue.topic.0));
    put(out, u64::from(record.queue.queue));
    put(out, record.index.0);
    put(out, settles | relocated);
    if let Some(settlement) = &record.settlement {
        put_settlement(settlement, out);
    }
    put_bytes(out, record.key);
    put_bytes(out, record.tag.as_bytes());
    put_bytes(out, record.properties);
}

fn put_settlement(settlement: &Settlement, out: &mut Vec<u8>) {
    put(
        out,
        match settlement.cause {
            Cause::DeadLetter(EndReason::Expired) => 1,
            Cause::DeadLetter(EndReason::Nacked) => 2,
            Cause::Redrive => 3,
        },
    );
    put(out, u64::from(settlement.group.0));
    put(out, u64::from(settlement.queue.topic.0));
    put(out, u64::from(settlement.queue.queue));
    put(out, settlement.index.0);
    if settlement.cause != Cause::Redrive {
        put_delivery(settlement.delivery, settlement.uncounted, out);
    }
    put(out, settlement.popped_at.0);
    put(out, settlement.appended_at.0);
}

impl<'a> CommitRecord<'a> {
    /// Decodes what a frame of the commit log holds.
    #[inline(always)]
    pub(crate) fn decode(frame: &Frame<'a>) -> Result<Self, Rule> {
        let mut fields = Fields(frame.payload);
        match frame.kind {
            KIND_END => fields.end().map(|()| Self::End),
            KIND_TOPIC => {
                let topic = TopicId(limits::number(&mut fields, "topic")?);
                let queues = fields.u32()?;
                if !(1..=limits::QUEUES_MAX).contains(&queues) {
                    return Err(Rule::Field("number of queues"));
                }
                let name = limits::topic_name(&mut fields)?;
                fields.end()?;
                Ok(Self::Topic(TopicRecord { topic, queues, name }))
            }
            KIND_MESSAGE => decode_message(fields).map(Self::Message),
            kind => Err(Rule::Kind(kind)),
        }
    }
}

#[inline(always)]
fn decode_message(mut fields: Fields<'_>) -> Result<MessageRecord<'_>, Rule> {
    let rest = fields.u32()?;
    let appended_at = Time(fields.u64()?.saturating_mul(1000));
    let (queue, index) = (limits::queue(&mut fields)?, limits::index(&mut fields)?);
    let flags = fields.u64()?;
    // A reader that does not know delivery times must not deliver early.
    if flags & !FLAGS_KNOWN != 0 || flags & FLAG_DELIVER_AT != 0 {
        return Err(Rule::Field("message flags"));
    }
    for extension in [FLAG_MESSAGE_ID, FLAG_ORDER_KEY] {
        if flags & extension != 0 {
            fields.bytes()?;
        }
    }
    let settlement = if flags & FLAG_SETTLEMENT != 0 { Some(settlement(&mut fields)?) } else { None };
    let (key, tag, properties) = (fields.bytes()?, fields.text()?, fields.bytes()?);
    let relocated = flags & FLAG_RELOCATED != 0;
    Ok(MessageRecord { rest, appended_at, queue, index, relocated, settlement, key, tag, properties, body: fields.0 })
}

#[cold]
fn settlement(fields: &mut Fields<'_>) -> Result<Settlement, Rule> {
    let cause = match fields.u64()? {
        1 => Cause::DeadLetter(EndReason::Expired),
        2 => Cause::DeadLetter(EndReason::Nacked),
        3 => Cause::Redrive,
        _ => return Err(Rule::Field("settlement")),
    };
    let group = GroupId(fields.u32()?);
    let (queue, index) = (limits::queue(fields)?, limits::index(fields)?);
    let (delivery, uncounted) = if cause == Cause::Redrive { (0, 0) } else { delivery(fields, false)? };
    let (popped_at, appended_at) = (Time(fields.u64()?), Time(fields.u64()?));
    Ok(Settlement { cause, group, queue, index, delivery, uncounted, popped_at, appended_at })
}

/// The names and values of a message's properties, in the order they were given.
#[derive(Clone, Debug)]
pub struct Properties<'a>(Fields<'a>);

impl<'a> Properties<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Fields(bytes))
    }

    /// Whether they are names and values to the last byte.
    pub(crate) fn are_whole(mut self) -> bool {
        while !self.0.0.is_empty() {
            if self.next().is_none() {
                return false;
            }
        }
        true
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let mut property = || Ok::<_, Rule>((self.0.text()?, self.0.text()?));
        let found = property().ok();
        if found.is_none() {
            self.0 = Fields(&[]);
        }
        found
    }
}
