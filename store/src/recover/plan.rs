//! What opening a store would do, and why, found out without touching a byte.

use std::path::{Path, PathBuf};
use std::time::Duration;

use popstore_revive::{Change, Decision, Index, Time, Verdict};

use super::{Found, FoundMessages, directory, next_generation};
use crate::error::{At, Error, Result};
use crate::fault::Faults;
use crate::format::commit::Cause;
use crate::format::frame::LogKind;
use crate::ledger::complete;
use crate::log::{Fate, Found as LogEnd, Unrecovered};
use crate::messages::Topics;
use crate::messages::aside::InTheWay;
use crate::options::Options;

/// How often a store is looked at that changes meanwhile, each time after a longer pause: two seconds in all.
const LOOKS: u32 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// What opening a store would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecoveryPlan {
    /// The generation that the store would get.
    pub generation: u32,
    /// It was closed in order, so there is nothing to repair.
    pub clean: bool,
    /// Why opening would refuse the store and change nothing.
    pub refused: Option<Error>,
    /// What it would do, in order.
    pub steps: Vec<PlannedStep>,
}

/// One thing that opening would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedStep {
    /// `create`, `remove`, `put_aside`, `recycle`, `cut`, `rewrite`, `rebuild`, `void`, `complete`, `shorten`, `redeliver`, `dead_letter` or
    /// `discard`.
    pub action: &'static str,
    /// The file or directory, if it is about one.
    pub path: Option<PathBuf>,
    /// The first byte.
    pub offset: u64,
    /// How many bytes, messages or waits.
    pub count: u64,
    /// Why.
    pub why: String,
}

impl RecoveryPlan {
    /// Finds out what [`crate::Store::open`] would do with a directory.
    ///
    /// # Errors
    /// The directory cannot be read. What opening would refuse is no error here.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self> {
        Self::read_for(dir, &Options::default())
    }

    /// Finds out what [`Options::open`] would do with a directory.
    ///
    /// # Errors
    /// Those of [`RecoveryPlan::read`].
    pub fn read_for(dir: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let dir = dir.as_ref();
        std::fs::read_dir(dir).at("read", dir)?;
        let mut before = None;
        for look in 1.. {
            let mut plan = Self { generation: 1, clean: false, refused: None, steps: Vec::new() };
            let Err(error) = plan.find(dir, options) else { return Ok(plan) };
            let told = Some(error.to_string());
            // What looks the same twice is damage; what moves on is the work of who has the store open.
            if before == told || look == LOOKS {
                return Ok(Self { refused: Some(error), steps: Vec::new(), ..plan });
            }
            before = told;
            std::thread::sleep(look * PAUSE);
        }
        unreachable!("the last look returns")
    }

    fn find(&mut self, dir: &Path, options: &Options) -> Result<()> {
        options.check()?;
        directory::check_is_store_or_empty(dir)?;
        let Some(identity) = directory::read_identity(dir)? else {
            LogKind::BOTH.iter().try_for_each(|log| directory::refuse_records(&dir.join(log.name())))?;
            self.step("create", Some(dir.to_path_buf()), 0, 0, "there is no store yet");
            return Ok(());
        };
        self.generation = next_generation(dir, identity)?;
        directory::check_kinds(dir)?;
        let Found { checkpoint, commit, mut replay, messages } = Found::read(dir, identity, &mut Faults::Refuse)?;
        let unfinished = directory::unfinished_identity(dir);
        if unfinished.exists() {
            self.step("remove", Some(unfinished), 0, 0, "a file under construction");
        }
        self.clean = replay.closed == Some(messages.found.end) || self.generation == 1;
        self.log(&checkpoint, &replay.found, 0, options.checkpoint_segment_bytes, 0)?;
        let segment_bytes = options.segment_bytes.max(commit.capacity_max());
        self.log(&commit, &messages.found, replay.commit_start, segment_bytes, options.ready_bytes)?;
        for InTheWay { path, expected, found } in messages.in_the_way(dir)? {
            let why = format!("{found} in place of {expected} of a queue: it gets another name");
            self.step("put_aside", Some(path), 0, 0, why);
        }
        self.queues(dir, &messages, options.entries_per_file);
        let mut index = replay.consumers.take_index();
        self.void(&mut index, &messages);
        self.complete(&mut index, &messages);
        self.due(&mut index, options.now());
        Ok(())
    }

    fn step(&mut self, action: &'static str, path: Option<PathBuf>, offset: u64, count: u64, why: impl Into<String>) {
        self.steps.push(PlannedStep { action, path, offset, count, why: why.into() });
    }

    fn log(&mut self, log: &Unrecovered, found: &LogEnd, start: u64, segment_bytes: u64, ready: u64) -> Result<()> {
        for path in log.unfinished() {
            self.step("remove", Some(path.clone()), 0, 0, "a file under construction");
        }
        for path in log.odd_spares(segment_bytes)? {
            self.step("remove", Some(path), 0, 0, "a spare that is not as long as new segments");
        }
        let mut unsynced = 0;
        for (fate, file) in log.fates(found, segment_bytes, ready) {
            unsynced += found.end.min(file.base + file.len).saturating_sub(found.proven.max(file.base));
            let (path, len) = (Some(file.path.clone()), file.capacity);
            match fate {
                Fate::Ends if file.half_made => {
                    self.step("create", path, 0, 0, "it has its name and nothing else: it is made anew");
                }
                Fate::Ends if found.tail_bytes > 0 => {
                    let rule = found.tail.map_or("the batch there is not whole".to_string(), |rule| rule.to_string());
                    let why = format!("{rule}; nothing says that it was durable, so it is a write that was under way");
                    self.step("cut", path, found.end - file.base, found.tail_bytes, why);
                }
                Fate::IsSpare => {
                    let why = "it lies behind the end of the log: its space is kept for the next segment";
                    self.step("recycle", path, 0, len, why);
                }
                Fate::Goes => self.step("remove", path, 0, len, "it lies behind the end of the log"),
                Fate::Stays if file.base + len <= start => {
                    self.step("remove", path, 0, len, "retention was about to: the log begins behind it");
                }
                Fate::Stays | Fate::Ends | Fate::Waits => {}
            }
        }
        if unsynced > 0 {
            let why = "nothing says that these bytes were durable: they are written once more and synced";
            self.step("rewrite", Some(log.dir().to_path_buf()), found.proven, unsynced, why);
        }
        Ok(())
    }

    fn queues(&mut self, dir: &Path, messages: &FoundMessages, entries_per_file: u64) {
        let topics = Topics::new(dir, entries_per_file, Default::default());
        messages.clone().fill(&topics);
        for topic in topics.all() {
            for (path, why) in topic.all_used().flat_map(|queue| queue.left_files()) {
                self.step("remove", Some(path), 0, 0, why);
            }
            for queue in topic.all_used().filter(|queue| !queue.files_are_long_enough()) {
                let (path, entries) = (queue.dir().to_path_buf(), queue.end().0 - queue.first().0);
                self.step("rebuild", Some(path), 0, entries, "its files are missing or too short");
            }
        }
    }

    fn void(&mut self, index: &mut Index, messages: &FoundMessages) {
        let end = |queue| messages.end_of(queue);
        for queue in index.beyond(end) {
            let end = end(queue);
            let topic = messages.topics.get(&queue.topic).map_or("", |topic| &*topic.name);
            let count = index.apply(&Change::Truncated { queue, end }).touched;
            let why =
                format!("the messages of {topic}/{} from {} on were lost with an unsynced tail", queue.queue, end.0);
            self.step("void", None, 0, count, why);
        }
    }

    fn complete(&mut self, index: &mut Index, messages: &FoundMessages) {
        let mut count = 0;
        for settlement in &messages.settlements {
            let known = index.is_redriven(settlement.queue, settlement.index);
            let touched = complete(index, settlement);
            count += if settlement.cause == Cause::Redrive { u64::from(!known) } else { touched };
        }
        if count > 0 {
            self.step("complete", None, 0, count, "dead letters are written whose originals are not settled on record");
        }
    }

    /// What happens right behind the open, because its time has come.
    fn due(&mut self, index: &mut Index, now: Time) {
        if index.outlasts(now) {
            index.apply(&Change::Reanchored { at: now });
            let what = "waits begin in the future: the clock was set back";
            self.step("shorten", None, 0, 0, what);
        }
        let mut decided = Vec::new();
        index.decide_over(now, usize::MAX, &mut decided);
        let (mut again, mut dropped) = (0, 0);
        let to_bury = index.to_bury().flat_map(|place| index.burials(place));
        let mut buried: u64 = to_bury.map(|burying| u64::from(burying.run.len())).sum();
        for Decision { run, verdict, .. } in decided {
            let count = match verdict {
                Verdict::Redeliver { .. } => &mut again,
                Verdict::DeadLetter => &mut buried,
                Verdict::Discard => &mut dropped,
            };
            *count += u64::from(run.len());
        }
        let due = [
            ("redeliver", again, "their leases are over"),
            ("dead_letter", buried, "their last leases are over, or they were given back at their limit"),
            ("discard", dropped, "their last leases are over, and the group drops what is at its limit"),
        ];
        for (action, count, why) in due.into_iter().filter(|(_, count, _)| *count > 0) {
            self.step(action, None, 0, count, why);
        }
    }
}
