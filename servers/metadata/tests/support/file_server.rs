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
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What a file server was told.
#[derive(Default)]
pub struct Seen {
    /// (file, slot, object length, generation), in order.
    pub truncates: Mutex<Vec<(u64, u32, u64, u64)>>,
    pub removes: Mutex<Vec<u64>>,
    pub fenced: Mutex<Vec<u64>>,
    refusing: AtomicBool,
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
        registration.cluster_id = reply.cluster_id;
        registration.server_id = reply.server_id;
        let auth = AuthInterceptor::new(&cluster.secret);
        let channel = transport::connect(&cluster.address(), &auth).unwrap();
        let period = Duration::from_millis(reply.heartbeat_ms);
        let heartbeats = tokio::spawn(send_heartbeats(MetadataClient::new(channel), registration, period));
        let (server, heartbeats) = (Some(server), Some(heartbeats));
        FakeFileServer { id: reply.server_id, name: name.to_owned(), seen, server, heartbeats }
    }

    /// From now on every call is refused as unavailable, or not any more.
    pub fn refuse(&self, refusing: bool) {
        self.seen.refusing.store(refusing, Ordering::SeqCst);
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
) {
    loop {
        let heartbeat = v1::HeartbeatRequest {
            boot: 1,
            fence_version: 1,
            server_id: registration.server_id,
            instance: registration.instance,
            space: registration.space,
        };
        if let Ok(reply) = metadata.heartbeat(heartbeat).await
            && !reply.into_inner().registered
        {
            let _ = metadata.register_file_server(registration.clone()).await;
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
        self.0.removes.lock().push(request.into_inner().file_id);
        Ok(Response::new(v1::RemoveReply { removed_objects: 1 }))
    }

    async fn stat(&self, _: Request<v1::StatRequest>) -> Answer<v1::StatReply> {
        no_data()
    }

    async fn fence(&self, request: Request<v1::FenceRequest>) -> Answer<v1::FenceReply> {
        self.check()?;
        self.0.fenced.lock().extend(request.into_inner().incarnations);
        Ok(Response::new(v1::FenceReply { instance: 1, object_lengths: Vec::new() }))
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Answer<v1::DrainReply> {
        no_data()
    }

    async fn ping(&self, _: Request<v1::DataPingRequest>) -> Answer<v1::DataPingReply> {
        no_data()
    }
}
