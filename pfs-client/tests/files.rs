//! Bytes, sizes and names through real servers: what one client writes every client reads.

mod support;

use bytes::Bytes;
use pfs_client::{Access, EntryKind, ErrorKind, OpenOptions};
use pfs_testkit::Cluster;
use support::{client, path, pattern, read_write};

#[test]
fn what_was_written_is_read_by_everybody_at_once() {
    let cluster = Cluster::start(3).unwrap();
    let (writer, reader) = (client(&cluster), client(&cluster));
    let file = writer.open(&path("/a"), &read_write()).unwrap();
    let other = reader.open(&path("/a"), &OpenOptions::default()).unwrap();
    assert_eq!(file.recipe().stripe_count(), 3);
    let bytes = pattern(1, 3_000_000);
    file.write_at(&bytes, 12_345).unwrap();
    let mut seen = vec![1; 12_345 + bytes.len() + 100];
    let length = other.read_at(&mut seen, 0).unwrap();
    assert_eq!(length, 12_345 + bytes.len(), "a read ends where the file ends");
    assert!(seen[..12_345].iter().all(|byte| *byte == 0), "a hole is zeros");
    assert!(seen[12_345..length] == bytes);
    assert_eq!(other.read_at(&mut seen, 1 << 40).unwrap(), 0, "nothing is past the end");
    assert_eq!(other.size().unwrap(), length as u64, "a size that nobody has reported yet is asked for");
    assert_eq!(reader.stat(&path("/a")).unwrap().size_bytes, length as u64);
    file.close().unwrap();
    other.close().unwrap();
}

/// Two clients write and read random ranges in turn; a plain array says what must be there.
#[test]
fn two_clients_see_one_file() {
    let cluster = Cluster::start(2).unwrap();
    let clients = [client(&cluster), client(&cluster)];
    let files = clients.each_ref().map(|client| client.open(&path("/shared"), &read_write()).unwrap());
    let (mut model, mut size) = (vec![0u8; 200_000], 0usize);
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for round in 0..300 {
        let file = &files[random(2)];
        let (start, length) = (random(150_000), 1 + random(40_000));
        match random(10) {
            0..5 => {
                let bytes = pattern(round, length);
                file.write_at(&bytes, start as u64).unwrap();
                model[start..start + length].copy_from_slice(&bytes);
                size = size.max(start + length);
            }
            5..9 => {
                let mut seen = vec![0xee; length];
                let got = file.read_at(&mut seen, start as u64).unwrap();
                assert_eq!(got, size.saturating_sub(start).min(length), "round {round}: {length} at {start} of {size}");
                assert!(seen[..got] == model[start..start + got], "round {round}: {length} at {start}");
            }
            _ => {
                file.set_size(start as u64).unwrap();
                model[start..].fill(0);
                size = start;
                assert_eq!(files[random(2)].size().unwrap(), size as u64, "round {round}");
            }
        }
    }
}

/// A size report from before a truncation must not bring the old size back.
#[test]
fn late_size_reports_never_undo_a_truncation() {
    let cluster = Cluster::start(2).unwrap();
    let (writer, cutter) = (client(&cluster), client(&cluster));
    let file = writer.open(&path("/cut"), &read_write()).unwrap();
    file.write_at(&pattern(3, 100_000), 0).unwrap();
    cutter.truncate(&path("/cut"), 10).unwrap();
    file.sync().unwrap();
    assert_eq!(cutter.stat(&path("/cut")).unwrap().size_bytes, 10);
    file.close().unwrap();
    assert_eq!(cutter.stat(&path("/cut")).unwrap().size_bytes, 10);
    let again = cutter.open(&path("/cut"), &read_write()).unwrap();
    again.set_size(50_000).unwrap();
    let mut seen = vec![1; 60_000];
    assert_eq!(again.read_at(&mut seen, 0).unwrap(), 50_000);
    assert!(seen[..10] == pattern(3, 100_000)[..10]);
    assert!(seen[10..50_000].iter().all(|byte| *byte == 0), "bytes that were cut off never come back");
}

#[test]
fn an_open_file_goes_on_under_another_name_and_without_one() {
    let cluster = Cluster::start(2).unwrap();
    let client = client(&cluster);
    let file = client.open(&path("/old"), &read_write()).unwrap();
    file.write_at(b"before", 0).unwrap();
    client.rename(&path("/old"), &path("/new")).unwrap();
    file.write_at(b"behind", 6).unwrap();
    file.sync().unwrap();
    assert_eq!(client.stat(&path("/new")).unwrap().size_bytes, 12);
    client.remove(&path("/new"), Some(EntryKind::File)).unwrap();
    assert_eq!(client.stat(&path("/new")).unwrap_err().kind(), ErrorKind::NotFound);
    let mut seen = [0; 12];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), 12);
    assert_eq!(&seen, b"beforebehind");
    file.close().unwrap();
    let fresh = client.open(&path("/new"), &read_write()).unwrap();
    assert_eq!(fresh.size().unwrap(), 0, "the name is a new file's");
}

#[test]
fn names_behave_like_names() {
    let cluster = Cluster::start(1).unwrap();
    let client = client(&cluster);
    client.make_directory(&path("/d/e"), true).unwrap();
    client.make_directory(&path("/d/e"), true).unwrap();
    let kind = |result: Result<(), pfs_client::Error>| result.unwrap_err().kind();
    assert_eq!(kind(client.make_directory(&path("/d/e"), false)), ErrorKind::AlreadyExists);
    assert_eq!(kind(client.make_directory(&path("/x/y"), false)), ErrorKind::NotFound);
    client.open(&path("/d/f"), &read_write()).unwrap().close().unwrap();
    let exclusive = OpenOptions { exclusive: true, ..read_write() };
    assert_eq!(client.open(&path("/d/f"), &exclusive).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(client.open(&path("/d"), &OpenOptions::default()).unwrap_err().kind(), ErrorKind::IsADirectory);
    assert_eq!(client.open(&path("/d/f/g"), &read_write()).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(kind(client.remove(&path("/d"), None)), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(client.remove(&path("/d/f"), Some(EntryKind::Directory))), ErrorKind::NotADirectory);
    let names = |entries: Vec<pfs_client::DirectoryEntry>| entries.into_iter().map(|e| e.name).collect::<Vec<_>>();
    assert_eq!(names(client.list(&path("/d")).unwrap()), ["e", "f"]);
    client.rename(&path("/d/f"), &path("/g")).unwrap();
    assert_eq!(names(client.list(&path("/d")).unwrap()), ["e"]);
    client.remove(&path("/g"), None).unwrap();
    assert_eq!(client.stat(&path("/g")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_open_mode_and_the_limits_are_kept() {
    let cluster = Cluster::start(1).unwrap();
    let client = client(&cluster);
    let reader_options = OpenOptions { access: Access::Read, ..read_write() };
    let reader = client.open(&path("/m"), &reader_options).unwrap();
    assert_eq!(reader.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::NotPermitted);
    assert_eq!(reader.set_size(1).unwrap_err().kind(), ErrorKind::NotPermitted);
    let writer = client.open(&path("/m"), &OpenOptions { access: Access::Write, ..read_write() }).unwrap();
    assert_eq!(writer.read_at(&mut [0], 0).unwrap_err().kind(), ErrorKind::NotPermitted);
    assert_eq!(writer.write_at(b"x", u64::MAX).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(writer.write_at(b"xy", i64::MAX as u64 - 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(writer.set_size(1 << 63).unwrap_err().kind(), ErrorKind::InvalidArgument);
    writer.write_at(b"", 5).unwrap();
    assert_eq!(writer.size().unwrap(), 0, "no bytes make no file longer");
    let truncating = OpenOptions { truncate: true, ..OpenOptions::default() };
    assert_eq!(client.open(&path("/m"), &truncating).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn opening_with_truncate_empties_the_file() {
    let cluster = Cluster::start(2).unwrap();
    let client = client(&cluster);
    let file = client.open(&path("/t"), &read_write()).unwrap();
    file.write_at(&pattern(1, 50_000), 0).unwrap();
    file.close().unwrap();
    let file = client.open(&path("/t"), &OpenOptions { truncate: true, ..read_write() }).unwrap();
    assert_eq!(file.size().unwrap(), 0);
    file.write_at(b"z", 20_000).unwrap();
    let mut seen = vec![1; 20_001];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), 20_001);
    assert!(seen[..20_000].iter().all(|byte| *byte == 0));
}

/// The `async` calls on an executor of the caller's, with owned buffers.
#[test]
fn async_calls_run_on_any_executor() {
    let cluster = Cluster::start(2).unwrap();
    let blocking = client(&cluster);
    let client = blocking.as_async();
    futures::executor::block_on(async {
        let file = client.open(&path("/async"), &read_write()).await.unwrap();
        let bytes = Bytes::from(pattern(9, 100_000));
        file.write_at(5, bytes.clone()).await.unwrap();
        assert!(file.read_at(5, 200_000).await.unwrap() == bytes);
        assert_eq!(file.size().await.unwrap(), 100_005);
        assert_eq!(client.stat(&path("/async")).await.unwrap().size_bytes, 100_005);
        file.sync().await.unwrap();
        file.close().await.unwrap();
        client.remove(&path("/async"), None).await.unwrap();
    });
}
