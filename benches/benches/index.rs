//! The POP index alone, without files, locks and clock: pop and ack, and 100,000 leases that run out at once.

use criterion::{BatchSize, Criterion, Throughput, criterion_main};
use popstore_benches::time_on_fresh;
use popstore_revive::{Change, GroupId, Index, QueueId, QueueIndex, Run, Time, TopicId, Verdict};

const GROUP: GroupId = GroupId(1);
const QUEUE: QueueId = QueueId { topic: TopicId(1), queue: 0 };
const POP: u32 = 32;
const LEASES: u64 = 100_000;
/// The reviver works in steps of this many blocks.
const BLOCKS_MAX: usize = 256;
const DUE: Time = Time(1_000_000);

/// One way to consume.
type Cycle = fn(&mut Index, &mut Vec<Run>);

fn empty() -> Index {
    let mut index = Index::default();
    index.apply(&Change::Group { group: GROUP, policy: Box::default(), counters: Box::default() });
    index
}

fn pop(index: &mut Index, runs: &mut Vec<Run>) {
    runs.clear();
    index.pick(GROUP, QUEUE, POP, (QueueIndex(0), QueueIndex(u64::MAX / 2)), Time(0), runs);
    index.apply(&Change::Popped { group: GROUP, generation: 1, at: Time(0), due: DUE, runs });
}

fn ack_each(index: &mut Index, runs: &mut Vec<Run>) {
    pop(index, runs);
    for run in runs.iter() {
        for place in run.indexes() {
            let one = [Run::one(QUEUE, place, run.delivery)];
            assert_eq!(index.apply(&Change::Acked { group: GROUP, at: Time(1), runs: &one }).touched, 1);
        }
    }
}

fn ack_as_one(index: &mut Index, runs: &mut Vec<Run>) {
    pop(index, runs);
    assert_eq!(index.apply(&Change::Acked { group: GROUP, at: Time(1), runs }).touched, u64::from(POP));
}

fn lease_cycle(c: &mut Criterion) {
    let mut group = c.benchmark_group("index/pop_32");
    group.throughput(Throughput::Elements(u64::from(POP)));
    let cycles: [(_, Cycle); 2] = [("ack_each", ack_each), ("ack_as_one", ack_as_one)];
    for (name, cycle) in cycles {
        group.bench_function(name, |b| {
            let mut runs = Vec::new();
            b.iter_custom(|iterations| time_on_fresh(iterations, u64::MAX, empty, |index| cycle(index, &mut runs)));
        });
    }
    group.finish();
}

/// All leases are due: every one is decided, and the decision applied.
fn expire(index: &mut Index) {
    let (mut decided, mut revived) = (Vec::new(), 0);
    loop {
        index.decide_over(DUE, BLOCKS_MAX, &mut decided);
        if decided.is_empty() {
            break;
        }
        for ending in decided.drain(..) {
            let Verdict::Redeliver { visible_at } = ending.verdict else { panic!("there are retries left") };
            let runs = [ending.run];
            revived += index.apply(&Change::Revived { group: GROUP, at: DUE, visible_at, runs: &runs }).touched;
        }
    }
    assert_eq!(revived, LEASES);
}

fn expiry(c: &mut Criterion) {
    let mut group = c.benchmark_group("index/expiry");
    group.throughput(Throughput::Elements(LEASES));
    let (mut leased, mut runs) = (empty(), Vec::new());
    (0..LEASES / u64::from(POP)).for_each(|_| pop(&mut leased, &mut runs));
    group.bench_function("100k_leases", |b| {
        b.iter_batched(|| leased.clone(), |mut index| expire(&mut index), BatchSize::LargeInput);
    });
    group.finish();
}

fn benches() {
    let mut criterion = popstore_benches::criterion();
    lease_cycle(&mut criterion);
    expiry(&mut criterion);
}

criterion_main!(benches);
