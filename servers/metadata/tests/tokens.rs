//! Tokens over real sockets: giving way, death, sizes, refusals.

mod support;

use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::v1;
use pfs_proto::v1::client_message::Kind as Said;
use pfs_proto::v1::server_message::Kind as Heard;
use support::{Cluster, eventually};
use v1::{Access, TokenMode};

fn size(bytes: u64) -> Option<v1::FileSize> {
    Some(v1::FileSize { bytes, generation: 1 })
}

/// The revoke arrives on the holder's own stream; the other client's grant waits for the ack and names the size that
/// came with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_revoked_acked_and_granted() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(2).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let file_a = a.create("/shared").await;
    let file_b = b.open("/shared", Access::ReadWrite, &[]).await.unwrap();

    stream_a.acquire(&file_a, TokenMode::Exclusive, 0, 100).await;
    let first = stream_a.granted().await;
    assert_eq!(first.size, size(0));
    stream_b.acquire(&file_b, TokenMode::Shared, 50, 100).await;
    let revoke = stream_a.revoked().await;
    assert_eq!(revoke.holder, file_a.holder);
    stream_a.ack(&revoke, size(100)).await;
    let second = stream_b.granted().await;
    assert_eq!((second.size, second.mode()), (size(100), TokenMode::Shared));

    let tokens = a.status().await.tokens.unwrap();
    assert_eq!((tokens.requests, tokens.grants, tokens.revokes, tokens.acks), (2, 2, 1, 1));
    let target = Some(v1::list_tokens_request::Target::Path("/shared".into()));
    let listed = a.metadata.clone().list_tokens(v1::ListTokensRequest { target }).await.unwrap().into_inner();
    assert!(listed.tokens.iter().any(|token| token.holder_names == ["a", "b"]), "{listed:?}");
}

/// A client that dies is fenced on every file server before its tokens go to the one who waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_clients_tokens_go_on_after_it_is_fenced() {
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let (dying, waiting) = (cluster.client("dying").await, cluster.client("waiting").await);
    let (mut stream, mut other) = (dying.stream(), waiting.stream());
    let file = dying.create("/f").await;
    let opened = waiting.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    other.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    stream.revoked().await;
    servers[0].refuse(true);
    servers[0].be_deaf(true);
    drop(stream);

    // One server takes the fence, the other refuses it: the grant has to wait for both.
    eventually("the fence reached file-1", async || servers[1].seen.fenced.lock().contains(&dying.id)).await;
    assert_eq!(waiting.status().await.tokens.unwrap().waiting, 1);
    servers[0].refuse(false);
    other.granted().await;
    for server in &servers {
        assert!(server.seen.fenced.lock().contains(&dying.id), "{} was not told", server.name);
    }
    assert_eq!(dying.delete("/f").await.unwrap_err(), ErrorCode::NoSession);
    let names: Vec<_> = waiting.status().await.sessions.into_iter().map(|session| session.client_name).collect();
    assert_eq!(names, ["waiting"]);
}

/// A file server that is gone holds a dead client's tokens up only until its own lease has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_server_that_is_gone_too_does_not_hold_the_tokens_for_ever() {
    let cluster = Cluster::start().await;
    let mut servers = cluster.file_servers(2).await;
    let (dying, waiting) = (cluster.client("dying").await, cluster.client("waiting").await);
    let (mut stream, mut other) = (dying.stream(), waiting.stream());
    let file = dying.create("/f").await;
    let opened = waiting.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    servers[0].fall_silent().await;
    drop(stream);
    other.acquire(&opened, TokenMode::Exclusive, 0, 10).await;
    other.granted().await;
    assert!(servers[1].seen.fenced.lock().contains(&dying.id));
}

/// A group's token is revoked on every member's stream, and a member's death does not take it from the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_holds_together() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b, c) = (cluster.client("a").await, cluster.client("b").await, cluster.client("c").await);
    let (mut stream_a, mut stream_b, mut stream_c) = (a.stream(), b.stream(), c.stream());
    let mut request = a.create_request("/g");
    request.open = Some(v1::OpenFor { group_members: vec![a.id, b.id], access: Access::ReadWrite.into() });
    let group = a.send_create(request).await.unwrap();
    assert!(matches!(group.holder.unwrap().kind, Some(v1::holder::Kind::Group(_))));
    assert_eq!(c.open("/g", Access::Read, &[a.id, b.id]).await.unwrap_err(), ErrorCode::InvalidArgument);
    assert_eq!(c.open("/g", Access::Read, &[c.id, 99_999]).await.unwrap_err(), ErrorCode::NoSession);

    stream_b.acquire(&group, TokenMode::Exclusive, 0, 10).await;
    stream_b.granted().await;
    let alone = c.open("/g", Access::Read, &[]).await.unwrap();
    stream_c.acquire(&alone, TokenMode::Shared, 0, 10).await;
    let (at_a, at_b) = (stream_a.revoked().await, stream_b.revoked().await);
    assert_eq!(at_a.revoke_id, at_b.revoke_id);
    stream_a.ack(&at_a, size(5)).await;
    stream_b.ack(&at_b, size(9)).await;
    assert_eq!(stream_c.granted().await.size, size(9));

    b.shut_down().await;
    stream_a.acquire(&group, TokenMode::Exclusive, 0, 10).await;
    let revoke = stream_c.revoked().await;
    stream_c.ack(&revoke, None).await;
    stream_a.granted().await;
    a.close(group.open_id, None).await.unwrap();
}

/// An exact size is the largest that a writer tells; whoever reads meanwhile sees it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exact_size_is_asked_of_the_writers() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (writer, reader) = (cluster.client("writer").await, cluster.client("reader").await);
    let mut stream = writer.stream();
    let _reading = reader.stream();
    let file = writer.create("/f").await;
    stream.acquire(&file, TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    assert_eq!(reader.stat("/f", false).await.unwrap().size, size(0));

    let asked = tokio::spawn(async move { (reader.stat("/f", true).await, reader) });
    let Some(Heard::SizeQuery(query)) = stream.next().await else { panic!("no size query came") };
    assert_eq!(query.file_id, file.file.as_ref().unwrap().file_id);
    let report = v1::SizeReport { query_id: query.query_id, file_id: query.file_id, size: size(4321) };
    stream.say(Said::SizeReport(report)).await;
    let (exact, reader) = asked.await.unwrap();
    assert_eq!(exact.unwrap().size, size(4321));
    assert_eq!(reader.stat("/f", false).await.unwrap().size, size(4321));
}

/// What can not be understood or is not allowed is refused on the stream, which goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_messages_are_refused_and_the_stream_goes_on() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let client = cluster.client("c").await;
    let mut stream = client.stream();
    let created = client.create("/f").await;
    client.close(created.open_id, None).await.unwrap();
    let file = client.open("/f", Access::Read, &[]).await.unwrap();

    stream.say(Said::Acquire(v1::AcquireToken { request_id: 7, ..Default::default() })).await;
    assert_eq!(stream.refused().await, (7, ErrorCode::InvalidArgument));
    let request = stream.acquire(&file, TokenMode::Exclusive, 0, 1).await;
    assert_eq!(stream.refused().await, (request, ErrorCode::NotPermitted), "the handle is for reading");
    let mut foreign = file.clone();
    foreign.holder = Some(v1::Holder { kind: Some(v1::holder::Kind::Client(client.id + 1)) });
    let request = stream.acquire(&foreign, TokenMode::Shared, 0, 1).await;
    assert_eq!(stream.refused().await, (request, ErrorCode::NotPermitted), "somebody else's holder");
    stream.acquire(&file, TokenMode::Shared, 0, 1).await;
    stream.granted().await;
}

/// A client that opens a session and never a stream is given up like one whose stream broke.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_stream_is_given_up() {
    let cluster = Cluster::start().await;
    let watcher = cluster.client("watcher").await;
    let request = v1::InitializeRequest {
        protocol_version: pfs_proto::PROTOCOL_VERSION,
        cluster_id: String::new(),
        client_name: "mute".into(),
    };
    cluster.metadata().initialize(request).await.unwrap();
    assert_eq!(watcher.status().await.sessions.len(), 2);
    eventually("the mute client is given up", async || watcher.status().await.sessions.len() == 1).await;
    assert_eq!(watcher.status().await.sessions[0].client_name, "watcher");
}

/// Without a session or without a hello there is no stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_needs_a_session_and_a_hello() {
    use pfs_proto::{secret::AuthInterceptor, transport::connect};
    let cluster = Cluster::start().await;
    let client = cluster.client("c").await;
    let channel = connect(&cluster.address(), &AuthInterceptor::new(&cluster.secret)).unwrap();
    let mut token = v1::token_client::TokenClient::new(channel);
    let mut outcome = async |kind: Option<Said>| {
        let messages = tokio_stream::iter([v1::ClientMessage { number: 0, kind }]);
        token.stream_token(messages).await.map(drop).map_err(|status| error_detail(&status).code)
    };
    assert_eq!(outcome(None).await, Err(ErrorCode::InvalidArgument));
    assert_eq!(
        outcome(Some(Said::Heartbeat(v1::ClientHeartbeat { number: 1, ..v1::ClientHeartbeat::default() }))).await,
        Err(ErrorCode::InvalidArgument)
    );
    assert_eq!(
        outcome(Some(Said::Hello(v1::Hello { client_id: 987_654, boot: 1, received: 0 }))).await,
        Err(ErrorCode::NoSession)
    );
    assert_eq!(
        outcome(Some(Said::Hello(v1::Hello { client_id: client.id, boot: 2, received: 0 }))).await,
        Err(ErrorCode::Unavailable),
        "it speaks of a start that has not come"
    );
}

/// One member asks for several: each gets its part on its own stream, or nobody gets anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_granted_to_each_on_its_own_stream() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(1).await;
    let (a, b) = (cluster.client("a").await, cluster.client("b").await);
    let (mut stream_a, mut stream_b) = (a.stream(), b.stream());
    let mut request = a.create_request("/f");
    request.open = Some(v1::OpenFor { group_members: vec![a.id, b.id], access: Access::ReadWrite.into() });
    let group = a.send_create(request).await.unwrap();
    let own_a = a.open("/f", Access::ReadWrite, &[]).await.unwrap();
    let reading = b.open("/f", Access::Read, &[]).await.unwrap();
    let part = |file: &v1::OpenFileReply, start| {
        let required = vec![v1::RangePattern { start, length: 10, stride: 10, count: 1 }];
        v1::TokenSetPart { holder: file.holder, required }
    };
    let parts = vec![part(&own_a, 0), part(&reading, 10)];
    let file_id = group.file.unwrap().file_id;
    let set = v1::AcquireTokenSet { request_id: 1, file_id, mode: TokenMode::Exclusive.into(), parts };
    stream_a.say(Said::AcquireSet(set.clone())).await;
    assert_eq!(stream_a.refused().await, (1, ErrorCode::NotPermitted), "b has it open for reading");

    b.open("/f", Access::ReadWrite, &[]).await.unwrap();
    stream_a.say(Said::AcquireSet(v1::AcquireTokenSet { request_id: 2, ..set })).await;
    for (stream, holder) in [(&mut stream_a, own_a.holder), (&mut stream_b, reading.holder)] {
        let grant = stream.granted().await;
        assert_eq!((grant.holder, grant.request_id, grant.set_client_id), (holder, 2, a.id));
    }
}
