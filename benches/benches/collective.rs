//! Planning a collective access, and one rank's part of it: constructing the plan and walking through its rounds.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_bench::planning::{Pattern, plan_and_walk, recipe};
use pfs_core::collective::Access;
use pfs_core::hints::Switch;
use std::hint::black_box;

/// Neighbouring pieces of each rank.
fn accesses(ranks: u64, length: u64) -> Vec<Access> {
    (0..ranks).map(|rank| Access::range(rank * length, length).expect("inside a file")).collect()
}

fn plan(criterion: &mut Criterion) {
    let recipe = recipe();
    for (name, length) in [("direct, 4 MiB each", 4 << 20), ("exchange, 47008 B each", 47_008)] {
        let mut group = criterion.benchmark_group(format!("plan/{name}"));
        for ranks in [4u64, 64, 1024, 16384] {
            let accesses = accesses(ranks, length);
            group.throughput(Throughput::Elements(ranks));
            group.bench_with_input(BenchmarkId::from_parameter(ranks), &accesses, |bencher, accesses| {
                bencher.iter(|| plan_and_walk(black_box(accesses).clone(), &recipe, Switch::Automatic));
            });
        }
        group.finish();
    }
}

/// 4 Mi pieces in all at the end of each curve.
fn scale(criterion: &mut Criterion) {
    let recipe = recipe();
    for (pattern, way) in Pattern::ALL.into_iter().flat_map(|p| [(p, Switch::Enable), (p, Switch::Disable)]) {
        let name = if way == Switch::Enable { "exchange" } else { "direct" };
        let mut group = criterion.benchmark_group(format!("scale/{}, {name}", pattern.name()));
        group.sample_size(10);
        for (ranks, pieces) in [(64u64, 64u64), (1024, 64), (8192, 64), (65_536, 64), (4096, 1000)] {
            let accesses = pattern.accesses(ranks, pieces);
            group.throughput(Throughput::Elements(ranks * pieces));
            group.bench_with_input(
                BenchmarkId::new("ranks x pieces", format!("{ranks} x {pieces}")),
                &accesses,
                |bencher, accesses| {
                    bencher.iter(|| plan_and_walk(black_box(accesses).clone(), &recipe, way));
                },
            );
        }
        group.finish();
    }
}

criterion_group!(benches, plan, scale);
criterion_main!(benches);
