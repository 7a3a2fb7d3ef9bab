//! What a file server counts, as its metrics and as its heartbeats tell it.

use crate::harness::{Harness, extent, read_request, secret, until, write_request};
use pfs_proto::metadata::DataCounters;
use pfs_server_runtime::web::{ask_for_test, names_for_test};

async fn metrics(harness: &Harness) -> String {
    let asked = format!("GET /metrics?key={}", secret().view_key().as_str());
    let (status, _, body) = ask_for_test(harness.server.address, &asked, "").await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn what_was_done_is_counted() {
    let harness = Harness::new().await;
    let asked = "GET /metrics";
    assert_eq!(ask_for_test(harness.server.address, asked, "").await.0, 401);

    harness.write(5, 0, &[7; 1000]).await.unwrap();
    harness.write(5, 500, &[8; 10]).await.unwrap();
    harness.read(5, 0, 300).await.unwrap();
    let mut client = harness.client.clone();
    let mut streamed = client.read_stream(read_request(5, &[extent(0, 700)])).await.unwrap().into_inner();
    while streamed.message().await.unwrap().is_some() {}
    let mut damaged = write_request(6, 0, &[1; 4]);
    damaged.checksums = vec![0];
    harness.send(damaged).await.unwrap_err();

    let text = metrics(&harness).await;
    for line in [
        "pfs_data_requests_total{operation=\"write\"} 2",
        "pfs_data_requests_total{operation=\"read\"} 2",
        "pfs_data_written_bytes_total 1010",
        "pfs_data_read_bytes_total 1000",
        "pfs_data_failures_total{operation=\"write\",code=\"ERROR_CODE_UNAVAILABLE\"} 1",
        "pfs_lease_held 1",
        "pfs_memory_used_bytes{purpose=\"writes\"} 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
    }
    let document = include_str!("../../../../docs/METRICS.md");
    let (told, documented) = names_for_test(&text, document, &["Every server", "File servers"]);
    assert_eq!(told, documented);

    // The metadata server hears of the same, and of the file. What a heartbeat took is not told again.
    until("a heartbeat that tells of all of it", async || harness.metadata.state().counters.writes == 2).await;
    until("heartbeats that tell of the file", async || harness.metadata.state().written_bytes.get(&5) == Some(&1010))
        .await;
    let told = |counters: DataCounters| (counters.read_bytes, counters.written_bytes, counters.failures);
    until("heartbeats that tell of all bytes and of the failure", async || {
        told(harness.metadata.state().counters) == (1000, 1010, 1)
    })
    .await;
    let seen = harness.metadata.state().heartbeats;
    until("more heartbeats", async || harness.metadata.state().heartbeats > seen + 2).await;
    assert_eq!(harness.metadata.state().written_bytes[&5], 1010);
}
