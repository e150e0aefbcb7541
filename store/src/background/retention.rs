//! Retention: deletes whole segments of the commit log, oldest first, and moves messages that are still needed on
//! (`relocation`).
//!
//! Order matters, for a crash between any two steps: the needed messages are copied and the copies are durable; the
//! queues' first indexes move; a mark records both, and where the log will begin; then the files are removed, those of the
//! queues too. An open that finds a file before that place removes it.

use std::ops::Range;
use std::sync::Arc;

use popstore_revive::{Command, Gathered, QueueIndex, Run, Time};

use crate::background::ages::Ages;
use crate::background::marks::Marks;
use crate::background::relocation::{Firsts, LetterRule, move_on};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::commit::CommitRecord;
use crate::format::frame::{END_FRAME, KIND_END};
use crate::format::header::SEGMENT_HEADER;
use crate::log::Segment;
use crate::messages::ConsumeQueue;

/// How many segments one mark releases.
const SEGMENTS_MAX: usize = 16;

/// The task that deletes segments.
pub(crate) struct RetentionTask {
    /// What is known of the oldest segment.
    oldest: Option<Arc<Oldest>>,
    ages: Ages,
}

/// What is known of the oldest segment.
struct Oldest {
    base: u64,
    firsts: Firsts,
    /// When its last message was appended. Those that were moved here are as old as they were.
    newest: Option<Time>,
    /// The same of those alone that were not moved here.
    appended: Option<Time>,
}

impl RetentionTask {
    pub(crate) fn of_store_opened_at(opened_at: Time) -> Self {
        Self { oldest: None, ages: Ages::of_store_opened_at(opened_at) }
    }

    /// Deletes the segments that no rule retains.
    pub(crate) fn step(&mut self, engine: &Engine, marks: &mut Marks) -> Result<()> {
        let rules = &engine.context().options.retention;
        if rules.after.is_none() && rules.bytes.is_none() && !rules.when_done {
            return Ok(());
        }
        if let Some((base, firsts)) = self.release(engine)? {
            // The next round finds the same segments.
            let Some(end) = marks.move_to(engine, base)? else { return Ok(()) };
            engine.ledger().log().sync_through(end)?;
            // Order matters: a mark from before would lead to deleted files, and opening would read the whole log.
            for (id, first) in &firsts {
                if let Some(queue) = engine.messages().topics().queue(*id) {
                    queue.retire_before(engine.messages().disk(), *first)?;
                }
            }
            engine.messages().log().retire_before(base)?;
            // Order matters: only now, for a full disk may have no room for a record before the files are deleted.
            for (id, first) in firsts {
                let queue = engine.messages().topics().queue(id);
                queue.map_or(Ok(()), |queue| forget_letters(engine, &queue, first))?;
            }
            // More segments are for the next round: the other tasks come in between.
            let _ = engine.context().wakes.maintain.try_send(());
        }
        Ok(())
    }

    /// Makes all that depends on the oldest segments independent of them, as far as no rule retains them. Returns
    /// where the log will begin then, and the queues. One mark is for many segments: each describes all queues, and one for
    /// each segment would fall behind the appends.
    fn release(&mut self, engine: &Engine) -> Result<Option<(u64, Firsts)>> {
        let segments = engine.messages().log().segments();
        let (mut base, mut begins) = (None, Firsts::new());
        for pair in segments.windows(2).take(SEGMENTS_MAX) {
            let (oldest, next) = (&pair[0], &pair[1]);
            // The log rolls before a staged group is written: a segment that cannot be read yet is neither counted nor deleted.
            if engine.messages().log().written() < next.base {
                break;
            }
            let known = match self.survey_oldest(engine, oldest, next) {
                // The segments before it can be deleted first.
                Err(_) if base.is_some() => break,
                known => known?,
            };
            let Some(letters) = self.may_delete(engine, &known)? else { break };
            let moved = match move_on(engine, oldest, next.base, &known.firsts, letters) {
                // The same; deleting those makes room for more.
                Err(_) if base.is_some() => false,
                moved => moved?,
            };
            if !moved {
                break;
            }
            begins.extend(known.firsts.iter());
            base = Some(next.base);
        }
        Ok(base.map(|base| (base, begins)))
    }

    fn survey_oldest(&mut self, engine: &Engine, segment: &Segment, next: &Segment) -> Result<Arc<Oldest>> {
        if let Some(known) = self.oldest.as_ref().filter(|known| known.base == segment.base) {
            return Ok(Arc::clone(known));
        }
        let (mut known, end) = survey(engine, segment)?;
        let pages = engine.messages().log().pages(end);
        let closing = pages.as_ref().and_then(|pages| pages.bytes(end, END_FRAME));
        let closing = closing.and_then(|closing| engine.messages().log().frame(closing, end).ok());
        if closing.is_none_or(|closing| closing.kind != KIND_END) {
            let damaged = engine.messages().log().damaged(end, "a frame behind which nothing can be read");
            // Of the part behind it the queues' entries are known, and that it came before what the next segment holds.
            let (firsts, newest) =
                (firsts_at(engine, end..next.base, &known.firsts)?, survey(engine, next)?.0.appended);
            let (Some(firsts), Some(newest)) = (firsts, newest) else { return Err(damaged) };
            (known.firsts, known.newest) = (firsts, known.newest.max(Some(newest)));
            engine.context().emit_failure("read the oldest segment", Err(damaged));
        }
        Ok(Arc::clone(self.oldest.insert(Arc::new(known))))
    }

    /// Whether the rules release the oldest segment, and then the rule for the dead letters in it. Whether the groups are
    /// done with it, where that matters, is checked when it is deleted.
    fn may_delete(&mut self, engine: &Engine, oldest: &Oldest) -> Result<Option<LetterRule>> {
        let rules = &engine.context().options.retention;
        let is_over_bytes =
            rules.bytes.is_some_and(|bytes| engine.messages().log().written().saturating_sub(oldest.base) > bytes);
        let is_older = match (rules.after, oldest.newest) {
            (Some(after), Some(newest)) => {
                let (context, log) = (engine.context(), engine.messages().log());
                context.now().since(self.ages.counts_from(context, log, oldest.base, newest, after)?) > after
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_over_bytes || is_older {
            return Ok(Some(LetterRule::Delete));
        }
        Ok(rules.when_done.then_some(LetterRule::Move))
    }
}

/// Records that the redriven letters before `first` are deleted, except for those that were moved on.
fn forget_letters(engine: &Engine, queue: &ConsumeQueue, first: QueueIndex) -> Result<()> {
    let mut consumers = engine.consumers();
    if !consumers.index().has_redriven_before(queue.id, first) {
        return Ok(());
    }
    let relocated = queue.relocated().into_iter().map(|(index, _)| index).filter(|index| *index < first);
    let moved = relocated.filter(|index| consumers.index().is_redriven(queue.id, *index));
    let runs = Gathered::all(moved.map(|index| Run::one(queue.id, index, 0)));
    let runs_max = engine.ledger().runs_max();
    // As many as one record can name; the rest of the letters are forgotten later.
    let (runs, first) = match runs.get(runs_max) {
        Some(next) => (&runs[..runs_max], QueueIndex::of_block(next.block)),
        None => (&runs[..], first),
    };
    let command = Command::Forget { queue: queue.id, first, moved: runs };
    let (_, written) = consumers.decide(&command, engine.context().now(), None)?;
    drop(consumers);
    engine.make_records_durable(written.end)
}

/// The readable part of a segment up to the first damaged frame, and where that frame lies or the segment ends.
fn survey(engine: &Engine, segment: &Segment) -> Result<(Oldest, u64)> {
    let (mut firsts, mut newest, mut appended) = (Firsts::new(), None, None);
    let mut end = segment.base + SEGMENT_HEADER as u64;
    engine.messages().log().frames(segment.base, segment.end(), |offset, frame| {
        end = offset + frame.len() as u64;
        if let Ok(CommitRecord::Message(record)) = CommitRecord::decode(frame) {
            newest = newest.max(Some(record.appended_at));
            if !record.relocated {
                appended = appended.max(Some(record.appended_at));
                // The number of a message before the mark was not checked at open.
                let queue = engine.messages().topics().queue(record.queue);
                if queue.is_some_and(|queue| record.index < queue.end()) {
                    firsts.insert(record.queue, record.index.next());
                }
            }
        }
        Ok(())
    })?;
    Ok((Oldest { base: segment.base, firsts, newest, appended }, end))
}

/// The first index of each queue whose message lies behind the unreadable part of a segment, by the queues' entries;
/// nothing where these are not borne out by the messages there, or by those that could be read before.
fn firsts_at(engine: &Engine, unreadable: Range<u64>, read: &Firsts) -> Result<Option<Firsts>> {
    let mut firsts = Firsts::new();
    let topics = engine.messages().topics().all();
    for (topic, queue) in topics.iter().flat_map(|topic| topic.all_used().map(move |queue| (topic, queue))) {
        let (first, end) = (queue.first(), queue.end());
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = QueueIndex(low.0.midpoint(high.0));
            match queue.entry(engine.messages().disk(), middle)? {
                Some(entry) if entry.offset >= unreadable.end => high = middle,
                Some(entry) if entry.offset > 0 => low = middle.next(),
                _ => return Ok(None),
            }
        }
        let lies = |index| Ok(engine.messages().fetch(topic, queue, index)?.map(|found| found.position()));
        let is_behind = low == end || matches!(lies(low), Ok(Some(place)) if place >= unreadable.end);
        let is_before = low == first || {
            let before = QueueIndex(low.0 - 1);
            match lies(before) {
                Ok(place) => place.is_some_and(|place| place < unreadable.end),
                Err(Error::Corrupt { .. }) => queue
                    .entry(engine.messages().disk(), before)?
                    .is_some_and(|entry| unreadable.contains(&entry.offset)),
                Err(error) => return Err(error),
            }
        };
        if !is_behind || !is_before || read.get(&queue.id).is_some_and(|read| low < *read) {
            return Ok(None);
        }
        if low > first {
            firsts.insert(queue.id, low);
        }
    }
    Ok(Some(firsts))
}
