//! The metadata store: files made durable, so many at a time, in one directory; and looked at. In memory, in the embedded
//! database on a file system in memory, and in it on a disk.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use pfs_core::ids::{FileId, ServerId};
use pfs_core::layout::Recipe;
use pfs_core::path::PfsPath;
use pfs_metadata_server::namespace::{CreateFile, Namespace};
use pfs_metadata_server::store::{MemoryStore, MetadataStore, RedbStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

struct Store {
    name: &'static str,
    store: Arc<dyn MetadataStore>,
    _directory: Option<TempDir>,
}

fn stores() -> Vec<Store> {
    let on = |name, parent: &std::path::Path| {
        let directory = tempfile::tempdir_in(parent).expect("a directory");
        let store = Arc::new(RedbStore::open(&directory.path().join("names")).expect("a database"));
        Store { name, store, _directory: Some(directory) }
    };
    vec![
        Store { name: "memory", store: Arc::new(MemoryStore::new()), _directory: None },
        on("database in memory", std::path::Path::new("/dev/shm")),
        on("database on disk", std::path::Path::new(env!("CARGO_MANIFEST_DIR"))),
    ]
}

fn path(number: u64) -> PfsPath {
    PfsPath::parse(&format!("/file.{number}")).expect("a name")
}

fn create_of(number: u64) -> CreateFile {
    let slot = [ServerId::new(1).expect("not 0")].into_iter().collect();
    let recipe = Ok(Recipe::new(1 << 20, vec![slot]).expect("a recipe"));
    CreateFile { path: path(number), exclusive: true, file: FileId::new(number).expect("not 0"), recipe, now_ns: 5 }
}

/// Makes `count` files, `depth` at a time. Commits that wait together become durable together.
fn create(runtime: &Runtime, namespace: &Namespace, next: &AtomicU64, count: u64, depth: u64) -> Duration {
    let begin = Instant::now();
    runtime.block_on(async {
        for _ in 0..count / depth {
            let all = (0..depth).map(|_| async {
                let change = create_of(next.fetch_add(1, Ordering::Relaxed));
                namespace.run(None, &change).await.expect("a new name");
            });
            join_all(all).await;
        }
    });
    begin.elapsed()
}

fn names(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("threads");
    for Store { name, store, _directory } in stores() {
        let namespace = runtime.block_on(Namespace::open(store, 1)).expect("an empty store");
        // The root is number 1.
        let next = AtomicU64::new(2);
        let mut group = criterion.benchmark_group(format!("names/{name}"));
        group.throughput(Throughput::Elements(1)).sample_size(10);
        for depth in [1u64, 4, 64] {
            group.bench_function(BenchmarkId::new("create, at a time", depth), |bencher| {
                // Whole turns only, so that the time of one is that of a turn by its files.
                bencher.iter_custom(|count| {
                    let turns = count.div_ceil(depth);
                    let took = create(&runtime, &namespace, &next, turns * depth, depth);
                    took.mul_f64(count as f64 / (turns * depth) as f64)
                });
            });
        }
        group.bench_function("look at", |bencher| {
            let known = path(2);
            bencher.iter(|| runtime.block_on(namespace.stat(&known)).expect("it was made"));
        });
        group.finish();
    }
}

criterion_group!(benches, names);
criterion_main!(benches);
