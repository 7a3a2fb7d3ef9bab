//! The first bytes of a write: finding its payload, and decoding what comes before it.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pfs_proto::payload::{PAYLOAD_KEY, Scan, scan};
use pfs_proto::v1;
use prost::Message;
use std::hint::black_box;

/// The other fields of a write of `extents` scattered blocks, and the payload's key and length.
fn head(extents: u64, bytes_each: u64) -> (Vec<u8>, usize) {
    let extent = |index: u64| v1::ObjectExtent { offset: index * 2 * bytes_each, length: bytes_each };
    let blocks = extents * bytes_each / 4096;
    let request = v1::WriteRequest {
        stamp: Some(v1::Stamp::default()),
        sequence: 1 << 20,
        object: Some(v1::ObjectId { file_id: 1 << 40, slot: 1 }),
        extents: (0..extents).map(extent).collect(),
        checksums: (0..blocks).map(|block| (block as u32).wrapping_mul(0x9e37_79b9)).collect(),
        ..Default::default()
    };
    let mut first = request.encode_to_vec();
    prost::encoding::encode_varint(PAYLOAD_KEY, &mut first);
    let payload = usize::try_from(extents * bytes_each).expect("a few MiB");
    prost::encoding::encode_varint(payload as u64, &mut first);
    let whole = first.len() + payload;
    (first, whole)
}

fn scan_and_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head of a write");
    for (name, extents, bytes_each) in [("4 KiB", 1, 4096), ("1 MiB", 1, 1 << 20), ("256 blocks", 256, 4096)] {
        let (first, whole) = head(extents, bytes_each);
        let Scan::Payload { head_bytes, .. } = scan(&first, whole) else { panic!("the payload is the last field") };
        group.bench_function(BenchmarkId::new("scan", name), |bencher| bencher.iter(|| scan(black_box(&first), whole)));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| v1::WriteRequest::decode(black_box(&first[..head_bytes])));
        });
    }
    group.finish();
}

criterion_group!(benches, scan_and_decode);
criterion_main!(benches);
