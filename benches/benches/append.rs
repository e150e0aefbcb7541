//! Append: one message and a hundred at a time, buffered and durable. Every million messages go to a new store, so that
//! the benches need little space.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_main};
use popstore::{Durability, Message};
use popstore_benches::{BODY, Scratch, TOPIC, time_on_fresh};

const MESSAGES: u64 = 1_000_000;

fn append(c: &mut Criterion) {
    for (name, durability) in [("buffered", Durability::Buffered), ("durable", Durability::SyncEach)] {
        let mut group = c.benchmark_group(format!("append/{name}"));
        let fresh = || Scratch::empty(durability);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(1), |b| {
            b.iter_custom(|iterations| {
                time_on_fresh(iterations, MESSAGES, fresh, |scratch| {
                    scratch.store.append(TOPIC, Message::new(&BODY)).expect("appended");
                })
            });
        });
        let batch = vec![Message::new(&BODY); 100];
        group.throughput(Throughput::Elements(100));
        group.bench_function(BenchmarkId::from_parameter(100), |b| {
            b.iter_custom(|iterations| {
                time_on_fresh(iterations, MESSAGES / 100, fresh, |scratch| {
                    scratch.store.append_batch(TOPIC, &batch).expect("appended");
                })
            });
        });
        group.finish();
    }
}

fn benches() {
    append(&mut popstore_benches::criterion());
}

criterion_main!(benches);
