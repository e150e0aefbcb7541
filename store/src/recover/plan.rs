//! What opening a store would do, and why, in words: what [`super::judge`] decides, and what happens right after that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use popstore_revive::{Decision, Index, Time, Verdict};

use super::judge::{Judged, Voided};
use super::{FoundStore, directory, next_generation};
use crate::error::{At, Error, Result};
use crate::fault::Faults;
use crate::format::frame::LogKind;
use crate::log::{Fate, FoundLog, SegmentFile, Unrecovered};
use crate::messages::aside::InTheWay;
use crate::options::Options;

/// How often a store that changes meanwhile is read, each time after a longer pause: two seconds in all.
const READS_MAX: u32 = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// What opening a store would do.
///
/// ```
/// # fn main() -> popstore::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # use popstore::*;
/// # let store = Store::open(dir.path())?;
/// # store.append("orders", Message::new("12.50 EUR"))?;
/// # use popstore::inspect::*;
/// store.close()?;
/// let plan = RecoveryPlan::read(dir.path())?;
/// assert!(plan.clean && plan.refused.is_none());
/// for step in &plan.steps {
///     println!("{}: {}", step.action, step.why);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct RecoveryPlan {
    /// The generation that the store would get.
    pub generation: u32,
    /// It was closed in order: nothing is lost or cut. There may be steps all the same: room prepared ahead is reused,
    /// the last record is written once more, and what fell due meanwhile happens.
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
        for read in 1.. {
            let mut plan = Self { generation: 1, clean: false, refused: None, steps: Vec::new() };
            let Err(error) = plan.find(dir, options) else { return Ok(plan) };
            let refusal = Some(error.to_string());
            // The same refusal twice is damage; one that changes is due to the owner's work.
            if before == refusal || read == READS_MAX {
                return Ok(Self { refused: Some(error), steps: Vec::new(), ..plan });
            }
            before = refusal;
            std::thread::sleep(read * PAUSE);
        }
        unreachable!("the last read returns")
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
        let judged = Judged::of(FoundStore::read(dir, identity, &mut Faults::refused())?, dir, options, options.now())?;
        self.clean = judged.was_closed() || self.generation == 1;
        for InTheWay { path, expected, found } in &judged.aside {
            let why = format!("{found} in place of {expected} of a queue: it gets another name");
            self.step("put_aside", Some(path.clone()), 0, 0, why);
        }
        let unfinished = directory::unfinished_identity(dir);
        if unfinished.exists() {
            self.step("remove", Some(unfinished), 0, 0, "a file under construction");
        }
        self.log(&judged.found.checkpoint, &judged.found.replay.found);
        self.log(&judged.found.commit, &judged.found.messages.found);
        let start = judged.found.replay.commit_start;
        for file in judged.found.commit.files().iter().filter(|file| file.fate == Fate::Stays && file.end() <= start) {
            let why = "retention was about to delete it: the log begins behind it";
            self.step("remove", Some(file.path.clone()), 0, file.capacity, why);
        }
        for (path, why) in &judged.left {
            self.step("remove", Some(path.clone()), 0, 0, *why);
        }
        for queue in &judged.rebuilt {
            let (path, entries) = (queue.dir().to_path_buf(), queue.end().0 - queue.first().0);
            self.step("rebuild", Some(path), 0, entries, "its files are missing or too short");
        }
        for Voided { queue, end, count } in &judged.voided {
            let topic = judged.found.messages.topics.get(&queue.topic).map_or("", |topic| &*topic.name);
            let why =
                format!("the messages of {topic}/{} from {} on were lost with an unsynced tail", queue.queue, end.0);
            self.step("void", None, 0, *count, why);
        }
        if judged.completed > 0 {
            let why = "dead letters are written whose originals are not settled on record";
            self.step("complete", None, 0, judged.completed, why);
        }
        if judged.clock_set_back {
            self.step("shorten", None, 0, 0, "waits begin in the future: the clock was set back");
        }
        self.due(judged.found.replay.consumers.index(), judged.now);
        Ok(())
    }

    fn step(&mut self, action: &'static str, path: Option<PathBuf>, offset: u64, count: u64, why: impl Into<String>) {
        self.steps.push(PlannedStep { action, path, offset, count, why: why.into() });
    }

    fn log(&mut self, log: &Unrecovered, found: &FoundLog) {
        for (path, why) in log.left() {
            self.step("remove", Some(path.clone()), 0, 0, *why);
        }
        if let Some(file) = log.files().iter().find(|file| file.fate == Fate::Ends && !file.half_made)
            && found.tail_bytes > 0
        {
            let rule = found.tail.map_or("the batch there is not whole".to_string(), |rule| rule.to_string());
            let why = format!("{rule}; no record proves that it was durable, so it is a write that was under way");
            self.step("cut", Some(file.path.clone()), found.end - file.base, found.tail_bytes, why);
        }
        for file in log.files().iter().rev() {
            let (action, count, why) = match file.fate {
                Fate::IsSpare => {
                    let why = "it lies behind the end of the log: its space is reserved for the next segment";
                    ("recycle", file.capacity, why)
                }
                Fate::IsRemoved => ("remove", file.capacity, "it lies behind the end of the log"),
                Fate::Ends if file.half_made => ("create", 0, "it has its name and nothing else: it is made again"),
                Fate::Stays | Fate::Ends | Fate::Waits => continue,
            };
            self.step(action, Some(file.path.clone()), 0, count, why);
        }
        let unproven =
            |file: &SegmentFile| found.end.min(file.base + file.len).saturating_sub(found.proven.max(file.base));
        let unproven = log.files().iter().map(unproven).sum();
        if unproven > 0 {
            let why = "no record proves that these bytes were durable: they are written once more and synced";
            self.step("rewrite", Some(log.dir().to_path_buf()), found.proven, unproven, why);
        }
    }

    /// What happens right after the open, because it is due.
    fn due(&mut self, index: &Index, now: Time) {
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
