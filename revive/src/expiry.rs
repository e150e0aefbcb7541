//! The merge: what is due now, and what the group's rules say about it.

use crate::block::Untouched;
use crate::index::{Index, retime};
use crate::{Cohort, EndReason, Ending, GroupId, QueueId, Run, State, Time};

/// Everything one call of [`Index::advance`] decided.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// Leases that ended. The caller records and applies each verdict before it advances again.
    pub endings: Vec<Decision>,
    /// Messages to be copied to their group's dead-letter queue. They cannot be settled otherwise until the caller
    /// reports back with [`crate::Change::Buried`] or [`Index::postpone`].
    pub burials: Vec<Burying>,
    /// Queues in which something became visible again.
    pub woken: Vec<(GroupId, QueueId)>,
}

/// A lease that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whose.
    pub group: GroupId,
    /// Which messages.
    pub run: Run,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// What becomes of messages whose lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered again from then on.
    Redeliver {
        /// When they become visible.
        visible_at: Time,
    },
    /// Dropped for the group.
    Discard,
}

/// Messages on their way to the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burying {
    /// Whose.
    pub group: GroupId,
    /// Which messages, at the attempt of their last delivery.
    pub run: Run,
    /// Why their last lease ended.
    pub reason: EndReason,
    /// When they were handed out last.
    pub popped_at: Time,
}

impl Index {
    /// When the next thing is due; a little early at times, never late.
    pub fn next_due(&self) -> Option<Time> {
        self.timers.first().map(|timer| timer.0)
    }

    /// Looks at up to `blocks_max` blocks that are due at `now` and adds to `out` what is to be done. When the verdicts
    /// are applied and something is still due, it is to be called again.
    ///
    /// This is the only place where a lease ends by time, and [`crate::Policy::end_lease`] looks at the limit in that
    /// same step. What is hidden for a backoff becomes visible here, too; that needs no record.
    pub fn advance(&mut self, now: Time, blocks_max: usize, out: &mut Decisions) {
        // Taken out first: a block whose verdicts are not applied yet stays due, for the next call.
        let due = self.timers.iter().take_while(|timer| timer.0 <= now);
        let due: Vec<_> = due.take(blocks_max).copied().collect();
        for timer in due {
            self.timers.remove(&timer);
            let (_, group, queue, block) = timer;
            self.look_at(group, queue, block, now, out);
        }
    }

    fn look_at(&mut self, group: GroupId, queue: QueueId, number: u64, now: Time, out: &mut Decisions) {
        let Self { groups, timers, .. } = self;
        let Some(known) = groups.get_mut(&group) else { return };
        let Some(held) = known.queues.get_mut(&queue) else { return };
        let policy = &known.policy;
        let look = |cohort: &Cohort| {
            if cohort.timer().is_none_or(|due| due > now) {
                return Err(Untouched);
            }
            let run = Run { queue, block: number, mask: cohort.mask, attempt: cohort.attempt };
            let (reason, ending) = match cohort.state {
                State::Waiting => {
                    out.woken.push((group, queue));
                    return Ok(Some(Cohort { state: State::Ready, ..*cohort }));
                }
                State::Ended(reason) => (reason, policy.end_lease(cohort.attempt)),
                _ => (EndReason::Expired, policy.end_lease(cohort.attempt)),
            };
            let verdict = match ending {
                Ending::DeadLetter => {
                    out.burials.push(Burying { group, run, reason, popped_at: cohort.popped_at });
                    return Ok(Some(Cohort { state: State::Burying(reason), ..*cohort }));
                }
                Ending::Discard => Verdict::Discard,
                Ending::Redeliver { after } => Verdict::Redeliver { visible_at: now.after(after) },
            };
            out.endings.push(Decision { group, run, verdict });
            Err(Untouched)
        };
        let changed = held.change(number, |block, counts| {
            block.timer = None;
            block.edit(u64::MAX, counts, look);
        });
        if let Some(((), retimed)) = changed {
            retime(timers, &retimed, (group, queue, number));
        }
    }

    /// A burial could not be done: it is due again at `retry_at`.
    pub fn postpone(&mut self, group: GroupId, run: &Run, now: Time, retry_at: Time) {
        self.edit(group, run, |cohort| match cohort.state {
            State::Burying(reason) => {
                Ok(Some(Cohort { state: State::Ended(reason), since: now, due: retry_at, ..*cohort }))
            }
            _ => Err(Untouched),
        });
    }

    /// Puts every wait on a clock that may have jumped: none lasts longer from `now` on than it was set to last.
    /// Returns whether anything had to be shortened.
    pub fn reanchor(&mut self, now: Time) -> bool {
        let mut shortened = false;
        let held: Vec<_> = self.blocks().collect();
        for (group, queue, number) in held {
            let touched = self.change_block((group, queue, number), |block, counts| {
                block.edit(u64::MAX, counts, |cohort| {
                    let latest = now.after(cohort.due.since(cohort.since));
                    if cohort.timer().is_none() || cohort.due <= latest {
                        return Err(Untouched);
                    }
                    Ok(Some(Cohort { since: now, due: latest, ..*cohort }))
                })
            });
            shortened |= touched != 0;
        }
        shortened
    }

    fn blocks(&self) -> impl Iterator<Item = (GroupId, QueueId, u64)> {
        self.groups.iter().flat_map(|(group, known)| {
            let queues = known.queues.iter();
            queues.flat_map(|(queue, held)| held.blocks.iter().map(|(number, _)| (*group, *queue, number)))
        })
    }
}
