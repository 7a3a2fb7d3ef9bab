//! The file server's own lease, and finding the metadata server.

use crate::fake_metadata::FakeMetadata;
use crate::harness::{CLIENT, Harness, any_port, assert_code, config, secret, stamp_of, until, write_request};
use pfs_core::ids::ClientId;
use pfs_proto::status::ErrorCode;
use pfs_proto::v1;

#[tokio::test]
async fn without_heartbeats_no_data_is_served_until_fences_were_read_again() {
    let metadata = FakeMetadata::new("cluster-a");
    metadata.state().lease_ms = 400;
    let harness = Harness::with(metadata).await;
    harness.write(1, 0, b"a").await.unwrap();
    harness.metadata.state().silent = true;
    until("the lease ends", async || harness.write(1, 0, b"b").await.is_err()).await;
    let text = assert_code(harness.write(1, 0, b"b").await, ErrorCode::OutOfStep);
    assert!(text.contains("lease"), "{text}");
    assert_code(harness.read(1, 0, 1).await, ErrorCode::OutOfStep);
    assert_code(harness.commit(&[1]).await, ErrorCode::OutOfStep);
    let registrations = {
        let mut state = harness.metadata.state();
        state.fences.incarnations = vec![ClientId::new(CLIENT).unwrap()];
        state.lease_ms = 60_000;
        state.silent = false;
        state.registrations
    };
    let other = || v1::WriteRequest { stamp: Some(stamp_of(1, 8)), ..write_request(1, 0, b"c") };
    until("it registers again", async || harness.send(other()).await.is_ok()).await;
    assert!(harness.metadata.state().registrations > registrations, "a heartbeat alone does not renew an ended lease");
    assert_code(harness.write(1, 0, b"b").await, ErrorCode::Stale);
}

#[tokio::test]
async fn a_server_that_was_forgotten_registers_again() {
    let harness = Harness::new().await;
    let seen = harness.metadata.state().heartbeats;
    until("heartbeats come", async || harness.metadata.state().heartbeats > seen + 2).await;
    harness.metadata.state().forgetful = true;
    until("it registers again", async || harness.metadata.state().registrations == 2).await;
    harness.write(1, 0, b"a").await.unwrap();
}

#[tokio::test]
async fn an_answer_of_an_earlier_boot_is_not_believed() {
    let metadata = FakeMetadata::new("cluster-a");
    metadata.state().lease_ms = 400;
    metadata.state().boot = 3;
    let harness = Harness::with(metadata).await;
    let write = || v1::WriteRequest { stamp: Some(stamp_of(3, CLIENT)), ..write_request(1, 0, b"a") };
    harness.send(write()).await.unwrap();
    harness.metadata.state().boot = 2;
    until("the lease ends", async || harness.send(write()).await.is_err()).await;
    assert_code(harness.send(write()).await, ErrorCode::OutOfStep);
    harness.metadata.state().boot = 4;
    let later = || v1::WriteRequest { stamp: Some(stamp_of(4, CLIENT)), ..write() };
    until("the new one is believed", async || harness.send(later()).await.is_ok()).await;
    assert_code(harness.send(write()).await, ErrorCode::OutOfStep);
}

/// The first address is dead, and nobody answers at the second one yet either when the file server starts.
#[tokio::test]
async fn a_start_waits_for_a_metadata_server_at_any_of_its_addresses() {
    let dead = tokio::net::TcpListener::bind(any_port()).await.unwrap().local_addr().unwrap();
    let metadata = FakeMetadata::new("cluster-a");
    metadata.state().silent = true;
    let metadata_server = metadata.serve(any_port(), &secret()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), "file-0", &metadata_server);
    config.metadata.insert(0, dead.to_string());
    let starting = tokio::spawn(pfs_file_server::start(config));
    tokio::task::yield_now().await;
    assert!(!starting.is_finished());
    metadata.state().silent = false;
    starting.await.unwrap().unwrap().stop().await.unwrap();
}
