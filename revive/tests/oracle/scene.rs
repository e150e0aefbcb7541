//! The scene: plays the store around an index, one [`Op`] at a time, and compares it with the oracle after each.
//!
//! Like the store it logs what it applies, asks for the standing of a receipt before it honours it, and lets only
//! the index end a lease by time.

use std::collections::{BTreeMap, BTreeSet};

use popstore_revive::*;

use super::{Flaw, Logged, Oracle, Place, ensure, indexes, outcomes, replay, snapshot};

/// Something happens to the store. Groups and queues are told by slot, receipts by how long ago they were given.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Append { queue: u8, n: u8 },
    Pop { group: u8, queue: u8, limit: u8, lease: u8, skip: u8 },
    Ack { ago: u16, n: u8 },
    Nack { ago: u16, n: u8, delay: u8 },
    Release { ago: u16, n: u8, delay: u8 },
    Extend { ago: u16, n: u8, lease: u8 },
    Advance { by: u8, blocks_max: u8 },
    Bury { n: u8 },
    Overtaken { ago: u16, n: u8, verdict: Verdict },
    ChangePolicy { group: u8, policy: Policy },
    ReplaceGroup { group: u8, policy: Policy },
    Jump { group: u8, queue: u8, by: u8 },
    Truncate { queue: u8, by: u8 },
    Redrive { queue: u8, block: u8, mask: u64 },
    Forget { queue: u8, first: u8, mask: u64 },
    Reanchor { by: u8 },
    Walk { blocks_max: u8, pieces: u8 },
    Reopen { blocks_max: u8 },
    Crash,
}

/// One lease of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) place: Place,
    pub(crate) delivery: u32,
    pub(crate) generation: u32,
}

impl Receipt {
    pub(crate) fn standing(&self, index: &Index, now: Time) -> Standing {
        let (group, queue, at) = self.place;
        let lease = Lease { queue, index: QueueIndex(at), delivery: self.delivery, generation: self.generation };
        index.standing(group, &lease, now)
    }
}

/// A walk under way, with live changes between its pieces.
#[derive(Debug)]
struct Walk {
    from: usize,
    cursor: Cursor,
}

/// `Ok`, or what does not hold.
pub(crate) type Checked = Result<(), String>;

/// A store reduced to its bookkeeping.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(crate) index: Index,
    pub(crate) oracle: Oracle,
    pub(crate) log: Vec<Logged>,
    /// Where the last complete walk begins in the log.
    pub(crate) walked_from: usize,
    pub(crate) now: Time,
    pub(crate) receipts: Vec<Receipt>,
    /// How often each message was handed out.
    pub(crate) deliveries: BTreeMap<Place, u32>,
    /// How many of them were released.
    pub(crate) released: BTreeMap<Place, u32>,
    /// Groups whose rules were changed.
    pub(crate) changed: BTreeSet<GroupId>,
    generation: u32,
    slots: [GroupId; 2],
    groups_made: u32,
    ends: BTreeMap<QueueId, QueueIndex>,
    walk: Option<Walk>,
}

impl Scene {
    /// Two groups and nothing else, at a time far from zero.
    pub(crate) fn new(policies: [Policy; 2], flaw: Flaw) -> Self {
        let mut scene = Self { now: Time(1000), generation: 1, ..Self::default() };
        scene.oracle.flaw = flaw;
        for (slot, policy) in policies.into_iter().enumerate() {
            scene.create(slot, policy);
        }
        scene
    }

    /// Runs the ops and checks after each of them.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Checked {
        for op in ops {
            self.step(op).and_then(|()| self.check()).map_err(|told| format!("{told}\nby {op:?} at {:?}", self.now))?;
        }
        self.check_replays()
    }

    /// The group in a slot.
    pub(crate) fn group(&self, slot: u8) -> GroupId {
        self.slots[usize::from(slot % 2)]
    }

    pub(crate) fn step(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Append { queue, n } => self.ends.entry(queue_of(queue)).or_default().0 += u64::from(n),
            Op::Pop { group, queue, limit, lease, skip } => {
                self.pop(self.group(group), queue_of(queue), u32::from(limit), self.later(lease), skip)?;
            }
            Op::Ack { ago, n } => self.ack(ago, n)?,
            Op::Nack { ago, n, delay } => self.nack(ago, n, self.later(delay))?,
            Op::Release { ago, n, delay } => self.release(ago, n, self.later(delay))?,
            Op::Extend { ago, n, lease } => self.extend(ago, n, self.later(lease))?,
            Op::Advance { by, blocks_max } => self.advance(self.later(by), usize::from(blocks_max))?,
            Op::Bury { n } => self.bury(usize::from(n))?,
            Op::Overtaken { ago, n, verdict } => self.overtaken(ago, n, verdict)?,
            Op::ChangePolicy { group, ref policy } => self.change_policy(self.group(group), policy.clone())?,
            Op::ReplaceGroup { group, ref policy } => {
                self.record(Change::GroupRemoved { group: self.group(group) }, vec![])?;
                self.create(usize::from(group % 2), policy.clone());
            }
            Op::Jump { group, queue, by } => self.jump(self.group(group), queue_of(queue), u64::from(by))?,
            Op::Truncate { queue, by } => self.truncate(queue_of(queue), u64::from(by))?,
            Op::Redrive { queue, block, mask } => {
                let run = Run { queue: queue_of(queue), block: u64::from(block), mask, delivery: 0 };
                let letters = indexes(&run).filter(|at| *at < self.end(run.queue).0);
                let run = Run { mask: letters.fold(0, |mask, at| mask | 1 << (at % 64)), ..run };
                self.record(Change::Redriven { runs: &[] }, vec![run])?;
            }
            Op::Forget { queue, first, mask } => {
                let (queue, first) = (queue_of(queue), QueueIndex(u64::from(first)));
                let moved = Run { queue, block: first.block(), mask, delivery: 0 };
                self.record(Change::Forgotten { queue, first, runs: &[] }, vec![moved])?;
            }
            Op::Reanchor { by } => self.reanchor(Time(self.now.0.saturating_sub(u64::from(by))))?,
            Op::Walk { blocks_max, pieces } => self.walk(usize::from(blocks_max), pieces)?,
            Op::Reopen { blocks_max } => self.reopen(usize::from(blocks_max)),
            Op::Crash => self.crash()?,
        }
        Ok(())
    }

    fn create(&mut self, slot: usize, policy: Policy) {
        self.groups_made += 1;
        let group = GroupId(self.groups_made);
        self.slots[slot] = group;
        let change = Change::Group { group, policy: policy.into(), counters: Box::default() };
        self.oracle.apply(&change);
        self.index.apply(&change);
        self.log.push(Logged::new(change, vec![]));
    }

    fn record(&mut self, change: Change<'static>, runs: Vec<Run>) -> Result<u64, String> {
        self.take(Logged::new(change, runs))
    }

    /// Logs a change, applies it, and holds that applying it again changes nothing.
    pub(crate) fn take(&mut self, logged: Logged) -> Result<u64, String> {
        let touched = self.index.apply(&logged.told()).touched;
        let expected = self.oracle.apply(&logged.told());
        ensure!(touched == expected, "{logged:?} touched {touched} messages instead of {expected}");
        let mut twice = self.index.clone();
        twice.apply(&logged.told());
        ensure!(self.index == twice, "{logged:?} changed something the second time");
        self.log.push(logged);
        Ok(touched)
    }

    fn pop(&mut self, group: GroupId, queue: QueueId, limit: u32, due: Time, skip: u8) -> Checked {
        let end = self.end(queue);
        let position = self.index.position(group, queue).unwrap_or_default();
        let first = QueueIndex((position.0 + u64::from(skip)).min(end.0));
        let mut runs = Vec::new();
        if self.index.pick(group, queue, limit, (first, end), self.now, &mut runs) {
            let gone = self.record(Change::Positioned { group, queue, position: first }, vec![])?;
            ensure!(gone > 0, "nothing is gone before {first:?}");
        }
        self.oracle.check_pick((group, queue), limit, first..end, self.now, &runs)?;

        for (run, at) in runs.iter().flat_map(|run| indexes(run).map(move |at| (run, at))) {
            let place = (group, queue, at);
            self.receipts.push(Receipt { place, delivery: run.delivery, generation: self.generation });
            *self.deliveries.entry(place).or_default() += 1;
        }
        let picked: u32 = runs.iter().map(Run::len).sum();
        let (generation, at) = (self.generation, self.now);
        let handed_out = self.record(Change::Popped { group, generation, at, due, runs: &[] }, runs)?;
        ensure!(handed_out == u64::from(picked), "{picked} messages were picked, {handed_out} handed out");
        self.check_deliveries()
    }

    /// The `n` receipts of one group given until `ago`, with what they are good for.
    fn presented(&self, ago: u16, n: u8) -> Vec<(Receipt, Standing)> {
        let until = self.receipts.len() - usize::from(ago) % self.receipts.len().max(1);
        let mut newest_first = self.receipts[..until].iter().rev().take(usize::from(n)).peekable();
        let group = newest_first.peek().map(|receipt| receipt.place.0);
        let of_group = newest_first.filter(|receipt| Some(receipt.place.0) == group);
        of_group.map(|receipt| (*receipt, receipt.standing(&self.index, self.now))).collect()
    }

    /// Acks what can be had, and also what certainly cannot: the index must leave that alone.
    fn ack(&mut self, ago: u16, n: u8) -> Checked {
        let presented = self.presented(ago, n);
        let good = |standing: &Standing| matches!(standing, Standing::Leased { .. } | Standing::Over);
        let stale = |standing: &Standing| {
            matches!(standing, Standing::HandedOutAgain { .. } | Standing::Settled | Standing::Buried(_))
        };
        let expected = presented.iter().filter(|(_, standing)| good(standing)).count();
        let told = presented.iter().filter(|(_, standing)| good(standing) || stale(standing));
        let Some((group, runs)) = runs_of(told.map(|(receipt, _)| receipt)) else { return Ok(()) };
        let acked = self.record(Change::Acked { group, at: self.now, runs: &[] }, runs)?;
        ensure!(acked == expected as u64, "{acked} messages were acked instead of {expected}");
        Ok(())
    }

    /// Gives back what is leased; the group's rules say whether it comes again. Stale receipts must change nothing.
    fn nack(&mut self, ago: u16, n: u8, visible_at: Time) -> Checked {
        let mut by_verdict: BTreeMap<Verdict, Vec<Receipt>> = BTreeMap::new();
        for receipt in self.leased_or_stale(ago, n) {
            let Some(policy) = self.index.policy(receipt.place.0) else { continue };
            let uncounted = self.released.get(&receipt.place).copied().unwrap_or(0);
            let verdict = match policy.verdict(receipt.delivery.saturating_sub(uncounted), self.now) {
                Verdict::Redeliver { .. } => Verdict::Redeliver { visible_at },
                at_limit => at_limit,
            };
            by_verdict.entry(verdict).or_default().push(receipt);
        }
        for (verdict, receipts) in by_verdict {
            let Some((group, runs)) = runs_of(&receipts) else { continue };
            self.record(Change::Nacked { group, at: self.now, verdict, runs: &[] }, runs)?;
        }
        Ok(())
    }

    /// Gives back what does not count.
    fn release(&mut self, ago: u16, n: u8, visible_at: Time) -> Checked {
        let leased = self.presented(ago, n).into_iter();
        let leased: Vec<_> = leased.filter(|(_, standing)| matches!(standing, Standing::Leased { .. })).collect();
        let Some((group, runs)) = runs_of(leased.iter().map(|(receipt, _)| receipt)) else { return Ok(()) };
        let released = self.record(Change::Released { group, at: self.now, visible_at, runs: &[] }, runs)?;
        ensure!(released == leased.len() as u64, "{released} of {} leases were released", leased.len());
        for (receipt, _) in leased {
            *self.released.entry(receipt.place).or_default() += 1;
        }
        Ok(())
    }

    fn extend(&mut self, ago: u16, n: u8, due: Time) -> Checked {
        let Some((group, runs)) = runs_of(&self.leased_or_stale(ago, n)) else { return Ok(()) };
        self.record(Change::Extended { group, at: self.now, due, runs: &[] }, runs)?;
        Ok(())
    }

    fn leased_or_stale(&self, ago: u16, n: u8) -> Vec<Receipt> {
        let told =
            |s: Standing| matches!(s, Standing::Leased { .. } | Standing::HandedOutAgain { .. } | Standing::Buried(_));
        self.presented(ago, n).into_iter().filter(|(_, standing)| told(*standing)).map(|(receipt, _)| receipt).collect()
    }

    /// Time passes, and every verdict on it is recorded.
    pub(crate) fn advance(&mut self, now: Time, blocks_max: usize) -> Checked {
        let visible = self.oracle.became_visible(self.now, now);
        let found: BTreeSet<_> = self.index.became_visible(self.now, now).collect();
        ensure!(found == visible, "visible in {found:?} instead of {visible:?}");
        self.now = now;
        let mut expected = self.oracle.decide_over(now);
        expected.sort();

        let mut found = Vec::new();
        let mut rounds_left = self.oracle.held.len() + 1;
        loop {
            let mut decided = Vec::new();
            self.index.decide_over(now, blocks_max, &mut decided);
            if decided.is_empty() {
                break;
            }
            let mut alike = decided.clone();
            alike.dedup_by_key(|decision| (decision.group, decision.verdict));
            let unlike: BTreeSet<_> = alike.iter().map(|decision| (decision.group, decision.verdict)).collect();
            ensure!(alike.len() == unlike.len(), "what is alike does not lie together in {decided:?}");
            found.extend(outcomes(&decided));
            for decision in &decided {
                self.end_lease(decision)?;
            }
            ensure!(rounds_left > 0, "time comes to no end: {found:?}");
            rounds_left -= 1;
        }
        found.sort();
        ensure!(found == expected, "decided {found:?}\ninstead of {expected:?}");
        Ok(())
    }

    fn end_lease(&mut self, decision: &Decision) -> Checked {
        let touched = self.decided(decision.group, decision.verdict, vec![decision.run])?;
        ensure!(touched == u64::from(decision.run.len()), "{decision:?} touched {touched} messages");
        Ok(())
    }

    fn decided(&mut self, group: GroupId, verdict: Verdict, of: Vec<Run>) -> Result<u64, String> {
        let (at, runs): (_, &[Run]) = (self.now, &[]);
        let change = match verdict {
            Verdict::Redeliver { visible_at } => Change::Revived { group, at, visible_at, runs },
            Verdict::DeadLetter => Change::Ended { group, at, runs },
            Verdict::Discard => Change::Buried { group, at, burial: Burial::Discarded, runs },
        };
        self.record(change, of)
    }

    /// Up to `n` cohorts whose deliveries are used up are buried.
    fn bury(&mut self, n: usize) -> Checked {
        let burials: Vec<_> = self.index.to_bury().flat_map(|place| self.index.burials(place)).take(n).collect();
        for Burying { group, run, .. } in burials {
            let burial = Burial::DeadLettered;
            let buried = self.record(Change::Buried { group, at: self.now, burial, runs: &[] }, vec![run])?;
            ensure!(buried == u64::from(run.len()), "{buried} of {run:?} were buried");
        }
        Ok(())
    }

    /// The process starts again, with its clock set back.
    fn reanchor(&mut self, at: Time) -> Checked {
        let outlasts = self.index.outlasts(at);
        let shortened = self.record(Change::Reanchored { at }, vec![])?;
        ensure!(outlasts == (shortened > 0), "{shortened} waits were shortened, and some had to be: {outlasts}");
        self.now = at;
        Ok(())
    }

    /// Verdicts on leases that run, or that are no longer what they were: they come too early or too late.
    fn overtaken(&mut self, ago: u16, n: u8, verdict: Verdict) -> Checked {
        let presented = self.presented(ago, n);
        let not_over = presented.iter().filter(|(_, standing)| *standing != Standing::Over);
        let Some((group, runs)) = runs_of(not_over.map(|(receipt, _)| receipt)) else { return Ok(()) };
        let touched = self.decided(group, verdict, runs)?;
        ensure!(touched == 0 || verdict == Verdict::Discard, "{verdict:?} touched {touched} messages of {presented:?}");
        Ok(())
    }

    fn change_policy(&mut self, group: GroupId, policy: Policy) -> Checked {
        self.changed.insert(group);
        let counters = self.index.counters(group).unwrap_or_default();
        self.record(Change::Group { group, policy: policy.into(), counters: counters.into() }, vec![]).map(drop)
    }

    fn jump(&mut self, group: GroupId, queue: QueueId, by: u64) -> Checked {
        let from = self.index.position(group, queue).unwrap_or_default();
        let position = QueueIndex((from.0 + by).min(self.end(queue).0));
        self.record(Change::Positioned { group, queue, position }, vec![]).map(drop)
    }

    /// A crash after which the last `by` messages of a queue are gone.
    fn truncate(&mut self, queue: QueueId, by: u64) -> Checked {
        self.crash()?;
        let end = QueueIndex(self.end(queue).0.saturating_sub(by));
        self.ends.insert(queue, end);
        let ends = self.ends.clone();
        let ends = |id| ends.get(&id).copied().unwrap_or(QueueIndex(u64::MAX));
        let expected = self.oracle.beyond(queue, end);
        ensure!(self.index.beyond(ends).contains(&queue) == expected, "{queue:?} beyond {end:?} is not {expected}");
        self.record(Change::Truncated { queue, end }, vec![])?;
        ensure!(self.index.beyond(ends).is_empty(), "something is left beyond the end");
        for counted in [&mut self.deliveries, &mut self.released] {
            counted.retain(|place, _| place.1 != queue || place.2 < end.0);
        }
        Ok(())
    }

    /// Some more pieces of a walk; once it is complete it is the newest snapshot.
    fn walk(&mut self, blocks_max: usize, pieces: u8) -> Checked {
        let mut walk = self.walk.take().unwrap_or(Walk { from: self.log.len(), cursor: Cursor::default() });
        for _ in 0..pieces {
            let Some(piece) = self.index.image(&mut walk.cursor, blocks_max) else {
                self.log.push(Logged::new(Change::Redriven { runs: &[] }, self.index.redriven().collect()));
                self.walked_from = walk.from;
                return self.check_replays();
            };
            if let Change::Image(image) = &piece {
                let blocks: BTreeSet<_> = image.cohorts.iter().map(|(block, _)| block).collect();
                ensure!(blocks.len() <= blocks_max, "{} blocks in one piece", blocks.len());
            }
            self.log.push(Logged::new(piece, vec![]));
        }
        self.walk = Some(walk);
        Ok(())
    }

    /// The log becomes one snapshot, and the index what it tells.
    fn reopen(&mut self, blocks_max: usize) {
        self.log = snapshot(&self.index, blocks_max);
        self.index = replay(&self.log);
        self.walked_from = 0;
        self.start();
    }

    /// The index is rebuilt from the last snapshot and what was logged since.
    fn crash(&mut self) -> Checked {
        self.check_replays()?;
        self.index = replay(&self.log[self.walked_from..]);
        self.start();
        Ok(())
    }

    /// A walk under way does not outlive the process.
    fn start(&mut self) {
        self.walk = None;
        self.generation += 1;
    }

    fn end(&self, queue: QueueId) -> QueueIndex {
        self.ends.get(&queue).copied().unwrap_or_default()
    }

    fn later(&self, by: u8) -> Time {
        Time(self.now.0 + u64::from(by))
    }
}

/// The queue in a slot.
pub(crate) fn queue_of(slot: u8) -> QueueId {
    QueueId { topic: TopicId(7), queue: u32::from(slot % 2) }
}

/// The runs that name what the receipts of one group name.
fn runs_of<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Option<(GroupId, Vec<Run>)> {
    let (mut runs, mut of) = (BTreeMap::<_, u64>::new(), None);
    for Receipt { place: (group, queue, at), delivery, .. } in receipts {
        of = Some(*group);
        *runs.entry((*queue, at / 64, *delivery)).or_default() |= 1 << (at % 64);
    }
    let runs = runs.into_iter().map(|((queue, block, delivery), mask)| Run { queue, block, mask, delivery });
    of.map(|group| (group, runs.collect()))
}
