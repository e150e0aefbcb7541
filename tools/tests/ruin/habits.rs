//! How a store is opened and used, chosen by the fuzzer: options, a disk that fails, and verbs one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use popstore::clock::ManualClock;
use popstore::{
    AtLimit, Backoff, Durability, Error, Event, Group, GroupOptions, Hook, Message, Pop, Receipt, Retention, Store,
};
use proptest::prelude::*;
use proptest::sample::select;

/// The options of one opening.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    durability: Durability,
    segment_bytes: u64,
    checkpoint_segment_bytes: u64,
    entries_per_file: u64,
    mark_every_bytes: u64,
    retention: Retention,
}

pub(crate) fn habits() -> impl Strategy<Value = Habits> {
    let durability =
        select(vec![Durability::SyncEach, Durability::Buffered, Durability::SyncEvery(Duration::from_secs(1))]);
    let keep = Retention::keep;
    let after = Duration::from_secs(60);
    let retention = select(vec![
        keep(),
        keep().when_done(),
        keep().when_done().bytes(20_000),
        keep().after(after),
        keep().bytes(1),
        keep().bytes(9000).after(after).when_done(),
    ]);
    let sizes = (select(vec![4096_u64, 4097, 8192, 1 << 16]), select(vec![4096_u64, 8192, 1 << 16]));
    let queues = (select(vec![1_u64, 8, 8, 9, 1 << 16]), select(vec![1_u64, 2048, 2048, 1 << 40]));
    (durability, sizes, queues, retention).prop_map(|(durability, (segment_bytes, checkpoint), queues, retention)| {
        Habits {
            durability,
            segment_bytes,
            checkpoint_segment_bytes: checkpoint,
            entries_per_file: queues.0,
            mark_every_bytes: queues.1,
            retention,
        }
    })
}

impl Habits {
    fn open(&self, dir: &Path, clock: &Arc<ManualClock>, disk: &Arc<Failing>) -> Result<Store, Error> {
        let options = Store::options().durability(self.durability).segment_bytes(self.segment_bytes);
        let options = options.checkpoint_segment_bytes(self.checkpoint_segment_bytes);
        let options = options.entries_per_file(self.entries_per_file).mark_every_bytes(self.mark_every_bytes);
        let options = options.retention(self.retention.clone()).clock(clock.clone()).hook(disk.clone());
        options.on_event(|event| drop(format!("{event:?}"))).open(dir)
    }
}

/// A disk that fails some calls in a row, from a later one on.
#[derive(Default)]
pub(crate) struct Failing {
    calls_before: AtomicU32,
    calls: AtomicU32,
    full: AtomicU32,
}

impl Hook for Failing {
    fn before(&self, _: &Event<'_>) -> io::Result<()> {
        let count_down = |count: &AtomicU32| {
            count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
        };
        if count_down(&self.calls_before) || !count_down(&self.calls) {
            return Ok(());
        }
        let full = self.full.load(Ordering::SeqCst) != 0;
        Err(if full { io::ErrorKind::StorageFull.into() } else { io::Error::other("the disk fails") })
    }

    fn after(&self, _: &Event<'_>) {}
}

#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Append { topic: usize, messages: u8, bytes: usize },
    Pop { group: usize, topic: usize, messages: u32, secs: u64 },
    Ack,
    AckAll,
    Nack { secs: u64 },
    Extend { secs: u64 },
    Pass { secs: u64 },
    Redrive { group: usize, letters: usize },
    Skip { group: usize, topic: usize, index: u64 },
    CreateGroup { group: usize, limit: u32, ordered: bool, discard: bool },
    DeleteGroup { group: usize },
    CreateTopic { topic: usize, queues: u32 },
    Sync,
    Stats,
    Reopen,
    Fail { calls_before: u32, calls: u32, full: bool },
}

const TOPICS: [&str; 4] = ["orders", "mails", "fresh", "%DLQ%billing"];
const GROUPS: [&str; 4] = ["billing", "audit", "late", "nobody"];

pub(crate) fn verb() -> impl Strategy<Value = Verb> {
    let (topic, group) = (|| 0..TOPICS.len(), || 0..GROUPS.len());
    let secs = || select(vec![0_u64, 1, 9, 40, 4000]);
    let size = select(vec![0_usize, 10, 300, 2000, 3900, 70_000]);
    let queues = select(vec![0_u32, 1, 3, 1024, 1025]);
    prop_oneof![
        5 => (topic(), 1..9_u8, size).prop_map(|(topic, messages, bytes)| Verb::Append { topic, messages, bytes }),
        6 => (group(), topic(), 1..40_u32, secs()).prop_map(|(group, topic, messages, secs)| Verb::Pop { group, topic, messages, secs }),
        2 => Just(Verb::Ack),
        3 => Just(Verb::AckAll),
        2 => secs().prop_map(|secs| Verb::Nack { secs }),
        1 => secs().prop_map(|secs| Verb::Extend { secs }),
        5 => secs().prop_map(|secs| Verb::Pass { secs }),
        2 => (group(), 1..5_usize).prop_map(|(group, letters)| Verb::Redrive { group, letters }),
        1 => (group(), topic(), 0..60_u64).prop_map(|(group, topic, index)| Verb::Skip { group, topic, index }),
        2 => (group(), 0..3_u32, any::<bool>(), any::<bool>()).prop_map(|(group, limit, ordered, discard)| Verb::CreateGroup { group, limit, ordered, discard }),
        1 => group().prop_map(|group| Verb::DeleteGroup { group }),
        1 => (topic(), queues).prop_map(|(topic, queues)| Verb::CreateTopic { topic, queues }),
        1 => Just(Verb::Sync),
        1 => Just(Verb::Stats),
        2 => Just(Verb::Reopen),
        2 => (0..40_u32, 1..9_u32, any::<bool>()).prop_map(|(calls_before, calls, full)| Verb::Fail { calls_before, calls, full }),
    ]
}

/// Somebody who uses a store as the verbs say.
pub(crate) struct Owner<'d> {
    dir: &'d Path,
    habits: Habits,
    pub(crate) clock: Arc<ManualClock>,
    disk: Arc<Failing>,
    pub(crate) store: Store,
    held: VecDeque<(usize, Receipt)>,
    /// How many messages were acknowledged, and in how many the topic ended then.
    appended: BTreeMap<(String, u32), u64>,
    /// Whether the disk was made to fail.
    pub(crate) failed: bool,
}

impl<'d> Owner<'d> {
    pub(crate) fn open(dir: &'d Path, habits: Habits) -> Result<Self, Error> {
        let clock = Arc::new(ManualClock::at(Duration::from_secs(1_800_000_100)));
        let disk = Arc::new(Failing::default());
        let store = habits.open(dir, &clock, &disk)?;
        let (held, appended) = Default::default();
        Ok(Self { dir, habits, clock, disk, store, held, appended, failed: false })
    }

    /// Opens the store again, on a disk that works.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        let closed = self.store.clone().close();
        self.disk.calls.store(0, Ordering::SeqCst);
        let store = self.habits.open(self.dir, &self.clock, &self.disk)?;
        self.store = store;
        if self.failed { Ok(()) } else { closed }
    }

    /// What was acknowledged and is not there.
    pub(crate) fn missing(&self) -> Option<String> {
        self.appended.iter().find_map(|((topic, queue), end)| {
            let found = self.store.topic_stats(topic).map(|stats| stats.queues[*queue as usize].1);
            let there = found.as_ref().is_ok_and(|found| found >= end);
            (!there).then(|| format!("{topic}/{queue} was acknowledged to {end}, and is {found:?}"))
        })
    }

    /// Does what the verb says.
    ///
    /// # Errors
    /// Those of the store, whatever it is to be done to.
    pub(crate) fn act(&mut self, verb: &Verb) -> Result<(), Error> {
        let seconds = Duration::from_secs;
        match *verb {
            Verb::Append { topic, messages, bytes } => return self.append(TOPICS[topic], messages, bytes),
            Verb::Pop { group, topic, messages, secs } => {
                let pop = Pop::up_to(messages).invisible_for(seconds(secs.max(1)));
                let popped = self.group(group)?.pop(TOPICS[topic], pop)?;
                self.held.extend(popped.iter().map(|delivery| (group, delivery.receipt())));
            }
            Verb::Ack => drop(self.held(|group, receipt| group.ack(receipt))?),
            Verb::AckAll => {
                let held = std::mem::take(&mut self.held);
                let groups = 0..GROUPS.len();
                for group in groups {
                    let of_group = held.iter().filter(|(of, _)| *of == group).map(|(_, receipt)| *receipt);
                    let receipts: Vec<Receipt> = of_group.collect();
                    if !receipts.is_empty() {
                        drop(self.group(group)?.ack_batch(&receipts)?);
                    }
                }
            }
            Verb::Nack { secs } => drop(self.held(|group, receipt| group.nack(receipt, seconds(secs)))?),
            Verb::Extend { secs } => drop(self.held(|group, receipt| group.extend(receipt, seconds(secs)))?),
            Verb::Pass { secs } => {
                self.clock.advance(seconds(secs));
                self.store.run_pending();
            }
            Verb::Redrive { group, letters } => {
                let group = self.group(group)?;
                for letter in group.dead_letters()?.take(letters) {
                    let _ = group.redrive(&letter?)?;
                }
            }
            Verb::Skip { group, topic, index } => drop(self.group(group)?.skip(TOPICS[topic], 0, index)?),
            Verb::CreateGroup { group, limit, ordered, discard } => {
                let options = GroupOptions::default().max_reconsume_times(limit).ordered(ordered);
                let options = options.backoff(Backoff::Exponential { first: seconds(1), cap: seconds(60) });
                let options = if discard { options.at_limit(AtLimit::Discard) } else { options };
                drop(self.store.create_group(GROUPS[group], options)?);
            }
            Verb::DeleteGroup { group } => self.store.delete_group(GROUPS[group])?,
            Verb::CreateTopic { topic, queues } => self.store.create_topic(TOPICS[topic], queues)?,
            Verb::Sync => self.store.sync()?,
            Verb::Stats => {
                for group in self.store.stats()?.groups {
                    self.store.group(&group.name)?.dead_letters()?.take(9).for_each(drop);
                }
            }
            Verb::Reopen => self.reopen()?,
            Verb::Fail { calls_before, calls, full } => {
                self.failed = true;
                self.disk.full.store(u32::from(full), Ordering::SeqCst);
                self.disk.calls_before.store(calls_before, Ordering::SeqCst);
                self.disk.calls.store(calls, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn group(&self, group: usize) -> Result<Group, Error> {
        self.store.group(GROUPS[group])
    }

    fn held<T>(&mut self, act: impl FnOnce(&Group, Receipt) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let Some((group, receipt)) = self.held.pop_front() else { return Ok(None) };
        act(&self.group(group)?, receipt).map(Some)
    }

    fn append(&mut self, topic: &str, messages: u8, bytes: usize) -> Result<(), Error> {
        let body = vec![b'x'; bytes];
        let keys: Vec<[u8; 1]> = (0..messages).map(|n| [n]).collect();
        let batch: Vec<_> = keys.iter().map(|key| Message::new(&body).key(key)).collect();
        for appended in self.store.append_batch(topic, &batch)? {
            let end = self.appended.entry((topic.into(), appended.queue)).or_default();
            *end = (*end).max(appended.index + 1);
        }
        Ok(())
    }
}
