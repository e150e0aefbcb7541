//! Pop 32, read every body, ack each or all as one: a consumer's day.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_main};
use popstore::{Delivery, Durability, Group, GroupOptions, Pop, Receipt, StartAt};
use popstore_benches::{Scratch, TOPIC, time_on_fresh};

const MESSAGES: usize = 100_000;
const POP: u32 = 32;
const CYCLES: u64 = MESSAGES as u64 / POP as u64;

/// One way to consume.
type Cycle = fn(&Group);

fn pop(group: &Group) -> Vec<Delivery> {
    let deliveries = group.pop(TOPIC, Pop::up_to(POP)).expect("popped");
    assert_eq!(deliveries.len(), POP as usize, "the topic has run dry");
    deliveries.iter().for_each(|delivery| {
        black_box(delivery.body().iter().map(|byte| u64::from(*byte)).sum::<u64>());
    });
    deliveries
}

fn ack_each(group: &Group) {
    for delivery in pop(group) {
        assert!(group.ack(delivery.receipt()).expect("acked").counted());
    }
}

fn ack_as_one(group: &Group) {
    let receipts: Vec<Receipt> = pop(group).iter().map(Delivery::receipt).collect();
    let settled = group.ack_batch(&receipts).expect("acked");
    assert!(settled.iter().all(|settled| settled.counted()));
}

fn lease_cycle(c: &mut Criterion) {
    for (name, durability) in [("buffered", Durability::Buffered), ("durable", Durability::SyncEach)] {
        let scratch = Scratch::filled(durability, MESSAGES);
        // A new group sees all messages again.
        let fresh = || {
            let _ = scratch.store.delete_group("consumers");
            let options = GroupOptions::default().start_at(StartAt::Oldest);
            scratch.store.create_group("consumers", options).expect("a group can be made")
        };
        let mut group = c.benchmark_group(format!("pop_32/{name}"));
        group.throughput(Throughput::Elements(u64::from(POP)));
        let cycles: [(_, Cycle); 2] = [("ack_each", ack_each), ("ack_as_one", ack_as_one)];
        for (name, cycle) in cycles {
            group.bench_function(name, |b| {
                b.iter_custom(|iterations| time_on_fresh(iterations, CYCLES, fresh, |group| cycle(group)));
            });
        }
        group.finish();
    }
}

fn benches() {
    lease_cycle(&mut popstore_benches::criterion());
}

criterion_main!(benches);
