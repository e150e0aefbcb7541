//! The oracle's rules: what time does, what a pick may choose, what a receipt is good for, what a replay must tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use popstore_revive::*;

use super::{Flaw, Held, Oracle, Outcome, Place, ensure, indexes};

impl Oracle {
    /// Ends what is due at `now` as far as that needs no record, and says what becomes of each message.
    pub(crate) fn end_leases(&mut self, now: Time) -> Vec<(Place, u32, Outcome)> {
        let (late, off) = (u64::from(self.flaw == Flaw::LeaseEndsLate), u32::from(self.flaw == Flaw::LimitOffByOne));
        let mut outcomes = Vec::new();
        for (place, held) in &mut self.held {
            if due(held).is_none_or(|due| due.0.saturating_add(late) > now.0) {
                continue;
            }
            let reason = match held.state {
                State::Waiting => {
                    held.state = State::Ready;
                    continue;
                }
                State::Ended(reason) => reason,
                _ => EndReason::Expired,
            };
            let (policy, attempt) = (&self.groups[&place.0].0, held.attempt.saturating_sub(off));
            // Counted here and not by the policy itself, whose mistakes would be shared.
            let used_up = attempt > policy.max_reconsume_times.unwrap_or(u32::MAX).min(ATTEMPT_MAX - 1);
            let outcome = match policy.at_limit {
                _ if !used_up => Outcome::Redelivered { visible_at: now.after(policy.backoff.after(attempt)) },
                AtLimit::Discard => Outcome::Discarded,
                AtLimit::DeadLetter => {
                    held.state = State::Burying(reason);
                    Outcome::Burying { reason, popped_at: held.popped_at }
                }
            };
            outcomes.push((*place, held.attempt, outcome));
        }
        outcomes
    }

    /// A burial could not be done.
    pub(crate) fn postpone(&mut self, group: GroupId, run: &Run, now: Time, retry_at: Time) {
        for at in indexes(run) {
            match self.held.get_mut(&(group, run.queue, at)) {
                Some(held) if held.attempt == run.attempt => {
                    if let State::Burying(reason) = held.state {
                        *held = Held { state: State::Ended(reason), since: now, due: retry_at, ..*held };
                    }
                }
                _ => {}
            }
        }
    }

    /// No wait lasts longer from `now` on than it was set to last.
    pub(crate) fn reanchor(&mut self, now: Time) {
        for held in self.held.values_mut().filter(|held| due(held).is_some()) {
            let longest = Time(now.0.saturating_add(held.due.0.saturating_sub(held.since.0)));
            if held.due > longest {
                (held.since, held.due) = (now, longest);
            }
        }
    }

    /// When the next thing is truly due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.held.values().filter_map(due).min()
    }

    /// What a group holds of a queue.
    pub(crate) fn queue(&self, group: GroupId, queue: QueueId) -> BTreeMap<u64, Held> {
        let held = self.held.iter().filter(|(place, _)| (place.0, place.1) == (group, queue));
        held.map(|(place, held)| (place.2, *held)).collect()
    }

    /// Whether something is held of a queue that ends at `end` which cannot be there.
    pub(crate) fn beyond(&self, queue: QueueId, end: QueueIndex) -> bool {
        let mut positions = self.positions.iter().filter(|(at, _)| at.1 == queue);
        let mut buried = self.buried.iter().filter(|(at, _)| at.1 == queue).flat_map(|(_, buried)| buried);
        positions.any(|(_, position)| *position > end.0)
            || self.held.keys().any(|place| place.1 == queue && place.2 >= end.0)
            || buried.any(|buried| buried.index >= end)
            || self.redriven.iter().any(|place| place.0 == queue && place.1 >= end.0)
    }

    /// Holds a pick against everything the group may and must be offered.
    pub(crate) fn check_pick(
        &self,
        (group, queue): (GroupId, QueueId),
        limit: u32,
        span: Range<QueueIndex>,
        runs: &[Run],
    ) -> Result<(), String> {
        let held = self.queue(group, queue);
        let ordered = self.groups.get(&group).is_some_and(|(policy, _)| policy.ordered);
        let position = self.positions.get(&(group, queue)).copied().unwrap_or(0);
        let new = position.max(span.start.0)..span.end.0;
        let ready = held.values().filter(|held| held.state == State::Ready).count() as u64;

        ensure!(!runs.iter().any(Run::is_empty), "an empty run among {runs:?}");
        let (mut again, mut fresh) = (BTreeSet::new(), BTreeSet::new());
        for (run, at) in runs.iter().flat_map(|run| indexes(run).map(move |at| (run, at))) {
            ensure!(run.queue == queue, "{run:?} is of another queue");
            ensure!(!ordered || held.range(..at).next().is_none(), "{at} was picked behind an unsettled message");
            let (attempt, unseen) = match held.get(&at) {
                Some(held) => {
                    ensure!(held.state == State::Ready, "{at} was picked while {:?}", held.state);
                    (held.attempt + 1, again.insert(at))
                }
                None => {
                    ensure!(new.contains(&at), "{at} was picked, which is not new");
                    (1, fresh.insert(at))
                }
            };
            ensure!(unseen && run.attempt == attempt, "{at} was picked twice or at attempt {}", run.attempt);
        }
        let unpicked = new.clone().find(|at| !fresh.contains(at)).unwrap_or(new.end);
        ensure!(fresh.iter().all(|at| *at < unpicked), "{unpicked} was left behind");
        ensure!(fresh.is_empty() || again.len() as u64 == ready, "new messages came before redeliveries");

        let offered = match held.values().next() {
            Some(lowest) if ordered => u64::from(lowest.state == State::Ready),
            None if ordered => new.count().min(1) as u64,
            _ => ready + new.count() as u64,
        };
        let picked = (again.len() + fresh.len()) as u64;
        ensure!(picked == offered.min(u64::from(limit)), "{picked} of {offered} were picked, the limit being {limit}");
        Ok(())
    }

    /// What a receipt is good for.
    pub(crate) fn standing(&self, place: Place, attempt: u32, generation: u32, now: Time) -> Standing {
        let (group, queue, index) = place;
        let Some(position) = self.positions.get(&(group, queue)) else { return Standing::Unknown };
        let Some(held) = self.held.get(&place) else {
            let buried = self.buried.get(&(group, queue)).into_iter().flatten();
            return match buried.rev().find(|buried| buried.index.0 == index) {
                Some(last) if last.attempt == attempt => Standing::Buried(last.burial),
                Some(last) if last.attempt > attempt => Standing::HandedOutAgain { attempt: last.attempt },
                _ if index < *position => Standing::Settled,
                _ => Standing::Unknown,
            };
        };
        match held.state {
            _ if held.attempt > attempt => Standing::HandedOutAgain { attempt: held.attempt },
            _ if held.attempt < attempt || held.generation != generation => Standing::Unknown,
            State::Burying(_) => Standing::Buried(Burial::DeadLettered),
            State::InFlight if now < held.due => Standing::Leased { due: held.due },
            _ => Standing::Over,
        }
    }

    /// What an image keeps: the ready list and the burials under way are made again after a restart.
    pub(crate) fn lasting(mut self) -> Self {
        for held in self.held.values_mut() {
            held.state = match held.state {
                State::Ready => State::Waiting,
                State::Burying(reason) => State::Ended(reason),
                other => other,
            };
        }
        // A queue without burials and one that was never asked for them are the same.
        self.buried.retain(|_, buried| !buried.is_empty());
        self.flaw = Flaw::None;
        self
    }

    /// What every replay must tell alike: a lease that ran out needs no record before a verdict has one, and neither
    /// does a postponed burial, so of those a replay knows only that they are over.
    pub(crate) fn recorded(self, now: Time) -> Self {
        let mut told = self.lasting();
        for held in told.held.values_mut() {
            if held.state == State::InFlight && held.due <= now {
                held.state = State::Ended(EndReason::Expired);
            }
            if let State::Ended(_) = held.state {
                (held.since, held.due) = Default::default();
            }
        }
        told
    }
}

fn due(held: &Held) -> Option<Time> {
    match held.state {
        State::InFlight | State::Ended(_) | State::Waiting => Some(held.due),
        State::Ready | State::Burying(_) => None,
    }
}
