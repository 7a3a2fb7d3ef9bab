//! The token holder at a client: what each access pays while its token is held, alone and among others under way; and taking
//! over a grant.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, Holder, RequestId};
use pfs_core::token::holder::TokenHolder;
use pfs_core::token::message::{FileSize, Grant, Mode};
use std::hint::black_box;

const FILE: FileId = FileId::new(7).expect("not 0");
const BLOCK: u64 = 1 << 20;

fn boot() -> Boot {
    Boot::new(1).expect("not 0")
}

fn owner() -> Holder {
    Holder::Client(ClientId::new(3).expect("not 0"))
}

fn grant(sequence: u64, ranges: Vec<Extent>) -> Grant {
    Grant {
        request: RequestId::new(sequence).expect("not 0"),
        holder: owner(),
        file: FILE,
        mode: Mode::Exclusive,
        ranges,
        sequence,
        boot: boot(),
        collective: false,
        set: None,
    }
}

fn block(number: u64) -> Extent {
    Extent::new(number * BLOCK, (number + 1) * BLOCK).expect("it has bytes")
}

/// A holder of the whole file.
fn holder() -> TokenHolder {
    let size = FileSize { generation: 1, bytes: 1 << 40 };
    let mut holder = TokenHolder::new(owner(), FILE, boot(), size, true);
    holder.handle_grant(&grant(1, vec![Extent::ALL]));
    holder
}

fn accesses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("holder: begin and end an access");
    for others in [0u64, 16, 256] {
        let mut holder = holder();
        for other in 0..others {
            holder.try_begin(Mode::Exclusive, &[block(other)]).expect("it is held");
        }
        let own = [block(100_000)];
        group.bench_function(BenchmarkId::new("under way", others), |bencher| {
            bencher.iter(|| {
                let id = holder.try_begin(Mode::Exclusive, black_box(&own)).expect("it is held");
                holder.end(id, || unreachable!("nothing waits"));
            });
        });
    }
    group.finish();
}

fn grants(criterion: &mut Criterion) {
    let ranges: Vec<Extent> = (0..1000).map(|number| block(2 * number)).collect();
    let grant = grant(1, ranges);
    let size = FileSize { generation: 1, bytes: 1 << 40 };
    criterion.bench_function("holder: take over a grant of 1000 ranges", |bencher| {
        bencher.iter(|| {
            let mut holder = TokenHolder::new(owner(), FILE, boot(), size, true);
            holder.handle_grant(black_box(&grant));
            holder.held().count()
        });
    });
}

criterion_group!(benches, accesses, grants);
criterion_main!(benches);
