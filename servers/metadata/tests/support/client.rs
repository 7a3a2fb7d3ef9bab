//! A client that speaks the generated protocol.

use super::{Cluster, LIMIT};
use parking_lot::Mutex;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::transport::{AuthChannel, connect};
use pfs_proto::v1;
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_proto::v1::token_client::TokenClient;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use v1::client_message::Kind as Said;
use v1::server_message::Kind as Heard;

/// A client with a session and a token stream that keeps it alive.
pub struct TestClient {
    pub id: u64,
    pub metadata: MetadataClient<AuthChannel>,
    stream: Mutex<Option<TokenStream>>,
    sequence: AtomicU64,
}

pub type Called<T> = Result<T, ErrorCode>;

impl TestClient {
    pub async fn connect(cluster: &Cluster, name: &str) -> Self {
        let channel = connect(&cluster.address(), &AuthInterceptor::new(&cluster.secret)).unwrap();
        let mut metadata = MetadataClient::new(channel.clone());
        let request = v1::InitializeRequest {
            protocol_version: pfs_proto::PROTOCOL_VERSION,
            cluster_id: String::new(),
            client_name: name.into(),
        };
        let id = metadata.initialize(request).await.unwrap().into_inner().client_id;
        let stream = Mutex::new(Some(TokenStream::open(channel, id).await));
        TestClient { id, metadata, stream, sequence: AtomicU64::new(0) }
    }

    /// The next operation of slot 0.
    pub fn operation(&self) -> v1::OperationId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        v1::OperationId { client_id: self.id, slot: 0, sequence }
    }

    /// Hands out the client's token stream; the client dies with it.
    pub fn stream(&self) -> TokenStream {
        self.stream.lock().take().expect("a client has one stream")
    }

    fn open_for(access: v1::Access, members: &[u64]) -> v1::OpenFor {
        v1::OpenFor { group_members: members.to_vec(), access: access.into() }
    }

    pub fn create_request(&self, path: &str) -> v1::CreateFileRequest {
        v1::CreateFileRequest {
            operation: Some(self.operation()),
            path: path.into(),
            exclusive: true,
            layout: None,
            open: Some(Self::open_for(v1::Access::ReadWrite, &[])),
        }
    }

    pub async fn send_create(&self, request: v1::CreateFileRequest) -> Called<v1::OpenFileReply> {
        called(self.metadata.clone().create_file(request).await)
    }

    pub async fn create(&self, path: &str) -> v1::OpenFileReply {
        self.send_create(self.create_request(path)).await.unwrap()
    }

    pub async fn open(&self, path: &str, access: v1::Access, members: &[u64]) -> Called<v1::OpenFileReply> {
        let open = Some(Self::open_for(access, members));
        let request = v1::OpenFileRequest { operation: Some(self.operation()), path: path.into(), open };
        called(self.metadata.clone().open_file(request).await)
    }

    pub async fn close(&self, open_id: u64, size: Option<v1::FileSize>) -> Called<v1::CloseFileReply> {
        let request = v1::CloseFileRequest { operation: Some(self.operation()), open_id, size };
        called(self.metadata.clone().close_file(request).await)
    }

    pub async fn delete(&self, path: &str) -> Called<v1::DeleteFileReply> {
        let request = v1::DeleteFileRequest { operation: Some(self.operation()), path: path.into(), kind: 0 };
        called(self.metadata.clone().delete_file(request).await)
    }

    pub async fn rename(&self, from: &str, to: &str) -> Called<v1::RenameReply> {
        let request = v1::RenameRequest { operation: Some(self.operation()), from: from.into(), to: to.into() };
        called(self.metadata.clone().rename(request).await)
    }

    pub async fn make_directory(&self, path: &str) -> Called<v1::MakeDirectoryReply> {
        let request = v1::MakeDirectoryRequest { operation: Some(self.operation()), path: path.into(), parents: true };
        called(self.metadata.clone().make_directory(request).await)
    }

    pub fn set_size_request(&self, path: &str, bytes: u64) -> v1::UpdateMetadataRequest {
        v1::UpdateMetadataRequest {
            operation: Some(self.operation()),
            target: Some(v1::update_metadata_request::Target::Path(path.into())),
            change: Some(v1::update_metadata_request::Change::SetSizeBytes(bytes)),
        }
    }

    pub async fn update(&self, request: v1::UpdateMetadataRequest) -> Called<v1::FileMetadata> {
        called(self.metadata.clone().update_metadata(request).await).map(|reply| reply.file.unwrap())
    }

    pub async fn set_size(&self, path: &str, bytes: u64) -> Called<v1::FileMetadata> {
        self.update(self.set_size_request(path, bytes)).await
    }

    pub async fn report_sync(&self, file_id: u64, size: v1::FileSize, slots: &[u8]) -> Called<v1::FileMetadata> {
        let report = v1::SyncReport { size: Some(size), committed_slots: slots.to_vec() };
        self.update(v1::UpdateMetadataRequest {
            operation: Some(self.operation()),
            target: Some(v1::update_metadata_request::Target::FileId(file_id)),
            change: Some(v1::update_metadata_request::Change::Sync(report)),
        })
        .await
    }

    pub async fn stat(&self, path: &str, exact_size: bool) -> Called<v1::FileMetadata> {
        let target = Some(v1::fetch_metadata_request::Target::Path(path.into()));
        let request = v1::FetchMetadataRequest { client_id: self.id, target, exact_size };
        called(self.metadata.clone().fetch_metadata(request).await).map(|reply| reply.file.unwrap())
    }

    pub async fn names(&self, path: &str) -> Called<Vec<String>> {
        let request =
            v1::ListDirectoryRequest { client_id: self.id, path: path.into(), after: String::new(), limit: 0 };
        let reply = called(self.metadata.clone().list_directory(request).await)?;
        Ok(reply.entries.into_iter().map(|entry| entry.name).collect())
    }

    pub async fn status(&self) -> v1::ClusterStatusReply {
        let request = v1::ClusterStatusRequest { sessions: true };
        self.metadata.clone().cluster_status(request).await.unwrap().into_inner()
    }

    pub async fn shut_down(&self) {
        let request = v1::ClientShutdownRequest { client_id: self.id };
        self.metadata.clone().client_shutdown(request).await.unwrap();
    }
}

/// The code of a failed call.
pub fn called<T>(outcome: Result<tonic::Response<T>, tonic::Status>) -> Called<T> {
    outcome.map(tonic::Response::into_inner).map_err(|status| error_detail(&status).code)
}

/// A client's token stream. Dropping it breaks the stream and ends the heartbeats, as a death does.
pub struct TokenStream {
    client: u64,
    said: mpsc::Sender<v1::ClientMessage>,
    heard: Streaming<v1::ServerMessage>,
    heartbeats: tokio::task::JoinHandle<()>,
    last_request: u64,
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl TokenStream {
    async fn open(channel: AuthChannel, client: u64) -> Self {
        let (said, messages) = mpsc::channel(64);
        said.send(message(Said::Hello(v1::Hello { client_id: client, boot: 1, received: 0 }))).await.unwrap();
        let mut token = TokenClient::new(channel);
        let heard = token.stream_token(ReceiverStream::new(messages)).await.unwrap().into_inner();
        let beats = said.clone();
        let heartbeats = tokio::spawn(async move {
            while beats
                .send(message(Said::Heartbeat(v1::ClientHeartbeat { number: 1, ..v1::ClientHeartbeat::default() })))
                .await
                .is_ok()
            {
                tokio::time::sleep(Duration::from_millis(super::LEASE_MS / 5)).await;
            }
        });
        let mut stream = TokenStream { client, said, heard, heartbeats, last_request: 0 };
        assert!(matches!(stream.next().await, Some(Heard::Welcome(_))));
        stream
    }

    pub async fn say(&self, kind: Said) {
        self.said.send(message(kind)).await.unwrap();
    }

    /// The next message that is no answer to a heartbeat; nothing at the end of the stream.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            let message = tokio::time::timeout(LIMIT, self.heard.message()).await.expect("no message came");
            match message.ok().flatten()?.kind {
                Some(Heard::Heartbeat(_)) => {}
                kind => return kind,
            }
        }
    }

    /// Asks for bytes and all else that may be had.
    pub async fn acquire(&mut self, file: &v1::OpenFileReply, mode: v1::TokenMode, start: u64, length: u64) -> u64 {
        self.last_request += 1;
        let required = vec![v1::RangePattern { start, length, stride: length, count: 1 }];
        self.say(Said::Acquire(v1::AcquireToken {
            request_id: self.last_request,
            holder: file.holder,
            file_id: file.file.as_ref().unwrap().file_id,
            mode: mode.into(),
            required,
            desired: Some(v1::FileRange { start: 0, end: u64::MAX }),
            collective: false,
        }))
        .await;
        self.last_request
    }

    pub async fn granted(&mut self) -> v1::GrantToken {
        match self.next().await {
            Some(Heard::Grant(grant)) => grant,
            other => panic!("client {} expected a grant, got {other:?}", self.client),
        }
    }

    pub async fn revoked(&mut self) -> v1::RevokeToken {
        match self.next().await {
            Some(Heard::Revoke(revoke)) => revoke,
            other => panic!("client {} expected a revoke, got {other:?}", self.client),
        }
    }

    pub async fn refused(&mut self) -> (u64, ErrorCode) {
        match self.next().await {
            Some(Heard::Refused(refused)) => (refused.request_id, refused.error.unwrap().code()),
            other => panic!("client {} expected a refusal, got {other:?}", self.client),
        }
    }

    /// Gives up what a revoke asks for.
    pub async fn ack(&self, revoke: &v1::RevokeToken, size: Option<v1::FileSize>) {
        self.say(Said::Ack(v1::AckRevoke {
            revoke_id: revoke.revoke_id,
            holder: revoke.holder,
            file_id: revoke.file_id,
            released: vec![revoke.range.unwrap()],
            size,
            undrained: Vec::new(),
        }))
        .await;
    }
}

fn message(kind: Said) -> v1::ClientMessage {
    v1::ClientMessage { number: 1, kind: Some(kind) }
}
