//! One file server, its metadata server, and a client.

use crate::fake_metadata::FakeMetadata;
use pfs_file_server::Config;
use pfs_file_server::store::PosixStore;
use pfs_file_server::store::faulty::FaultyStore;
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::{AuthChannel, MESSAGE_BYTES_MAX, connect};
use pfs_proto::v1;
use pfs_proto::v1::data_client::DataClient;
use pfs_server_runtime::RunningServer;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use tonic::Status;

/// Longer than anything takes that is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

pub fn secret() -> Secret {
    Secret::new([42; 32])
}

pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The client that tests speak for, unless they say otherwise.
pub const CLIENT: u64 = 7;

pub fn stamp_of(boot: u64, client: u64) -> v1::Stamp {
    let holder = v1::Holder { kind: Some(v1::holder::Kind::Client(client)) };
    v1::Stamp { boot, holder: Some(holder), incarnation: client }
}

pub fn group_stamp(group: u64, client: u64) -> v1::Stamp {
    let holder = v1::Holder { kind: Some(v1::holder::Kind::Group(group)) };
    v1::Stamp { boot: 1, holder: Some(holder), incarnation: client }
}

pub fn object(file_id: u64) -> v1::ObjectId {
    v1::ObjectId { file_id, slot: 2 }
}

pub fn extent(offset: u64, length: u64) -> v1::ObjectExtent {
    v1::ObjectExtent { offset, length }
}

/// A write of one extent, to be changed by tests.
pub fn write_request(file: u64, offset: u64, bytes: &[u8]) -> v1::WriteRequest {
    v1::WriteRequest {
        stamp: Some(stamp_of(1, CLIENT)),
        sequence: 1,
        object: Some(object(file)),
        checksums: Vec::new(),
        extents: vec![extent(offset, bytes.len() as u64)],
        payload: bytes.to_vec().into(),
        sections: Vec::new(),
    }
}

pub fn read_request(file: u64, extents: &[v1::ObjectExtent]) -> v1::ReadRequest {
    v1::ReadRequest {
        stamp: Some(stamp_of(1, CLIENT)),
        sequence: 1,
        object: Some(object(file)),
        extents: extents.to_vec(),
        must_exist: false,
    }
}

pub fn client_of(server: &RunningServer, secret: &Secret) -> DataClient<AuthChannel> {
    let channel = connect(&server.address.to_string(), &AuthInterceptor::new(secret)).unwrap();
    DataClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(4 * MESSAGE_BYTES_MAX)
}

pub struct Harness {
    pub metadata: FakeMetadata,
    pub metadata_server: RunningServer,
    pub directory: TempDir,
    pub server: RunningServer,
    pub client: DataClient<AuthChannel>,
}

impl Harness {
    pub async fn new() -> Self {
        Self::with(FakeMetadata::new("cluster-a")).await
    }

    pub async fn with(metadata: FakeMetadata) -> Self {
        let metadata_server = metadata.serve(any_port(), &secret()).await;
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "file-0", &metadata_server);
        let server = pfs_file_server::start(config).await.unwrap();
        let client = client_of(&server, &secret());
        Harness { metadata, metadata_server, directory, server, client }
    }

    /// A server whose store does what the test asks for.
    pub async fn over_faults() -> (Self, Arc<FaultyStore<PosixStore>>) {
        let metadata = FakeMetadata::new("cluster-a");
        let metadata_server = metadata.serve(any_port(), &secret()).await;
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), "file-0", &metadata_server);
        let (made, path) = (Arc::new(OnceLock::new()), directory.path().join("objects"));
        let over = {
            let made = made.clone();
            move |store| made.get_or_init(|| Arc::new(FaultyStore::new(store, path))).clone() as _
        };
        let server = pfs_file_server::start_over(config, over).await.unwrap();
        let client = client_of(&server, &secret());
        let store = made.get().expect("the server has started").clone();
        (Harness { metadata, metadata_server, directory, server, client }, store)
    }

    pub fn config(&self) -> Config {
        config(self.directory.path(), "file-0", &self.metadata_server)
    }

    /// Ends the server gracefully and starts it anew on the same store; `between` may change the store.
    pub async fn restart(mut self, between: impl FnOnce(&Path)) -> Self {
        self.server.stop().await.unwrap();
        between(self.directory.path());
        let config = config(self.directory.path(), "file-0", &self.metadata_server);
        self.server = pfs_file_server::start(config).await.unwrap();
        self.client = client_of(&self.server, &secret());
        self
    }

    /// Ends the server as a crash would and starts it anew on the same store.
    pub async fn crash(mut self) -> Self {
        let config = self.config();
        self.server.abort();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        self.server = loop {
            match pfs_file_server::start(config.clone()).await {
                Ok(server) => break server,
                // What the old one had in hand is dropped a little later, its lock with it.
                Err(error) if tokio::time::Instant::now() > deadline => panic!("{error:#}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        self.client = client_of(&self.server, &secret());
        self
    }

    pub async fn write(&self, file: u64, offset: u64, bytes: &[u8]) -> Result<u64, ErrorDetail> {
        self.send(write_request(file, offset, bytes)).await
    }

    pub async fn send(&self, request: v1::WriteRequest) -> Result<u64, ErrorDetail> {
        let reply = self.client.clone().write(request).await.map_err(|status| error_detail(&status))?;
        Ok(reply.into_inner().instance)
    }

    pub async fn read(&self, file: u64, offset: u64, length: u64) -> Result<Vec<u8>, ErrorDetail> {
        self.fetch(read_request(file, &[extent(offset, length)])).await
    }

    pub async fn fetch(&self, request: v1::ReadRequest) -> Result<Vec<u8>, ErrorDetail> {
        let reply = self.client.clone().read(request).await.map_err(|status| error_detail(&status))?;
        Ok(reply.into_inner().payload.to_vec())
    }

    pub async fn commit(&self, files: &[u64]) -> Result<v1::CommitReply, ErrorDetail> {
        let objects = files.iter().map(|&file| object(file)).collect();
        let request = v1::CommitRequest { stamp: Some(stamp_of(1, CLIENT)), objects };
        Ok(self.client.clone().commit(request).await.map_err(|status| error_detail(&status))?.into_inner())
    }

    pub async fn fence(&self, boot_floor: u64, incarnations: &[u64], groups: &[u64]) {
        let request = v1::FenceRequest {
            boot_floor,
            incarnations: incarnations.to_vec(),
            groups: groups.to_vec(),
            objects: vec![],
        };
        self.client.clone().fence(request).await.unwrap();
    }

    pub async fn stat(&self, file: u64) -> v1::StatReply {
        let request = v1::StatRequest { stamp: Some(stamp_of(1, CLIENT)), object: Some(object(file)) };
        self.client.clone().stat(request).await.unwrap().into_inner()
    }
}

pub fn config(directory: &Path, name: &str, metadata: &RunningServer) -> Config {
    Config::new(directory.to_owned(), any_port(), vec![metadata.address.to_string()], secret(), name.into())
}

#[track_caller]
pub fn assert_code<T: std::fmt::Debug>(result: Result<T, ErrorDetail>, code: ErrorCode) -> String {
    let error = result.expect_err("this must be refused");
    assert_eq!(error.code, code, "{error}");
    error.message
}

#[track_caller]
pub fn assert_status<T: std::fmt::Debug>(result: Result<T, Status>, code: ErrorCode) -> String {
    assert_code(result.map_err(|status| error_detail(&status)), code)
}

/// Asks again and again until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let poll = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
