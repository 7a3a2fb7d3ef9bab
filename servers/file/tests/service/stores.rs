//! Whose store a directory is: a server starts on its own one, and on no other.

use crate::fake_metadata::FakeMetadata;
use crate::harness::{Harness, any_port, config, secret};
use pfs_server_runtime::RunningServer;
use std::fs;
use std::path::Path;

async fn refusal(config: pfs_file_server::Config) -> String {
    match pfs_file_server::start(config).await {
        Ok(server) => {
            server.stop().await.unwrap();
            panic!("this start must be refused");
        }
        Err(error) => format!("{error:#}"),
    }
}

/// A store that was used once, and its metadata server.
async fn used_store() -> (tempfile::TempDir, FakeMetadata, RunningServer) {
    let Harness { metadata, metadata_server, directory, server, client: _ } = {
        let harness = Harness::new().await;
        harness.write(1, 0, b"x").await.unwrap();
        harness
    };
    server.stop().await.unwrap();
    (directory, metadata, metadata_server)
}

#[tokio::test]
async fn an_emptied_directory_is_refused() {
    let (directory, metadata, server) = used_store().await;
    let path = directory.path();
    for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { fs::remove_dir_all(entry).unwrap() } else { fs::remove_file(entry).unwrap() }
    }
    let text = refusal(config(path, "file-0", &server)).await;
    assert!(text.contains("empty"), "{text}");
    assert!(!path.join("label.json").exists());
    assert_eq!(metadata.state().registrations, 1);
}

#[tokio::test]
async fn a_store_without_its_label_is_refused() {
    let (directory, _, server) = used_store().await;
    fs::remove_file(directory.path().join("label.json")).unwrap();
    let text = refusal(config(directory.path(), "file-0", &server)).await;
    assert!(text.contains("1 objects but no label.json"), "{text}");
}

#[tokio::test]
async fn another_clusters_store_is_refused() {
    let (directory, _, _server) = used_store().await;
    let other = FakeMetadata::new("cluster-b");
    let other_server = other.serve(any_port(), &secret()).await;
    let text = refusal(config(directory.path(), "file-0", &other_server)).await;
    assert!(text.contains("cluster-a"), "{text}");
    assert!(fs::read_to_string(directory.path().join("label.json")).unwrap().contains("cluster-a"));
}

#[tokio::test]
async fn another_servers_store_is_refused() {
    let (directory, metadata, server) = used_store().await;
    let text = refusal(config(directory.path(), "file-1", &server)).await;
    assert!(text.contains("file-0") && text.contains("file-1"), "{text}");
    metadata.state().servers.insert("file-0".into(), 9);
    let text = refusal(config(directory.path(), "file-0", &server)).await;
    assert!(text.contains("server-1") && text.contains("server-9"), "{text}");
}

#[tokio::test]
async fn another_format_is_refused() {
    let (directory, _, server) = used_store().await;
    let path = directory.path().join("label.json");
    let label = fs::read_to_string(&path).unwrap().replace("\"format_version\": 1", "\"format_version\": 2");
    fs::write(&path, label).unwrap();
    let text = refusal(config(directory.path(), "file-0", &server)).await;
    assert!(text.contains("format 2"), "{text}");
}

#[tokio::test]
async fn a_directory_has_one_server_at_a_time() {
    let harness = Harness::new().await;
    let text = refusal(harness.config()).await;
    assert!(text.contains("in use"), "{text}");
    harness.write(1, 0, b"x").await.unwrap();
}

/// A crash in the middle of nothing: what was committed is there, under the next instance.
#[tokio::test]
async fn a_store_can_be_used_again_after_a_crash() {
    let harness = Harness::new().await;
    let first = harness.write(1, 0, b"x").await.unwrap();
    harness.commit(&[1]).await.unwrap();
    let Harness { metadata, metadata_server, directory, server, .. } = harness;
    server.abort();
    let config = config(directory.path(), "file-0", &metadata_server);
    let server = started_when_unlocked(config).await;
    let client = crate::harness::client_of(&server, &secret());
    let harness = Harness { metadata, metadata_server, directory, server, client };
    assert_eq!(harness.read(1, 0, 1).await.unwrap(), b"x");
    assert_eq!(harness.write(1, 0, b"y").await.unwrap(), first + 1);
}

/// Threads of a server that was ended in this very process may use the store for a moment longer.
async fn started_when_unlocked(config: pfs_file_server::Config) -> RunningServer {
    let started = std::sync::Mutex::new(None);
    crate::harness::until("the store is free", async || match pfs_file_server::start(config.clone()).await {
        Ok(server) => {
            *started.lock().unwrap() = Some(server);
            true
        }
        Err(error) => {
            assert!(format!("{error:#}").contains("in use"), "{error:#}");
            false
        }
    })
    .await;
    started.into_inner().unwrap().unwrap()
}

#[tokio::test]
async fn impossible_configurations_are_refused() {
    let (directory, _, server) = used_store().await;
    let good = config(directory.path(), "file-0", &server);
    let mut none = good.clone();
    none.metadata.clear();
    assert!(refusal(none).await.contains("no address"));
    let mut wrong = good.clone();
    wrong.metadata = vec!["nowhere".into()];
    assert!(refusal(wrong).await.contains("nowhere"));
    let mut everywhere = good.clone();
    everywhere.listen = "0.0.0.0:0".parse().unwrap();
    assert!(refusal(everywhere).await.contains("advertised"));
    let mut nameless = good.clone();
    nameless.name.clear();
    assert!(refusal(nameless).await.contains("name"));
    let mut unwritable = good;
    unwritable.directory = Path::new("/proc/none").into();
    assert!(refusal(unwritable).await.contains("/proc/none"));
}
