//! Sessions over real sockets: broken connections, holders that do not give way, members that die, calls on the stream.

mod support;

use pfs_proto::status::ErrorCode;
use pfs_proto::v1;
use pfs_proto::v1::client_message::Kind as Said;
use pfs_proto::v1::server_message::Kind as Heard;
use std::sync::atomic::Ordering;
use support::{Cluster, TestClient, ack_message, eventually};
use v1::metadata_call::Method;
use v1::metadata_reply::Result as Reply;
use v1::{Access, TokenMode};

fn size(bytes: u64) -> Option<v1::FileSize> {
    Some(v1::FileSize { bytes, generation: 1 })
}

fn id_of(file: &v1::OpenFileReply) -> u64 {
    file.file.as_ref().unwrap().file_id
}

async fn create_together(client: &TestClient, path: &str, members: &[u64]) -> v1::OpenFileReply {
    let mut request = client.create_request(path);
    request.open = Some(v1::OpenFor { group_members: members.to_vec(), access: Access::ReadWrite.into() });
    client.send_create(request).await.unwrap()
}

/// A connection breaks with messages under way in both directions. Each arrives once, in order, on the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_connection_lost_is_repeated_once() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let client = cluster.client("c").await;
    let mut stream = client.stream();
    let file = client.create("/f").await;
    let first = stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    assert_eq!(stream.granted().await.request_id, first);

    // The grant was not seen after all, and the next request got lost.
    stream.unsee(1);
    let lost = stream.acquire_message(&file, TokenMode::Exclusive, 100, 10);
    stream.say_in_vain(lost);
    assert_eq!(stream.connect().await, Ok(1));
    assert_eq!(stream.granted().await.request_id, first);
    assert_eq!(stream.granted().await.request_id, first + 1);
    let tokens = client.status().await.tokens.unwrap();
    assert_eq!((tokens.requests, tokens.grants, tokens.refusals), (2, 2, 0), "nothing was handled twice");

    // A later connection ends the earlier one; what comes while there is none waits.
    stream.fall_silent();
    let other = cluster.client("other").await;
    let mut waiting = other.stream();
    let opened = other.open("/f", Access::ReadWrite, &[]).await.unwrap();
    waiting.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    assert_eq!(stream.connect().await, Ok(1));
    let revoke = stream.revoked().await;
    stream.say_in_vain(Said::Ack(ack_message(&revoke, size(5))));
    assert_eq!(stream.connect().await, Ok(1));
    assert_eq!(waiting.granted().await.size, size(5));
}

/// A message that skips a number, or that nobody could be answered about, ends the connection and not the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_ends_the_connection_and_not_the_session() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let client = cluster.client("c").await;
    let mut stream = client.stream();
    let file = client.create("/f").await;
    let cancel = Some(Said::Cancel(v1::CancelAcquire { request_id: 1 }));
    stream.say_raw(v1::ClientMessage { number: 7, kind: cancel.clone() }).await;
    assert_eq!(stream.next().await, None, "messages 1 to 6 are missing");
    stream.connect().await.unwrap();

    let meaningless = Some(Said::Ack(v1::AckRevoke::default()));
    stream.say_raw(v1::ClientMessage { number: 1, kind: meaningless }).await;
    assert_eq!(stream.heard().await, Err(ErrorCode::InvalidArgument));
    stream.connect().await.unwrap();
    stream.say_raw(v1::ClientMessage { number: 0, kind: cancel }).await;
    assert_eq!(stream.heard().await, Err(ErrorCode::InvalidArgument), "only hello and heartbeats have no number");
    stream.connect().await.unwrap();
    let hello = Said::Hello(v1::Hello { client_id: client.id, boot: 1, received: 0 });
    stream.say_raw(v1::ClientMessage { number: 0, kind: Some(hello) }).await;
    assert_eq!(stream.heard().await, Err(ErrorCode::InvalidArgument), "one hello");

    stream.connect().await.unwrap();
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
}

/// A holder that renews its lease and shows neither ack nor progress is shut out; one that gets on is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_give_way_is_shut_out() {
    let cluster = Cluster::with(|config| config.revoke_timeout_ms = 1000).await;
    let servers = cluster.file_servers(2).await;
    let (stuck, busy, waiting) =
        (cluster.client("stuck").await, cluster.client("busy").await, cluster.client("waiting").await);
    let (mut stream, mut busy_stream, mut other) = (stuck.stream(), busy.stream(), waiting.stream());
    let (file, busy_file) = (stuck.create("/stuck").await, busy.create("/busy").await);
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    busy_stream.acquire(&busy_file, TokenMode::Exclusive, 0, 10).await;
    busy_stream.granted().await;

    let opened = waiting.open("/stuck", Access::ReadWrite, &[]).await.unwrap();
    let busy_opened = waiting.open("/busy", Access::ReadWrite, &[]).await.unwrap();
    other.acquire(&busy_opened, TokenMode::Exclusive, 0, 10).await;
    let busy_revoke = busy_stream.revoked().await;
    other.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    stream.revoked().await;
    let getting_on = async {
        loop {
            busy_stream.get_on();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let granted = tokio::select! {
        granted = other.granted() => granted,
        () = getting_on => unreachable!(),
    };
    assert_eq!(granted.file_id, id_of(&file), "the busy one is waited for");
    assert!(servers.iter().all(|server| server.seen.fenced.lock().contains(&stuck.id)));
    assert_eq!(stream.heard().await, Err(ErrorCode::NoSession));
    assert_eq!(stream.connect().await, Err(ErrorCode::NoSession));
    assert_eq!(stuck.stat("/stuck", false).await.unwrap_err(), ErrorCode::NoSession);
    busy_stream.ack(&busy_revoke, None).await;
    assert_eq!(other.granted().await.file_id, id_of(&busy_file));
}

/// A group with a member that does not give way is shut out as a whole: its members live and are told, and when they know it its
/// tokens go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_does_not_give_way_is_shut_out_and_its_members_live() {
    let cluster = Cluster::with(|config| config.revoke_timeout_ms = 1000).await;
    let servers = cluster.file_servers(1).await;
    let (a, b, c) = (cluster.client("a").await, cluster.client("b").await, cluster.client("c").await);
    let (mut stream_a, mut stream_b, mut stream_c) = (a.stream(), b.stream(), c.stream());
    let group = create_together(&a, "/g", &[a.id, b.id]).await;
    stream_a.acquire(&group, TokenMode::Exclusive, 0, 10).await;
    stream_a.granted().await;
    let alone = c.open("/g", Access::ReadWrite, &[]).await.unwrap();
    stream_c.acquire(&alone, TokenMode::Exclusive, 0, 10).await;
    let revoke = stream_a.revoked().await;
    stream_a.ack(&revoke, None).await;
    stream_b.revoked().await;

    let Some(v1::holder::Kind::Group(number)) = group.holder.unwrap().kind else { panic!("not a group") };
    for stream in [&mut stream_a, &mut stream_b] {
        assert_eq!(stream.next().await, Some(Heard::GroupLost(v1::GroupLost { group_id: number })));
    }
    stream_c.granted().await;
    assert_eq!(*servers[0].seen.fenced_groups.lock(), [number]);
    assert_eq!(a.close(group.open_id, None).await.unwrap_err(), ErrorCode::NotFound, "its opens are gone");
    let again = b.open("/g", Access::Read, &[]).await.unwrap();
    stream_b.acquire(&again, TokenMode::Shared, 20, 10).await;
    let revoke = stream_c.revoked().await;
    stream_c.ack(&revoke, None).await;
    stream_b.granted().await;
}

/// An ack that names a write of unknown outcome counts when the metadata server has drained that write itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undrained_ack_waits_for_the_drain() {
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(1).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let file = a.create("/f").await;
    let opened = b.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream_a.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream_a.granted().await;
    stream_b.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    let revoke = stream_a.revoked().await;
    servers[0].refuse(true);
    let mut ack = ack_message(&revoke, size(10));
    ack.undrained = vec![v1::UndrainedWrite { server_id: servers[0].id, boot: 1, sequence: 42 }];
    stream_a.say(Said::Ack(ack)).await;
    eventually("the size arrived", async || b.stat("/f", false).await.unwrap().size == size(10)).await;
    assert_eq!(b.status().await.tokens.unwrap().waiting, 1, "it is not drained");
    servers[0].refuse(false);
    stream_b.granted().await;
    assert_eq!(*servers[0].seen.drains.lock(), [(a.id, 1, 42)]);
}

/// The members of a group hear of the death of one of them, and go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_told_of_a_death() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, stream_b) = (a.stream(), b.stream());
    let group = create_together(&a, "/g", &[a.id, b.id]).await;
    let Some(v1::holder::Kind::Group(group_id)) = group.holder.unwrap().kind else { panic!("not a group") };
    drop(stream_b);
    let lost = v1::MemberLost { group_id, client_id: b.id };
    assert_eq!(stream_a.next().await, Some(Heard::MemberLost(lost)));
    stream_a.acquire(&group, TokenMode::Exclusive, 0, 10).await;
    stream_a.granted().await;
}

/// A file server that can not be called confirms a fence by its heartbeats, which it sends when it knows the fence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_confirms_a_fence() {
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(1).await;
    let (dying, waiting) = (cluster.client("dying").await, cluster.client("waiting").await);
    let (mut stream, mut other) = (dying.stream(), waiting.stream());
    let file = dying.create("/f").await;
    let opened = waiting.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    servers[0].refuse(true);
    servers[0].be_deaf(true);
    drop(stream);
    other.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    eventually("it is given up", async || dying.stat("/f", false).await == Err(ErrorCode::NoSession)).await;
    assert_eq!(waiting.status().await.tokens.unwrap().waiting, 1, "its heartbeats do not show the fence");
    servers[0].be_deaf(false);
    other.granted().await;
    assert!(servers[0].seen.fenced.lock().is_empty());
}

/// The dead do not tell how far they wrote; the lengths of the objects do, before the tokens go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_of_a_dead_writers_file_comes_from_its_objects() {
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let (dying, waiting) = (cluster.client("dying").await, cluster.client("waiting").await);
    let (mut stream, mut other) = (dying.stream(), waiting.stream());
    let file = dying.create("/f").await;
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    for server in &servers {
        server.seen.object_length.store(4096 + 100, Ordering::SeqCst);
    }
    let opened = waiting.open("/f", Access::ReadWrite, &[]).await.unwrap();
    drop(stream);
    other.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    // The last byte of the second slot's object is the 100th of the fourth stripe unit.
    assert_eq!(other.granted().await.size, size(3 * 4096 + 100));
    assert_eq!(waiting.stat("/f", false).await.unwrap().size, size(3 * 4096 + 100));
}

/// Calls on the stream do what the calls of the service do, once, and only in the name of the stream's client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_ride_the_stream() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let client = cluster.client("c").await;
    let mut stream = client.stream();
    let call = |call_id, method| Said::Call(v1::MetadataCall { call_id, method: Some(method), token_request: 0 });
    let create = client.create_request("/f");
    stream.say(call(1, Method::CreateFile(create.clone()))).await;
    let (1, Reply::Opened(opened)) = stream.replied().await else { panic!("not opened") };
    assert!(opened.created && opened.open_id > 0);

    // The answer gets lost with the connection: it comes again. The same operation under another number is done once.
    stream.unsee(1);
    stream.connect().await.unwrap();
    assert_eq!(stream.replied().await, (1, Reply::Opened(opened.clone())));
    stream.say(call(2, Method::CreateFile(create))).await;
    assert_eq!(stream.replied().await, (2, Reply::Opened(opened.clone())));

    let target = Some(v1::fetch_metadata_request::Target::Path("/f".into()));
    let fetch = v1::FetchMetadataRequest { client_id: client.id, target, exact_size: true };
    stream.say(call(3, Method::FetchMetadata(fetch.clone()))).await;
    let (3, Reply::Fetched(fetched)) = stream.replied().await else { panic!("not fetched") };
    assert_eq!(fetched.file.unwrap().file_id, id_of(&opened));
    let make = v1::MakeDirectoryRequest { operation: Some(client.operation()), path: "/d".into(), parents: false };
    stream.say(call(4, Method::MakeDirectory(make))).await;
    assert!(matches!(stream.replied().await, (4, Reply::DirectoryMade(_))));
    let rename = v1::RenameRequest { operation: Some(client.operation()), from: "/f".into(), to: "/d/g".into() };
    stream.say(call(5, Method::Rename(rename))).await;
    assert!(matches!(stream.replied().await, (5, Reply::Renamed(_))));
    let list = v1::ListDirectoryRequest { client_id: client.id, path: "/d".into(), ..Default::default() };
    stream.say(call(6, Method::ListDirectory(list))).await;
    let (6, Reply::Listed(listed)) = stream.replied().await else { panic!("not listed") };
    assert_eq!(listed.entries[0].name, "g");
    let set_size = client.set_size_request("/d/g", 5);
    stream.say(call(7, Method::UpdateMetadata(set_size))).await;
    assert!(matches!(stream.replied().await, (7, Reply::Fetched(_))));
    let close = v1::CloseFileRequest { operation: Some(client.operation()), open_id: opened.open_id, size: None };
    stream.say(call(8, Method::CloseFile(close))).await;
    assert!(matches!(stream.replied().await, (8, Reply::Closed(_))));
    let delete = v1::DeleteFileRequest { operation: Some(client.operation()), path: "/d/g".into(), kind: 0 };
    stream.say(call(9, Method::DeleteFile(delete))).await;
    assert!(matches!(stream.replied().await, (9, Reply::Deleted(_))));

    let mut failed = async |call_id, method: Option<Method>| {
        stream.say(Said::Call(v1::MetadataCall { call_id, method, token_request: 0 })).await;
        match stream.replied().await {
            (id, Reply::Error(error)) if id == call_id => error.code(),
            other => panic!("expected an error, got {other:?}"),
        }
    };
    assert_eq!(failed(10, Some(Method::FetchMetadata(fetch.clone()))).await, ErrorCode::NotFound);
    assert_eq!(failed(11, None).await, ErrorCode::InvalidArgument);
    assert_eq!(failed(12, Some(Method::OpenFile(v1::OpenFileRequest::default()))).await, ErrorCode::InvalidArgument);
    let foreign = v1::FetchMetadataRequest { client_id: client.id + 1, ..fetch };
    assert_eq!(failed(13, Some(Method::FetchMetadata(foreign))).await, ErrorCode::InvalidArgument);
}

/// What a client's cache does is told with its heartbeats.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cache_counters_come_with_heartbeats() {
    let cluster = Cluster::start().await;
    let client = cluster.client("c").await;
    let hits = async || client.status().await.sessions[0].cache.map(|cache| cache.read_hits);
    eventually("the counters are there", async || hits().await == Some(7)).await;
}
