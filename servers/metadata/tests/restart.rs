//! Restarts of the metadata server under clients that hold tokens: what they re-assert is taken over, nobody else is
//! granted anything before all of them spoke or are shut out, and who comes late is refused.

mod support;

use pfs_proto::status::ErrorCode;
use pfs_proto::v1;
use pfs_proto::v1::client_message::Kind as Said;
use pfs_proto::v1::server_message::Kind as Heard;
use std::time::{Duration, Instant};
use support::{Cluster, LEASE_MS, LIMIT, TestClient, eventually};
use v1::metadata_call::Method;
use v1::metadata_reply::Result as Reply;
use v1::{Access, TokenMode};

fn size(bytes: u64, generation: u64) -> Option<v1::FileSize> {
    Some(v1::FileSize { bytes, generation })
}

fn id_of(file: &v1::OpenFileReply) -> u64 {
    file.file.as_ref().unwrap().file_id
}

fn group_of(file: &v1::OpenFileReply) -> u64 {
    match file.holder.unwrap().kind {
        Some(v1::holder::Kind::Group(number)) => number,
        other => panic!("expected a group, got {other:?}"),
    }
}

async fn create_together(client: &TestClient, path: &str, members: &[u64]) -> v1::OpenFileReply {
    let mut request = client.create_request(path);
    request.open = Some(v1::OpenFor { group_members: members.to_vec(), access: Access::ReadWrite.into() });
    client.send_create(request).await.unwrap()
}

/// A cluster in which a restart waits for its clients for longer than any test takes.
async fn patient() -> Cluster {
    Cluster::with(|config| config.grace_ms = Some(u64::try_from(LIMIT.as_millis()).unwrap())).await
}

/// Waits until this many requests wait for tokens.
async fn waiting(client: &TestClient, count: u64) {
    eventually("requests wait", async || client.status().await.tokens.unwrap().waiting == count).await;
}

/// Every client says what it held; only when the last one has is a newcomer heard, and it has to wait for the holders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_granted_before_every_client_has_spoken() {
    let mut cluster = patient().await;
    let _servers = cluster.file_servers(2).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let file_a = a.create("/f").await;
    let file_b = b.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream_a.acquire(&file_a, TokenMode::Exclusive, 0, 100).await;
    stream_a.granted().await;

    cluster.restart().await;
    assert_eq!(stream_a.connect_again().await, 2);
    let newcomer = cluster.client("newcomer").await;
    let mut stream = newcomer.stream();
    let opened = newcomer.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&opened, TokenMode::Exclusive, 50, 10).await;
    assert_eq!(a.stat("/f", false).await.unwrap_err(), ErrorCode::Unavailable, "it has not said all");
    stream_a.reassert(&file_a, &[], &[(0, 100)], size(77, 1)).await;
    stream_a.reassert_done().await;
    assert_eq!(a.stat("/f", false).await.unwrap().size, size(77, 1));
    waiting(&newcomer, 1).await;
    assert_eq!(newcomer.status().await.tokens.unwrap().revokes, 0, "b has not spoken");
    let names: Vec<_> = newcomer.status().await.sessions.into_iter().map(|session| session.client_name).collect();
    assert_eq!(names, ["a", "b", "newcomer"]);

    assert_eq!(stream_b.connect_again().await, 2);
    stream_b.reassert(&file_b, &[], &[], None).await;
    stream_b.reassert_done().await;
    let revoke = stream_a.revoked().await;
    stream_a.ack(&revoke, size(80, 1)).await;
    let granted = stream.granted().await;
    assert_eq!((granted.size, granted.boot), (size(80, 1), 2));
    assert_eq!(newcomer.status().await.open_handles, 3);
    a.close(file_a.open_id, None).await.unwrap();
    b.close(file_b.open_id, None).await.unwrap();
}

/// A client that does not come in the grace is shut out on every file server before anything is granted, and refused
/// when it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_too_late_is_refused() {
    let mut cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let (late, punctual) = (cluster.client("late").await, cluster.client("punctual").await);
    let (mut late_stream, mut stream) = (late.stream(), punctual.stream());
    let file = late.create("/f").await;
    late_stream.acquire(&file, TokenMode::Exclusive, 0, 100).await;
    late_stream.granted().await;
    late_stream.fall_silent();

    cluster.restart().await;
    stream.connect_again().await;
    stream.reassert_done().await;
    let opened = punctual.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&opened, TokenMode::Exclusive, 0, 100).await;
    stream.granted().await;
    assert!(servers.iter().all(|server| server.seen.fenced.lock().contains(&late.id)));
    assert_eq!(late_stream.connect().await, Err(ErrorCode::NoSession));
    assert_eq!(late.delete("/f").await.unwrap_err(), ErrorCode::NoSession);
}

/// A group is put together again from what its members say, without the one that was gone; its tokens are revoked on
/// every member's stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_without_the_member_that_died() {
    let mut cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b, dying) = (cluster.client("a").await, cluster.client("b").await, cluster.client("dying").await);
    let (mut stream_a, mut stream_b, mut stream) = (a.stream(), b.stream(), dying.stream());
    let members = [a.id, b.id, dying.id];
    let group = create_together(&a, "/g", &members).await;
    stream_a.acquire(&group, TokenMode::Exclusive, 0, 100).await;
    stream_a.granted().await;
    stream.fall_silent();

    cluster.restart().await;
    stream_a.connect_again().await;
    stream_a.reassert(&group, &members, &[(0, 100)], None).await;
    stream_a.reassert_done().await;
    stream_b.connect_again().await;
    stream_b.reassert(&group, &members, &[], size(9, 1)).await;
    stream_b.reassert_done().await;
    for stream in [&mut stream_a, &mut stream_b] {
        let lost = v1::MemberLost { group_id: group_of(&group), client_id: dying.id };
        assert_eq!(stream.next().await, Some(Heard::MemberLost(lost)));
    }
    let other = cluster.client("other").await;
    let mut waiting = other.stream();
    let opened = other.open("/g", Access::Read, &[]).await.unwrap();
    waiting.acquire(&opened, TokenMode::Shared, 0, 10).await;
    for stream in [&mut stream_a, &mut stream_b] {
        let revoke = stream.revoked().await;
        stream.ack(&revoke, None).await;
    }
    assert_eq!(waiting.granted().await.size, size(9, 1));
    a.close(group.open_id, None).await.unwrap();
    assert_eq!(b.close(group.open_id, None).await.unwrap_err(), ErrorCode::NotFound, "a group closes once");
}

/// A member that has not heard that its group has closed the file says that it is open. It stays closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_closed_in_the_grace_is_not_opened_again() {
    let mut cluster = patient().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let members = [a.id, b.id];
    let group = create_together(&a, "/g", &members).await;
    cluster.restart().await;
    stream_a.connect_again().await;
    stream_a.reassert(&group, &members, &[(0, 100)], None).await;
    stream_a.reassert_done().await;
    a.close(group.open_id, None).await.unwrap();
    stream_b.connect_again().await;
    stream_b.reassert(&group, &members, &[(0, 50)], size(40, 1)).await;
    stream_b.reassert_done().await;
    assert_eq!(b.status().await.open_handles, 0);
    assert_eq!(b.stat("/g", false).await.unwrap().size, size(40, 1));
    let other = cluster.client("other").await;
    let mut stream = other.stream();
    let opened = other.open("/g", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
}

/// A file that lost its name while it was open is not removed by a restart, nor one that loses it in the grace; both go
/// at their last close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_files_without_a_name_outlive_a_restart() {
    let mut cluster = patient().await;
    let servers = cluster.file_servers(1).await;
    let (client, other) = (cluster.client("c").await, cluster.client("other").await);
    let (mut stream, mut other_stream) = (client.stream(), other.stream());
    let before = client.create("/before").await;
    let during = client.create("/during").await;
    client.delete("/before").await.unwrap();

    cluster.restart().await;
    let newcomer = cluster.client("newcomer").await;
    newcomer.delete("/during").await.unwrap();
    stream.connect_again().await;
    stream.reassert(&before, &[], &[], None).await;
    stream.reassert(&during, &[], &[], None).await;
    // This one is gone for ever: the close of it was done, and its answer lost.
    let mut gone = before.clone();
    gone.file.as_mut().unwrap().file_id = 999_999;
    stream.reassert(&gone, &[], &[], None).await;
    stream.reassert_done().await;
    other_stream.connect_again().await;
    other_stream.reassert_done().await;
    let servers_live = async || newcomer.status().await.file_servers.iter().all(|server| server.live);
    eventually("the file server has registered again", servers_live).await;
    let probe = newcomer.create("/probe").await;
    let mut probe_stream = newcomer.stream();
    probe_stream.acquire(&probe, TokenMode::Exclusive, 0, 1).await;
    probe_stream.granted().await;

    newcomer.close(probe.open_id, None).await.unwrap();
    newcomer.delete("/probe").await.unwrap();
    let removed = async |file| servers[0].seen.removes.lock().contains(&file);
    eventually("the probe is removed", async || removed(id_of(&probe)).await).await;
    for file in [&before, &during] {
        assert!(!removed(id_of(file)).await, "it is open");
        client.close(file.open_id, None).await.unwrap();
        eventually("it is removed", async || removed(id_of(file)).await).await;
    }
}

/// An operation whose answer was lost with the server is repeated at the next start, and done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_done_once_over_a_restart() {
    let mut cluster = patient().await;
    let _servers = cluster.file_servers(1).await;
    let client = cluster.client("c").await;
    let mut stream = client.stream();
    let mut create = client.create_request("/once");
    create.open = None;
    let first = client.send_create(create.clone()).await.unwrap();
    let rename = v1::RenameRequest { operation: Some(client.operation()), from: "/once".into(), to: "/twice".into() };

    cluster.restart().await;
    assert_eq!(client.send_create(create.clone()).await.unwrap_err(), ErrorCode::Unavailable, "it is awaited");
    stream.connect_again().await;
    stream.reassert_done().await;
    let again = client.send_create(create).await.unwrap();
    assert_eq!((again.file, again.created), (first.file, true));
    let call = |call_id| {
        Said::Call(v1::MetadataCall { call_id, method: Some(Method::Rename(rename.clone())), token_request: 0 })
    };
    stream.say(call(1)).await;
    assert!(matches!(stream.replied().await, (1, Reply::Renamed(_))));

    cluster.restart().await;
    stream.connect_again().await;
    stream.say(call(1)).await;
    let (1, Reply::Error(error)) = stream.replied().await else { panic!("it is not brought over yet") };
    assert_eq!(error.code(), ErrorCode::Unavailable);
    stream.reassert_done().await;
    stream.say(call(2)).await;
    assert!(matches!(stream.replied().await, (2, Reply::Renamed(_))), "the stored answer");
    assert_eq!(client.names("/").await.unwrap(), ["twice"]);
    assert_eq!(client.status().await.boot, 3);
}

/// Two clients that say they hold the same byte can not both be right: the second one is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contradiction_is_refused() {
    let mut cluster = patient().await;
    let _servers = cluster.file_servers(1).await;
    let (a, liar) = (cluster.client("a").await, cluster.client("liar").await);
    let (mut stream_a, mut stream) = (a.stream(), liar.stream());
    let file = a.create("/f").await;
    let opened = liar.open("/f", Access::ReadWrite, &[]).await.unwrap();
    cluster.restart().await;
    stream_a.connect_again().await;
    stream_a.reassert(&file, &[], &[(0, 100)], None).await;
    stream_a.reassert_done().await;
    stream.connect_again().await;
    stream.reassert(&opened, &[], &[(90, 110)], None).await;
    assert_eq!(stream.heard().await, Err(ErrorCode::NoSession));
    assert_eq!(stream.connect().await, Err(ErrorCode::NoSession));
    stream_a.acquire(&file, TokenMode::Exclusive, 0, 200).await;
    stream_a.granted().await;
}

/// An exact size is known when all who may have written are; a size of the time before a truncation says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_come_back_with_their_holders() {
    let mut cluster = patient().await;
    let _servers = cluster.file_servers(1).await;
    let writer = cluster.client("writer").await;
    let mut stream = writer.stream();
    let (file, cut) = (writer.create("/f").await, writer.create("/cut").await);
    let truncated = writer.set_size("/cut", 10).await.unwrap().size;
    cluster.restart().await;
    let reader = cluster.client("reader").await;
    let asked = tokio::spawn(async move { (reader.stat("/f", true).await, reader) });
    stream.connect_again().await;
    stream.reassert(&file, &[], &[(0, 5000)], size(4321, 1)).await;
    stream.reassert(&cut, &[], &[], size(99, 1)).await;
    stream.reassert_done().await;
    let Some(Heard::SizeQuery(query)) = stream.next().await else { panic!("no size query came") };
    let report = v1::SizeReport { query_id: query.query_id, file_id: query.file_id, size: None };
    stream.say(Said::SizeReport(report)).await;
    let (exact, reader) = asked.await.unwrap();
    assert_eq!(exact.unwrap().size, size(4321, 1));
    assert_eq!(reader.stat("/cut", true).await.unwrap().size, truncated);
}

/// Who was being shut out when the server ended stays shut out: a client can not come back, and a member of a group is
/// told that its group is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_shut_out_stays_shut_out() {
    let mut cluster = Cluster::with(|config| {
        config.revoke_timeout_ms = 1000;
        config.grace_ms = Some(u64::try_from(LIMIT.as_millis()).unwrap());
    })
    .await;
    let servers = cluster.file_servers(2).await;
    let (dead, a, b) = (cluster.client("dead").await, cluster.client("a").await, cluster.client("b").await);
    let (mut dead_stream, mut stream_a, mut stream_b) = (dead.stream(), a.stream(), b.stream());
    let group = create_together(&a, "/g", &[a.id]).await;
    stream_a.acquire(&group, TokenMode::Exclusive, 0, 10).await;
    stream_a.granted().await;
    servers[0].refuse(true);
    servers[0].be_deaf(true);
    dead_stream.fall_silent();
    let alone = b.open("/g", Access::ReadWrite, &[]).await.unwrap();
    stream_b.acquire(&alone, TokenMode::Exclusive, 0, 10).await;
    let fenced = async || {
        let seen = &servers[1].seen;
        seen.fenced.lock().contains(&dead.id) && seen.fenced_groups.lock().contains(&group_of(&group))
    };
    eventually("both are recorded and one server knows", fenced).await;

    cluster.restart().await;
    assert_eq!(dead_stream.connect().await, Err(ErrorCode::NoSession));
    stream_b.connect_again().await;
    stream_b.reassert(&alone, &[], &[], None).await;
    stream_b.reassert_done().await;
    stream_b.acquire(&alone, TokenMode::Exclusive, 0, 10).await;
    stream_a.connect_again().await;
    stream_a.reassert(&group, &[a.id], &[(0, 10)], None).await;
    let lost = v1::GroupLost { group_id: group_of(&group) };
    assert_eq!(stream_a.next().await, Some(Heard::GroupLost(lost)));
    stream_a.reassert_done().await;
    stream_b.granted().await;
}

/// After a restart nothing is granted before every file server refuses the tokens of the last start: it has shown that
/// it does, or, as here, its lease has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_granted_while_a_file_server_may_serve_older_tokens() {
    let mut cluster = Cluster::start().await;
    let mut servers = cluster.file_servers(2).await;
    let before = cluster.client("before").await;
    before.create("/f").await;
    before.shut_down().await;
    servers[0].fall_silent().await;
    cluster.stop().await;
    let stopped = Instant::now();
    cluster.restart().await;
    let client = cluster.client("after").await;
    let mut stream = client.stream();
    let file = client.open("/f", Access::ReadWrite, &[]).await.unwrap();
    let cancelled = stream.acquire(&file, TokenMode::Exclusive, 0, 1).await;
    stream.say(Said::Cancel(v1::CancelAcquire { request_id: cancelled })).await;
    assert_eq!(stream.refused().await, (cancelled, ErrorCode::Unavailable));
    let wanted = stream.acquire(&file, TokenMode::Exclusive, 0, 1).await;
    assert_eq!(stream.granted().await.request_id, wanted);
    assert!(stopped.elapsed() >= Duration::from_millis(LEASE_MS), "granted after {:?}", stopped.elapsed());
}
