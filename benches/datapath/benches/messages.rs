//! Messages of names and tokens on their way: encoding, decoding, and the conversion to strict types that a receiver makes.

use criterion::{Criterion, criterion_group, criterion_main};
use pfs_proto::metadata as strict;
use pfs_proto::v1;
use prost::Message;
use std::hint::black_box;

fn create() -> v1::CreateFileRequest {
    v1::CreateFileRequest {
        operation: Some(v1::OperationId { client_id: 9, slot: 3, sequence: 1 << 20 }),
        path: "/a/directory/of/names/file.mdtest.3.1234".to_owned(),
        exclusive: false,
        layout: Some(v1::LayoutRequest::default()),
        open: Some(v1::OpenFor { group_members: vec![9], access: v1::Access::ReadWrite.into() }),
    }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("messages");
    let request = create();
    let bytes = request.encode_to_vec();
    group.bench_function("create: encode", |bencher| bencher.iter(|| black_box(&request).encode_to_vec()));
    group.bench_function("create: decode and convert", |bencher| {
        bencher.iter(|| {
            let request = v1::CreateFileRequest::decode(black_box(&bytes[..])).expect("it was encoded");
            strict::CreateFile::try_from(request).expect("a possible request")
        });
    });
    let read = v1::ReadReply { payload: vec![7; 1 << 20].into(), ..Default::default() };
    let bytes = read.encode_to_vec();
    group.bench_function("1 MiB of data: decode", |bencher| {
        let bytes = bytes::Bytes::from(bytes.clone());
        bencher.iter(|| v1::ReadReply::decode(black_box(bytes.clone())).expect("it was encoded"));
    });
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
