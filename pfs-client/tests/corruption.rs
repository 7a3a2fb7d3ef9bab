//! Bits that change between client and file server, either way, in payloads, heads and frames of the transport.
//!
//! What would break: TCP's own checksum was right when the bytes left, and they were changed in a switch or a driver's memory;
//! without checksums of its own the file would have wrong bytes that nobody knows of. So every access has the right bytes or
//! is an error, whatever way it takes.

mod support;

use pfs_client::blocking::Client;
use pfs_client::{ClientConfig, DataPath, Error, ErrorKind};
use pfs_testkit::Cluster;
use std::time::Duration;
use support::{config, path, pattern, read_write};

/// One chunk of 16 KiB in so many has a wrong bit: more than one in each access.
const ONE_CHUNK_IN: u64 = 12;
const ROUNDS: u64 = 12;

/// A changed bit in a frame's head can make either side wait for bytes that never come.
fn by(cluster: &Cluster, data_path: DataPath) -> Client {
    let patience = ClientConfig { operation_timeout: Duration::from_secs(3), ..config(cluster) };
    Client::connect(ClientConfig { data_path, cache_bytes: 0, ..patience }).unwrap()
}

/// Wrong bytes that came again are told with file, server and range.
fn told(error: &Error, name: &str) {
    let text = error.to_string();
    if error.kind() == ErrorKind::DataLoss {
        assert!(text.contains(name) && text.contains("server") && text.contains('['), "{text}");
    }
}

#[test]
fn no_access_has_wrong_bytes() {
    let cluster = Cluster::builder(1).proxied().start().unwrap();
    let proxy = cluster.proxy(0);
    for data_path in DataPath::ALL {
        let name = format!("/{data_path:?}");
        let (mut written, mut refused) = (0, 0);
        let before = proxy.flipped();
        for round in 0..ROUNDS {
            let length = [200_000, 20_000, 700_001][usize::try_from(round % 3).unwrap()];
            let (offset, bytes) = (round * 1000, pattern(round, length));
            // A client each, so that none is held up by what another has in doubt.
            let client = by(&cluster, data_path);
            let file = client.open(&path(&name), &read_write()).unwrap();
            proxy.flip_bits(ONE_CHUNK_IN);
            match file.write_at(&bytes, offset) {
                Ok(()) => written += 1,
                Err(error) => {
                    told(&error, &name);
                    refused += 1;
                    proxy.flip_bits(0);
                    proxy.break_connections();
                    file.write_at(&bytes, offset).unwrap();
                    proxy.flip_bits(ONE_CHUNK_IN);
                }
            }
            let mut seen = vec![0; bytes.len()];
            match file.read_at(&mut seen, offset) {
                Ok(read) => assert!(read == bytes.len() && seen == bytes, "wrong bytes by {data_path:?}"),
                Err(error) => told(&error, &name),
            }
            proxy.flip_bits(0);
            proxy.break_connections();
            assert_eq!(file.read_at(&mut seen, offset).unwrap(), bytes.len());
            assert!(seen == bytes, "wrong bytes were stored by {data_path:?}");
        }
        assert_eq!(written + refused, ROUNDS);
        assert!(proxy.flipped() > before + ROUNDS, "no bits were changed");
    }
}
