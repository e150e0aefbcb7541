//! The POP index: every group's leases, and the one function that changes them.

use std::collections::BTreeMap;

use crate::agenda::{Agenda, Place};
use crate::block::{Block, Untouched};
use crate::queue::Queue;
use crate::{
    Burial, Buried, Change, Cohort, Counters, Counts, EndReason, GroupId, Policy, QueueId, QueueIndex, Run, Standing,
    State, Time, Verdict,
};

/// Who holds which message until when: per group and queue, in memory, rebuilt from the checkpoint log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) agenda: Agenda,
    /// Where groups begin that are about to be made. No image holds them: a group is made in one step.
    beginnings: BTreeMap<GroupId, BTreeMap<QueueId, QueueIndex>>,
    /// Dead letters that were put back, per dead-letter queue and block.
    pub(crate) redriven: BTreeMap<QueueId, BTreeMap<u64, u64>>,
}

/// A group's rules, its work so far, and its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) policy: Policy,
    pub(crate) counters: Counters,
    pub(crate) queues: BTreeMap<QueueId, Queue>,
}

impl Index {
    /// Lets one change happen, and says how many messages it touched.
    pub(crate) fn change(&mut self, change: &Change<'_>) -> u64 {
        match change {
            Change::Group { group, policy, counters } => {
                let queues = self.groups.remove(group).map(|known| known.queues).unwrap_or_default();
                self.groups.insert(*group, Group { policy: policy.clone(), counters: *counters, queues });
                for (queue, position) in self.beginnings.remove(group).unwrap_or_default() {
                    self.change(&Change::Positioned { group: *group, queue, position });
                }
                0
            }
            Change::GroupRemoved { group } => {
                self.groups.remove(group);
                self.beginnings.remove(group);
                self.agenda.forget(*group);
                0
            }
            Change::Positioned { group, queue, position } => {
                match self.groups.get_mut(group) {
                    Some(known) => known.queues.entry(*queue).or_default().go_on(*position, *position),
                    None => drop(self.beginnings.entry(*group).or_default().insert(*queue, *position)),
                }
                0
            }
            Change::Popped { group, generation, at, due, runs } => {
                let lease = Cohort {
                    mask: 0,
                    popped_at: *at,
                    since: *at,
                    due: *due,
                    attempt: 0,
                    generation: *generation,
                    state: State::InFlight,
                };
                runs.iter().map(|run| self.hand_out(*group, run, &lease)).sum()
            }
            Change::Acked { group, runs, .. } => {
                let acked = |counters: &mut Counters, n| add(&mut counters.acked, n);
                self.edit_all(*group, runs, acked, |held| match held.state {
                    State::InFlight | State::Waiting => Ok(None),
                    State::Ended(_) => Err(Untouched),
                })
            }
            Change::Nacked { group, at, verdict, runs } => match verdict {
                Verdict::Discard => {
                    let gone = |held: &Cohort| if held.state == State::InFlight { Ok(None) } else { Err(Untouched) };
                    let n = runs.iter().map(|run| self.bury(*group, run, Burial::Discarded, gone)).sum();
                    self.count(*group, |counters| add(&mut counters.nacked, n));
                    n
                }
                Verdict::Redeliver { .. } | Verdict::DeadLetter => {
                    let (due, state) = match verdict {
                        Verdict::Redeliver { visible_at } => (*visible_at, State::Waiting),
                        _ => (*at, State::Ended(EndReason::Nacked)),
                    };
                    let nacked = |counters: &mut Counters, n| add(&mut counters.nacked, n);
                    self.edit_all(*group, runs, nacked, |lease| match lease.state {
                        State::InFlight => Ok(Some(Cohort { since: *at, due, state, ..*lease })),
                        _ => Err(Untouched),
                    })
                }
            },
            Change::Extended { group, at, due, runs } => self.edit_all(
                *group,
                runs,
                |_, _| {},
                |lease| match lease.state {
                    State::InFlight => Ok(Some(Cohort { since: *at, due: *due, ..*lease })),
                    _ => Err(Untouched),
                },
            ),
            Change::Revived { group, at, visible_at, runs } => {
                self.end(*group, runs, *at, |lease| Cohort { due: *visible_at, state: State::Waiting, ..*lease })
            }
            Change::Ended { group, at, runs } => {
                let state = State::Ended(EndReason::Expired);
                self.end(*group, runs, *at, |lease| Cohort { due: *at, state, ..*lease })
            }
            Change::Buried { group, at, burial, runs } => {
                let gone = |held: &Cohort| match (held.state, burial) {
                    (State::Ended(_), _) => Ok(None),
                    (_, Burial::Discarded) if held.is_over(*at) => Ok(None),
                    _ => Err(Untouched),
                };
                runs.iter().map(|run| self.bury(*group, run, *burial, gone)).sum()
            }
            Change::Redriven { runs } => {
                self.redrive(runs);
                0
            }
            Change::Forgotten { queue, first, runs } => {
                self.forget_letters(*queue, *first, runs);
                0
            }
            Change::Reanchored { at } => self.reanchor(*at),
            Change::Truncated { queue, end } => self.truncate(*queue, *end),
            Change::Image(image) => {
                self.apply_image(image);
                0
            }
        }
    }

    /// Chooses up to `limit` messages of `queue` to hand out at `now`: redeliveries first, by the time at which they
    /// became visible and then by place, then new ones of those in `span`. Nothing changes until the runs come back in a
    /// [`Change::Popped`].
    pub fn pick(
        &self,
        group: GroupId,
        queue: QueueId,
        limit: u32,
        span: (QueueIndex, QueueIndex),
        now: Time,
        out: &mut Vec<Run>,
    ) {
        let Some(known) = self.groups.get(&group) else { return };
        match known.queues.get(&queue) {
            Some(held) => held.pick(queue, known.policy.ordered, limit, span, now, out),
            None => Queue::default().pick(queue, known.policy.ordered, limit, span, now, out),
        }
    }

    /// What a receipt is good for at `now`.
    pub fn standing(
        &self,
        group: GroupId,
        queue: QueueId,
        index: QueueIndex,
        attempt: u32,
        generation: u32,
        now: Time,
    ) -> Standing {
        self.look_up(group, queue, index, attempt, generation, now).0
    }

    /// What a receipt is good for at `now`, and the history of its message if the group still holds it.
    pub fn look_up(
        &self,
        group: GroupId,
        queue: QueueId,
        index: QueueIndex,
        attempt: u32,
        generation: u32,
        now: Time,
    ) -> (Standing, Option<&Cohort>) {
        match self.queue(group, queue) {
            Some(queue) => queue.standing(index, attempt, generation, now),
            None => (Standing::Unknown, None),
        }
    }

    /// The rules of a group.
    pub fn policy(&self, group: GroupId) -> Option<&Policy> {
        self.groups.get(&group).map(|group| &group.policy)
    }

    /// What a group has done.
    pub fn counters(&self, group: GroupId) -> Option<Counters> {
        self.groups.get(&group).map(|group| group.counters)
    }

    /// The queues a group has read from, with its position in each.
    pub fn positions(&self, group: GroupId) -> impl Iterator<Item = (QueueId, QueueIndex)> {
        let queues = self.groups.get(&group).into_iter().flat_map(|group| &group.queues);
        queues.map(|(id, queue)| (*id, queue.position))
    }

    /// A group's place in a queue, if it ever read from it: the next message it was never given.
    pub fn position(&self, group: GroupId, queue: QueueId) -> Option<QueueIndex> {
        self.queue(group, queue).map(|queue| queue.position)
    }

    /// How many messages of a queue a group holds at `now`, by state. Visits every block with something to deliver again.
    pub fn counts(&self, group: GroupId, queue: QueueId, now: Time) -> Counts {
        self.queue(group, queue).map(|queue| queue.counts(now)).unwrap_or_default()
    }

    /// Whether a group has messages of a queue to deliver again at `now`.
    pub fn has_ready(&self, group: GroupId, queue: QueueId, now: Time) -> bool {
        self.queue(group, queue).is_some_and(|queue| queue.has_ready(now))
    }

    /// Everything a group was given before this place of a queue is settled.
    pub fn done_through(&self, group: GroupId, queue: QueueId) -> Option<QueueIndex> {
        self.queue(group, queue).map(Queue::done_through)
    }

    /// The history of one unsettled message.
    pub fn held(&self, group: GroupId, queue: QueueId, index: QueueIndex) -> Option<&Cohort> {
        self.block(group, queue, index.block())?.cohort(index.bit())
    }

    /// What a group holds of a run, at the run's attempt; the cohorts may hold more than the run names.
    pub(crate) fn cohorts(&self, group: GroupId, run: &Run) -> impl Iterator<Item = &Cohort> {
        let (mask, attempt) = (run.mask, run.attempt);
        let held = self.block(group, run.queue, run.block).into_iter().flat_map(|block| &block.cohorts);
        held.filter(move |cohort| cohort.attempt == attempt && cohort.mask & mask != 0)
    }

    pub(crate) fn block(&self, group: GroupId, queue: QueueId, number: u64) -> Option<&Block> {
        self.queue(group, queue)?.blocks.get(number)
    }

    /// The unsettled messages of a group in a queue, by block.
    pub fn unsettled(&self, group: GroupId, queue: QueueId) -> impl Iterator<Item = (u64, Cohort)> {
        let blocks = self.queue(group, queue).into_iter().flat_map(|queue| queue.blocks.iter());
        blocks.flat_map(|(number, block)| block.cohorts.iter().map(move |cohort| (number, *cohort)))
    }

    /// When the longest running lease of a group was given. Looks at every block the group holds.
    pub fn oldest_lease(&self, group: GroupId) -> Option<Time> {
        let queues = self.groups.get(&group).into_iter().flat_map(|group| group.queues.values());
        let cohorts = queues.flat_map(|queue| queue.blocks.iter()).flat_map(|(_, block)| &block.cohorts);
        cohorts.filter(|cohort| cohort.state == State::InFlight).map(|cohort| cohort.popped_at).min()
    }

    /// The groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    fn queue(&self, group: GroupId, queue: QueueId) -> Option<&Queue> {
        self.groups.get(&group)?.queues.get(&queue)
    }

    /// Hands out what of the run is new to the group or comes from an earlier attempt.
    fn hand_out(&mut self, group: GroupId, run: &Run, lease: &Cohort) -> u64 {
        let Self { groups, agenda, .. } = self;
        let Some(known) = groups.get_mut(&group) else { return 0 };
        let queue = known.queues.entry(run.queue).or_default();
        let place = (group, run.queue, run.block);
        let lease = Cohort { attempt: run.attempt, ..*lease };
        let again = |held: &Cohort| match held.state {
            State::InFlight | State::Waiting if held.attempt < run.attempt => Ok(Some(lease)),
            _ => Err(Untouched),
        };
        let ahead = run.mask & QueueIndex::possible(run.block) & at_or_after(run.block, queue.position);
        let change = |block: &mut Block, counts: &mut Counts| {
            let redelivered = block.edit(run.mask, counts, again);
            // Nothing ahead of the position is held, unless an image's bytes lie.
            let new = ahead & !block.mask();
            if new != 0 {
                block.insert(Cohort { mask: new, ..lease }, counts);
            }
            (redelivered, new)
        };
        let changed = match ahead {
            0 => queue.change(agenda, place, change),
            _ => Some(queue.change_or_make(agenda, place, change)),
        };
        let Some((redelivered, new)) = changed else { return 0 };
        if ahead != 0 {
            let at = |bit| QueueIndex(QueueIndex::of_block(run.block).0.saturating_add(u64::from(bit)));
            queue.go_on(at(ahead.trailing_zeros()), at(64 - ahead.leading_zeros()));
        }
        let n = u64::from((redelivered | new).count_ones());
        add(&mut known.counters.popped, n);
        add(&mut known.counters.redelivered, if run.attempt > 1 { n } else { 0 });
        n
    }

    fn bury(
        &mut self,
        group: GroupId,
        run: &Run,
        burial: Burial,
        gone: impl Fn(&Cohort) -> Result<Option<Cohort>, Untouched>,
    ) -> u64 {
        let Self { groups, agenda, .. } = self;
        let touched = groups.get_mut(&group).map_or(0, |known| edit(known, agenda, group, run, gone));
        let Some(known) = self.groups.get_mut(&group) else { return 0 };
        if touched != 0 {
            let queue = known.queues.entry(run.queue).or_default();
            for index in (Run { mask: touched, ..*run }).indexes() {
                queue.remember(Buried { index, attempt: run.attempt, burial });
            }
        }
        let n = u64::from(touched.count_ones());
        match burial {
            Burial::DeadLettered => add(&mut known.counters.dead_lettered, n),
            Burial::Discarded => add(&mut known.counters.discarded, n),
        }
        n
    }

    /// Ends leases that are over at `at`.
    fn end(&mut self, group: GroupId, runs: &[Run], at: Time, next: impl Fn(&Cohort) -> Cohort) -> u64 {
        self.edit_all(
            group,
            runs,
            |_, _| {},
            |lease| match lease.is_over(at) {
                true => Ok(Some(Cohort { since: at, ..next(lease) })),
                false => Err(Untouched),
            },
        )
    }

    fn edit_all(
        &mut self,
        group: GroupId,
        runs: &[Run],
        count: impl Fn(&mut Counters, u64),
        step: impl Fn(&Cohort) -> Result<Option<Cohort>, Untouched>,
    ) -> u64 {
        let Self { groups, agenda, .. } = self;
        let Some(known) = groups.get_mut(&group) else { return 0 };
        let touched = runs.iter().map(|run| u64::from(edit(known, agenda, group, run, &step).count_ones())).sum();
        count(&mut known.counters, touched);
        touched
    }

    fn count(&mut self, group: GroupId, count: impl FnOnce(&mut Counters)) {
        if let Some(known) = self.groups.get_mut(&group) {
            count(&mut known.counters);
        }
    }

    /// Changes a block, and the agenda with it.
    pub(crate) fn change_block<T: Default>(
        &mut self,
        place: Place,
        change: impl FnOnce(&mut Block, &mut Counts) -> T,
    ) -> T {
        let Self { groups, agenda, .. } = self;
        let known = groups.get_mut(&place.0).and_then(|group| group.queues.get_mut(&place.1));
        known.and_then(|known| known.change(agenda, place, change)).unwrap_or_default()
    }

    /// Drops messages whatever their attempt, and says how many.
    pub(crate) fn cut(&mut self, group: GroupId, queue: QueueId, number: u64, mask: u64) -> u64 {
        let dropped = self.change_block((group, queue, number), |block, counts| block.edit(mask, counts, |_| Ok(None)));
        u64::from(dropped.count_ones())
    }
}

/// Edits what of the run is held at the run's attempt.
fn edit(
    known: &mut Group,
    agenda: &mut Agenda,
    group: GroupId,
    run: &Run,
    step: impl Fn(&Cohort) -> Result<Option<Cohort>, Untouched>,
) -> u64 {
    let Some(queue) = known.queues.get_mut(&run.queue) else { return 0 };
    let changed = queue.change(agenda, (group, run.queue, run.block), |block, counts| {
        block.edit(run.mask, counts, |held| if held.attempt == run.attempt { step(held) } else { Err(Untouched) })
    });
    changed.unwrap_or(0)
}

/// A counter read from a disk may be anything.
fn add(counter: &mut u64, n: u64) {
    *counter = counter.saturating_add(n);
}

/// The places of a block that are not before `position`.
pub(crate) fn at_or_after(block: u64, position: QueueIndex) -> u64 {
    match block.cmp(&position.block()) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => u64::MAX << (position.0 % QueueIndex::PER_BLOCK),
        std::cmp::Ordering::Greater => u64::MAX,
    }
}
