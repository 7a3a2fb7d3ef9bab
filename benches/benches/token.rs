//! The token manager: one acquire and its release among many ranges, a range that two clients take in turns, a range
//! that a thousand clients read and one writes, and a collective of 1,024 ranks.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_bench::tokens::Load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One acquire and one release, among ranges that belong to 16 or to 1,000 holders.
fn acquire_release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token: acquire and release");
    group.throughput(Throughput::Elements(1));
    for holders in [16u64, 1000] {
        for live in [1_000u64, 10_000, 100_000, 1_000_000] {
            let mut load = Load::new(holders, live);
            group.bench_function(BenchmarkId::new(format!("{holders} holders"), live), |bencher| {
                bencher.iter(|| load.pair());
            });
        }
    }
    group.finish();
}

/// A request for another's range: revoke, ack, grant.
fn hand_over(criterion: &mut Criterion) {
    let mut load = Load::new(2, 10_000);
    let mut of = 1;
    criterion.bench_function("token: hand a range over", |bencher| {
        bencher.iter(|| {
            of = 3 - of;
            load.acquire(of, 0)
        });
    });
}

/// A thousand readers of one range, each of which gives way to a writer.
fn one_writer(criterion: &mut Criterion) {
    let mut load = Load::new(1000, 0);
    let mut group = criterion.benchmark_group("token: one writer");
    group.sample_size(10);
    group.bench_function("among 1000 readers", |bencher| bencher.iter(|| load.write_what_all_read(0)));
    group.finish();
}

fn collective(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token: collective of 1024 ranks");
    for blocks in [1u64, 16, 4096] {
        let mut load = Load::new(1, 0);
        group.bench_function(BenchmarkId::new("blocks per rank", blocks), |bencher| {
            bencher.iter(|| load.collective(1024, blocks));
        });
    }
    group.finish();
}

criterion_group!(benches, acquire_release, hand_over, one_writer, collective);
criterion_main!(benches);
