//! What transfers cost: processor time, page faults, and the time that a computing thread beside them loses.
//!
//! ```text
//! cargo build --release -p pfs-cli && cargo run --release -p pfs-client --example transfers -- [MIB [ROUNDS]]
//! ```
//!
//! Starts a file server process whose store is in memory (`/dev/shm`), and overwrites and reads a file of `MIB` (64) MiB
//! `ROUNDS` (8) times by each way and request size. Lines are `what: wall GiB/s, processor seconds for each GiB of client and
//! server, page faults for each GiB of client and server`. The last lines are of small operations, and of a loop that
//! computes alone and beside transfers of another thread.

use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, DataPath, OpenOptions};
use pfs_core::path::PfsPath;
use pfs_testkit::ProcessCluster;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let (mib, rounds) = (numbers.first().copied().unwrap_or(64), numbers.get(1).copied().unwrap_or(8));
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let cluster = ProcessCluster::builder(1).directory(directory.path().join("cluster")).start_processes()?;
    let server = cluster.file_server_pid(0).ok_or("the file server does not run")?;
    let mut buffer = vec![7u8; mib << 20];
    for (data_path, request_kib) in [
        (DataPath::Bulk, 512),
        (DataPath::Bulk, 1024),
        (DataPath::Bulk, 2048),
        (DataPath::Bulk, 4096),
        (DataPath::Unary, 1024),
    ] {
        let client = connect(&cluster, data_path, request_kib << 10)?;
        let file = client.open(&PfsPath::parse("/large")?, &OpenOptions::create())?;
        file.write_at(&buffer, 0)?;
        file.read_at(&mut buffer, 0)?;
        let name = |what| format!("{what} {} {request_kib} KiB", data_path.name());
        let gib = (mib * rounds) as f64 / 1024.0;
        measured(&name("write"), gib, server, || {
            (0..rounds).try_for_each(|_| file.write_at(&buffer, 0).map_err(Into::into))
        })?;
        measured(&name("read"), gib, server, || {
            (0..rounds).try_for_each(|_| file.read_at(&mut buffer, 0).map(drop).map_err(Into::into))
        })?;
    }
    small(&cluster, server)?;
    compute(&cluster, &buffer)
}

fn connect(cluster: &ProcessCluster, data_path: DataPath, request_bytes_max: usize) -> Outcome<Client> {
    let config = ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file());
    Ok(Client::connect(ClientConfig { data_path, request_bytes_max, cache_bytes: 0, ..config })?)
}

/// Processor seconds and page faults of a process so far.
fn used(pid: u32) -> Outcome<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |index: usize| -> Outcome<f64> { Ok(fields.get(index).ok_or("a short stat")?.parse()?) };
    // Ticks of 10 ms.
    Ok(((number(11)? + number(12)?) / 100.0, number(7)?))
}

fn measured(what: &str, gib: f64, server: u32, work: impl FnOnce() -> Outcome) -> Outcome {
    let pids = [std::process::id(), server];
    let before = [used(pids[0])?, used(pids[1])?];
    let start = Instant::now();
    work()?;
    let seconds = start.elapsed().as_secs_f64();
    let after = [used(pids[0])?, used(pids[1])?];
    let per_gib = |index: usize| {
        let ((cpu, faults), (cpu_before, faults_before)) = (after[index], before[index]);
        ((cpu - cpu_before) / gib, (faults - faults_before) / gib)
    };
    let ((client_cpu, client_faults), (server_cpu, server_faults)) = (per_gib(0), per_gib(1));
    println!(
        "{what}: {:.2} GiB/s, CPU-s/GiB {client_cpu:.3} + {server_cpu:.3} = {:.3}, faults/GiB {client_faults:.0} + \
         {server_faults:.0}",
        gib / seconds,
        client_cpu + server_cpu
    );
    Ok(())
}

/// 4 KiB operations, 16 at a time; "GiB" are millions of operations here, so processor times are microseconds.
fn small(cluster: &ProcessCluster, server: u32) -> Outcome {
    const OPERATIONS: u64 = 200_000;
    const DEPTH: usize = 16;
    for data_path in [DataPath::Small, DataPath::Bulk, DataPath::Unary] {
        let client = connect(cluster, data_path, 1 << 20)?;
        let file =
            futures::executor::block_on(client.as_async().open(&PfsPath::parse("/small")?, &OpenOptions::create()))?;
        let bytes = bytes::Bytes::from(vec![3u8; 4096]);
        let operations = if data_path == DataPath::Small { OPERATIONS } else { OPERATIONS / 4 };
        for write in [true, false] {
            let one = |index: u64| {
                let (file, bytes, offset) = (&file, bytes.clone(), index % 4096 * 4096);
                async move {
                    match write {
                        true => file.write_at(offset, bytes).await,
                        false => file.read_at(offset, 4096).await.map(drop),
                    }
                }
            };
            let what = format!(
                "4 KiB {} {} depth {DEPTH}, per million",
                if write { "writes" } else { "reads" },
                data_path.name()
            );
            measured(&what, operations as f64 / 1e6, server, || {
                use futures::StreamExt;
                let all = futures::stream::iter(0..operations).map(one).buffer_unordered(DEPTH);
                futures::executor::block_on(all.fold(Ok(()), async |all: Result<(), _>, done| all.and(done)))?;
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// How many turns of a loop are done in a second.
fn turns(file: Option<(&File, &[u8])>) -> Outcome<f64> {
    let (over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let computing = scope.spawn(|| {
            let mut value = 1u64;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..100_000 {
                    value = std::hint::black_box(value.wrapping_mul(6364136223846793005).wrapping_add(1));
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let mut outcome = Ok(());
        while start.elapsed() < Duration::from_secs(2) && outcome.is_ok() {
            match file {
                Some((file, buffer)) => outcome = file.write_at(buffer, 0),
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        over.store(true, Ordering::Relaxed);
        computing.join().map_err(|_| "the loop panicked")?;
        outcome?;
        Ok(count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
    })
}

fn compute(cluster: &ProcessCluster, buffer: &[u8]) -> Outcome {
    let client = connect(cluster, DataPath::Auto, 1 << 20)?;
    let file = client.open(&PfsPath::parse("/large")?, &OpenOptions::create())?;
    let (alone, idle_session, beside) = (turns(None)?, turns(None)?, turns(Some((&file, buffer)))?);
    println!("turns of a computing thread: {alone:.0}/s, again {idle_session:.0}/s, beside transfers {beside:.0}/s");
    Ok(())
}
