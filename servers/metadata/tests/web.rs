//! What the metadata server shows: the page, what it is drawn from, and its metrics.

mod support;

use pfs_proto::v1;
use pfs_server_runtime::web::{ask_for_test, names_for_test};
use serde_json::Value;
use support::{Cluster, eventually};
use v1::{Access, TokenMode};

/// An odd number, so that the second client has it in the end.
const HAND_OVERS: u64 = 5;

async fn get(cluster: &Cluster, path: &str) -> (u16, String, String) {
    let bearer = format!("authorization: Bearer {}\r\n", cluster.secret.view_key().as_str());
    ask_for_test(cluster.address().parse().unwrap(), &format!("GET {path}"), &bearer).await
}

async fn json(cluster: &Cluster, path: &str) -> Value {
    let (status, _, body) = get(cluster, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_needs_the_key_and_nothing_else() {
    let cluster = Cluster::start().await;
    let address = cluster.address().parse().unwrap();
    for path in ["/", "/api/activity", "/api/tokens?file=1", "/metrics", "/targets"] {
        assert_eq!(ask_for_test(address, &format!("GET {path}"), "").await.0, 401, "{path}");
    }
    let (status, head, body) = get(&cluster, "/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'") && head.contains("text/html"), "{head}");
    assert!(body.contains("Hottest files") && body.ends_with("</html>\n"));
    assert_eq!(get(&cluster, "/api/tokens").await.0, 400);
    assert_eq!(get(&cluster, "/api/tokens?file=x").await.0, 400);
    assert_eq!(get(&cluster, "/api/tokens?file=12345").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_those_of_the_document() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(2).await;
    let client = cluster.client("c").await;
    let file = client.create("/a").await;
    client.close(file.open_id, None).await.unwrap();
    client.create_request("/a");
    client.send_create(client.create_request("/a")).await.unwrap_err();
    eventually("a sample of the session", async || {
        get(&cluster, "/metrics").await.2.contains("pfs_sessions{state=\"connected\"} 1")
    })
    .await;
    let (_, _, metrics) = get(&cluster, "/metrics").await;
    let document = include_str!("../../../docs/METRICS.md");
    let (told, documented) = names_for_test(&metrics, document, &["Every server", "The metadata server"]);
    assert_eq!(told, documented);
    for line in [
        "pfs_namespace_files 1",
        "pfs_metadata_call_seconds_count{method=\"create_file\"} 2",
        "pfs_metadata_call_failures_total{method=\"create_file\",code=\"ERROR_CODE_ALREADY_EXISTS\"} 1",
        "pfs_file_server_up{name=\"file-1\"} 1",
    ] {
        assert!(metrics.lines().any(|told| told == line), "{line} is not in:\n{metrics}");
    }
    let targets = json(&cluster, "/targets").await;
    assert_eq!(targets.as_array().unwrap().len(), 2);
    assert_eq!(targets[0]["labels"]["pfs_server"], "file-0");
}

/// Two clients who take a file from each other: it is hot, with its name; its token map says who has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contention_is_seen_where_it_is() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (first, second) = (cluster.client("first").await, cluster.client("second").await);
    first.make_directory("/dir").await.unwrap();
    let name = "/dir/<b>hot";
    let mine = first.create(name).await;
    let theirs = second.open(name, Access::ReadWrite, &[]).await.unwrap();
    let id = mine.file.as_ref().unwrap().file_id;
    let (mut holder, mut other) = ((first.stream(), &mine), (second.stream(), &theirs));
    holder.0.acquire(holder.1, TokenMode::Exclusive, 0, 100).await;
    holder.0.granted().await;
    for _ in 0..HAND_OVERS {
        other.0.acquire(other.1, TokenMode::Exclusive, 0, 100).await;
        let revoke = holder.0.revoked().await;
        holder.0.ack(&revoke, None).await;
        other.0.granted().await;
        std::mem::swap(&mut holder, &mut other);
    }
    eventually("the file is hot", async || {
        let now = json(&cluster, "/api/activity").await;
        let file = now["hottest_files"].as_array().unwrap().iter().find(|file| file["file_id"] == id).cloned();
        file.is_some_and(|file| file["path"] == name && file["revokes_per_s"].as_f64().unwrap() > 0.0)
    })
    .await;
    let now = json(&cluster, "/api/activity").await;
    assert_eq!((now["sessions_open"].as_u64(), now["open_handles"].as_u64()), (Some(2), Some(2)));
    assert_eq!(now["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(now["servers"][0]["name"], "file-0");

    let map = json(&cluster, &format!("/api/tokens?file={id}")).await;
    assert!(map["revokes"] == HAND_OVERS, "{map}");
    // The first client was given all of the file, and keeps what nobody else wants.
    let line = |index: usize| {
        let token = &map["tokens"][index];
        (token["start"].as_u64(), token["end"].as_u64(), token["holder_names"][0].as_str(), token["mode"].as_str())
    };
    assert_eq!(map["tokens"].as_array().unwrap().len(), 2, "{map}");
    assert_eq!(line(0), (Some(0), Some(100), Some("second"), Some("exclusive")));
    assert_eq!(line(1), (Some(100), None, Some("first"), Some("exclusive")));

    // A name that means nothing any more is not told.
    first.rename(name, "/dir/cold").await.unwrap();
    let now = json(&cluster, "/api/activity").await;
    assert_eq!(now["hottest_files"][0]["path"], "");
}
