//! A file server without a store: it answers everything, remembers it, and can be told to refuse.

use super::Cluster;
use parking_lot::Mutex;
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::v1;
use pfs_proto::v1::data_server::{Data, DataServer};
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_proto::{secret::AuthInterceptor, transport};
use pfs_server_runtime::{CancellationToken, RunningServer, bind, serve};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What a file server was told.
#[derive(Default)]
pub struct Seen {
    /// (file, slot, object length, generation), in order.
    pub truncates: Mutex<Vec<(u64, u32, u64, u64)>>,
    pub removes: Mutex<Vec<u64>>,
    /// Calls to remove files that were done.
    pub remove_calls: AtomicU64,
    /// A file that can not be removed.
    pub stuck: AtomicU64,
    pub fenced: Mutex<Vec<u64>>,
    pub fenced_groups: Mutex<Vec<u64>>,
    /// (incarnation, boot, sequence), in order.
    pub drains: Mutex<Vec<(u64, u64, u64)>>,
    /// Length of every object that a fence asks for.
    pub object_length: AtomicU64,
    refusing: AtomicBool,
    /// Fences that heartbeats bring are not taken.
    deaf: AtomicBool,
    /// Boot and version of the fences that are in force.
    in_force: Mutex<(u64, u64)>,
}

/// A registered file server that sends heartbeats.
pub struct FakeFileServer {
    pub id: u32,
    pub name: String,
    pub seen: Arc<Seen>,
    server: Option<RunningServer>,
    heartbeats: Option<tokio::task::JoinHandle<()>>,
}

impl FakeFileServer {
    /// Starts, registers as a new store, and sends heartbeats; registers again when it is told to.
    pub async fn start(cluster: &Cluster, name: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let routes = Routes::new(DataServer::new(FakeData(seen.clone())));
        let server = serve(listener, &cluster.secret, routes, CancellationToken::new()).unwrap();
        let mut registration = v1::RegisterFileServerRequest {
            protocol_version: pfs_proto::PROTOCOL_VERSION,
            cluster_id: String::new(),
            server_name: name.to_owned(),
            server_id: 0,
            address: server.address.to_string(),
            instance: 1,
            space: Some(v1::SpaceReport { total_bytes: 1000, free_bytes: 900, objects: 0 }),
        };
        let mut metadata = cluster.metadata();
        let reply = metadata.register_file_server(registration.clone()).await.unwrap().into_inner();
        *seen.in_force.lock() = (reply.boot, reply.fence_version);
        registration.cluster_id = reply.cluster_id;
        registration.server_id = reply.server_id;
        let auth = AuthInterceptor::new(&cluster.secret);
        let channel = transport::connect(&cluster.address(), &auth).unwrap();
        let period = Duration::from_millis(reply.heartbeat_ms);
        let heartbeats =
            tokio::spawn(send_heartbeats(MetadataClient::new(channel), registration, period, seen.clone()));
        let (server, heartbeats) = (Some(server), Some(heartbeats));
        FakeFileServer { id: reply.server_id, name: name.to_owned(), seen, server, heartbeats }
    }

    /// From now on every call is refused as unavailable, or not any more.
    pub fn refuse(&self, refusing: bool) {
        self.seen.refusing.store(refusing, Ordering::SeqCst);
    }

    /// From now on the fences that heartbeats bring are not taken, or they are again.
    pub fn be_deaf(&self, deaf: bool) {
        self.seen.deaf.store(deaf, Ordering::SeqCst);
    }

    /// Falls silent: no heartbeats, nobody listens.
    pub async fn fall_silent(&mut self) {
        if let Some(heartbeats) = self.heartbeats.take() {
            heartbeats.abort();
        }
        self.server.take().unwrap().stop().await.unwrap();
    }
}

impl Drop for FakeFileServer {
    fn drop(&mut self) {
        if let Some(heartbeats) = self.heartbeats.take() {
            heartbeats.abort();
        }
    }
}

async fn send_heartbeats(
    mut metadata: MetadataClient<transport::AuthChannel>,
    registration: v1::RegisterFileServerRequest,
    period: Duration,
    seen: Arc<Seen>,
) {
    loop {
        let (boot, fence_version) = *seen.in_force.lock();
        let heartbeat = v1::HeartbeatRequest {
            boot,
            fence_version,
            server_id: registration.server_id,
            instance: registration.instance,
            space: registration.space,
            ..v1::HeartbeatRequest::default()
        };
        if let Ok(reply) = metadata.heartbeat(heartbeat).await {
            let reply = reply.into_inner();
            if !reply.registered {
                if let Ok(reply) = metadata.register_file_server(registration.clone()).await {
                    let reply = reply.into_inner();
                    *seen.in_force.lock() = (reply.boot, reply.fence_version);
                    continue;
                }
            } else if !seen.deaf.load(Ordering::SeqCst) {
                *seen.in_force.lock() = (reply.boot, reply.fence_version);
            }
        }
        tokio::time::sleep(period).await;
    }
}

struct FakeData(Arc<Seen>);

impl FakeData {
    fn check(&self) -> Result<(), Status> {
        match self.0.refusing.load(Ordering::SeqCst) {
            true => Err(status(ErrorCode::Unavailable, "this server was told to refuse")),
            false => Ok(()),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn no_data<T>() -> Answer<T> {
    Err(status(ErrorCode::Internal, "this server has no data"))
}

#[tonic::async_trait]
impl Data for FakeData {
    async fn write(&self, _: Request<v1::WriteRequest>) -> Answer<v1::WriteReply> {
        no_data()
    }

    async fn read(&self, _: Request<v1::ReadRequest>) -> Answer<v1::ReadReply> {
        no_data()
    }

    type ReadStreamStream = tonic::codegen::BoxStream<v1::ReadReply>;

    async fn read_stream(&self, _: Request<v1::ReadRequest>) -> Answer<Self::ReadStreamStream> {
        no_data()
    }

    type SmallStream = tonic::codegen::BoxStream<v1::SmallReply>;

    async fn small(&self, _: Request<tonic::Streaming<v1::SmallRequest>>) -> Answer<Self::SmallStream> {
        no_data()
    }

    async fn allocate(&self, _: Request<v1::AllocateRequest>) -> Answer<v1::AllocateReply> {
        no_data()
    }

    type ScrubStream = tonic::codegen::BoxStream<v1::ScrubReply>;

    async fn scrub(&self, _: Request<v1::ScrubRequest>) -> Answer<Self::ScrubStream> {
        no_data()
    }

    async fn commit(&self, _: Request<v1::CommitRequest>) -> Answer<v1::CommitReply> {
        no_data()
    }

    async fn truncate(&self, request: Request<v1::TruncateRequest>) -> Answer<v1::TruncateReply> {
        self.check()?;
        let v1::TruncateRequest { size_generation, object, object_length } = request.into_inner();
        let object = object.unwrap();
        self.0.truncates.lock().push((object.file_id, object.slot, object_length, size_generation));
        Ok(Response::new(v1::TruncateReply { instance: 1 }))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Answer<v1::RemoveReply> {
        self.check()?;
        let files = request.into_inner().file_ids;
        if files.contains(&self.0.stuck.load(Ordering::SeqCst)) {
            return Err(status(ErrorCode::Internal, "a disk is broken"));
        }
        let removed_objects = files.len() as u64;
        self.0.remove_calls.fetch_add(1, Ordering::SeqCst);
        self.0.removes.lock().extend(files);
        Ok(Response::new(v1::RemoveReply { removed_objects }))
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Answer<v1::StatReply> {
        no_data()
    }

    async fn fence(&self, request: Request<v1::FenceRequest>) -> Answer<v1::FenceReply> {
        self.check()?;
        let request = request.into_inner();
        self.0.fenced.lock().extend(request.incarnations);
        self.0.fenced_groups.lock().extend(request.groups);
        let length = self.0.object_length.load(Ordering::SeqCst);
        Ok(Response::new(v1::FenceReply { instance: 1, object_lengths: vec![length; request.objects.len()] }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<v1::DrainReply> {
        self.check()?;
        let v1::DrainRequest { stamp, sequence } = request.into_inner();
        let stamp = stamp.unwrap();
        self.0.drains.lock().push((stamp.incarnation, stamp.boot, sequence));
        Ok(Response::new(v1::DrainReply { instance: 1 }))
    }

    async fn ping(&self, _: Request<v1::DataPingRequest>) -> Answer<v1::DataPingReply> {
        no_data()
    }
}
