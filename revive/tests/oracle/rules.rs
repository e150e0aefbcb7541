//! The oracle's rules: what time does, what a pick may choose, what a receipt is good for, what a replay must tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use popstore_revive::*;

use super::{Flaw, Held, Oracle, Place, ensure, indexes, is_leased};

impl Oracle {
    /// What becomes of each lease that is over at `now`.
    pub(crate) fn decide_over(&self, now: Time) -> Vec<(Place, u32, Verdict)> {
        let (late, off) = (u64::from(self.flaw == Flaw::LeaseEndsLate), u32::from(self.flaw == Flaw::LimitOffByOne));
        let over = self.held.iter().filter(|(_, held)| is_leased(held) && held.due.0.saturating_add(late) <= now.0);
        let decided = over.map(|(place, held)| {
            let (policy, attempt) = (&self.groups[&place.0].0, held.attempt().saturating_sub(off));
            // Counted here and not by the policy itself, whose mistakes would be shared.
            let used_up =
                attempt > policy.max_reconsume_times.unwrap_or(u32::MAX) || held.delivery - off >= DELIVERY_MAX;
            let verdict = match policy.at_limit {
                _ if !used_up => Verdict::Redeliver { visible_at: now.after(policy.backoff.after(attempt)) },
                AtLimit::Discard => Verdict::Discard,
                AtLimit::DeadLetter => Verdict::DeadLetter,
            };
            (*place, held.delivery, verdict)
        });
        decided.collect()
    }

    /// What belongs into a dead-letter queue.
    pub(crate) fn to_bury(&self) -> Vec<(Place, [u32; 2], EndReason, Time)> {
        let ended = self.held.iter().filter_map(|(place, held)| match held.state {
            State::Ended(reason) => Some((*place, [held.delivery, held.uncounted], reason, held.popped_at)),
            _ => None,
        });
        ended.collect()
    }

    /// The queues in which something becomes visible.
    pub(crate) fn became_visible(&self, after: Time, through: Time) -> BTreeSet<(GroupId, QueueId)> {
        let waits = self.held.iter().filter(|(_, held)| held.state == State::Waiting);
        let visible = waits.filter(|(_, held)| held.due > after && held.due <= through);
        visible.map(|(place, _)| (place.0, place.1)).collect()
    }

    /// No wait lasts longer from `now` on than it was set to last. Says how many were shortened.
    pub(crate) fn reanchor(&mut self, now: Time) -> u64 {
        let mut shortened = 0;
        for held in self.held.values_mut().filter(|_| self.flaw != Flaw::ReanchorForgotten) {
            let longest = Time(now.0.saturating_add(held.due.0.saturating_sub(held.since.0)));
            if held.due > longest {
                (held.since, held.due) = (now, longest);
                shortened += 1;
            }
        }
        shortened
    }

    /// When the next lease ends, or something becomes visible after `after`.
    pub(crate) fn next_due(&self, after: Time) -> Option<Time> {
        let counts = |held: &&Held| is_leased(held) || held.state == State::Waiting && held.due > after;
        self.held.values().filter(counts).map(|held| held.due).min()
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
        now: Time,
        runs: &[Run],
    ) -> Result<(), String> {
        let mut held = self.queue(group, queue);
        // What no delivery counts of is gone with its message.
        held.retain(|at, held| held.attempt() > 0 || *at >= span.start.0);
        let ordered = self.groups.get(&group).is_some_and(|(policy, _)| policy.ordered);
        let position = self.positions.get(&(group, queue)).copied().unwrap_or(0);
        let new = position.max(span.start.0)..span.end.0;
        let is_ready = |held: &Held| held.state == State::Waiting && held.due <= now;
        let ready = held.values().filter(|held| is_ready(held)).count() as u64;

        ensure!(!runs.iter().any(Run::is_empty), "an empty run among {runs:?}");
        let (mut again, mut fresh, mut last) = (BTreeSet::new(), BTreeSet::new(), (Time(0), 0));
        for (run, at) in runs.iter().flat_map(|run| indexes(run).map(move |at| (run, at))) {
            ensure!(run.queue == queue, "{run:?} is of another queue");
            ensure!(!ordered || held.range(..at).next().is_none(), "{at} was picked behind an unsettled message");
            let (delivery, unseen) = match held.get(&at) {
                Some(held) => {
                    ensure!(is_ready(held), "{at} was picked while {:?}", held.state);
                    let order = (held.due, at / 64);
                    ensure!(last <= order, "{at} was picked too late");
                    last = order;
                    (held.delivery + 1, again.insert(at))
                }
                None => {
                    ensure!(new.contains(&at), "{at} was picked, which is not new");
                    (1, fresh.insert(at))
                }
            };
            ensure!(unseen && run.delivery == delivery, "{at} was picked twice or at delivery {}", run.delivery);
        }
        let unpicked = new.clone().find(|at| !fresh.contains(at)).unwrap_or(new.end);
        ensure!(fresh.iter().all(|at| *at < unpicked), "{unpicked} was left behind");
        ensure!(fresh.is_empty() || again.len() as u64 == ready, "new messages came before redeliveries");
        let passed_over = held.iter().filter(|(at, held)| is_ready(held) && !again.contains(at) && !ordered);
        let first = passed_over.map(|(at, held)| (held.due, at / 64)).min();
        ensure!(limit == 0 || first.is_none_or(|first| last <= first), "{first:?} was passed over for {last:?}");

        let offered = match held.values().next() {
            Some(lowest) if ordered => u64::from(is_ready(lowest)),
            None if ordered => new.count().min(1) as u64,
            _ => ready + new.count() as u64,
        };
        let picked = (again.len() + fresh.len()) as u64;
        ensure!(picked == offered.min(u64::from(limit)), "{picked} of {offered} were picked, the limit being {limit}");
        Ok(())
    }

    /// What a receipt is good for.
    pub(crate) fn standing(&self, place: Place, delivery: u32, generation: u32, now: Time) -> Standing {
        let (group, queue, index) = place;
        let Some(position) = self.positions.get(&(group, queue)) else { return Standing::Unknown };
        let Some(held) = self.held.get(&place) else {
            let buried = self.buried.get(&(group, queue)).into_iter().flatten();
            return match buried.rev().find(|buried| buried.index.0 == index) {
                Some(last) if last.delivery == delivery => Standing::Buried(last.burial),
                Some(last) if last.delivery > delivery => Standing::HandedOutAgain { attempt: last.attempt() },
                _ if index < *position => Standing::Settled,
                _ => Standing::Unknown,
            };
        };
        match held.state {
            _ if held.delivery > delivery => Standing::HandedOutAgain { attempt: held.attempt() },
            _ if held.delivery < delivery || held.generation != generation => Standing::Unknown,
            State::Ended(_) => Standing::Buried(Burial::DeadLettered),
            State::InFlight if now < held.due => Standing::Leased { due: held.due },
            _ => Standing::Over,
        }
    }

    /// A queue without burials and one that was never asked for them are the same, and no image holds a beginning.
    pub(crate) fn plain(mut self) -> Self {
        self.buried.retain(|_, buried| !buried.is_empty());
        self.beginnings.clear();
        self.flaw = Flaw::None;
        self
    }
}
