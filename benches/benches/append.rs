//! Append: one message and a hundred at a time, buffered and durable.

use criterion::{Criterion, Throughput, criterion_main};
use popstore::{Durability, Message};
use popstore_benches::{BODY, Scratch, TOPIC};

fn append(c: &mut Criterion) {
    for (name, durability) in [("buffered", Durability::Buffered), ("durable", Durability::SyncEach)] {
        let mut group = c.benchmark_group(format!("append/{name}"));
        let scratch = Scratch::empty(durability);
        group.throughput(Throughput::Elements(1));
        group.bench_function("1", |b| b.iter(|| scratch.store.append(TOPIC, Message::new(&BODY)).expect("appended")));

        let batch = vec![Message::new(&BODY); 100];
        group.throughput(Throughput::Elements(100));
        group.bench_function("100", |b| b.iter(|| scratch.store.append_batch(TOPIC, &batch).expect("appended")));
        group.finish();
    }
}

fn benches() {
    append(&mut popstore_benches::criterion());
}

criterion_main!(benches);
