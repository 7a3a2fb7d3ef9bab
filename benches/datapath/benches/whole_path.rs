//! From a program's buffer to the file servers' files and back, by calls of 4 KiB to 16 MiB: a metadata server and four file
//! servers in this process, their stores in memory, the client's cache on and off.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, OpenOptions};
use pfs_core::path::PfsPath;
use pfs_testkit::Cluster;
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILE_BYTES: u64 = 64 << 20;

fn open(cluster: &Cluster, cache_bytes: usize) -> (Client, File) {
    let mut config = ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file());
    config.cache_bytes = cache_bytes;
    let client = Client::connect(config).expect("the cluster runs");
    let file = client.open(&PfsPath::parse("/bench").expect("a name"), &OpenOptions::create()).expect("a file");
    file.write_at(&vec![1; usize::try_from(FILE_BYTES).expect("it fits")], 0).expect("a write");
    (client, file)
}

fn whole_path(criterion: &mut Criterion) {
    let memory = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    let cluster = Cluster::builder(4).directory(memory.path()).start().expect("a cluster");
    for (cache, cache_bytes) in [("cache off", 0), ("cache on", 32 << 20)] {
        let (client, file) = open(&cluster, cache_bytes);
        let mut group = criterion.benchmark_group(format!("whole path, {cache}"));
        group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
        for bytes in [4u64 << 10, 64 << 10, 1 << 20, 16 << 20] {
            let mut buffer = vec![7u8; usize::try_from(bytes).expect("it fits")];
            let places = FILE_BYTES / bytes;
            group.throughput(Throughput::Bytes(bytes));
            let mut turn = 0;
            group.bench_function(BenchmarkId::new("write", bytes), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    file.write_at(black_box(&buffer), turn * 7919 % places * bytes).expect("a write");
                });
            });
            group.bench_function(BenchmarkId::new("read", bytes), |bencher| {
                bencher.iter(|| {
                    turn += 1;
                    file.read_at(black_box(&mut buffer), turn * 7919 % places * bytes).expect("a read")
                });
            });
        }
        group.finish();
        file.close().expect("a close");
        client.shutdown().expect("an end in order");
    }
}

criterion_group!(benches, whole_path);
criterion_main!(benches);
