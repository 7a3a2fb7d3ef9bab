//! Checksums of whole blocks, of parts, in one go and in the parts in which they arrive; and cutting extents into pieces.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_core::checksum::{BLOCK_BYTES, Checksum, Checksummer, count, pieces};
use pfs_core::extent::ObjectOffset;
use std::hint::black_box;

const BLOCK: usize = BLOCK_BYTES as usize;

/// One block, hot; and a buffer far larger than the caches, block by block.
fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for (name, bytes) in
        [("part of 100", 100), ("block", BLOCK), ("256 KiB by block", 256 << 10), ("256 MiB by block", 256 << 20)]
    {
        let buffer = vec![7u8; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("in one go", name), |bencher| {
            bencher.iter(|| buffer.chunks(BLOCK).fold(0, |all, block| all ^ Checksum::of(block).0));
        });
    }
    let block = vec![7u8; BLOCK];
    group.throughput(Throughput::Bytes(BLOCK_BYTES));
    for parts in [2, 8] {
        group.bench_function(BenchmarkId::new("in parts", parts), |bencher| {
            bencher.iter(|| {
                let mut sum = Checksummer::new();
                black_box(&block).chunks(BLOCK / parts).for_each(|part| sum.update(part));
                sum.finish()
            });
        });
    }
    group.finish();
}

/// One large extent, and a list of scattered blocks that do not begin at a block.
fn cut(criterion: &mut Criterion) {
    let large = vec![(ObjectOffset(0), 1 << 20)];
    let list: Vec<(ObjectOffset, u64)> =
        (0..256).map(|i| (ObjectOffset(i * 3 * BLOCK_BYTES + 100), BLOCK_BYTES)).collect();
    let mut group = criterion.benchmark_group("pieces");
    for (name, extents) in [("1 MiB in one extent", large), ("256 extents across blocks", list)] {
        group.throughput(Throughput::Elements(count(extents.iter().copied()) as u64));
        group.bench_function(BenchmarkId::new("cut", name), |bencher| {
            bencher.iter(|| pieces(black_box(&extents).iter().copied()).map(|piece| piece.length).sum::<usize>());
        });
        group.bench_function(BenchmarkId::new("count", name), |bencher| {
            bencher.iter(|| count(black_box(&extents).iter().copied()));
        });
    }
    group.finish();
}

criterion_group!(benches, checksum, cut);
criterion_main!(benches);
