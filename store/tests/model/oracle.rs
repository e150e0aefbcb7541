//! All states the store can be in, as far as was seen: more than one only after a crash of which nobody knows what it
//! took. What is seen next takes some of them away; when none is left, the store broke its word.

use std::collections::BTreeMap;

use crate::claims::Sight;
use crate::op::{Crash, Mode};
use crate::world::{Queue, Secs, World};

/// More states than this are never told apart.
const WORLDS_MAX: usize = 256;

#[derive(Clone, Debug)]
pub struct Oracle {
    mode: Mode,
    worlds: Vec<World>,
    /// The states after each step since the last one that is durable, and which of them each log keeps at least.
    past: Vec<Vec<World>>,
    commit_floor: usize,
    checkpoint_floor: usize,
    /// The state that the last process found in the commit log, durable when its keeper was at it.
    found: usize,
}

/// What a step made durable beside what the mode promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    AsPromised,
    Commit,
    Checkpoint,
    /// A letter lies in the commit log, and what led to it in the checkpoint log.
    Letters,
    Both,
}

impl Oracle {
    pub fn new(mode: Mode) -> Self {
        let worlds = vec![World::default()];
        Self { mode, past: vec![worlds.clone()], worlds, commit_floor: 0, checkpoint_floor: 0, found: 0 }
    }

    pub fn worlds(&self) -> &[World] {
        &self.worlds
    }

    /// A step of the store, as each state would have seen it.
    ///
    /// # Errors
    /// None of them would: what each says.
    pub fn step(&mut self, mut step: impl FnMut(&mut World) -> Result<(), String>) -> Result<(), String> {
        let mut refused = Vec::new();
        self.worlds.retain_mut(|world| match step(world) {
            Ok(()) => true,
            Err(why) => {
                refused.push(why);
                false
            }
        });
        if self.worlds.is_empty() { Err(refused.join("; or else ")) } else { Ok(()) }
    }

    /// The step is over.
    pub fn done(&mut self, synced: Synced) {
        self.past.push(self.worlds.clone());
        let last = self.past.len() - 1;
        let synced = if self.mode == Mode::SyncEach { Synced::Both } else { synced };
        match synced {
            Synced::AsPromised => {}
            Synced::Commit => self.commit_floor = last,
            Synced::Checkpoint => self.checkpoint_floor = last,
            Synced::Letters => (self.commit_floor, self.checkpoint_floor) = (last, self.checkpoint_floor.max(last - 1)),
            Synced::Both => (self.commit_floor, self.checkpoint_floor) = (last, last),
        }
        let floor = self.commit_floor.min(self.checkpoint_floor);
        self.past.drain(..floor);
        self.commit_floor -= floor;
        self.checkpoint_floor -= floor;
        self.found = self.found.saturating_sub(floor);
    }

    /// The keeper did what was due.
    pub fn kept_house(&mut self) {
        self.commit_floor = self.commit_floor.max(self.found);
    }

    /// The process ended while `during` was under way, of which `self` is the state before. Then the store was found.
    ///
    /// # Errors
    /// What was found follows from no state that the crash can have left.
    pub fn crashed(
        &mut self,
        during: Option<&Self>,
        crash: Crash,
        died_at: Secs,
        sight: &Sight,
        opened_at: Secs,
    ) -> Result<(), String> {
        let after = during.map_or(&[][..], |during| &during.worlds);
        let mut worlds: Vec<World> = match (crash, self.mode) {
            (Crash::Kill, _) | (_, Mode::SyncEach) => after.iter().chain(&self.worlds).cloned().collect(),
            (Crash::PowerCut(_), _) => {
                let of = |floor: usize| after.iter().chain(self.past[floor..].iter().rev().flatten());
                let found = of(self.commit_floor).filter(|world| ends(world) == ends_of(sight));
                let messages = dedup(found.map(|world| World { groups: BTreeMap::new(), ..world.clone() }));
                let consumers =
                    dedup(of(self.checkpoint_floor).filter(|world| counters(world) == sight.groups).cloned());
                let joined = |messages| consumers.iter().filter_map(move |consumers| World::join(messages, consumers));
                messages.iter().flat_map(joined).collect()
            }
        };
        if worlds.is_empty() {
            return Err(format!("no state before has such queues and letters: {:?}", ends_of(sight)));
        }
        worlds.iter_mut().for_each(|world| world.crash(died_at));
        self.worlds = dedup(worlds.into_iter());
        self.step(|world| world.seen(sight, &[], died_at))?;
        self.worlds.iter_mut().for_each(|world| world.reanchor(opened_at));
        self.worlds = dedup(std::mem::take(&mut self.worlds).into_iter());
        // Where no append promises to be durable, opening a killed store leaves its tail to the keeper.
        let lazy = crash == Crash::Kill && self.mode == Mode::Buffered;
        self.past.drain(..if lazy { self.commit_floor } else { self.past.len() });
        self.past.push(self.worlds.clone());
        self.found = self.past.len() - 1;
        (self.commit_floor, self.checkpoint_floor) = (0, self.found);
        Ok(())
    }

    /// The store was closed in order and opened again.
    pub fn reopened(&mut self, opened_at: Secs) {
        self.worlds.iter_mut().for_each(|world| world.reanchor(opened_at));
        self.done(Synced::Both);
    }
}

fn dedup(worlds: impl Iterator<Item = World>) -> Vec<World> {
    let mut different: Vec<World> = Vec::new();
    for world in worlds {
        if !different.contains(&world) {
            different.push(world);
        }
        assert!(different.len() <= WORLDS_MAX, "too many states to tell apart");
    }
    different
}

fn counters(world: &World) -> BTreeMap<u8, [u64; 3]> {
    world.groups.iter().map(|(id, group)| (*id, [group.popped, group.acked, group.nacked])).collect()
}

fn ends(world: &World) -> Vec<(Queue, u64)> {
    world.queues.iter().map(|(queue, bodies)| (*queue, bodies.len() as u64)).collect()
}

fn ends_of(sight: &Sight) -> Vec<(Queue, u64)> {
    sight.queues.iter().map(|(queue, (first, bodies))| (*queue, first + bodies.len() as u64)).collect()
}
