//! A client that speaks the generated protocol.

use super::{Cluster, LIMIT};
use parking_lot::Mutex;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::transport::{AuthChannel, connect};
use pfs_proto::v1;
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_proto::v1::token_client::TokenClient;
use std::sync::Arc;
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
        let session = metadata.initialize(request).await.unwrap().into_inner();
        let id = session.client_id;
        let stream = Mutex::new(Some(TokenStream::open(channel, id, session.boot).await));
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

    pub fn move_request(&self, open_id: u64, change: v1::move_pointer_request::Change) -> v1::MovePointerRequest {
        v1::MovePointerRequest { operation: Some(self.operation()), open_id, change: Some(change) }
    }

    pub async fn send_move(&self, request: v1::MovePointerRequest) -> Called<v1::MovePointerReply> {
        called(self.metadata.clone().move_pointer(request).await)
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

/// A client's token stream. Dropping it breaks the connection and ends the heartbeats, as a death does.
pub struct TokenStream {
    pub client: u64,
    /// The start of the metadata server that it has spoken to last.
    pub boot: u64,
    channel: AuthChannel,
    connection: Option<Connection>,
    signs: Arc<Signs>,
    /// What was said in this boot, with numbers.
    kept: Vec<(u64, Said)>,
    last_request: u64,
}

struct Connection {
    said: mpsc::Sender<v1::ClientMessage>,
    heard: Streaming<v1::ServerMessage>,
    heartbeats: tokio::task::JoinHandle<()>,
}

/// What heartbeats say.
#[derive(Default)]
struct Signs {
    number: AtomicU64,
    received: AtomicU64,
    progress: AtomicU64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl TokenStream {
    async fn open(channel: AuthChannel, client: u64, boot: u64) -> Self {
        let (connection, signs, kept) = (None, Arc::default(), Vec::new());
        let mut stream = TokenStream { client, boot, channel, connection, signs, kept, last_request: 0 };
        assert_eq!(stream.connect().await, Ok(boot));
        stream
    }

    /// Connects, anew if there is a connection. In the same boot both sides repeat what the other has not seen; in a new
    /// one numbers begin again. Returns the server's boot.
    pub async fn connect(&mut self) -> Called<u64> {
        self.connection = None;
        let received = self.signs.received.load(Ordering::SeqCst);
        let hello = v1::Hello { client_id: self.client, boot: self.boot, received };
        let (said, messages) = mpsc::channel(1024);
        said.send(v1::ClientMessage { number: 0, kind: Some(Said::Hello(hello)) }).await.unwrap();
        let mut token = TokenClient::new(self.channel.clone());
        let mut heard = called(token.stream_token(ReceiverStream::new(messages)).await)?;
        let first = tokio::time::timeout(LIMIT, heard.message()).await.expect("no welcome came").unwrap().unwrap();
        let Some(Heard::Welcome(welcome)) = first.kind else { panic!("expected a welcome, got {first:?}") };
        if welcome.boot != self.boot {
            self.boot = welcome.boot;
            self.kept.clear();
            self.signs.received.store(0, Ordering::SeqCst);
        }
        for (number, kind) in self.kept.iter().filter(|(number, _)| *number > welcome.received) {
            said.send(v1::ClientMessage { number: *number, kind: Some(kind.clone()) }).await.unwrap();
        }
        let heartbeats = tokio::spawn(beat(said.clone(), self.signs.clone()));
        self.connection = Some(Connection { said, heard, heartbeats });
        Ok(welcome.boot)
    }

    /// Connects until it is welcome, for example because the server is just starting.
    pub async fn connect_again(&mut self) -> u64 {
        let connected = async {
            loop {
                match self.connect().await {
                    Ok(boot) => return boot,
                    Err(ErrorCode::Unavailable) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(other) => panic!("client {} is refused: {other:?}", self.client),
                }
            }
        };
        tokio::time::timeout(LIMIT, connected).await.expect("it was never welcome")
    }

    /// The connection breaks, and nothing is sent any more.
    pub fn fall_silent(&mut self) {
        self.connection = None;
    }

    /// As if the last `count` messages had not arrived.
    pub fn unsee(&self, count: u64) {
        self.signs.received.fetch_sub(count, Ordering::SeqCst);
    }

    /// A file server has answered something.
    pub fn get_on(&self) {
        self.signs.progress.fetch_add(1, Ordering::SeqCst);
    }

    /// Says something that gets lost before it arrives.
    pub fn say_in_vain(&mut self, kind: Said) {
        self.kept.push((self.kept.len() as u64 + 1, kind));
    }

    pub async fn say(&mut self, kind: Said) {
        self.say_in_vain(kind);
        let (number, kind) = self.kept.last().cloned().unwrap();
        self.say_raw(v1::ClientMessage { number, kind: Some(kind) }).await;
    }

    /// Says anything at all.
    pub async fn say_raw(&self, message: v1::ClientMessage) {
        self.connection.as_ref().unwrap().said.send(message).await.unwrap();
    }

    /// The next message that is no answer to a heartbeat and was not seen before; nothing at the end of the stream.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard().await.ok().flatten()
    }

    /// The same, with the error that ends the stream.
    pub async fn heard(&mut self) -> Called<Option<Heard>> {
        let connection = self.connection.as_mut().unwrap();
        loop {
            let message = tokio::time::timeout(LIMIT, connection.heard.message()).await.expect("no message came");
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(status) => return Err(error_detail(&status).code),
            };
            let received = self.signs.received.load(Ordering::SeqCst);
            match message.kind {
                Some(Heard::Heartbeat(_)) => {}
                _ if message.number <= received => {}
                kind => {
                    assert_eq!(message.number, received + 1, "a message is missing before {kind:?}");
                    self.signs.received.store(message.number, Ordering::SeqCst);
                    return Ok(kind);
                }
            }
        }
    }

    /// Asks for bytes and all else that may be had.
    pub async fn acquire(&mut self, file: &v1::OpenFileReply, mode: v1::TokenMode, start: u64, length: u64) -> u64 {
        let message = self.acquire_message(file, mode, start, length);
        self.say(message).await;
        self.last_request
    }

    /// A request that is not sent yet.
    pub fn acquire_message(&mut self, file: &v1::OpenFileReply, mode: v1::TokenMode, start: u64, length: u64) -> Said {
        self.last_request += 1;
        Said::Acquire(v1::AcquireToken {
            request_id: self.last_request,
            holder: file.holder,
            file_id: file.file.as_ref().unwrap().file_id,
            mode: mode.into(),
            required: vec![v1::RangePattern { start, length, stride: length, count: 1 }],
            desired: Some(v1::FileRange { start: 0, end: u64::MAX }),
            collective: false,
        })
    }

    /// Says that it has a file open, and what it holds of it.
    pub async fn reassert(&mut self, file: &v1::OpenFileReply, members: &[u64], held: &[(u64, u64)], size: Size) {
        self.reassert_with(file, members, held, size, None).await;
    }

    /// The same, and where its shared file pointer was.
    pub async fn reassert_with(
        &mut self,
        file: &v1::OpenFileReply,
        members: &[u64],
        held: &[(u64, u64)],
        size: Size,
        pointer: Option<v1::SharedPointer>,
    ) {
        let range = |(start, end): &(u64, u64)| v1::ReassertedRange {
            range: Some(v1::FileRange { start: *start, end: *end }),
            mode: v1::TokenMode::Exclusive.into(),
        };
        self.say(Said::Reassert(v1::ReassertTokens {
            holder: file.holder,
            group_members: members.to_vec(),
            file_id: file.file.as_ref().unwrap().file_id,
            opens: vec![v1::ReassertedOpen { open_id: file.open_id, access: v1::Access::ReadWrite.into(), pointer }],
            ranges: held.iter().map(range).collect(),
            size,
        }))
        .await;
    }

    /// Says that this was all, and waits until it is taken over.
    pub async fn reassert_done(&mut self) {
        self.say(Said::ReassertDone(v1::ReassertDone {})).await;
        match self.next().await {
            Some(Heard::Reasserted(_)) => {}
            other => panic!("client {} expected to be taken over, got {other:?}", self.client),
        }
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

    /// The answer to a call.
    pub async fn replied(&mut self) -> (u64, v1::metadata_reply::Result) {
        match self.next().await {
            Some(Heard::Reply(reply)) => (reply.call_id, reply.result.unwrap()),
            other => panic!("client {} expected a reply, got {other:?}", self.client),
        }
    }

    /// Gives up what a revoke asks for.
    pub async fn ack(&mut self, revoke: &v1::RevokeToken, size: Size) {
        self.say(Said::Ack(ack_message(revoke, size))).await;
    }
}

pub type Size = Option<v1::FileSize>;

/// Gives up what a revoke asks for.
pub fn ack_message(revoke: &v1::RevokeToken, size: Size) -> v1::AckRevoke {
    v1::AckRevoke {
        revoke_id: revoke.revoke_id,
        holder: revoke.holder,
        file_id: revoke.file_id,
        released: vec![revoke.range.unwrap()],
        size,
        undrained: Vec::new(),
    }
}

async fn beat(said: mpsc::Sender<v1::ClientMessage>, signs: Arc<Signs>) {
    loop {
        let number = signs.number.fetch_add(1, Ordering::SeqCst) + 1;
        let received = signs.received.load(Ordering::SeqCst);
        let progress = signs.progress.load(Ordering::SeqCst);
        let cache = Some(v1::CacheCounters { read_hits: 7, ..v1::CacheCounters::default() });
        let beat = v1::ClientHeartbeat { number, received, progress, cache };
        if said.send(v1::ClientMessage { number: 0, kind: Some(Said::Heartbeat(beat)) }).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(super::LEASE_MS / 5)).await;
    }
}
