//! The one function that changes the index.

use crate::agenda::{Agenda, Place};
use crate::block::{Block, Untouched};
use crate::index::{Group, Index, at_or_after};
use crate::{
    Burial, Buried, Change, Cohort, Counters, Counts, EndReason, GroupId, QueueId, QueueIndex, Run, State, Time,
    Verdict,
};

impl Index {
    /// Lets one change happen, and says how many messages it touched.
    pub(crate) fn change(&mut self, change: &Change<'_>) -> u64 {
        match change {
            Change::Group { group, policy, counters } => {
                let queues = self.groups.remove(group).map(|known| known.queues).unwrap_or_default();
                let (policy, counters) = ((**policy).clone(), **counters);
                self.groups.insert(*group, Group { policy, counters, queues });
                for (queue, position) in self.beginnings.remove(group).unwrap_or_default() {
                    self.change(&Change::Positioned { group: *group, queue, position });
                }
                0
            }
            Change::GroupRemoved { group } => {
                for (queue, held) in self.groups.remove(group).into_iter().flat_map(|known| known.queues) {
                    held.blocks.iter().for_each(|(number, block)| self.agenda.remove((*group, queue, number), block));
                }
                self.beginnings.remove(group);
                0
            }
            Change::Positioned { group, queue, position } => match self.groups.get_mut(group) {
                Some(known) => {
                    known.queues.entry(*queue).or_default().go_on(*position, *position);
                    self.drop_undelivered(*group, *queue, *position)
                }
                None => {
                    self.beginnings.entry(*group).or_default().insert(*queue, *position);
                    0
                }
            },
            Change::Popped { group, generation, at, due, runs } => {
                let lease = Cohort {
                    mask: 0,
                    popped_at: *at,
                    since: *at,
                    due: *due,
                    delivery: 0,
                    uncounted: 0,
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
            Change::Released { group, at, visible_at, runs } => self.edit_all(
                *group,
                runs,
                |counters, n| add(&mut counters.released, n),
                |lease| match lease.state {
                    State::InFlight => {
                        let uncounted = lease.uncounted.saturating_add(1);
                        Ok(Some(Cohort { since: *at, due: *visible_at, uncounted, state: State::Waiting, ..*lease }))
                    }
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

    /// Hands out what of the run is new to the group or comes from an earlier delivery.
    fn hand_out(&mut self, group: GroupId, run: &Run, lease: &Cohort) -> u64 {
        let Self { groups, agenda, .. } = self;
        let Some(known) = groups.get_mut(&group) else { return 0 };
        let queue = known.queues.entry(run.queue).or_default();
        let place = (group, run.queue, run.block);
        let lease = Cohort { delivery: run.delivery, ..*lease };
        let mut reconsumed = 0;
        let again = |held: &Cohort| match held.state {
            State::InFlight | State::Waiting if held.delivery < run.delivery => {
                let lease = Cohort { uncounted: held.uncounted, ..lease };
                reconsumed |= if lease.attempt() > 1 { held.mask } else { 0 };
                Ok(Some(lease))
            }
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
        reconsumed |= if run.delivery > 1 { new } else { 0 };
        add(&mut known.counters.popped, n);
        add(&mut known.counters.redelivered, u64::from(reconsumed.count_ones()));
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
        let Some(known) = groups.get_mut(&group) else { return 0 };
        let mut uncounted = Vec::new();
        let touched = edit(known, agenda, group, run, |held| {
            let next = gone(held)?;
            uncounted.push((held.mask, held.uncounted));
            Ok(next)
        });
        if touched != 0 {
            let queue = known.queues.entry(run.queue).or_default();
            for index in (Run { mask: touched, ..*run }).indexes() {
                let of_it = uncounted.iter().find(|(mask, _)| mask & index.bit() != 0);
                let uncounted = of_it.map_or(0, |(_, uncounted)| *uncounted);
                queue.remember(Buried { index, delivery: run.delivery, uncounted, burial });
            }
        }
        let n = u64::from(touched.count_ones());
        match burial {
            Burial::DeadLettered => add(&mut known.counters.dead_lettered, n),
            Burial::Discarded => add(&mut known.counters.discarded, n),
        }
        n
    }

    /// Drops what lies before `end` and was given back whenever it was delivered.
    fn drop_undelivered(&mut self, group: GroupId, queue: QueueId, end: QueueIndex) -> u64 {
        let places: Vec<_> = self.agenda.undelivered(group, queue, end.block()).collect();
        let dropped = places.into_iter().map(|place| {
            self.change_block(place, |block, counts| {
                block.edit(block.undelivered() & !at_or_after(place.2, end), counts, |_| Ok(None))
            })
        });
        dropped.map(|mask: u64| u64::from(mask.count_ones())).sum()
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

    /// Drops messages whatever their delivery, and says how many.
    pub(crate) fn cut(&mut self, group: GroupId, queue: QueueId, number: u64, mask: u64) -> u64 {
        let dropped = self.change_block((group, queue, number), |block, counts| block.edit(mask, counts, |_| Ok(None)));
        u64::from(dropped.count_ones())
    }
}

/// Edits what of the run is held at the run's delivery.
fn edit(
    known: &mut Group,
    agenda: &mut Agenda,
    group: GroupId,
    run: &Run,
    mut step: impl FnMut(&Cohort) -> Result<Option<Cohort>, Untouched>,
) -> u64 {
    let Some(queue) = known.queues.get_mut(&run.queue) else { return 0 };
    let changed = queue.change(agenda, (group, run.queue, run.block), |block, counts| {
        block.edit(run.mask, counts, |held| if held.delivery == run.delivery { step(held) } else { Err(Untouched) })
    });
    changed.unwrap_or(0)
}

/// A counter read from a disk may be anything.
fn add(counter: &mut u64, n: u64) {
    *counter = counter.saturating_add(n);
}
