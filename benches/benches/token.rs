//! The token manager: one request and its release among many ranges, and a range that two clients take in turns.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, Holder, OpenId, RequestId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{Ack, Acquire, Mode, Release, Revoke};

const RANGE_BYTES: u64 = 1 << 20;

/// A manager with one open file and the number of the last request.
struct Bench {
    manager: TokenManager,
    file: FileId,
    request: u64,
}

impl Bench {
    fn new(clients: u64) -> Bench {
        let mut manager = TokenManager::new(Boot::new(1).expect("not 0"));
        let file = FileId::new(1).expect("not 0");
        for client in (1..=clients).map(client) {
            manager.add_client(client);
            manager.open(Holder::Client(client), file, OpenId::new(client.get()).expect("not 0"));
        }
        Bench { manager, file, request: 0 }
    }

    /// Asks for a range and answers revokes until it is granted; returns the grant's sequence.
    fn acquire(&mut self, of: u64, start: u64) -> u64 {
        self.request += 1;
        let required = RangePattern::new(start, RANGE_BYTES, RANGE_BYTES, 1).expect("a possible range");
        let acquire = Acquire {
            request: RequestId::new(self.request).expect("counts from 1"),
            holder: Holder::Client(client(of)),
            file: self.file,
            mode: Mode::Exclusive,
            required: vec![required],
            desired: None,
            collective: false,
        };
        self.manager.handle_acquire(client(of), acquire);
        loop {
            match self.manager.poll_action() {
                Some(ManagerAction::Revoke { to, revoke }) => {
                    let released = vec![revoke.range];
                    let Revoke { revoke, holder, file, .. } = revoke;
                    let ack = Ack { revoke, holder, file, released, size: None, undrained: Vec::new() };
                    self.manager.handle_ack(to, &ack);
                }
                Some(ManagerAction::Grant { grant, .. }) => return grant.sequence,
                other => panic!("{other:?} instead of a grant"),
            }
        }
    }

    fn release(&mut self, of: u64, start: u64, sequence: u64) {
        let range = Extent::new(start, start + RANGE_BYTES).expect("has bytes");
        let holder = Holder::Client(client(of));
        let release = Release { holder, file: self.file, range, last_grant_sequence: sequence };
        self.manager.handle_release(client(of), &release);
        while self.manager.poll_action().is_some() {}
    }
}

fn client(number: u64) -> ClientId {
    ClientId::new(number).expect("counts from 1")
}

/// Each client holds one range of its own; client 1 takes and gives back one more.
fn acquire_release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acquire and release");
    for clients in [2u64, 64, 1024] {
        let mut bench = Bench::new(clients);
        for of in 1..=clients {
            bench.acquire(of, of * 2 * RANGE_BYTES);
        }
        let free = (clients + 10) * 2 * RANGE_BYTES;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("ranges", clients), |bencher| {
            bencher.iter(|| {
                let sequence = bench.acquire(1, free);
                bench.release(1, free, sequence);
            });
        });
    }
    group.finish();
}

/// A request in the middle of another's range: revoke, split, grant.
fn split(criterion: &mut Criterion) {
    let mut bench = Bench::new(2);
    bench.acquire(1, 0);
    let mut of = 1;
    criterion.bench_function("hand a range over", |bencher| {
        bencher.iter(|| {
            of = 3 - of;
            bench.acquire(of, 10 * RANGE_BYTES)
        });
    });
}

criterion_group!(benches, acquire_release, split);
criterion_main!(benches);
