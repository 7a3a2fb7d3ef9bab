//! A metadata server that knows file servers by name, vouches for files, and can be told to fall silent.

use pfs_proto::metadata::{
    DataCounters, Fences, Heartbeat, HeartbeatAnswer, Label, RegisterFileServer, Registration, VouchFile,
};
use pfs_proto::secret::Secret;
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::v1;
use pfs_proto::v1::metadata_server::{Metadata, MetadataServer};
use pfs_server_runtime::{CancellationToken, RunningServer, bind, serve};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What it knows and does; tests change it at will.
#[derive(Debug)]
pub struct State {
    pub cluster_id: String,
    pub boot: u64,
    pub lease_ms: u64,
    pub heartbeat_ms: u64,
    /// Names of servers and their ids.
    pub servers: BTreeMap<String, u32>,
    /// Answers nothing but "unavailable".
    pub silent: bool,
    /// Answers heartbeats as if it had never heard of the server, until that registers again.
    pub forgetful: bool,
    /// Files below this number exist.
    pub files_end: u64,
    pub fences: Fences,
    pub fence_version: u64,
    /// Boot and version that the last heartbeat told.
    pub told: Option<(u64, u64)>,
    pub registrations: u64,
    pub heartbeats: u64,
    pub vouches: u64,
    pub objects_reported: u64,
    /// As the last heartbeat told.
    pub counters: DataCounters,
    /// Bytes written to files, as all heartbeats told.
    pub written_bytes: BTreeMap<u64, u64>,
}

#[derive(Clone)]
pub struct FakeMetadata {
    state: Arc<Mutex<State>>,
    /// Whoever holds it keeps this server from vouching.
    pub vouching: Arc<tokio::sync::Mutex<()>>,
}

impl FakeMetadata {
    pub fn new(cluster_id: &str) -> Self {
        let state = State {
            cluster_id: cluster_id.into(),
            boot: 1,
            lease_ms: 60_000,
            heartbeat_ms: 20,
            servers: BTreeMap::new(),
            silent: false,
            forgetful: false,
            files_end: 1000,
            fences: Fences::default(),
            fence_version: 1,
            told: None,
            registrations: 0,
            heartbeats: 0,
            vouches: 0,
            objects_reported: 0,
            counters: DataCounters::default(),
            written_bytes: BTreeMap::new(),
        };
        FakeMetadata { state: Arc::new(Mutex::new(state)), vouching: Arc::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub async fn serve(&self, listen: SocketAddr, secret: &Secret) -> RunningServer {
        let listener = bind(listen).await.unwrap();
        serve(listener, secret, Routes::new(MetadataServer::new(self.clone())), CancellationToken::new()).unwrap()
    }

    fn answering(&self) -> Result<MutexGuard<'_, State>, Status> {
        let state = self.state();
        if state.silent { Err(status(ErrorCode::Unavailable, "silent")) } else { Ok(state) }
    }
}

fn foreign(text: String) -> Status {
    status(ErrorCode::WrongCluster, text)
}

/// Methods that no file server calls.
macro_rules! never_called {
    ($($method:ident($request:ident) -> $reply:ident;)*) => {
        $(
            fn $method<'a, 'async_trait>(
                &'a self,
                _: Request<v1::$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<v1::$reply>, Status>> + Send + 'async_trait>>
            where
                'a: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin(async { Err(Status::unimplemented(stringify!($method))) })
            }
        )*
    };
}

#[tonic::async_trait]
impl Metadata for FakeMetadata {
    async fn register_file_server(
        &self,
        request: Request<v1::RegisterFileServerRequest>,
    ) -> Result<Response<v1::RegisterFileServerReply>, Status> {
        let register = RegisterFileServer::try_from(request.into_inner())?;
        let mut state = self.answering()?;
        let known = state.servers.get(&register.server_name).copied();
        let id = match (&register.label, known) {
            (Some(label), _) if label.cluster_id != state.cluster_id => {
                return Err(foreign(format!("the store belongs to cluster {}", label.cluster_id)));
            }
            (None, Some(id)) => {
                return Err(foreign(format!("{} is server-{id} but its store is empty", register.server_name)));
            }
            (Some(_), None) => return Err(foreign(format!("{} is not known", register.server_name))),
            (Some(_), Some(id)) => id,
            (None, None) => u32::try_from(state.servers.len()).unwrap() + 1,
        };
        state.servers.insert(register.server_name, id);
        state.registrations += 1;
        state.forgetful = false;
        state.objects_reported = register.space.objects;
        let registration = Registration {
            fence_version: state.fence_version,
            label: Label { cluster_id: state.cluster_id.clone(), server: pfs_core::ids::ServerId::new(id).unwrap() },
            boot: pfs_core::ids::Boot::new(state.boot).unwrap(),
            heartbeat_ms: state.heartbeat_ms,
            lease_ms: state.lease_ms,
            fences: state.fences.clone(),
        };
        Ok(Response::new(registration.into()))
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Result<Response<v1::HeartbeatReply>, Status> {
        let heartbeat = Heartbeat::try_from(request.into_inner())?;
        let mut state = self.answering()?;
        state.heartbeats += 1;
        state.told = Some((heartbeat.boot.get(), heartbeat.fence_version));
        state.objects_reported = heartbeat.space.objects;
        state.counters = heartbeat.counters;
        for traffic in &heartbeat.busiest {
            *state.written_bytes.entry(traffic.file.get()).or_default() += traffic.written_bytes;
        }
        let answer = HeartbeatAnswer {
            fence_version: state.fence_version,
            boot: pfs_core::ids::Boot::new(state.boot).unwrap(),
            registered: !state.forgetful,
            fences: state.fences.clone(),
        };
        Ok(Response::new(answer.into()))
    }

    async fn vouch_file(&self, request: Request<v1::VouchFileRequest>) -> Result<Response<v1::VouchFileReply>, Status> {
        drop(self.vouching.lock().await);
        let vouch = VouchFile::try_from(request.into_inner())?;
        let mut state = self.answering()?;
        state.vouches += 1;
        Ok(Response::new(v1::VouchFileReply { exists: vouch.object.file.get() < state.files_end }))
    }

    never_called! {
        initialize(InitializeRequest) -> InitializeReply;
        ping(PingRequest) -> PingReply;
        create_file(CreateFileRequest) -> OpenFileReply;
        open_file(OpenFileRequest) -> OpenFileReply;
        close_file(CloseFileRequest) -> CloseFileReply;
        move_pointer(MovePointerRequest) -> MovePointerReply;
        fetch_metadata(FetchMetadataRequest) -> FetchMetadataReply;
        update_metadata(UpdateMetadataRequest) -> FetchMetadataReply;
        delete_file(DeleteFileRequest) -> DeleteFileReply;
        list_directory(ListDirectoryRequest) -> ListDirectoryReply;
        make_directory(MakeDirectoryRequest) -> MakeDirectoryReply;
        rename(RenameRequest) -> RenameReply;
        client_shutdown(ClientShutdownRequest) -> ClientShutdownReply;
        cluster_status(ClusterStatusRequest) -> ClusterStatusReply;
        list_tokens(ListTokensRequest) -> ListTokensReply;
        fetch_activity(ActivityRequest) -> ActivityReply;
    }
}
