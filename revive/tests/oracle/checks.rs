//! What must hold after every step, told as errors: an index against the oracle, a log against what it rebuilds.

use std::collections::BTreeSet;

use popstore_revive::*;

use super::scene::{Checked, Scene};
use super::{Held, Oracle, ensure, held, replay};

impl Scene {
    /// Everything that can be asked of the index.
    pub(crate) fn check(&self) -> Checked {
        check_index(&self.index, &self.oracle, self.now)?;
        self.check_receipts()
    }

    /// Every receipt ever given is good for what the oracle says.
    pub(crate) fn check_receipts(&self) -> Checked {
        for receipt in &self.receipts {
            let (place, delivery, generation) = (receipt.place, receipt.delivery, receipt.generation);
            let found = receipt.standing(&self.index, self.now);
            let expected = self.oracle.standing(place, delivery, generation, self.now);
            ensure!(found == expected, "{receipt:?} is {found:?} instead of {expected:?}");
        }
        Ok(())
    }

    /// No message is handed out more often than its group allows, and each delivery counts but those that were released.
    pub(crate) fn check_deliveries(&self) -> Checked {
        let released = |place| self.released.get(place).copied().unwrap_or(0);
        for (place, n) in &self.deliveries {
            if let Some(held) = self.oracle.held.get(place) {
                ensure!(held.delivery == *n, "delivery {n} of {place:?} says delivery {}", held.delivery);
                ensure!(held.uncounted == released(place), "{} of {place:?} do not count", held.uncounted);
            }
            let Some(policy) = self.index.policy(place.0).filter(|_| !self.changed.contains(&place.0)) else {
                continue;
            };
            let allowed = policy.max_reconsume_times.is_none_or(|max| *n - released(place) <= max + 1);
            ensure!(allowed, "{place:?} was delivered {n} times under {policy:?}");
        }
        Ok(())
    }

    /// The log rebuilds the index from its beginning and from the last complete walk alike.
    pub(crate) fn check_replays(&self) -> Checked {
        for from in [0, self.walked_from] {
            let replayed = replay(&self.log[from..]);
            ensure!(replayed == self.index, "replayed from {from}:\n{replayed:#?}\nlive:\n{:#?}", self.index);
        }
        Ok(())
    }
}

/// Holds an index against the oracle.
pub(crate) fn check_index(index: &Index, oracle: &Oracle, now: Time) -> Checked {
    check_held(index, oracle)?;
    check_counts(index, oracle, now)?;
    check_groups(index, oracle)?;
    check_due(index, oracle, now)?;
    check_finished(index, oracle)?;
    check_told(index)?;
    let (told, live) = (Oracle::of(index).plain(), oracle.clone().plain());
    ensure!(told == live, "the images tell {told:#?}\ninstead of {live:#?}");
    Ok(())
}

/// What a walk would tell is what it tells.
fn check_told(index: &Index) -> Checked {
    let (mut cursor, mut walked) = (Cursor::default(), Told::default());
    while let Some(change) = index.image(&mut cursor, 2) {
        if let Change::Image(image) = change {
            walked.queues += u64::from(image.end.is_none());
            walked.cohorts += image.cohorts.len() as u64;
            walked.buried += image.buried.len() as u64;
        }
    }
    ensure!(index.told() == walked, "{:?} is to be told, and a walk tells {walked:?}", index.told());
    Ok(())
}

/// Every message is where the oracle has it.
pub(crate) fn check_held(index: &Index, oracle: &Oracle) -> Checked {
    let found = held(index);
    for ((group, queue, at), held) in &found {
        let one = index.held(*group, *queue, QueueIndex(*at)).map(Held::from);
        ensure!(one == Some(*held), "{at} of {queue:?} is {held:?}, and {one:?} when asked for alone");
    }
    let differs = oracle.held.keys().chain(found.keys()).find(|place| found.get(place) != oracle.held.get(place));
    let Some(place) = differs else { return Ok(()) };
    Err(format!("{place:?} is {:?} instead of {:?}", found.get(place), oracle.held.get(place)))
}

/// Per queue: the counts are those of the oracle and of the cohorts, whose masks do not overlap.
pub(crate) fn check_counts(index: &Index, oracle: &Oracle, now: Time) -> Checked {
    for (group, queue) in oracle.positions.keys() {
        let mut by_cohort = Counts::default();
        let mut seen = BTreeSet::new();
        for (block, cohort) in index.unsettled(*group, *queue) {
            ensure!(cohort.mask != 0, "an empty cohort in block {block}");
            let bits = (0..64).filter(|bit| cohort.mask >> bit & 1 == 1);
            for bit in bits {
                ensure!(seen.insert((block, bit)), "two cohorts hold bit {bit} of block {block}");
                *counter(&mut by_cohort, &Held::from(&cohort), now) += 1;
            }
        }
        let mut expected = Counts::default();
        oracle.queue(*group, *queue).values().for_each(|held| *counter(&mut expected, held, now) += 1);
        let found = index.counts(*group, *queue, now);
        ensure!(found == expected && found == by_cohort, "counts {found:?}, {expected:?}, {by_cohort:?}");
        let has_ready = index.has_ready(*group, *queue, now);
        ensure!(has_ready == (expected.ready > 0), "has_ready is {has_ready} with {expected:?}");
    }
    Ok(())
}

/// The groups, their rules and their counters, and how far they are in each queue.
pub(crate) fn check_groups(index: &Index, oracle: &Oracle) -> Checked {
    ensure!(index.groups().eq(oracle.groups.keys().copied()), "other groups");
    for (group, (policy, counters)) in &oracle.groups {
        ensure!(index.policy(*group) == Some(policy), "{group:?} has other rules");
        let found = index.counters(*group);
        ensure!(found == Some(*counters), "{group:?} did {found:?} instead of {counters:?}");

        let expected = oracle.positions.iter().filter(|(at, _)| at.0 == *group).map(|(at, p)| (at.1, QueueIndex(*p)));
        ensure!(
            index.positions(*group).eq(expected.clone()),
            "{group:?} is at other positions than {:?}",
            expected.collect::<Vec<_>>()
        );
        for (queue, position) in index.positions(*group) {
            let lowest = oracle.queue(*group, queue).keys().next().copied();
            let expected = QueueIndex(lowest.unwrap_or(u64::MAX)).min(position);
            let found = index.done_through(*group, queue);
            ensure!(found == Some(expected), "{queue:?} is done through {found:?} instead of {expected:?}");
        }
        let leased = |held: &&Held| held.state == State::InFlight;
        let of_group = oracle.held.iter().filter(|(place, _)| place.0 == *group).map(|(_, held)| held);
        let oldest = of_group.filter(leased).map(|held| held.popped_at).min();
        ensure!(index.oldest_lease(*group) == oldest, "the oldest lease is not of {oldest:?}");
    }
    Ok(())
}

/// The index says what is due when, and to what queues that matters.
pub(crate) fn check_due(index: &Index, oracle: &Oracle, now: Time) -> Checked {
    for after in [Time(0), now, Time(now.0.saturating_add(7))] {
        let (found, expected) = (index.next_due(after), oracle.next_due(after));
        ensure!(found == expected, "due after {after:?} at {found:?}, truly at {expected:?}");
        let found: BTreeSet<_> = index.became_visible(after, Time(after.0.saturating_add(9))).collect();
        let expected = oracle.became_visible(after, Time(after.0.saturating_add(9)));
        ensure!(found == expected, "visible in {found:?} after {after:?}, truly in {expected:?}");
    }
    let burials = index.to_bury().flat_map(|place| index.burials(place));
    let mut found: Vec<_> = burials
        .flat_map(|Burying { group, run, uncounted, reason, popped_at }| {
            super::indexes(&run).map(move |at| ((group, run.queue, at), [run.delivery, uncounted], reason, popped_at))
        })
        .collect();
    found.sort();
    ensure!(found == oracle.to_bury(), "to bury: {found:?} instead of {:?}", oracle.to_bury());
    Ok(())
}

/// A message is finished with when who was given it has settled it, and so has whoever was given others of its queue.
fn check_finished(index: &Index, oracle: &Oracle) -> Checked {
    for (_, queue) in oracle.positions.keys() {
        let of_queue = oracle.positions.iter().filter(|(place, _)| place.1 == *queue);
        let given: Vec<_> = of_queue.map(|(place, end)| (place.0, oracle.begun[place]..*end)).collect();
        let given: Vec<_> = given.into_iter().filter(|(_, given)| !given.is_empty()).collect();
        for at in (0..256).chain(given.iter().map(|(_, given)| given.end.saturating_sub(1))) {
            let settled = |group| !oracle.held.contains_key(&(group, *queue, at));
            let by_all = given.iter().all(|(group, given)| at < given.end && settled(*group));
            let expected = by_all && given.iter().any(|(_, given)| given.contains(&at)) && at < u64::MAX;
            let found = index.finished(*queue, at / 64) >> (at % 64) & 1 == 1;
            ensure!(found == expected, "{at} of {queue:?} is finished: {found}");
        }
    }
    Ok(())
}

fn counter<'c>(counts: &'c mut Counts, held: &Held, now: Time) -> &'c mut u64 {
    match held.state {
        State::InFlight => &mut counts.in_flight,
        State::Waiting if held.due > now => &mut counts.waiting,
        State::Waiting => &mut counts.ready,
        State::Ended(_) => &mut counts.ending,
    }
}
