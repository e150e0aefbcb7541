//! A store on a stage: it does what a history says, and everything it shows goes to the oracle.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use popstore::clock::ManualClock;
use popstore::{Durability, Options, Retention, Store};

use crate::claims::Token;
use crate::disk::Recorder;
use crate::op::{Crash, Mode, Op, Setup};
use crate::oracle::Oracle;
use crate::picture::Picture;
use crate::plans;
use crate::tree::scratch;
use crate::view;
use crate::world::{Policy, Queue, Secs};

pub const TOPICS: [&str; 2] = ["orders", "parcels"];
pub const GROUPS: [&str; 2] = ["billing", "audit"];
const SEGMENT: u64 = 4096;
pub const START: Secs = 1_000_000;
/// The rules of a group that was never changed.
pub const POLICY: Policy = Policy { limit: Some(1), discard: false, ordered: false, backoff: 0 };

/// The states before and after a step, and when it was.
#[derive(Clone)]
pub struct Moment {
    pub before: Oracle,
    pub after: Oracle,
    pub now: Secs,
}

pub struct Stage {
    pub setup: Setup,
    pub oracle: Oracle,
    pub recorder: Arc<Recorder>,
    pub store: Option<Store>,
    pub tokens: Vec<Token>,
    pub now: Secs,
    dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    troubles: Arc<Mutex<Vec<String>>>,
    pub firsts: BTreeMap<Queue, u64>,
    pub next_id: u32,
    /// Where the record that was appended last ends.
    pub end: u64,
    pub jump: i64,
    pub crashes: VecDeque<(u64, Crash)>,
    /// The crash that is to come.
    armed: Option<Crash>,
    /// Whether a recorder takes every picture, and the state when the last recovery was done.
    pub filming: bool,
    pub recovered: Option<(Oracle, Secs)>,
    /// How many crashes there were, and how many of them inside a recovery.
    pub crashed: (u32, u32),
}

impl Stage {
    /// An empty directory.
    pub fn new(setup: Setup) -> Self {
        let dir = scratch();
        let recorder = Recorder::new(dir.path());
        Self {
            setup,
            oracle: Oracle::new(setup.mode),
            recorder,
            store: None,
            tokens: Vec::new(),
            now: START,
            dir,
            clock: Arc::new(ManualClock::at(Duration::from_secs(START))),
            troubles: Arc::default(),
            firsts: BTreeMap::new(),
            next_id: 0,
            end: 0,
            jump: 0,
            crashes: VecDeque::new(),
            armed: None,
            filming: false,
            recovered: None,
            crashed: (0, 0),
        }
    }

    /// A store with its topics and groups.
    pub fn ready(setup: Setup) -> Self {
        let mut stage = Self::new(setup);
        stage.open().unwrap();
        stage.furnish();
        stage
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn group(&self, group: u8) -> popstore::Group {
        self.store().group(GROUPS[group as usize]).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn options(&self) -> Options {
        let durability = match self.setup.mode {
            Mode::SyncEach => Durability::SyncEach,
            Mode::SyncEvery => Durability::SyncEvery(Duration::from_secs(1)),
            Mode::Buffered => Durability::Buffered,
        };
        let troubles = Arc::clone(&self.troubles);
        let retention = if self.setup.when_done { Retention::keep().when_done() } else { Retention::keep() };
        let options = Store::options().durability(durability).segment_bytes(SEGMENT).checkpoint_segment_bytes(SEGMENT);
        let options = options.entries_per_file(8).mark_every_bytes(3000).retention(retention);
        options.clock(self.clock.clone()).on_event(move |event| {
            if !matches!(event, popstore::StoreEvent::SlowAck { .. } | popstore::StoreEvent::AckTooLate { .. }) {
                troubles.lock().unwrap().push(format!("{event:?}"));
            }
        })
    }

    /// Opens what is in the directory, as it is.
    pub fn open(&mut self) -> popstore::Result<()> {
        self.store = Some(self.options().hook(self.recorder.clone()).open(self.dir.path())?);
        Ok(())
    }

    /// Plays a history to its end, whatever crashes it holds.
    pub fn play(&mut self, ops: &[Op]) -> Result<(), String> {
        for op in ops {
            self.perform(op).map_err(|why| format!("{op:?}: {why}"))?;
        }
        Ok(())
    }

    /// One step, and the crash that falls into it, and those that fall into what follows.
    pub fn perform(&mut self, op: &Op) -> Result<(), String> {
        self.arm();
        let before = (self.oracle.clone(), self.now);
        self.act(op)?;
        self.after(before)
    }

    /// A step is over. If its crash has come, the state before it counts.
    fn after(&mut self, (before, begun_at): (Oracle, Secs)) -> Result<(), String> {
        if let Some(trouble) = self.troubles.lock().unwrap().first() {
            return Err(format!("without a fault of the disk: {trouble}"));
        }
        self.recorder.look();
        match self.recorder.shot() {
            Some(picture) => self.crash(before, picture, begun_at.max(self.now)),
            None => Ok(()),
        }
    }

    fn arm(&mut self) {
        if self.armed.is_none()
            && let Some((calls, crash)) = self.crashes.pop_front()
        {
            self.armed = Some(crash);
            self.recorder.shoot_in(calls);
        }
    }

    /// From the picture on, again and again, until an open survives.
    fn crash(&mut self, before: Oracle, picture: Picture, died_at: Secs) -> Result<(), String> {
        let during = std::mem::replace(&mut self.oracle, before);
        let mut crash = self.armed.take().unwrap_or(Crash::Kill);
        let mut picture = picture;
        let mut cut = matches!(crash, Crash::PowerCut(_));
        self.now = self.now.saturating_add_signed(std::mem::take(&mut self.jump));
        self.clock.set(Duration::from_secs(self.now));
        self.crashed.0 += 1;
        loop {
            self.open_twice(&picture, crash)?;
            let Some(again) = self.recorder.shot() else { break };
            picture = again;
            crash = self.armed.take().unwrap_or(Crash::Kill);
            cut |= matches!(crash, Crash::PowerCut(_));
            self.crashed.0 += 1;
            self.crashed.1 += 1;
        }
        // A power cut anywhere on the way may have taken what only a sync keeps.
        let worst = if cut { Crash::PowerCut(crash.sectors()) } else { Crash::Kill };
        let sight = view::look(self.store())?;
        self.oracle.crashed(Some(&during), worst, died_at, &sight, self.now)?;
        self.see_firsts();
        self.recorder.set_step(1);
        let before = (self.oracle.clone(), self.now);
        self.recovered = Some(before.clone());
        self.advance(0)?;
        let left = picture.tree(crash.sectors()).plant();
        drop(plans::open_as_planned(left.path(), &self.options())?);
        self.after(before)
    }

    /// The process ends where the picture was taken, between these two states.
    pub fn crash_at(&mut self, moment: &Moment, picture: &Picture, crash: Crash) -> Result<(), String> {
        self.now = moment.now;
        self.clock.set(Duration::from_secs(self.now));
        self.oracle = moment.after.clone();
        self.armed = Some(crash);
        self.crash(moment.before.clone(), picture.clone(), moment.now)
    }

    /// Opens what a crash left twice: once to see what recovery makes of it, once to go on from there.
    fn open_twice(&mut self, picture: &Picture, crash: Crash) -> Result<(), String> {
        self.store = None;
        let tree = picture.tree(crash.sectors());
        let twin = tree.plant();
        let first = self.options().open(twin.path()).map_err(|error| format!("cannot open: {error}"))?;
        let seen = view::look(&first)?;
        drop(first);
        self.dir = tree.plant();
        self.recorder = match crash {
            Crash::Kill => Recorder::resume(self.dir.path(), picture),
            Crash::PowerCut(_) => Recorder::new(self.dir.path()),
        };
        if self.filming {
            self.recorder.film();
        }
        self.arm();
        self.open().map_err(|error| format!("cannot open again: {error}"))?;
        let again = view::look(self.store())?;
        if seen != again { Err(format!("one image was recovered as {seen:?} and as {again:?}")) } else { Ok(()) }
    }

    /// Time passes, and nobody looks.
    pub fn pass(&mut self, secs: Secs) {
        self.now += secs;
        self.clock.set(Duration::from_secs(self.now));
        self.store().run_pending();
    }

    pub fn see_firsts(&mut self) {
        for (topic, name) in TOPICS.iter().enumerate() {
            let Ok(stats) = self.store().topic_stats(name) else { continue };
            for (queue, (first, _)) in stats.queues.iter().enumerate() {
                self.firsts.insert((topic as u8, queue as u8), *first);
            }
        }
    }
}
