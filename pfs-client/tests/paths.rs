//! The ways of bytes between buffer and file server: every one of them has the same promises (docs/SEMANTICS.md), whatever
//! happens to servers and connections on the way.
//!
//! Bytes of a blocking call are lent to connections. What would break, if a call returned while one still had them: the
//! caller's next use of its buffer would change bytes that are being sent. So here buffers are overwritten at once after every
//! call, whether it succeeded or not, and what is read afterwards must never show it.

mod support;

use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, DataPath, ErrorKind, LayoutRequest, OpenOptions};
use pfs_testkit::Cluster;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use support::{check, config, path, pattern, read_write};

fn by(cluster: &Cluster, data_path: DataPath) -> Client {
    Client::connect(config_by(cluster, data_path)).unwrap()
}

fn config_by(cluster: &Cluster, data_path: DataPath) -> ClientConfig {
    ClientConfig { data_path, cache_bytes: 0, ..config(cluster) }
}

fn large_stripes() -> OpenOptions {
    OpenOptions { layout: LayoutRequest { stripe_unit: Some(1 << 20), ..LayoutRequest::default() }, ..read_write() }
}

/// S1, S8: whatever the way, the sizes, and the edges, what was written is read, by whatever way.
#[test]
fn every_way_carries_the_same_bytes() {
    let cluster = Cluster::start(3).unwrap();
    for (options, name) in [(read_write(), "small"), (large_stripes(), "large")] {
        let file_path = path(&format!("/{name}"));
        for writer in DataPath::ALL {
            let client = by(&cluster, writer);
            let file = client.open(&file_path, &options).unwrap();
            let accesses =
                [(0, 3_000_000), (1_048_575, 2), (4096, 4096), (77, 40_000), (4_000_000, 1), (9_999, 1_200_000)];
            let mut expected = vec![0; 4_000_001];
            for (seed, (offset, length)) in (0u64..).zip(accesses) {
                let mut bytes = pattern(seed + 100 * writer as u64, length);
                file.write_at(&bytes, offset as u64).unwrap();
                expected[offset..offset + length].copy_from_slice(&bytes);
                bytes.fill(0xbb);
            }
            file.close().unwrap();
            for reader in DataPath::ALL {
                let file = by(&cluster, reader).open(&file_path, &options).unwrap();
                check(&file, 0, &expected);
                check(&file, 1_048_570, &expected[1_048_570..1_048_590]);
            }
            client.truncate(&file_path, 0).unwrap();
        }
    }
}

/// Small requests of many threads share a stream and do not get each other's answers.
#[test]
fn requests_that_share_a_stream_get_their_own_answers() {
    let cluster = Cluster::start(2).unwrap();
    let client = by(&cluster, DataPath::Small);
    let file = client.open(&path("/a"), &read_write()).unwrap();
    thread::scope(|scope| {
        for number in 0..8u64 {
            let file = &file;
            scope.spawn(move || {
                for turn in 0..50 {
                    let (offset, bytes) = (number * 10_000, pattern(number * 1000 + turn, 6000 + number as usize));
                    file.write_at(&bytes, offset).unwrap();
                    check(file, offset, &bytes);
                }
            });
        }
    });
}

/// S1, S41, and that a pause is only a pause: connections that break in the middle of requests cost time and no bytes. The
/// buffer is changed right after each call.
#[test]
fn broken_connections_to_file_servers_are_only_pauses() {
    let cluster = Cluster::builder(2).proxied().start().unwrap();
    for data_path in DataPath::ALL {
        let mut config = config_by(&cluster, data_path);
        config.retry_for = Duration::from_secs(30);
        let client = Client::connect(config).unwrap();
        let file = client.open(&path("/a"), &large_stripes()).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..6 {
                    let proxy = cluster.proxy(turn % 2);
                    let before = proxy.accepted();
                    proxy.break_connections();
                    while proxy.accepted() == before && !over.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                }
                over.store(true, Ordering::SeqCst);
            });
            let mut turn = 0;
            while !over.load(Ordering::SeqCst) {
                turn += 1;
                let mut bytes = pattern(turn, 3_000_000);
                file.write_at(&bytes, 1000).unwrap();
                bytes.fill(0xbb);
                check(&file, 1000, &pattern(turn, 3_000_000));
            }
        });
        file.close().unwrap();
    }
}

/// S23, S41: a server that stops reading in the middle of a write is an error in time, though the connection still has the
/// caller's bytes; they are the caller's when the call returns.
#[test]
fn a_server_that_stops_reading_is_a_time_out_and_the_buffer_is_free() {
    let cluster = Cluster::builder(1).proxied().start().unwrap();
    for data_path in DataPath::ALL {
        let mut config = config_by(&cluster, data_path);
        config.operation_timeout = Duration::from_millis(400);
        config.retry_for = Duration::from_millis(900);
        let client = Client::connect(config).unwrap();
        let file = client.open(&path("/a"), &large_stripes()).unwrap();
        let first = pattern(1, 3_000_000);
        file.write_at(&first, 0).unwrap();
        cluster.proxy(0).stall();
        let mut second = pattern(2, 3_000_000);
        let error = file.write_at(&second, 0).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Unavailable), "{data_path:?}: {error}");
        second.fill(0xbb);
        let mut buffer = vec![0xcc; 3_000_000];
        let error = file.read_at(&mut buffer, 0).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Unavailable), "{data_path:?}: {error}");
        buffer.fill(0xdd);
        cluster.proxy(0).heal();
        // Each byte is that of one of the writes, and no later one of the buffer.
        let mut seen = vec![0; 3_000_000];
        let read = |seen: &mut [u8]| file.read_at(seen, 0).is_ok_and(|length| length == seen.len());
        while !read(&mut seen) {}
        let (first, second) = (pattern(1, 3_000_000), pattern(2, 3_000_000));
        let pieces = seen.chunks(4096).zip(first.chunks(4096)).zip(second.chunks(4096));
        let mixed = pieces.filter(|((seen, first), second)| seen != first && seen != second).count();
        assert_eq!(mixed, 0, "{data_path:?}: pieces of neither write");
        assert!(buffer.iter().all(|byte| *byte == 0xdd), "{data_path:?}: somebody filled the buffer after the call");
        file.write_at(&second, 0).unwrap();
        check(&file, 0, &second);
    }
}

/// A caller that panics between its calls does no harm to those of other threads.
#[test]
fn a_thread_that_panics_leaves_calls_of_others_alone() {
    let cluster = Cluster::start(1).unwrap();
    let client = by(&cluster, DataPath::Auto);
    let file = client.open(&path("/a"), &large_stripes()).unwrap();
    thread::scope(|scope| {
        let writing = scope.spawn(|| (0..20).for_each(|turn| file.write_at(&pattern(turn, 2_000_000), 0).unwrap()));
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let bytes = pattern(50, 1_000_000);
            file.write_at(&bytes, 4_000_000).unwrap();
            panic!("of the caller");
        }));
        assert!(unwound.is_err());
        writing.join().unwrap();
    });
    check(&file, 0, &pattern(19, 2_000_000));
    check(&file, 4_000_000, &pattern(50, 1_000_000));
}

/// What a user can forget: descriptors, tokens, futures. Later calls go on, and bytes are right.
#[test]
fn forgotten_values_harm_nobody() {
    let cluster = Cluster::start(2).unwrap();
    let client = by(&cluster, DataPath::Auto);
    let forgotten = client.open(&path("/a"), &large_stripes()).unwrap();
    forgotten.write_at(&pattern(1, 1_000_000), 0).unwrap();
    let asynchronous = futures::executor::block_on(client.as_async().open(&path("/a"), &large_stripes())).unwrap();
    {
        // Under way, and never ended: its bytes are its own.
        let mut call = Box::pin(asynchronous.write_at(2_000_000, pattern(2, 3_000_000).into()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = call.as_mut().poll(&mut context);
        std::mem::forget(call);
    }
    {
        let mut call = Box::pin(asynchronous.read_at(0, 1_000_000));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = call.as_mut().poll(&mut context);
        std::mem::forget(call);
    }
    std::mem::forget(forgotten);
    let file = client.open(&path("/b"), &large_stripes()).unwrap();
    file.write_at(&pattern(3, 3_000_000), 0).unwrap();
    check(&file, 0, &pattern(3, 3_000_000));
}

/// A call that is cancelled stops, and the range can be used again.
#[test]
fn a_cancelled_call_lets_its_range_go() {
    let cluster = Cluster::start(2).unwrap();
    for data_path in DataPath::ALL {
        let client = by(&cluster, data_path);
        let file = futures::executor::block_on(client.as_async().open(&path("/a"), &large_stripes())).unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for turn in 0..10 {
            let mut call = Box::pin(file.write_at(0, pattern(turn, 4_000_000).into()));
            let _ = call.as_mut().poll(&mut context);
            drop(call);
            let mut call = Box::pin(file.read_at(0, 4_000_000));
            let _ = call.as_mut().poll(&mut context);
        }
        futures::executor::block_on(file.write_at(0, pattern(99, 4_000_000).into())).unwrap();
        let seen = futures::executor::block_on(file.read_at(0, 4_000_000)).unwrap();
        assert!(seen == pattern(99, 4_000_000), "{data_path:?}");
    }
}

/// S43: a server that does not answer holds up who waits for it, and nobody else of the same client.
#[test]
fn a_slow_server_slows_its_own_writers_only() {
    let cluster = Cluster::builder(2).proxied().start().unwrap();
    for data_path in DataPath::ALL {
        let mut config = config_by(&cluster, data_path);
        // What waits for the slow server may not take the others' room.
        config.in_flight_bytes_max = 4 << 20;
        config.in_flight_bytes_per_server_max = 2 << 20;
        let client = Client::connect(config).unwrap();
        let layout = LayoutRequest { stripe_count: Some(1), ..LayoutRequest::default() };
        let one_server = OpenOptions { layout, ..read_write() };
        let files: Vec<File> =
            (0..2).map(|index| client.open(&path(&format!("/{data_path:?}{index}")), &one_server).unwrap()).collect();
        let server_of = |file: &File| usize::try_from(file.recipe().primary(0).get()).unwrap() - 1;
        assert_ne!(server_of(&files[0]), server_of(&files[1]));
        cluster.proxy(server_of(&files[0])).stall();
        thread::scope(|scope| {
            let held_up: Vec<_> = (0..4)
                .map(|part| {
                    let file = &files[0];
                    scope.spawn(move || file.write_at(&pattern(part, 2_000_000), part * 2_000_000).unwrap())
                })
                .collect();
            for turn in 0..5 {
                files[1].write_at(&pattern(turn, 3_000_000), 0).unwrap();
                check(&files[1], 0, &pattern(turn, 3_000_000));
            }
            assert!(held_up.iter().all(|call| !call.is_finished()));
            cluster.proxy(server_of(&files[0])).heal();
            held_up.into_iter().for_each(|call| call.join().unwrap());
        });
        check(&files[0], 2_000_000, &pattern(1, 2_000_000));
    }
}

/// S2: a list is one access. Small and large parts, with gaps and without, over several servers; the end of the file cuts it.
#[test]
fn lists_are_written_and_read() {
    let cluster = Cluster::start(3).unwrap();
    for data_path in DataPath::ALL {
        let client = by(&cluster, data_path);
        let file = futures::executor::block_on(client.as_async().open(&path("/list"), &read_write())).unwrap();
        let mut expected = vec![0u8; 1_200_000];
        let places = [(0, 100), (100, 50), (4096, 4096), (20_000, 1), (30_000, 600_000), (1_000_000, 200_000)];
        let parts: Vec<(u64, bytes::Bytes)> = places
            .iter()
            .map(|&(offset, length)| (offset, pattern(offset + data_path as u64, length).into()))
            .collect();
        for (offset, bytes) in &parts {
            expected[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
        }
        futures::executor::block_on(file.write_list(parts.into_iter().rev().collect())).unwrap();
        let ranges = [(50, 100), (5000, 0), (8000, 50_000), (900_000, 250_000), (1_199_000, 5000), (2_000_000, 7)];
        let read = futures::executor::block_on(file.read_list(&ranges)).unwrap();
        for (bytes, (offset, length)) in read.iter().zip(ranges) {
            let end = expected.len().min((offset + length) as usize);
            assert!(bytes[..] == expected[end.min(offset as usize)..end], "{data_path:?} {offset}");
        }
        let overlapping = vec![(0, vec![1; 10].into()), (9, vec![2; 10].into())];
        let error = futures::executor::block_on(file.write_list(overlapping)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
