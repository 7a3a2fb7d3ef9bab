//! Many clients at once with a small budget: everybody is served, and every byte arrives.

use crate::fake_metadata::FakeMetadata;
use crate::harness::{any_port, client_of, config, extent, read_request, secret, write_request};
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::v1;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_memory() {
    const CLIENTS: u64 = 6;
    const WRITES_AT_ONCE: u64 = 12;
    const BYTES: u64 = 1 << 20;
    let metadata_server = FakeMetadata::new("cluster-a").serve(any_port(), &secret()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), "file-0", &metadata_server);
    config.write_bytes_max = 2 << 20;
    config.reply_bytes_max = 2 << 20;
    let server = pfs_file_server::start(config).await.unwrap();
    let mut tasks = Vec::new();
    for client_number in 0..CLIENTS {
        // One connection for all writes of a client: they share its window.
        let client = client_of(&server, &secret());
        for number in 0..WRITES_AT_ONCE {
            let mut client = client.clone();
            tasks.push(tokio::spawn(async move {
                let offset = number * BYTES;
                let fill = u8::try_from(client_number * WRITES_AT_ONCE + number + 1).unwrap();
                let payload = vec![fill; usize::try_from(BYTES).unwrap()];
                let write = v1::WriteRequest { sequence: number, ..write_request(client_number + 1, offset, &payload) };
                while let Err(status) = client.write(write.clone()).await {
                    let error = error_detail(&status);
                    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
                }
                let read = read_request(client_number + 1, &[extent(offset, BYTES)]);
                let reply = client.read(read).await.unwrap().into_inner();
                assert!(reply.payload == payload, "client {client_number} reads what it wrote at {offset}");
            }));
        }
    }
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits for ever");
    server.stop().await.unwrap();
}
