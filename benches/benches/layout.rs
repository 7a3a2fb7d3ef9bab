//! Splitting file ranges over servers.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_core::extent::Extent;
use pfs_core::ids::ServerId;
use pfs_core::layout::{Recipe, StripeSlot};
use std::hint::black_box;

fn recipe(stripe_unit: u64, stripe_count: u32) -> Recipe {
    let slots = (1..=stripe_count).map(|id| StripeSlot::from_iter(ServerId::new(id))).collect();
    Recipe::new(stripe_unit, slots).expect("a possible recipe")
}

fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    let recipe = recipe(64 << 10, 4);
    for mib in [1u64, 16, 256] {
        let range = Extent::new(12_345, 12_345 + (mib << 20)).expect("has bytes");
        group.throughput(Throughput::Elements(recipe.split(range).count() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(format!("{mib} MiB")), &range, |bencher, &range| {
            bencher.iter(|| black_box(&recipe).split(black_box(range)).map(|piece| piece.length).sum::<u64>());
        });
    }
    group.finish();
}

criterion_group!(benches, split);
criterion_main!(benches);
