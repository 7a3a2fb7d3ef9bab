//! A file server's store on a file system in memory, beside the bare system calls: what checksums, ledgers and locks cost.
//!
//! Everything is overwritten, so no page is fresh; each line has a `plain` partner with the same bytes at the same offsets.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use pfs_core::checksum::Checksum;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::{FileId, ObjectId};
use pfs_file_server::store::{ObjectStore, PosixOptions, PosixStore};
use pfs_proto::data::{ObjectExtent, pieces};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Large enough not to lie in the caches of a core.
const OBJECT_BYTES: u64 = 64 << 20;
const OBJECT: ObjectId = ObjectId { file: FileId::new(1).unwrap(), slot: 0 };

/// An object in the store, and a file beside it.
struct Bench {
    store: PosixStore,
    plain: File,
    _directory: tempfile::TempDir,
}

/// What one call does: extents, their bytes and their checksums.
struct Request {
    extents: Vec<ObjectExtent>,
    bytes: Vec<u8>,
    checksums: Vec<Checksum>,
}

impl Request {
    fn new(extents: Vec<ObjectExtent>) -> Self {
        let length = extents.iter().map(|extent| extent.length()).sum::<u64>();
        let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut rest = &bytes[..];
        let sum = |piece: pfs_core::checksum::Piece| {
            let (own, after) = rest.split_at(piece.length);
            rest = after;
            Checksum::of(own)
        };
        let checksums = pieces(&extents).map(sum).collect();
        Request { extents, bytes, checksums }
    }

    fn each(&self) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
        let mut at = 0;
        self.extents.iter().map(move |extent| {
            let start = at;
            at += extent.length() as usize;
            (extent.offset().0, start..at)
        })
    }
}

/// Requests whose offsets are scattered over the object and do not follow each other.
fn requests(length: u64, misalignment: u64, extents: u64) -> Vec<Request> {
    let slots = OBJECT_BYTES / length - 1;
    let offset = |i: u64| (i * 7919 % slots) * length + misalignment;
    let extent = |i| ObjectExtent::new(ObjectOffset(offset(i)), length).expect("inside the object");
    (0..64).map(|request| Request::new((request * extents..(request + 1) * extents).map(extent).collect())).collect()
}

fn prepare() -> Bench {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    let store = PosixStore::open(&directory.path().join("objects"), PosixOptions::default()).expect("a store");
    let plain = File::options().read(true).write(true).create_new(true).open(directory.path().join("plain"));
    let plain = plain.expect("a file");
    store.create(OBJECT).expect("an object");
    for offset in (0..OBJECT_BYTES).step_by(1 << 20) {
        let all = Request::new(vec![ObjectExtent::new(ObjectOffset(offset), 1 << 20).expect("not empty")]);
        store.write(OBJECT, &all.extents, &[&all.bytes], &all.checksums).expect("a write");
        plain.write_all_at(&all.bytes, offset).expect("a write");
    }
    store.commit(OBJECT).expect("a commit");
    Bench { store, plain, _directory: directory }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, requests: &[Request], mut call: impl FnMut(&Request)) {
    let mut next = requests.iter().cycle();
    group.bench_function(name, |bencher| bencher.iter(|| call(next.next().expect("it has no end"))));
}

fn compare(criterion: &mut Criterion, name: &str, length: u64, misalignment: u64, extents: u64) {
    let bench = prepare();
    let requests = requests(length, misalignment, extents);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(length * extents));
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    measure(&mut group, "write plain", &requests, |request| {
        request.each().for_each(|(offset, range)| {
            bench.plain.write_all_at(black_box(&request.bytes[range]), offset).expect("a write");
        });
    });
    measure(&mut group, "write store", &requests, |request| {
        let Request { extents, bytes, checksums } = request;
        let written = bench.store.write_now(OBJECT, extents, &[black_box(bytes)], checksums).expect("a write");
        if !written {
            bench.store.write(OBJECT, extents, &[bytes], checksums).expect("a write");
        }
    });
    let mut into = vec![0; usize::try_from(length * extents).expect("a small request")];
    measure(&mut group, "read plain", &requests, |request| {
        request.each().for_each(|(offset, range)| bench.plain.read_exact_at(&mut into[range], offset).expect("a read"));
        black_box(&into);
    });
    let mut checksums = Vec::new();
    measure(&mut group, "read store", &requests, |request| {
        checksums.clear();
        let read = bench.store.read_now(OBJECT, &request.extents, &mut into, &mut checksums).expect("a read");
        assert!(read, "a file system in memory never waits");
        black_box(&into);
    });
    group.finish();
}

fn store(criterion: &mut Criterion) {
    compare(criterion, "4 KiB aligned", 4096, 0, 1);
    compare(criterion, "4 KiB across two blocks", 4096, 1000, 1);
    compare(criterion, "256 times 4 KiB", 4096, 0, 256);
    compare(criterion, "1 MiB aligned", 1 << 20, 0, 1);
    compare(criterion, "1 MiB across units", 1 << 20, 1000, 1);
}

criterion_group!(benches, store);
criterion_main!(benches);
