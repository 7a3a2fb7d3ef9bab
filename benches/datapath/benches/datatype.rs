//! Datatypes: walking the pieces of a view (flattening), finding a place in the middle of one, packing memory by one, and
//! passing a view to another rank.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_core::datatype::{Datatype, Order, View};
use std::hint::black_box;

/// Pieces of 47,008 bytes in turns of four ranks; a box of a cube; numbers at many places.
fn types() -> Vec<(&'static str, Datatype)> {
    let byte = Datatype::elementary(1).expect("a byte");
    let double = Datatype::elementary(8).expect("a number");
    let pieces = Datatype::contiguous(47_008, &byte).and_then(|piece| piece.resized(0, 4 * 47_008)).expect("a piece");
    let cube = Datatype::subarray(&[64, 256, 256], &[64, 128, 128], &[0, 128, 0], Order::C, &double).expect("a box");
    let places: Vec<i64> = (0..4096).map(|number| number * 3 + number % 2).collect();
    let scattered = Datatype::indexed_block(1, &places, &double).expect("places");
    vec![("pieces of 47008 B", pieces), ("box of a cube", cube), ("4096 single numbers", scattered)]
}

fn flatten(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flatten a view");
    for (name, filetype) in types() {
        let view = View::new(0, &Datatype::elementary(1).expect("a byte"), &filetype).expect("a view");
        let length = filetype.size() * (16 << 20) / filetype.size();
        let pieces = view.extents(0, length).count();
        group.throughput(Throughput::Elements(pieces as u64));
        group.bench_function(BenchmarkId::new("16 MiB of", name), |bencher| {
            bencher.iter(|| black_box(&view).extents(0, length).map(|extent| extent.end()).fold(0, u64::max));
        });
        group.bench_function(BenchmarkId::new("a place in", name), |bencher| {
            bencher.iter(|| black_box(&view).file_offset(black_box(length / 2)));
        });
    }
    group.finish();
}

fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack memory");
    for (name, datatype) in types().into_iter().skip(1) {
        let memory = vec![7u8; usize::try_from(datatype.extent()).expect("it is not negative")];
        let mut packed = vec![0u8; usize::try_from(datatype.size()).expect("it fits")];
        group.throughput(Throughput::Bytes(datatype.size()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut at = 0;
                for segment in datatype.segments(0, datatype.size()) {
                    let from = segment.displacement as usize;
                    let length = segment.length as usize;
                    packed[at..at + length].copy_from_slice(&memory[from..from + length]);
                    at += length;
                }
                black_box(&packed);
            });
        });
    }
    group.finish();
}

fn pass(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a view on its way to another rank");
    for (name, filetype) in types() {
        let view = View::new(0, &Datatype::elementary(1).expect("a byte"), &filetype).expect("a view");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut words = Vec::new();
                black_box(&view).encode(&mut words);
                View::decode(&mut words.into_iter()).expect("it was encoded just now")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, flatten, pack, pass);
criterion_main!(benches);
