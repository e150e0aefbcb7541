//! The verbs of a stage: each is done to the store, and what came of it is told to the oracle.

use std::time::Duration;

use popstore::{AtLimit, Backoff, Delay, Delivery, GroupOptions, Message, Pop, Redriven, Settled};

use crate::claims::{Asked, Got, Settling, Token};
use crate::op::{Crash, Op, Size};
use crate::oracle::{Oracle, Synced};
use crate::stage::{GROUPS, POLICY, START, Stage, TOPICS};
use crate::view;
use crate::world::{Body, Group, Policy, Secs};

impl Stage {
    pub fn furnish(&mut self) {
        for (topic, queues) in [(0, 1), (1, self.setup.queues)] {
            self.create_topic(topic, queues);
        }
        for group in 0..GROUPS.len() as u8 {
            self.change_group(group, POLICY);
        }
    }

    pub fn create_topic(&mut self, topic: u8, queues: u8) {
        self.store().create_topic(TOPICS[topic as usize], u32::from(queues)).unwrap();
        let made = self.oracle.step(|world| {
            (0..queues).for_each(|queue| drop(world.queues.insert((topic, queue), Vec::new())));
            Ok(())
        });
        made.unwrap();
        self.oracle.done(Synced::Commit);
    }

    pub fn change_group(&mut self, group: u8, policy: Policy) {
        let options = GroupOptions::default().ordered(policy.ordered);
        let options = match policy.limit {
            Some(limit) => options.max_reconsume_times(limit),
            None => options.without_limit(),
        };
        let options = match policy.backoff {
            0 => options.backoff(Backoff::None),
            secs => options.backoff(Backoff::Fixed(Duration::from_secs(secs))),
        };
        let at_limit = if policy.discard { AtLimit::Discard } else { AtLimit::DeadLetter };
        self.store().create_group(GROUPS[group as usize], options.at_limit(at_limit)).unwrap();
        let changed = self.oracle.step(|world| {
            let known = world.groups.entry(group).or_insert_with(|| Group::new(policy));
            known.changed |= known.policy != policy;
            known.policy = policy;
            Ok(())
        });
        changed.unwrap();
        self.oracle.done(Synced::Checkpoint);
    }

    pub fn act(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Append { topic, queue, size } => self.append(*topic, &[(*queue, *size)], false),
            Op::AppendBatch { topic, parts } => self.append(*topic, parts, true),
            Op::Pop { group, topic, messages, lease_secs } => {
                self.pop(group % 2, topic % 2, usize::from(*messages % 9 + 1), Secs::from(*lease_secs) + 1)
            }
            Op::Ack { receipt } => self.settle(*receipt, Settling::Ack),
            Op::AckBatch { receipts } => self.ack_batch(receipts),
            Op::Nack { receipt, delay_secs } => self.settle(*receipt, Settling::Nack(delay_secs.map(Secs::from))),
            Op::Release { receipt, delay_secs } => self.settle(*receipt, Settling::Release(Secs::from(*delay_secs))),
            Op::Extend { receipt, secs } => self.settle(*receipt, Settling::Extend(Secs::from(*secs) + 1)),
            Op::Advance { secs } => self.advance(Secs::from(*secs)),
            Op::ClockJump { secs } => {
                self.jump = i64::from(*secs).max(-(START as i64) / 2);
                Ok(())
            }
            Op::ChangeGroup { group, limit, discard, ordered, backoff_secs } => {
                let backoff = Secs::from(*backoff_secs);
                let policy = Policy { limit: *limit, discard: *discard, ordered: *ordered, backoff };
                self.change_group(group % 2, policy);
                Ok(())
            }
            Op::Redrive { group, letter } => self.redrive(group % 2, usize::from(*letter)),
            Op::Sync => {
                self.store().sync().map_err(|error| error.to_string())?;
                self.oracle.done(Synced::Both);
                Ok(())
            }
            Op::Reopen => self.reopen(),
            Op::Kill { calls } => self.expect_crash(*calls, Crash::Kill),
            Op::PowerCut { calls, sectors } => self.expect_crash(*calls, Crash::PowerCut(*sectors)),
        }
    }

    fn expect_crash(&mut self, calls: u16, crash: Crash) -> Result<(), String> {
        self.crashes.push_back((u64::from(calls), crash));
        Ok(())
    }

    fn append(&mut self, topic: u8, parts: &[(u8, Size)], batch: bool) -> Result<(), String> {
        let topic = topic % 2;
        let queues = if topic == 0 { 1 } else { self.setup.queues };
        let mut end = self.end;
        let bodies: Vec<(u8, Body)> = parts
            .iter()
            .map(|(queue, size)| {
                self.next_id += 1;
                let body = view::body_of(self.next_id, *size, &mut end);
                (queue % queues, body)
            })
            .collect();
        let bytes: Vec<_> = bodies.iter().map(|(_, body)| view::Made::of(*body)).collect();
        let messages: Vec<Message<'_>> =
            bodies.iter().zip(&bytes).map(|((queue, _), made)| made.message().queue(u32::from(*queue))).collect();
        let name = TOPICS[topic as usize];
        let appended = match (batch, messages.as_slice()) {
            (false, [one]) => self.store().append(name, one.clone()).map(|one| vec![one]),
            (_, many) => self.store().append_batch(name, many),
        };
        let appended = appended.map_err(|error| error.to_string())?;
        self.end = appended.last().map_or(0, |last| last.offset) + view::record_bytes(bodies[bodies.len() - 1].1);
        self.oracle.step(|world| {
            for ((queue, body), place) in bodies.iter().zip(&appended) {
                let known = world.queues.get_mut(&(topic, *queue)).ok_or("no such queue")?;
                if (place.queue, place.index) != (u32::from(*queue), known.len() as u64) {
                    return Err(format!("{place:?} is not at the end, {}", known.len()));
                }
                known.push(*body);
            }
            Ok(())
        })?;
        self.oracle.done(Synced::AsPromised);
        Ok(())
    }

    pub fn pop(&mut self, group: u8, topic: u8, messages: usize, lease: Secs) -> Result<(), String> {
        let pop = Pop::up_to(messages as u32).invisible_for(Duration::from_secs(lease));
        let deliveries = self.group(group).pop(TOPICS[topic as usize], pop).map_err(|error| error.to_string())?;
        let generation = self.store().recovery().generation;
        let got = |delivery: &Delivery| {
            let queue = (topic, delivery.message().queue() as u8);
            let (receipt, index, attempt) = (delivery.receipt(), delivery.message().index(), delivery.attempt());
            let delivery_number = receipt.delivery();
            let token = Token { receipt, group, queue, index, delivery: delivery_number, attempt, generation };
            Got { token, body: view::body_in(delivery.message()) }
        };
        let got: Vec<Got> = deliveries.iter().map(got).collect();
        let asked = Asked { group, topic, messages, lease, now: self.now };
        let firsts = &self.firsts;
        self.oracle.step(|world| world.popped(&asked, &got, firsts))?;
        self.tokens.extend(got.iter().map(|got| got.token));
        self.oracle.done(Synced::AsPromised);
        Ok(())
    }

    /// A receipt, counted back from the newest.
    fn token(&self, receipt: u8) -> Option<Token> {
        let back = usize::from(receipt) % self.tokens.len().max(1);
        self.tokens.iter().rev().nth(back).copied()
    }

    fn settle(&mut self, receipt: u8, settling: Settling) -> Result<(), String> {
        let Some(token) = self.token(receipt) else { return Ok(()) };
        let group = self.group(token.group);
        let secs = Duration::from_secs;
        let told = match settling {
            Settling::Ack => group.ack(token.receipt),
            Settling::Nack(None) => group.nack(token.receipt, Delay::Backoff),
            Settling::Nack(Some(delay)) => group.nack(token.receipt, secs(delay)),
            Settling::Release(delay) => group.release(token.receipt, secs(delay)),
            Settling::Extend(lease) => group.extend(token.receipt, secs(lease)),
        };
        let told = told.map_err(|error| error.to_string())?;
        self.told(&[(token, told)], settling)
    }

    fn ack_batch(&mut self, receipts: &[u8]) -> Result<(), String> {
        let tokens: Vec<Token> = receipts.iter().filter_map(|receipt| self.token(*receipt)).collect();
        let Some(group) = tokens.first().map(|first| first.group) else { return Ok(()) };
        let tokens: Vec<Token> = tokens.into_iter().filter(|token| token.group == group).collect();
        let receipts: Vec<_> = tokens.iter().map(|token| token.receipt).collect();
        let told = self.group(group).ack_batch(&receipts).map_err(|error| error.to_string())?;
        let told: Vec<(Token, Settled)> = tokens.into_iter().zip(told).collect();
        self.told(&told, Settling::Ack)
    }

    fn told(&mut self, told: &[(Token, Settled)], settling: Settling) -> Result<(), String> {
        let now = self.now;
        self.oracle.step(|world| world.settled(told, settling, now))?;
        self.oracle.done(Synced::AsPromised);
        Ok(())
    }

    pub fn advance(&mut self, secs: Secs) -> Result<(), String> {
        self.now += secs;
        self.clock.set(Duration::from_secs(self.now));
        let letters = |oracle: &Oracle| oracle.worlds()[0].letters.values().map(Vec::len).sum::<usize>();
        let before = letters(&self.oracle);
        self.store().run_pending();
        let sight = view::look(self.store())?;
        let now = self.now;
        self.oracle.step(|world| {
            let dying = world.end_leases(now);
            world.seen(&sight, &dying, now)
        })?;
        self.see_firsts();
        self.oracle.kept_house();
        self.oracle.done(if letters(&self.oracle) > before { Synced::Letters } else { Synced::AsPromised });
        Ok(())
    }

    fn redrive(&mut self, group: u8, letter: usize) -> Result<(), String> {
        let letters: Result<Vec<_>, _> = self.group(group).dead_letters().unwrap().collect();
        let letters = letters.map_err(|error| error.to_string())?;
        let Some(letter) = letters.get(letter % letters.len().max(1)) else { return Ok(()) };
        let done = self.group(group).redrive(letter).map_err(|error| error.to_string())?;
        let place = letter.message().index() as usize;
        self.oracle.step(|world| {
            let known = world.letters.get_mut(&group).and_then(|letters| letters.get_mut(place)).ok_or("no letter")?;
            let messages = world.queues.get_mut(&known.queue).ok_or("no queue")?;
            let end = Redriven::Done { queue: u32::from(known.queue.1), index: messages.len() as u64 };
            if known.redriven || done != end {
                return Err(format!("{known:?} was put back as {done:?}, not {end:?}"));
            }
            messages.push(known.body);
            known.redriven = true;
            Ok(())
        })?;
        self.oracle.done(Synced::Commit);
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.store.take().unwrap().close().map_err(|error| format!("close: {error}"))?;
        self.now = self.now.saturating_add_signed(std::mem::take(&mut self.jump));
        self.clock.set(Duration::from_secs(self.now));
        self.open().map_err(|error| format!("cannot open: {error}"))?;
        if !self.store().recovery().clean {
            return Err("a store that was closed in order was repaired".into());
        }
        self.oracle.reopened(self.now);
        self.advance(0)
    }

    fn has(&self, group: u8, topic: u8) -> bool {
        let sight = view::look(self.store()).unwrap_or_default();
        sight.groups.contains_key(&group) && sight.queues.contains_key(&(topic, 0))
    }

    /// Nothing is stuck: after a while every message was delivered and acked, or is a dead letter.
    pub fn drain(&mut self) -> Result<(), String> {
        const WHILE: Secs = 40 * 24 * 60 * 60;
        for _ in 0..200 {
            self.advance(WHILE)?;
            let before = self.tokens.len();
            for (group, topic) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                if !self.has(group, topic) {
                    continue;
                }
                self.pop(group, topic, 64, 60)?;
            }
            for token in self.tokens.split_off(before) {
                let told = self.group(token.group).ack(token.receipt).map_err(|error| error.to_string())?;
                self.told(&[(token, told)], Settling::Ack)?;
            }
            let lag: u64 = self.store().stats().unwrap().groups.iter().map(|group| group.lag).sum();
            if lag == 0 {
                return Ok(());
            }
        }
        Err("some messages never come to an end".into())
    }
}
