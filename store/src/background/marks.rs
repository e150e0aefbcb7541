//! Marks: how far the consume queues are durable, which is where the next open begins to read the commit log.
//!
//! A mark is made in two steps. First the messages and the queues' files are made durable, which needs disk space;
//! then the records are written, which does not. On a full disk the last mark can thus be told again, and the
//! checkpoint log goes on living from its reserve. Retention only moves the last mark on to where the commit log is to
//! begin, so that what fills the disk can go.

use std::collections::BTreeMap;
use std::sync::Arc;

use popstore_revive::{QueueId, TopicId};

use crate::engine::Engine;
use crate::engine::options::Durability;
use crate::error::{Error, Result};
use crate::format::checkpoint::CheckpointRecord;
use crate::format::extent::{Extent, MarkPart};
use crate::log::room_max;
use crate::messages::queue::ConsumeQueue;
use crate::messages::topics::{NAME_MAX, Topic};
use crate::primitives::Hold;

/// How many threads sync the files of many queues, and how many queues are worth a thread.
const FLUSHERS: usize = 16;
const QUEUES_EACH_MIN: usize = 16;

/// What a mark says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    /// The queues are durable for everything before this place of the commit log.
    pub(crate) commit: u64,
    /// The commit log begins here.
    pub(crate) base: u64,
    /// The topics, and how far each queue reaches.
    pub(crate) topics: Told,
}

type Told = Vec<(TopicId, Arc<str>, Vec<Extent>)>;

/// What a mark tells of topics, with these extents of their queues.
fn told(topics: &[Arc<Topic>], extent: impl Fn(&ConsumeQueue) -> Extent) -> Told {
    let extents = |topic: &Topic| topic.of_each(&extent).collect();
    topics.iter().map(|topic| (topic.id, Arc::clone(&topic.name), extents(topic))).collect()
}

impl Engine {
    pub(crate) fn mark_if_due(&self) -> Result<()> {
        let (last, due) = {
            let kept = self.kept.hold();
            (kept.mark.commit, kept.next_mark(&self.options, self.topics.queues()))
        };
        if self.poppable() < due || self.place_of_mark() <= last {
            return Ok(());
        }
        self.mark(|| self.place_of_mark()).map(|_| ())
    }

    /// Where the next mark should lie: the end of the last full segment, if that is not too far back.
    ///
    /// A mark syncs what lies before it. While the segment that is appended to is synced, room for more is made more
    /// slowly, and appends that need much wait for it: they came to three quarters of their rate so.
    fn place_of_mark(&self) -> u64 {
        let head = self.commit.head_span();
        let flushed = self.kept.hold().flushed;
        let mapped = self.options.durability != Durability::SyncEach;
        let near = head.end - head.start < 2 * self.options.mark_every_bytes;
        if mapped && near && head.start >= flushed { head.start } else { self.commit.appended() }
    }

    /// Makes messages and consume queues durable up to a place and says so. Returns the end of the checkpoint log.
    fn mark(&self, place: impl FnOnce() -> u64) -> Result<u64> {
        // Order matters: a message that settles another lies before the mark only if its settlement is recorded.
        let commit = {
            let mut unrecorded = self.letters();
            self.record_unrecorded(&mut unrecorded)?;
            place()
        };
        // The syncs come after the lock: the reviver does not wait for them.
        let mark = self.make_mark(commit)?;
        self.tell_mark(&mark)
    }

    /// A mark for everything there is. Returns the end of the checkpoint log.
    pub(crate) fn mark_all(&self) -> Result<u64> {
        self.mark(|| self.commit.appended())
    }

    /// The same; on a full disk the last mark again.
    pub(crate) fn mark_all_or_tell_again(&self) -> Result<u64> {
        match self.mark_all() {
            Err(Error::Full { .. }) => self.tell_mark_again(),
            marked => marked,
        }
    }

    /// Tells the last mark once more, which takes no sync.
    pub(crate) fn tell_mark_again(&self) -> Result<u64> {
        self.tell_mark(&self.last_mark())
    }

    fn last_mark(&self) -> Mark {
        self.kept.hold().mark.clone()
    }

    /// Moves the last mark on to `base`, where the log will begin and with it all queues. The entries of what goes need
    /// no place in their files, so that this takes no space: else what fills the disk could not go.
    pub(crate) fn move_mark_to(&self, base: u64) -> Result<u64> {
        // Order matters, as for every mark.
        self.record_unrecorded(&mut self.letters())?;
        let last = self.last_mark();
        let place = last.commit.max(base);
        self.commit.sync_through(place)?;
        // Files may hold more by now than the last mark says. What lies behind this one is read again.
        let mut marked = BTreeMap::new();
        for (topic, _, queues) in last.topics {
            marked.extend(queues.iter().zip(0..).map(|(extent, queue)| (QueueId { topic, queue }, extent.end)));
        }
        let topics = told(&self.topics.all(), |queue| {
            let now = queue.extent();
            let end = marked.get(&queue.id).map_or(now.first, |end| now.first.max(*end));
            Extent { end, ..now }
        });
        self.tell_mark(&Mark { commit: place, base, topics })
    }

    fn make_mark(&self, commit: u64) -> Result<Mark> {
        self.commit.sync_through(commit)?;
        // Order matters: no later mark may lie before what the files hold, also if this one comes to nothing.
        let mut kept = self.kept.hold();
        kept.flushed = kept.flushed.max(commit);
        drop(kept);
        let all = self.topics.all();
        // Everything before `commit` has its entry by now, since entries are pushed before the log's end moves; and no
        // file holds more than that, since only who keeps house flushes, and never beyond what was written.
        self.flush(&all.iter().flat_map(|topic| topic.all_used()).collect::<Vec<_>>(), commit)?;
        Ok(Mark { commit, base: self.commit.start(), topics: told(&all, ConsumeQueue::extent) })
    }

    /// Makes the files of queues durable. Each takes a sync or two, most of it waiting, and syncs that wait together
    /// share one write of the file system's journal: so those of many queues are asked for from several threads.
    fn flush(&self, queues: &[&Arc<ConsumeQueue>], commit: u64) -> Result<()> {
        let each = queues.len().div_ceil(FLUSHERS).max(QUEUES_EACH_MIN);
        let flush = |some: &[&Arc<ConsumeQueue>]| some.iter().try_for_each(|queue| queue.flush(&self.disk, commit));
        std::thread::scope(|threads| {
            let (here, rest) = queues.split_at(each.min(queues.len()));
            let (mut others, mut left) = (Vec::new(), Vec::new());
            for some in rest.chunks(each) {
                let named = std::thread::Builder::new().name("popstore-marks".to_string());
                match named.spawn_scoped(threads, move || flush(some)) {
                    Ok(other) => others.push(other),
                    // No thread can be had: it takes longer.
                    Err(_) => left.push(some),
                }
            }
            let flushed = left.into_iter().map(flush).fold(flush(here), Result::and);
            others.into_iter().map(|other| other.join().expect("no panic while flushing")).fold(flushed, Result::and)
        })
    }

    fn tell_mark(&self, mark: &Mark) -> Result<u64> {
        let Mark { commit, base, topics } = mark;
        let room = room_max(self.options.checkpoint_segment_bytes) as usize;
        let mut consumers = self.consumers();
        for (topic, name, queues) in topics {
            for part in MarkPart::all(queues, room / 2 - NAME_MAX) {
                self.write_record(&mut consumers, &CheckpointRecord::MarkTopic { topic: *topic, name, part })?;
            }
        }
        let count = topics.len() as u32;
        self.write_record(&mut consumers, &CheckpointRecord::Mark { commit: *commit, topics: count })?;
        // Order matters: files go by the second record, and what they held is accounted for by the first.
        let end = self.write_record(&mut consumers, &CheckpointRecord::CommitStart { base: *base })?.end;
        drop(consumers);
        self.keep(|kept| kept.mark = mark.clone());
        Ok(end)
    }
}
