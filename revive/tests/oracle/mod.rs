//! The oracle: what an index should hold, told message by message, with no bitmaps, no agenda and no cohorts.
//!
//! It is slow and plain on purpose: every rule is a walk over one map from places to messages.

pub(crate) mod arbitrary;
mod canaries;
pub(crate) mod checks;
pub(crate) mod fuzzed;
mod rules;
pub(crate) mod scene;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use popstore_revive::*;

pub(crate) use told::{Logged, held, indexes, outcomes, pieces, replay, snapshot};

/// Leaves the function with a message when a claim does not hold.
macro_rules! ensure {
    ($claim:expr, $($told:tt)+) => {
        if !$claim {
            return Err(format!($($told)+));
        }
    };
}
pub(crate) use ensure;

const FIRST: QueueId = QueueId { topic: TopicId(0), queue: 0 };
const LAST: QueueId = QueueId { topic: TopicId(u32::MAX), queue: u32::MAX };

/// How many burials per group and queue a late handler can still be told of.
const BURIED_MAX: usize = 256;

/// A message of a group.
pub(crate) type Place = (GroupId, QueueId, u64);

/// An unsettled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) state: State,
    pub(crate) delivery: u32,
    pub(crate) uncounted: u32,
    pub(crate) generation: u32,
    pub(crate) popped_at: Time,
    pub(crate) since: Time,
    pub(crate) due: Time,
}

impl From<&Cohort> for Held {
    fn from(cohort: &Cohort) -> Self {
        let Cohort { state, delivery, uncounted, generation, popped_at, since, due, .. } = *cohort;
        Self { state, delivery, uncounted, generation, popped_at, since, due }
    }
}

impl Held {
    pub(crate) fn attempt(&self) -> u32 {
        self.delivery.saturating_sub(self.uncounted)
    }
}

/// A mistake the oracle makes on purpose, so that it can be seen to be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Flaw {
    #[default]
    None,
    StaleAckSettles,
    ExtensionForgotten,
    LeaseEndsLate,
    LimitOffByOne,
    PositionSkipsOne,
    TruncationSparesOne,
    RedeliveryUncounted,
    VerdictBeforeItsTime,
    EndedComesBack,
    ReanchorForgotten,
    ReleaseCounted,
    UndeliveredSpared,
}

/// The whole state of an index.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Oracle {
    pub(crate) groups: BTreeMap<GroupId, (Policy, Counters)>,
    pub(crate) held: BTreeMap<Place, Held>,
    pub(crate) positions: BTreeMap<(GroupId, QueueId), u64>,
    /// The first message that was handed out; the position before that.
    pub(crate) begun: BTreeMap<(GroupId, QueueId), u64>,
    pub(crate) buried: BTreeMap<(GroupId, QueueId), Vec<Buried>>,
    pub(crate) redriven: BTreeSet<(QueueId, u64)>,
    /// Where groups begin that are about to be made.
    pub(crate) beginnings: BTreeMap<(GroupId, QueueId), u64>,
    pub(crate) flaw: Flaw,
}

impl Oracle {
    /// What the images of an index tell.
    pub(crate) fn of(index: &Index) -> Self {
        let mut told = Self::default();
        for piece in pieces(index, usize::MAX) {
            told.apply(&piece);
        }
        told.redriven = index.redriven().flat_map(|run| indexes(&run).map(move |at| (run.queue, at))).collect();
        told
    }

    /// Takes one change in, one message after the other, and says how many it touched.
    pub(crate) fn apply(&mut self, change: &Change<'_>) -> u64 {
        match change {
            Change::Group { group, policy, counters } => {
                self.groups.insert(*group, ((**policy).clone(), **counters));
                let begins: Vec<_> = self.beginnings.range((*group, FIRST)..=(*group, LAST)).map(|at| *at.0).collect();
                for (group, queue) in begins {
                    let position = QueueIndex(self.beginnings.remove(&(group, queue)).unwrap_or_default());
                    self.apply(&Change::Positioned { group, queue, position });
                }
                0
            }
            Change::GroupRemoved { group } => {
                self.groups.remove(group);
                self.held.retain(|place, _| place.0 != *group);
                self.positions.retain(|place, _| place.0 != *group);
                self.begun.retain(|place, _| place.0 != *group);
                self.buried.retain(|place, _| place.0 != *group);
                self.beginnings.retain(|place, _| place.0 != *group);
                0
            }
            Change::Positioned { group, queue, position } => {
                if !self.groups.contains_key(group) {
                    self.beginnings.insert((*group, *queue), position.0);
                } else {
                    let known = self.positions.entry((*group, *queue)).or_default();
                    let begun = self.begun.entry((*group, *queue)).or_default();
                    *begun = if begun == known { position.0.max(*known) } else { *begun };
                    *known = position.0.max(*known);
                    let spared = self.flaw == Flaw::UndeliveredSpared;
                    let before = self.held.len();
                    let place = |at: &Place| (at.0, at.1) == (*group, *queue) && at.2 < position.0;
                    self.held.retain(|at, held| held.attempt() > 0 || !place(at) || spared);
                    return (before - self.held.len()) as u64;
                }
                0
            }
            Change::Popped { group, generation, at, due, runs } => {
                let lease = |delivery| Held {
                    state: State::InFlight,
                    delivery,
                    uncounted: 0,
                    generation: *generation,
                    popped_at: *at,
                    since: *at,
                    due: *due,
                };
                runs.iter().map(|run| self.hand_out(*group, run, lease(run.delivery))).sum()
            }
            Change::Acked { group, runs, .. } => {
                let n = self.edit(*group, runs, |held| !is_ended(held), |_| None);
                self.count(*group, n, |counters| &mut counters.acked);
                n
            }
            Change::Nacked { group, at, verdict, runs } => {
                let (due, state) = match verdict {
                    Verdict::Redeliver { visible_at } => (*visible_at, State::Waiting),
                    Verdict::DeadLetter | Verdict::Discard => (*at, State::Ended(EndReason::Nacked)),
                };
                let next = |held: &Held| Some(Held { state, since: *at, due, ..*held });
                let n = match verdict {
                    Verdict::Discard => {
                        runs.iter().map(|run| self.bury(*group, run, Burial::Discarded, is_leased)).sum()
                    }
                    _ => self.edit(*group, runs, is_leased, next),
                };
                self.count(*group, n, |counters| &mut counters.nacked);
                n
            }
            Change::Released { group, at, visible_at, runs } => {
                runs.iter().map(|run| self.release(*group, run, *at, *visible_at)).sum()
            }
            Change::Extended { group, at, due, runs } => {
                let forgotten = self.flaw == Flaw::ExtensionForgotten;
                let next = |held: &Held| Some(if forgotten { *held } else { Held { since: *at, due: *due, ..*held } });
                self.edit(*group, runs, is_leased, next)
            }
            Change::Revived { group, at, visible_at, runs } => {
                let (early, back) = (self.flaw == Flaw::VerdictBeforeItsTime, self.flaw == Flaw::EndedComesBack);
                let next = |held: &Held| Some(Held { state: State::Waiting, since: *at, due: *visible_at, ..*held });
                let over = |held: &Held| is_leased(held) && (held.due <= *at || early) || is_ended(held) && back;
                self.edit(*group, runs, over, next)
            }
            Change::Ended { group, at, runs } => {
                let state = State::Ended(EndReason::Expired);
                let next = |held: &Held| Some(Held { state, since: *at, due: *at, ..*held });
                self.edit(*group, runs, |held| is_leased(held) && held.due <= *at, next)
            }
            Change::Buried { group, at, burial, runs } => {
                let over = |held: &Held| *burial == Burial::Discarded && is_leased(held) && held.due <= *at;
                let applies = |held: &Held| is_ended(held) || over(held);
                runs.iter().map(|run| self.bury(*group, run, *burial, applies)).sum()
            }
            Change::Redriven { runs } => {
                self.redriven.extend(runs.iter().flat_map(|run| indexes(run).map(move |at| (run.queue, at))));
                0
            }
            Change::Forgotten { queue, first, runs } => {
                let moved: BTreeSet<_> =
                    runs.iter().flat_map(|run| indexes(run).map(move |at| (run.queue, at))).collect();
                self.redriven.retain(|at| at.0 != *queue || at.1 >= first.0 || moved.contains(at));
                0
            }
            Change::Reanchored { at } => self.reanchor(*at),
            Change::Truncated { queue, end } => {
                let before = self.held.len();
                let spared = u64::from(self.flaw == Flaw::TruncationSparesOne);
                for places in [&mut self.positions, &mut self.begun] {
                    places.iter_mut().filter(|(at, _)| at.1 == *queue).for_each(|(_, p)| *p = end.0.min(*p));
                }
                self.buried.iter_mut().filter(|(at, _)| at.1 == *queue).for_each(|(_, b)| b.retain(|b| b.index < *end));
                self.held.retain(|place, _| place.1 != *queue || place.2 < end.0 + spared);
                self.redriven.retain(|place| place.0 != *queue || place.1 < end.0);
                (before - self.held.len()) as u64
            }
            Change::Image(image) => {
                self.take_image(image);
                0
            }
        }
    }

    fn hand_out(&mut self, group: GroupId, run: &Run, lease: Held) -> u64 {
        let Some((_, counters)) = self.groups.get_mut(&group) else { return 0 };
        let position = self.positions.entry((group, run.queue)).or_default();
        let (before, mut n, mut redelivered) = (*position, 0, 0);
        for at in indexes(run) {
            let lease = match self.held.get(&(group, run.queue, at)) {
                Some(held) if held.delivery < run.delivery && !is_ended(held) => {
                    Held { uncounted: held.uncounted, ..lease }
                }
                None if at >= before => lease,
                _ => continue,
            };
            self.held.insert((group, run.queue, at), lease);
            n += 1;
            redelivered += u64::from(lease.attempt() > 1);
        }
        let begun = self.begun.entry((group, run.queue)).or_default();
        if let Some(first) = indexes(run).find(|at| *at >= before && *begun == before) {
            *begun = first;
        }
        let skipped = u64::from(self.flaw == Flaw::PositionSkipsOne);
        *position = indexes(run).map(|at| at + 1 + skipped).max().unwrap_or(0).max(before);
        counters.popped = counters.popped.saturating_add(n);
        if self.flaw != Flaw::RedeliveryUncounted {
            counters.redelivered = counters.redelivered.saturating_add(redelivered);
        }
        n
    }

    fn release(&mut self, group: GroupId, run: &Run, at: Time, due: Time) -> u64 {
        let not_counted = u32::from(self.flaw != Flaw::ReleaseCounted);
        let next = |held: &Held| {
            let uncounted = held.uncounted.saturating_add(not_counted);
            Some(Held { state: State::Waiting, since: at, due, uncounted, ..*held })
        };
        let n = self.edit(group, &[*run], is_leased, next);
        self.count(group, n, |counters| &mut counters.released);
        n
    }

    fn edit(
        &mut self,
        group: GroupId,
        runs: &[Run],
        applies: impl Fn(&Held) -> bool,
        next: impl Fn(&Held) -> Option<Held>,
    ) -> u64 {
        let mut n = 0;
        for (run, at) in runs.iter().flat_map(|run| indexes(run).map(move |at| (run, at))) {
            let place = (group, run.queue, at);
            let Some(held) = self.held.get(&place) else { continue };
            let stale_too = self.flaw == Flaw::StaleAckSettles && next(held).is_none();
            if (held.delivery == run.delivery || stale_too) && applies(held) {
                n += 1;
                match next(held) {
                    Some(next) => self.held.insert(place, next),
                    None => self.held.remove(&place),
                };
            }
        }
        n
    }

    fn bury(&mut self, group: GroupId, run: &Run, burial: Burial, applies: impl Fn(&Held) -> bool) -> u64 {
        let mut n = 0;
        for at in indexes(run) {
            let held = self.held.get(&(group, run.queue, at));
            if let Some(held) = held.filter(|held| held.delivery == run.delivery && applies(held)) {
                let Held { delivery, uncounted, .. } = *held;
                self.held.remove(&(group, run.queue, at));
                let buried = self.buried.entry((group, run.queue)).or_default();
                buried.push(Buried { index: QueueIndex(at), delivery, uncounted, burial });
                let forgotten = buried.len().saturating_sub(BURIED_MAX);
                buried.drain(..forgotten);
                n += 1;
            }
        }
        self.count(group, n, |counters| match burial {
            Burial::DeadLettered => &mut counters.dead_lettered,
            Burial::Discarded => &mut counters.discarded,
        });
        n
    }

    fn take_image(&mut self, image: &QueueImage) {
        let QueueImage { group, queue, position, .. } = *image;
        if !self.groups.contains_key(&group) {
            return;
        }
        let told = |block: u64| block >= image.from && image.end.is_none_or(|end| block < end);
        self.positions.insert((group, queue), position.0);
        self.held.retain(|place, _| (place.0, place.1) != (group, queue) || !told(place.2 / 64));
        for (block, cohort) in image.cohorts.iter().filter(|(block, _)| told(*block)) {
            for at in indexes(&Run { queue, block: *block, mask: cohort.mask, delivery: 0 }) {
                self.held.entry((group, queue, at)).or_insert(Held::from(cohort));
            }
        }
        if image.end.is_none() {
            self.buried.insert((group, queue), image.buried.clone());
            self.begun.insert((group, queue), image.begun.0);
        }
        let begun = self.begun.entry((group, queue)).or_default();
        *begun = position.0.min(*begun);
    }

    fn count(&mut self, group: GroupId, n: u64, which: impl FnOnce(&mut Counters) -> &mut u64) {
        if let Some((_, counters)) = self.groups.get_mut(&group) {
            let count = which(counters);
            *count = count.saturating_add(n);
        }
    }
}

fn is_leased(held: &Held) -> bool {
    held.state == State::InFlight
}

fn is_ended(held: &Held) -> bool {
    matches!(held.state, State::Ended(_))
}
