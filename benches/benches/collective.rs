//! Planning a collective access, and one rank's part of it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_core::collective::{Access, CollectivePlan, Direction};
use pfs_core::hints::Hints;
use pfs_core::ids::ServerId;
use pfs_core::layout::{Recipe, StripeSlot};
use std::hint::black_box;

/// Neighbouring pieces of each rank.
fn accesses(ranks: u64, length: u64) -> Vec<Access> {
    (0..ranks).map(|rank| Access::range(rank * length, length).expect("inside a file")).collect()
}

fn plan(criterion: &mut Criterion) {
    let slots = (1..=16).map(|id| StripeSlot::from_iter(ServerId::new(id))).collect();
    let recipe = Recipe::new(1 << 20, slots).expect("a possible recipe");
    let hints = Hints::default();
    for (name, length) in [("direct, 4 MiB each", 4 << 20), ("exchange, 47008 B each", 47_008)] {
        let mut group = criterion.benchmark_group(format!("plan/{name}"));
        for ranks in [4u64, 64, 1024, 16384] {
            let accesses = accesses(ranks, length);
            group.throughput(Throughput::Elements(ranks));
            group.bench_with_input(BenchmarkId::from_parameter(ranks), &accesses, |bencher, accesses| {
                bencher.iter(|| {
                    let accesses = black_box(accesses).clone();
                    let plan = CollectivePlan::new(Direction::Write, accesses, &recipe, &hints);
                    (plan.needs(0), plan.rounds(0).count())
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, plan);
criterion_main!(benches);
