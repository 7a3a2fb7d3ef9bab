//! Files over real sockets: once, durable, removed, truncated, validated.

mod support;

use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::v1;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use support::{Cluster, FakeFileServer, eventually};
use v1::Access;

fn id_of(reply: &v1::OpenFileReply) -> u64 {
    reply.file.as_ref().unwrap().file_id
}

/// Whether all servers have removed exactly these files.
async fn removed_everywhere(servers: &[FakeFileServer], file: u64) {
    for server in servers {
        eventually("the objects are removed", async || server.seen.removes.lock().contains(&file)).await;
    }
}

/// A repeated create, open or close gets its first answer; the file is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_operations_are_done_once() {
    let cluster = Cluster::start().await;
    let _servers = cluster.file_servers(2).await;
    let client = cluster.client("c").await;
    let request = client.create_request("/once");
    let first = client.send_create(request.clone()).await.unwrap();
    let again = client.send_create(request).await.unwrap();
    assert_eq!(first, again);
    assert!(first.created);
    assert_eq!(client.send_create(client.create_request("/once")).await.unwrap_err(), ErrorCode::AlreadyExists);
    let status = client.status().await;
    assert_eq!((status.files, status.open_handles), (1, 1));

    let close = v1::CloseFileRequest { operation: Some(client.operation()), open_id: first.open_id, size: None };
    for _ in 0..2 {
        client.metadata.clone().close_file(close).await.unwrap();
    }
    assert_eq!(client.close(first.open_id, None).await.unwrap_err(), ErrorCode::NotFound);
    assert_eq!(client.status().await.open_handles, 0);

    // Two calls of one operation at the same time: one of them does it.
    let request = client.create_request("/both");
    let both = tokio::join!(client.send_create(request.clone()), client.send_create(request));
    assert_eq!(both.0.unwrap(), both.1.unwrap());
}

/// Files, sizes and slots survive a restart; so do sessions, but one that does not come back is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_every_file() {
    let mut cluster = Cluster::start().await;
    let _servers = cluster.file_servers(3).await;
    let before = cluster.client("before").await;
    before.make_directory("/a/b").await.unwrap();
    let file = before.create("/a/b/f").await;
    let size = v1::FileSize { bytes: 10_000, generation: 1 };
    let synced = before.report_sync(id_of(&file), size, &[0b101]).await.unwrap();
    assert_eq!((synced.size, &synced.committed_slots[..]), (Some(size), &[0b101][..]));
    let names: Vec<String> = (0..50).map(|i| format!("n{i:02}")).collect();
    for name in &names {
        before.create(&format!("/a/{name}")).await;
    }
    let known = before.stat("/a/b/f", false).await.unwrap();

    cluster.restart().await;
    assert_eq!(before.delete("/a/b/f").await.unwrap_err(), ErrorCode::Unavailable, "it is awaited");
    assert_eq!(before.stat("/a/b/f", false).await.unwrap_err(), ErrorCode::Unavailable);
    let after = cluster.client("after").await;
    assert!(after.id > before.id, "client numbers only grow");
    assert_eq!(after.stat("/a/b/f", false).await.unwrap(), known);
    let mut expected = vec!["b".to_owned()];
    expected.extend(names);
    assert_eq!(after.names("/a").await.unwrap(), expected);
    assert_eq!(after.status().await.files, 51);

    let mut stream = after.stream();
    let opened = after.open("/a/b/f", Access::ReadWrite, &[]).await.unwrap();
    stream.acquire(&opened, v1::TokenMode::Exclusive, 0, 1).await;
    assert_eq!(stream.granted().await.boot, 2);
    assert_eq!(before.delete("/a/b/f").await.unwrap_err(), ErrorCode::NoSession);
    assert_eq!(before.stat("/a/b/f", false).await.unwrap_err(), ErrorCode::NoSession);
}

/// A file that is open lives without its name until its last close; then its objects go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_file_lives_until_its_last_close() {
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let client = cluster.client("c").await;
    let file = client.create("/f").await;
    let vouch = v1::VouchFileRequest { server_id: servers[0].id, file_id: id_of(&file), slot: 0 };
    let vouched = async || cluster.metadata().vouch_file(vouch).await.unwrap().into_inner().exists;
    let slot_server = file.file.as_ref().unwrap().recipe.as_ref().unwrap().slots[0].server_ids[0];
    assert_eq!(vouched().await, slot_server == servers[0].id);

    client.delete("/f").await.unwrap();
    assert_eq!(client.stat("/f", false).await.unwrap_err(), ErrorCode::NotFound);
    assert_eq!(client.delete("/f").await.unwrap_err(), ErrorCode::NotFound);
    assert_eq!(vouched().await, slot_server == servers[0].id, "an open file is vouched for");
    assert_eq!(client.status().await.files, 1);
    client.close(file.open_id, None).await.unwrap();
    removed_everywhere(&servers, id_of(&file)).await;
    eventually("the file is gone", async || client.status().await.files == 0).await;
    assert!(!vouched().await);

    // A file that nobody has open, and one that is replaced, go at once.
    let (old, new) = (client.create("/old").await, client.create("/new").await);
    for file in [&old, &new] {
        client.close(file.open_id, None).await.unwrap();
    }
    client.rename("/new", "/old").await.unwrap();
    removed_everywhere(&servers, id_of(&old)).await;
    assert_eq!(client.stat("/old", false).await.unwrap().file_id, id_of(&new));
}

/// What waits for a server is removed in few calls, and what can not be removed keeps nothing else from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_files_are_removed_together() {
    const FILES: usize = 100;
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(1).await;
    let client = cluster.client("c").await;
    let mut files = Vec::new();
    servers[0].refuse(true);
    for number in 0..FILES {
        let name = format!("/{number}");
        let file = client.create(&name).await;
        client.close(file.open_id, None).await.unwrap();
        client.delete(&name).await.unwrap();
        files.push(id_of(&file));
    }
    let seen = &servers[0].seen;
    seen.stuck.store(files[0], Ordering::SeqCst);
    servers[0].refuse(false);
    let removed = || seen.removes.lock().iter().copied().collect::<BTreeSet<_>>();
    eventually("all others are removed", async || removed().len() == FILES - 1).await;
    assert!(!removed().contains(&files[0]));
    // Those that came with the stuck one went by themselves, and the others together.
    assert!(seen.remove_calls.load(Ordering::SeqCst) < FILES as u64);
    seen.stuck.store(0, Ordering::SeqCst);
    removed_everywhere(&servers, files[0]).await;
}

/// What a restart interrupts goes on: an orphan whose opener is gone, removals on a server that was down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_deletes() {
    let mut cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let client = cluster.client("c").await;
    let (open, closed) = (client.create("/open").await, client.create("/closed").await);
    client.close(closed.open_id, None).await.unwrap();
    servers[0].refuse(true);
    client.delete("/open").await.unwrap();
    client.delete("/closed").await.unwrap();
    eventually("file-1 has removed it", async || servers[1].seen.removes.lock().contains(&id_of(&closed))).await;
    assert!(!servers[1].seen.removes.lock().contains(&id_of(&open)));

    cluster.stop().await;
    servers[0].refuse(false);
    cluster.restart().await;
    removed_everywhere(&servers, id_of(&open)).await;
    removed_everywhere(&servers, id_of(&closed)).await;
}

/// All objects get the length that belongs to the new size, under a new generation; an older report changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_size_is_set_on_every_server() {
    let cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let client = cluster.client("c").await;
    let file = client.create("/f").await;
    let set = client.set_size("/f", 4096 + 100).await.unwrap();
    assert_eq!(set.size, Some(v1::FileSize { bytes: 4196, generation: 2 }));
    let slots = &file.file.as_ref().unwrap().recipe.as_ref().unwrap().slots;
    for (slot, length) in [(0, 4096), (1, 100)] {
        let server = servers.iter().find(|server| server.id == slots[slot].server_ids[0]).unwrap();
        assert_eq!(*server.seen.truncates.lock(), [(id_of(&file), u32::try_from(slot).unwrap(), length, 2)]);
    }
    let late = v1::FileSize { bytes: 1 << 30, generation: 1 };
    assert_eq!(client.report_sync(id_of(&file), late, &[]).await.unwrap().size, set.size);
    client.close(file.open_id, Some(late)).await.unwrap();
    assert_eq!(client.stat("/f", true).await.unwrap().size, set.size);
    assert_eq!(client.set_size("/missing", 1).await.unwrap_err(), ErrorCode::NotFound);
    assert_eq!(client.set_size("/", 1).await.unwrap_err(), ErrorCode::IsADirectory);
}

/// A set_size waits for the holders in its way; the caller hears in time when a server is down, and the truncation goes
/// on after that, also over a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncation_gives_way_to_nobody_and_survives_a_restart() {
    let mut cluster = Cluster::start().await;
    let servers = cluster.file_servers(2).await;
    let client = cluster.client("c").await;
    let mut stream = client.stream();
    let file = client.create("/f").await;
    stream.acquire(&file, v1::TokenMode::Exclusive, 0, 10).await;
    stream.granted().await;
    servers[0].refuse(true);

    let request = client.set_size_request("/f", 5000);
    let (outcome, ()) = tokio::join!(client.update(request), async {
        let revoke = stream.revoked().await;
        stream.ack(&revoke, Some(v1::FileSize { bytes: 77, generation: 1 })).await;
    });
    assert_eq!(outcome.unwrap_err(), ErrorCode::Unavailable);
    let behind = client.set_size("/f", 6000).await;
    assert_eq!(behind.unwrap_err(), ErrorCode::Unavailable, "it waits behind the first");
    assert_eq!(client.stat("/f", false).await.unwrap().size.unwrap().bytes, 5000, "it is decided");

    cluster.stop().await;
    cluster.restart().await;
    let after = cluster.client("after").await;
    let mut waiting = after.stream();
    let opened = after.open("/f", Access::ReadWrite, &[]).await.unwrap();
    waiting.acquire(&opened, v1::TokenMode::Exclusive, 6000, 10).await;
    eventually("the request waits for the truncation", async || after.status().await.tokens.unwrap().waiting == 1)
        .await;
    servers[0].refuse(false);
    waiting.granted().await;
    assert!(servers.iter().all(|server| !server.seen.truncates.lock().is_empty()));
    let (set, ()) = tokio::join!(after.set_size("/f", 1), async {
        let revoke = waiting.revoked().await;
        waiting.ack(&revoke, None).await;
    });
    assert_eq!(set.unwrap().size.unwrap().bytes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layouts_are_validated() {
    let cluster = Cluster::start().await;
    let client = cluster.client("c").await;
    let create = async |path: &str, unit, count, start| {
        let mut request = client.create_request(path);
        request.layout = Some(v1::LayoutRequest { stripe_unit: unit, stripe_count: count, start_server: start });
        client.send_create(request).await.map(|reply| reply.file.unwrap().recipe.unwrap())
    };
    assert_eq!(create("/f", 0, 0, -1).await.unwrap_err(), ErrorCode::TooFewServers);
    let _servers = cluster.file_servers(3).await;
    assert_eq!(create("/f", 0, 4, -1).await.unwrap_err(), ErrorCode::TooFewServers);
    for (unit, count, start) in [(4095, 1, -1), (1 << 31, 1, -1), (4096, 5000, -1), (4096, 1, -2), (4096, 1, 3)] {
        assert_eq!(
            create("/f", unit, count, start).await.unwrap_err(),
            ErrorCode::InvalidArgument,
            "{unit} {count} {start}"
        );
    }
    for path in ["", "f", "/a/../f", "/./f", "/\u{7}", &format!("/{}", "x".repeat(256))] {
        assert_eq!(create(path, 0, 0, -1).await.unwrap_err(), ErrorCode::InvalidArgument, "{path:?}");
    }
    assert_eq!(client.names("/").await.unwrap(), Vec::<String>::new(), "nothing was made");
    let recipe = create("/f", 8192, 2, 2).await.unwrap();
    let servers: Vec<u32> = recipe.slots.iter().map(|slot| slot.server_ids[0]).collect();
    assert_eq!((recipe.stripe_unit, servers), (8192, vec![3, 1]));
    assert_eq!(create("/g", 0, 0, -1).await.unwrap().slots.len(), 3);
}

/// Without the secret nothing is answered and nothing is made; another version or cluster is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused() {
    use pfs_proto::secret::{AuthInterceptor, Secret};
    use pfs_proto::transport::{connect, endpoint};
    use pfs_proto::v1::metadata_client::MetadataClient;
    let cluster = Cluster::start().await;
    let initialize = |version, cluster_id: &str| v1::InitializeRequest {
        protocol_version: version,
        cluster_id: cluster_id.into(),
        client_name: "stranger".into(),
    };
    let good = initialize(pfs_proto::PROTOCOL_VERSION, "");
    let mut bare = MetadataClient::new(endpoint(&cluster.address()).unwrap().connect_lazy());
    let refused = bare.initialize(good.clone()).await.unwrap_err();
    assert_eq!(error_detail(&refused).code, ErrorCode::Unauthenticated);
    let wrong = AuthInterceptor::new(&Secret::new([8; 32]));
    let mut wrong = MetadataClient::new(connect(&cluster.address(), &wrong).unwrap());
    assert_eq!(error_detail(&wrong.initialize(good).await.unwrap_err()).code, ErrorCode::Unauthenticated);

    let mut metadata = cluster.metadata();
    for request in [initialize(99, ""), initialize(pfs_proto::PROTOCOL_VERSION, "another")] {
        let refused = metadata.initialize(request).await.unwrap_err();
        assert_eq!(error_detail(&refused).code, ErrorCode::WrongCluster);
    }
    assert!(cluster.client("c").await.status().await.sessions.len() == 1, "the refused ones have no session");
}

/// Hundreds of clients make files in one directory at once; group commit carries them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_create_at_once() {
    let cluster = Cluster::with(|config| config.lease_ms = 60_000).await;
    let _servers = cluster.file_servers(1).await;
    let clients = futures::future::join_all((0..64).map(|_| cluster.client("many"))).await;
    let made = clients.iter().enumerate().map(|(index, client)| async move {
        for file in 0..8 {
            client.create(&format!("/c{index:02}-{file}")).await;
        }
    });
    futures::future::join_all(made).await;
    assert_eq!(clients[0].names("/").await.unwrap().len(), 512);
}
