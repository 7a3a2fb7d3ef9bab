//! What a file server does: counted where it is done, told in heartbeats and as metrics.
//!
//! Invariants:
//! * counters only grow while the server runs; a request counts once, when it has succeeded or failed;
//! * what is kept for single files is bounded and only ranks them: when there is no room, the files with least are forgotten;
//! * what a heartbeat took and could not deliver is given back.

use parking_lot::Mutex;
use pfs_core::ids::FileId;
use pfs_proto::metadata::{DataCounters, FILE_TRAFFIC_MAX, FileTraffic, SpaceReport};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_server_runtime::metrics::encoding::EncodeLabelSet;
use pfs_server_runtime::metrics::metrics::counter::Counter;
use pfs_server_runtime::metrics::metrics::family::Family;
use pfs_server_runtime::metrics::metrics::histogram::{Histogram, exponential_buckets};
use pfs_server_runtime::metrics::registry::{Registry, Unit};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Files whose traffic is kept between two heartbeats.
const FILES_MAX: usize = 1024;

/// What is asked of a file server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Read,
    Write,
    Commit,
    Allocate,
    Truncate,
    Remove,
    Stat,
    Fence,
    Drain,
    Scrub,
}

impl Operation {
    const ALL: [Operation; 10] = [
        Operation::Read,
        Operation::Write,
        Operation::Commit,
        Operation::Allocate,
        Operation::Truncate,
        Operation::Remove,
        Operation::Stat,
        Operation::Fence,
        Operation::Drain,
        Operation::Scrub,
    ];

    fn name(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Commit => "commit",
            Operation::Allocate => "allocate",
            Operation::Truncate => "truncate",
            Operation::Remove => "remove",
            Operation::Stat => "stat",
            Operation::Fence => "fence",
            Operation::Drain => "drain",
            Operation::Scrub => "scrub",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    operation: &'static str,
    code: &'static str,
}

/// All counts of one file server.
#[derive(Debug)]
pub struct Traffic {
    read_bytes: Counter,
    written_bytes: Counter,
    requests: Family<RequestLabels, Counter>,
    /// Those of `requests`, in the order of [`Operation::ALL`]: a look-up is too much for a small request.
    by_operation: [Counter; Operation::ALL.len()],
    failures: Family<FailureLabels, Counter>,
    failed: AtomicU64,
    commit_seconds: Histogram,
    files: Mutex<HashMap<FileId, FileTraffic>>,
    space: Mutex<SpaceReport>,
}

impl Default for Traffic {
    fn default() -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        let counter =
            |operation: Operation| requests.get_or_create_owned(&RequestLabels { operation: operation.name() });
        Traffic {
            by_operation: Operation::ALL.map(counter),
            requests,
            read_bytes: Counter::default(),
            written_bytes: Counter::default(),
            failures: Family::default(),
            failed: AtomicU64::new(0),
            // 50 µs to 26 s.
            commit_seconds: Histogram::new(exponential_buckets(50e-6, 2.0, 20)),
            files: Mutex::default(),
            space: Mutex::default(),
        }
    }
}

impl Traffic {
    /// Names the counters.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests that succeeded; reads and writes of streams count one by one";
        registry.register("pfs_data_requests", help, self.requests.clone());
        let help = "Requests that were refused or failed, by what the client was told";
        registry.register("pfs_data_failures", help, self.failures.clone());
        registry.register_with_unit("pfs_data_read", "Bytes sent to clients", Unit::Bytes, self.read_bytes.clone());
        let help = "Bytes written to objects";
        registry.register_with_unit("pfs_data_written", help, Unit::Bytes, self.written_bytes.clone());
        let help = "Time that a commit took, with its wait for others";
        registry.register_with_unit("pfs_data_commit", help, Unit::Seconds, self.commit_seconds.clone());
    }

    /// Bytes of a file were read.
    pub fn read(&self, file: FileId, bytes: u64) {
        self.read_bytes.inc_by(bytes);
        self.of_file(file, |traffic| traffic.read_bytes += bytes);
    }

    /// A read has ended well.
    pub fn read_done(&self, file: FileId) {
        self.succeeded(Operation::Read);
        self.of_file(file, |traffic| traffic.requests += 1);
    }

    /// A small read, which is over at once.
    pub fn read_single(&self, file: FileId, bytes: u64) {
        self.read_bytes.inc_by(bytes);
        self.succeeded(Operation::Read);
        self.of_file(file, |traffic| {
            traffic.read_bytes += bytes;
            traffic.requests += 1;
        });
    }

    /// A write has ended well.
    pub fn written(&self, file: FileId, bytes: u64) {
        self.written_bytes.inc_by(bytes);
        self.succeeded(Operation::Write);
        self.of_file(file, |traffic| {
            traffic.written_bytes += bytes;
            traffic.requests += 1;
        });
    }

    fn succeeded(&self, operation: Operation) {
        self.by_operation[operation as usize].inc();
    }

    /// A request was refused or has failed.
    pub fn failed(&self, operation: Operation, code: ErrorCode) {
        let labels = FailureLabels { operation: operation.name(), code: code.as_str_name() };
        self.failures.get_or_create(&labels).inc();
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Does a request and counts it.
    pub async fn counted<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, ErrorDetail>>,
    ) -> Result<T, ErrorDetail> {
        let started = Instant::now();
        let outcome = work.await;
        match &outcome {
            Ok(_) => self.succeeded(operation),
            Err(error) => self.failed(operation, error.code),
        }
        if operation == Operation::Commit && outcome.is_ok() {
            self.commit_seconds.observe(started.elapsed().as_secs_f64());
        }
        outcome
    }

    /// All counts so far.
    pub fn counters(&self) -> DataCounters {
        let of = |operation: Operation| self.by_operation[operation as usize].get();
        DataCounters {
            read_bytes: self.read_bytes.get(),
            written_bytes: self.written_bytes.get(),
            reads: of(Operation::Read),
            writes: of(Operation::Write),
            commits: of(Operation::Commit),
            failures: self.failed.load(Ordering::Relaxed),
        }
    }

    /// The space of the store, as it was told last.
    pub fn set_space(&self, space: SpaceReport) {
        *self.space.lock() = space;
    }

    /// See [`set_space`](Self::set_space).
    pub fn space(&self) -> SpaceReport {
        *self.space.lock()
    }

    /// The files with most bytes since this was called last. What is not delivered is to be
    /// [given back](Self::give_back).
    pub fn take_busiest(&self) -> Vec<FileTraffic> {
        let mut files: Vec<FileTraffic> = std::mem::take(&mut *self.files.lock()).into_values().collect();
        keep_busiest(&mut files, FILE_TRAFFIC_MAX);
        files
    }

    /// Counts what was taken again.
    pub fn give_back(&self, busiest: Vec<FileTraffic>) {
        for given in busiest {
            self.of_file(given.file, |traffic| {
                traffic.read_bytes += given.read_bytes;
                traffic.written_bytes += given.written_bytes;
                traffic.requests += given.requests;
            });
        }
    }

    fn of_file(&self, file: FileId, count: impl FnOnce(&mut FileTraffic)) {
        let mut files = self.files.lock();
        if files.len() >= FILES_MAX && !files.contains_key(&file) {
            let mut kept: Vec<FileTraffic> = files.drain().map(|(_, traffic)| traffic).collect();
            keep_busiest(&mut kept, FILES_MAX / 2);
            files.extend(kept.into_iter().map(|traffic| (traffic.file, traffic)));
        }
        count(files.entry(file).or_insert(FileTraffic { file, read_bytes: 0, written_bytes: 0, requests: 0 }));
    }
}

/// Keeps those with most bytes, or with most requests of those with as many bytes.
fn keep_busiest(files: &mut Vec<FileTraffic>, count: usize) {
    if files.len() > count {
        let heat = |traffic: &FileTraffic| (traffic.read_bytes + traffic.written_bytes, traffic.requests);
        files.select_nth_unstable_by_key(count, |traffic| std::cmp::Reverse(heat(traffic)));
        files.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64) -> FileId {
        FileId::new(number).unwrap()
    }

    #[test]
    fn the_busiest_files_are_kept_when_there_are_many() {
        let traffic = Traffic::default();
        for number in 1..=5 * FILES_MAX as u64 {
            traffic.written(file(number), 1);
            traffic.read(file(1_000_000 + number % 3), 100);
        }
        assert!(traffic.files.lock().len() <= FILES_MAX);
        let busiest = traffic.take_busiest();
        assert_eq!(busiest.len(), FILE_TRAFFIC_MAX);
        let read: u64 = busiest.iter().map(|traffic| traffic.read_bytes).sum();
        assert_eq!(read, 100 * 5 * FILES_MAX as u64, "the three that are read are among them, with all their bytes");
        assert_eq!(traffic.take_busiest(), []);
        traffic.give_back(busiest.clone());
        assert_eq!(traffic.take_busiest().len(), busiest.len());
        let counters = traffic.counters();
        assert_eq!((counters.written_bytes, counters.writes), (5 * FILES_MAX as u64, 5 * FILES_MAX as u64));
    }

    #[tokio::test]
    async fn requests_count_once_they_have_ended() {
        let traffic = Traffic::default();
        let ok = || std::future::ready(Ok(()));
        let full = || std::future::ready(Err::<(), _>(ErrorDetail::new(ErrorCode::NoSpace, "full")));
        traffic.counted(Operation::Commit, ok()).await.unwrap();
        traffic.counted(Operation::Commit, full()).await.unwrap_err();
        traffic.read_single(file(1), 7);
        let counters = traffic.counters();
        assert_eq!((counters.commits, counters.failures), (1, 1));
        assert_eq!((counters.reads, counters.read_bytes), (1, 7));
    }
}
