//! Marks: how far the consume queues are durable, which is where the next open begins to read the commit log.
//!
//! A mark is made in two steps. First the messages and the queues' files are made durable, which needs disk space;
//! then the records are written, which does not. On a full disk the last mark can thus be written again, and the
//! checkpoint log continues in its reserve. Retention only moves the last mark on to where the commit log is to
//! begin, so that segments can be deleted when the disk is full.

use std::collections::BTreeMap;
use std::sync::Arc;

use popstore_revive::QueueId;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::extent::Extent;
use crate::ledger::{Mark, MarkedTopics};
use crate::messages::{ConsumeQueue, Messages, Topic};
use crate::options::{Durability, Options};

/// How many threads sync the files of many queues, and how many queues are worth a thread.
const FLUSHERS: usize = 16;
const QUEUES_EACH_MIN: usize = 16;
/// A mark syncs a file of every queue: with more queues than the first number marks are rarer, by the second number
/// at most, since the log behind the last one is read again at open.
const QUEUES_MAX: u64 = 128;
const TIMES_MAX: u64 = 16;
/// When nothing is appended, this part of the distance between two marks is enough for one, but at least this many bytes.
const QUIET_PART: u64 = 32;
const QUIET_BYTES_MIN: u64 = 1 << 20;

/// The task that makes marks.
pub(crate) struct Marks {
    /// The files of the consume queues hold nothing from here on.
    flushed: u64,
}

/// When marks are due behind the last one, with this number of queues in the store.
struct Pace<'o> {
    last: u64,
    options: &'o Options,
    queues: u64,
}

impl Pace<'_> {
    /// The end of the commit log from which on a mark is due.
    fn next(&self) -> u64 {
        let times = self.queues.div_ceil(QUEUES_MAX).clamp(1, TIMES_MAX);
        self.last.saturating_add(self.options.mark_every_bytes.saturating_mul(times))
    }

    /// The same while nothing is appended.
    fn next_quiet(&self) -> u64 {
        let bytes = self.next() - self.last;
        self.last + (bytes / QUIET_PART).max(QUIET_BYTES_MIN).min(bytes)
    }
}

fn pace(engine: &Engine) -> Pace<'_> {
    let queues = engine.messages().topics().queues();
    Pace { last: engine.ledger().marked_through(), options: &engine.context().options, queues }
}

/// The topics as a mark describes them, with these extents of their queues.
fn marked(topics: &[Arc<Topic>], extent: impl Fn(&ConsumeQueue) -> Extent) -> MarkedTopics {
    let extents = |topic: &Topic| topic.of_each(&extent).collect();
    topics.iter().map(|topic| (topic.id, Arc::clone(&topic.name), extents(topic))).collect()
}

impl Marks {
    /// The task in a store whose queues have files up to this place of the commit log.
    pub(crate) fn behind(flushed: u64, engine: &Engine) -> Self {
        engine.messages().wake_maintenance_at(pace(engine).next_quiet());
        Self { flushed }
    }

    /// Makes a mark if enough was appended since the last one.
    pub(crate) fn step(&mut self, engine: &Engine) -> Result<()> {
        let pace = pace(engine);
        if engine.messages().poppable() < pace.next() {
            return Ok(());
        }
        let place = self.place(engine);
        if place <= pace.last { Ok(()) } else { self.mark(engine, || place).map(|_| ()) }
    }

    /// The end of the commit log, if a mark there is worth its syncs as soon as nothing is appended. An append
    /// meanwhile wakes maintenance when a mark is due, or when retention has something to delete.
    pub(crate) fn worth_a_mark(&self, engine: &Engine) -> Option<u64> {
        let (log, options, pace) = (engine.messages().log(), &engine.context().options, pace(engine));
        let (end, quiet) = (log.appended(), pace.next_quiet());
        let mark = if end < quiet { quiet } else { pace.next() };
        // Segments over the limit could not be deleted last time.
        let over = |bytes| log.start().saturating_add(bytes).max(end + options.mark_every_bytes / 8);
        let retain = options.retention.bytes.map_or(u64::MAX, over);
        engine.messages().wake_maintenance_at(mark.min(retain));
        Some(end).filter(|end| *end >= quiet)
    }

    /// Marks the whole log, and makes the mark durable, so that the next open has little to read.
    pub(crate) fn mark_in_the_quiet(&mut self, engine: &Engine) -> Result<()> {
        let end = self.mark_all(engine)?;
        engine.ledger().log().sync_through(end)
    }

    /// Marks the whole log; on a full disk writes the last mark again. Returns the end of the checkpoint log.
    pub(crate) fn mark_all_or_again(&mut self, engine: &Engine) -> Result<u64> {
        match self.mark_all(engine) {
            Err(Error::Full { .. }) => engine.ledger().write_mark_again(),
            marked => marked,
        }
    }

    /// Where the next mark should lie: the end of the last full segment, if that is not too far back. A mark syncs what
    /// lies before it, and syncing the segment that is appended to starves whoever prepares room in it: large appends came
    /// to three quarters of their rate.
    fn place(&self, engine: &Engine) -> u64 {
        let log = engine.messages().log();
        let head = log.head_span();
        let options = &engine.context().options;
        let near = head.end - head.start < 2 * options.mark_every_bytes;
        let mapped = options.durability != Durability::SyncEach;
        if mapped && near && head.start >= self.flushed { head.start } else { log.appended() }
    }

    fn mark_all(&mut self, engine: &Engine) -> Result<u64> {
        self.mark(engine, || engine.messages().log().appended())
    }

    /// Makes messages and consume queues durable up to a place, or up to a settlement that is under way before it, and
    /// writes that mark. Returns the end of the checkpoint log.
    fn mark(&mut self, engine: &Engine, place: impl FnOnce() -> u64) -> Result<u64> {
        let commit = engine.mark_bound(place)?;
        let messages = engine.messages();
        messages.log().sync_through(commit)?;
        // Order matters: no later mark may lie before what the files hold, also if this one comes to nothing.
        self.flushed = self.flushed.max(commit);
        let all = messages.topics().all();
        // Everything before `commit` has its entry by now, since entries are pushed before the log's end moves; and no
        // file holds more than that, since only this task flushes, and never beyond what was written.
        flush(messages, &all.iter().flat_map(|topic| topic.all_used()).collect::<Vec<_>>(), commit)?;
        let mark = Mark { commit, base: messages.log().start(), topics: marked(&all, ConsumeQueue::extent) };
        write(engine, mark)
    }

    /// Moves the last mark on to `base`, where the log will begin and with it all queues. The entries of deleted messages need
    /// no place in their files, so that this takes no space: else a full disk could not be freed. Returns the end of the
    /// checkpoint log; nothing when a settlement is under way before `base`.
    pub(crate) fn move_to(&mut self, engine: &Engine, base: u64) -> Result<Option<u64>> {
        let last = engine.ledger().last_mark();
        let place = last.commit.max(base);
        if engine.mark_bound(|| place)? < place {
            return Ok(None);
        }
        engine.messages().log().sync_through(place)?;
        // Files may hold more by now than the last mark says. The log behind this one is read again.
        let mut ends = BTreeMap::new();
        for (topic, _, queues) in last.topics {
            ends.extend(queues.iter().zip(0..).map(|(extent, queue)| (QueueId { topic, queue }, extent.end)));
        }
        let topics = marked(&engine.messages().topics().all(), |queue| {
            let now = queue.extent();
            let end = ends.get(&queue.id).map_or(now.first, |end| now.first.max(*end));
            Extent { end, ..now }
        });
        write(engine, Mark { commit: place, base, topics }).map(Some)
    }
}

fn write(engine: &Engine, mark: Mark) -> Result<u64> {
    let end = engine.ledger().write_mark(mark)?;
    engine.messages().wake_maintenance_at(pace(engine).next_quiet());
    Ok(end)
}

/// Makes the files of queues durable. Each takes a sync or two, most of it waiting, and syncs that wait together
/// share one write of the file system's journal: so those of many queues are asked for from several threads.
fn flush(messages: &Messages, queues: &[&Arc<ConsumeQueue>], commit: u64) -> Result<()> {
    let each = queues.len().div_ceil(FLUSHERS).max(QUEUES_EACH_MIN);
    let flush = |some: &[&Arc<ConsumeQueue>]| some.iter().try_for_each(|queue| queue.flush(messages.disk(), commit));
    std::thread::scope(|threads| {
        let (here, rest) = queues.split_at(each.min(queues.len()));
        let (mut others, mut left) = (Vec::new(), Vec::new());
        for some in rest.chunks(each) {
            let named = std::thread::Builder::new().name("popstore-marks".to_string());
            match named.spawn_scoped(threads, move || flush(some)) {
                Ok(other) => others.push(other),
                // The system gives no thread: it takes longer.
                Err(_) => left.push(some),
            }
        }
        let flushed = left.into_iter().map(flush).fold(flush(here), Result::and);
        others.into_iter().map(|other| other.join().expect("no panic while flushing")).fold(flushed, Result::and)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_rarer_the_more_queues_each_syncs_up_to_a_limit() {
        let options = &Options::default().mark_every_bytes(100);
        let next = [0, 1, 128, 129, 1000, 10_000, 1 << 40].map(|queues| Pace { last: 1000, options, queues }.next());
        assert_eq!(next, [1100, 1100, 1100, 1200, 1800, 2600, 2600]);
    }
}
