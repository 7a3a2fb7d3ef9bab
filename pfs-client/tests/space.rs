//! Reserving space and making holes: what others see of it, and what it takes on the servers' disks.

mod support;

use pfs_client::ErrorKind;
use pfs_testkit::Cluster;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::{check, client, path, pattern, read_write};

const SERVERS: usize = 3;
const MIB: u64 = 1 << 20;

/// Bytes that all objects take on the disks of all servers.
fn on_disk(cluster: &Cluster) -> u64 {
    fn of(directory: &Path) -> u64 {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { of(&path) } else { fs::metadata(&path).unwrap().blocks() * 512 }).sum()
    }
    (0..SERVERS).map(|index| of(&cluster.files().file_server_store(index))).sum()
}

#[test]
fn reserved_space_is_zeros_and_there() {
    let cluster = Cluster::start(SERVERS).unwrap();
    let (writer, reader) = (client(&cluster), client(&cluster));
    let file = writer.open(&path("/reserved"), &read_write()).unwrap();
    let other = reader.open(&path("/reserved"), &read_write()).unwrap();
    let bytes = pattern(1, 100_000);
    // Still in the writer's cache, and nobody reserves over it.
    file.write_at(&bytes, 50_000).unwrap();
    let before = on_disk(&cluster);
    file.allocate(10_000, 8 * MIB).unwrap();
    assert!(on_disk(&cluster) >= before + 8 * MIB - 300_000, "{} after {before}", on_disk(&cluster));
    for file in [&file, &other] {
        assert_eq!(file.size().unwrap(), 10_000 + 8 * MIB);
        check(file, 0, &[0; 50_000]);
        check(file, 50_000, &bytes);
        check(file, 150_000, &vec![0; (8 * MIB - 140_000) as usize]);
    }
    // What lies before the end of the file does not make it shorter.
    other.allocate(0, 1000).unwrap();
    assert_eq!(file.size().unwrap(), 10_000 + 8 * MIB);
    file.allocate(100 * MIB, 0).unwrap();
    assert_eq!(file.size().unwrap(), 10_000 + 8 * MIB);
    assert_eq!(file.allocate(u64::MAX - 1, 2).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_hole_is_zeros_for_all_and_takes_no_space() {
    let mut cluster = Cluster::start(SERVERS).unwrap();
    let (writer, reader) = (client(&cluster), client(&cluster));
    let file = writer.open(&path("/hole"), &read_write()).unwrap();
    let other = reader.open(&path("/hole"), &read_write()).unwrap();
    let mut bytes = pattern(2, 6 << 20);
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();
    // The reader has some of it in its cache, and the writer has dirty bytes within and beside.
    check(&other, MIB, &bytes[MIB as usize..][..10_000]);
    for (offset, byte) in [(MIB - 20, 7), (2 * MIB, 8), (5 * MIB - 10, 9)] {
        file.write_at(&[byte; 100], offset).unwrap();
        bytes[offset as usize..][..100].fill(byte);
    }
    let before = on_disk(&cluster);
    file.punch(MIB + 10, 4 * MIB - 10).unwrap();
    bytes[MIB as usize + 10..5 << 20].fill(0);
    for file in [&file, &other] {
        assert_eq!(file.size().unwrap(), 6 * MIB);
        check(file, 0, &bytes);
    }
    assert!(on_disk(&cluster) <= before - 3 * MIB, "{} before, {} after", before, on_disk(&cluster));
    // What is past the end stays nothing.
    other.punch(6 * MIB - 5, 100 * MIB).unwrap();
    bytes[(6 << 20) - 5..].fill(0);
    assert_eq!(file.size().unwrap(), 6 * MIB);
    other.punch(7 * MIB, 10).unwrap();
    file.sync().unwrap();
    other.sync().unwrap();
    // It is durable.
    for index in 0..SERVERS {
        cluster.kill_file_server(index);
        cluster.start_file_server(index).unwrap();
    }
    check(&file, 0, &bytes);
}
