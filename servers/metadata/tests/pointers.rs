//! Shared file pointers: what one call gets no other one does, over repeated calls and restarts.

mod support;

use pfs_proto::status::ErrorCode;
use pfs_proto::v1;
use pfs_proto::v1::client_message::Kind as Said;
use std::collections::BTreeMap;
use support::{Cluster, TestClient, eventually};
use tokio::task::JoinSet;
use v1::metadata_call::Method;
use v1::metadata_reply::Result as Reply;
use v1::move_pointer_request::Change::{Advance, Set};

fn pointer(generation: u64, position: u64) -> v1::SharedPointer {
    v1::SharedPointer { generation, position }
}

async fn open_together(client: &TestClient, path: &str, members: &[u64]) -> v1::OpenFileReply {
    let mut request = client.create_request(path);
    let access = v1::Access::ReadWrite.into();
    request.open = Some(v1::OpenFor { group_members: members.to_vec(), access });
    client.send_create(request).await.unwrap()
}

/// Members of a group move the pointer at once: the parts that they get lie behind each other without gaps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_is_given_once() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let mut clients = Vec::new();
    for name in ["a", "b", "c", "d"] {
        clients.push(cluster.client(name).await);
    }
    let members: Vec<u64> = clients.iter().map(|client| client.id).collect();
    let file = open_together(&clients[0], "/log", &members).await;
    let mut moving = JoinSet::new();
    for (index, client) in (1u64..).zip(clients) {
        moving.spawn(async move {
            let mut given = Vec::new();
            for turn in 1..=50 {
                let moved = client.send_move(client.move_request(file.open_id, Advance(index * turn))).await.unwrap();
                let (before, after) = (moved.before.unwrap(), moved.after.unwrap());
                assert_eq!(after.position - before.position, index * turn);
                given.push((before.position, after.position));
            }
            given
        });
    }
    let mut given: Vec<(u64, u64)> = moving.join_all().await.concat();
    given.sort_unstable();
    assert_eq!(given.len(), 200);
    assert_eq!(given[0].0, 0);
    assert!(given.windows(2).all(|pair| pair[0].1 == pair[1].0), "a gap, or a part that was given twice");
}

#[tokio::test]
async fn a_move_happens_once_and_only_for_members_of_an_open_file() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b, stranger) = (cluster.client("a").await, cluster.client("b").await, cluster.client("c").await);
    let file = open_together(&a, "/log", &[a.id, b.id]).await;
    let open = file.open_id;

    let request = a.move_request(open, Advance(100));
    let first = a.send_move(request).await.unwrap();
    assert_eq!((first.before, first.after), (Some(pointer(0, 0)), Some(pointer(0, 100))));
    assert_eq!(a.send_move(request).await, Ok(first), "a repeated call gets the first answer");
    let asked = b.send_move(b.move_request(open, Advance(0))).await.unwrap();
    assert_eq!(asked.after, Some(pointer(0, 100)), "and moves nothing");
    let set = b.send_move(b.move_request(open, Set(7))).await.unwrap();
    assert_eq!((set.before, set.after), (Some(pointer(0, 100)), Some(pointer(1, 7))));
    let past = a.send_move(a.move_request(open, Advance((1 << 63) - 1))).await;
    assert_eq!(past, Err(ErrorCode::InvalidArgument));
    a.send_move(a.move_request(open, Advance(0))).await.unwrap();
    assert_eq!(a.send_move(request).await, Err(ErrorCode::InvalidArgument), "a later one of the slot came before");

    assert_eq!(stranger.send_move(stranger.move_request(open, Advance(1))).await, Err(ErrorCode::NotFound));
    let own = a.open("/log", v1::Access::Read, &[]).await.unwrap();
    let other = a.send_move(a.move_request(own.open_id, Advance(3))).await.unwrap();
    assert_eq!(other.before, Some(pointer(0, 0)), "every open has its own");
    let mut close = a.move_request(open, Advance(1));
    a.close(open, None).await.unwrap();
    assert_eq!(b.send_move(b.move_request(open, Advance(1))).await, Err(ErrorCode::NotFound));
    close.operation = Some(a.operation());
    assert_eq!(a.send_move(close).await, Err(ErrorCode::NotFound));
}

/// The one who knows the newest state speaks last: until then nobody is given anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_goes_on_behind_all_that_was_given() {
    let mut cluster = Cluster::with(|config| config.grace_ms = Some(30_000)).await;
    let _servers = cluster.file_servers(1).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let members = [a.id, b.id];
    let file = open_together(&a, "/log", &members).await;
    let known_a = a.send_move(a.move_request(file.open_id, Advance(10))).await.unwrap().after;
    let known_b = b.send_move(b.move_request(file.open_id, Advance(20))).await.unwrap().after;
    assert_eq!((known_a, known_b), (Some(pointer(0, 10)), Some(pointer(0, 30))));

    cluster.restart().await;
    stream_a.connect_again().await;
    stream_a.reassert_with(&file, &members, &[], None, known_a).await;
    stream_a.reassert_done().await;
    let mut answers = BTreeMap::new();
    let request = a.move_request(file.open_id, Advance(5));
    for call_id in [1, 2] {
        // The same operation twice, as after a lost answer.
        let method = Some(Method::MovePointer(request));
        stream_a.say(Said::Call(v1::MetadataCall { call_id, method, token_request: 0 })).await;
    }
    // A call that waits for nobody is answered before.
    let list = v1::ListDirectoryRequest { client_id: a.id, path: "/".into(), after: String::new(), limit: 0 };
    stream_a
        .say(Said::Call(v1::MetadataCall { call_id: 3, method: Some(Method::ListDirectory(list)), token_request: 0 }))
        .await;
    assert!(matches!(stream_a.replied().await, (3, Reply::Listed(_))));

    stream_b.connect_again().await;
    stream_b.reassert_with(&file, &members, &[], None, known_b).await;
    stream_b.reassert_done().await;
    for _ in 0..2 {
        let (call, reply) = stream_a.replied().await;
        let Reply::Moved(moved) = reply else { panic!("call {call} got {reply:?}") };
        answers.insert(call, (moved.before, moved.after));
    }
    assert_eq!(answers[&1], (Some(pointer(0, 30)), Some(pointer(0, 35))));
    assert_eq!(answers[&1], answers[&2]);
    eventually("the open is there", async || b.status().await.open_handles == 1).await;
}

/// A position that was set counts more than a larger one of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pointer_that_was_put_back_stays_there_over_a_restart() {
    let mut cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let members = [a.id, b.id];
    let file = open_together(&a, "/log", &members).await;
    let old = a.send_move(a.move_request(file.open_id, Advance(1000))).await.unwrap().after;
    let set = b.send_move(b.move_request(file.open_id, Set(4))).await.unwrap().after;

    cluster.restart().await;
    for (stream, known) in [(&mut stream_b, set), (&mut stream_a, old)] {
        stream.connect_again().await;
        stream.reassert_with(&file, &members, &[], None, known).await;
        stream.reassert_done().await;
    }
    let moved = a.send_move(a.move_request(file.open_id, Advance(1))).await.unwrap();
    assert_eq!(moved.before, Some(pointer(1, 4)));
}
