//! A client of the token stream without anything around it: one task, one connection, no cache. It measures what the
//! stream and the metadata server do by themselves.

use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, FileId, Holder, RequestId};
use pfs_core::pattern::RangePattern;
use pfs_core::session::{Heartbeat, Hello};
use pfs_core::token::message::{Acquire, Grant, Mode, Release};
use pfs_proto::metadata::{Initialize, Opened, Session};
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::token::{ClientFrame, ClientMessage, ServerFrame, ServerMessage};
use pfs_proto::transport::{AuthChannel, connect};
use pfs_proto::v1;
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_proto::v1::token_client::TokenClient;
use std::collections::VecDeque;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

/// Messages after which a heartbeat tells the server that they were seen.
const MESSAGES_PER_HEARTBEAT: u64 = 256;
const QUEUED_MAX: usize = 1024;

/// A session with one open file.
pub struct RawClient {
    client: ClientId,
    metadata: MetadataClient<AuthChannel>,
    file: Option<FileId>,
    up: mpsc::Sender<v1::ClientMessage>,
    down: Streaming<v1::ServerMessage>,
    sent: u64,
    received: u64,
    beats: u64,
    requests: u64,
}

impl RawClient {
    /// Opens a session.
    pub async fn connect(address: &str, secret: &Secret) -> Result<Self, Status> {
        let auth = AuthInterceptor::new(secret);
        let channel = connect(address, &auth).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut metadata = MetadataClient::new(channel.clone());
        let request = Initialize { cluster_id: None, client_name: format!("pfs bench, {}", std::process::id()) };
        let session = Session::try_from(metadata.initialize(v1::InitializeRequest::from(request)).await?.into_inner())?;
        let (up, outgoing) = mpsc::channel(QUEUED_MAX);
        let hello = ClientFrame::Hello(Hello { client: session.client, boot: session.boot, received: 0 });
        // The receiver is here, so the channel is open.
        let _ = up.send(hello.into()).await;
        let stream = TokenClient::new(channel).stream_token(Request::new(ReceiverStream::new(outgoing))).await?;
        let down = stream.into_inner();
        let client = session.client;
        let mut raw = RawClient { client, metadata, file: None, up, down, sent: 0, received: 0, beats: 0, requests: 0 };
        match raw.next().await? {
            ServerFrame::Welcome(_) => Ok(raw),
            other => Err(Status::internal(format!("the stream began with {other:?}"))),
        }
    }

    /// Makes or opens the file whose tokens are asked for.
    pub async fn open(&mut self, path: &str) -> Result<(), Status> {
        let operation = v1::OperationId { client_id: self.client.get(), slot: 0, sequence: 1 };
        let open = v1::OpenFor { group_members: Vec::new(), access: v1::Access::ReadWrite.into() };
        let request = v1::CreateFileRequest {
            operation: Some(operation),
            path: path.to_owned(),
            exclusive: false,
            layout: Some(v1::LayoutRequest { start_server: -1, ..v1::LayoutRequest::default() }),
            open: Some(open),
        };
        let opened = Opened::try_from(self.metadata.create_file(request).await?.into_inner())?;
        self.file = Some(opened.file.id);
        Ok(())
    }

    /// Ends the session, which frees its tokens.
    pub async fn shut_down(mut self) -> Result<(), Status> {
        self.metadata.client_shutdown(v1::ClientShutdownRequest { client_id: self.client.get() }).await.map(drop)
    }

    /// One heartbeat there and back.
    pub async fn ping(&mut self) -> Result<(), Status> {
        let number = self.beat().await?;
        loop {
            match self.next().await? {
                ServerFrame::Heartbeat(answer) if answer.number == number => return Ok(()),
                _ => {}
            }
        }
    }

    /// Gets and gives back `count` ranges that nobody else wants, with up to `in_flight` requests on their way.
    pub async fn acquire_and_release(&mut self, base: u64, count: u64, in_flight: usize) -> Result<(), Status> {
        let mut waiting = VecDeque::new();
        for number in 0..count {
            // 4 KiB, and as much between them, so that nothing is joined.
            let start = base + (number % 1024) * 8192;
            let range = Extent::new(start, start + 4096).expect("not empty");
            self.ask(range).await?;
            waiting.push_back(range);
            if waiting.len() >= in_flight {
                self.finish(&mut waiting).await?;
            }
        }
        while !waiting.is_empty() {
            self.finish(&mut waiting).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, range: Extent) -> Result<(), Status> {
        self.requests += 1;
        let acquire = Acquire {
            request: RequestId::new(self.requests).expect("counts from 1"),
            holder: Holder::Client(self.client),
            file: self.file()?,
            mode: Mode::Exclusive,
            required: vec![RangePattern::from(range)],
            desired: None,
            collective: false,
        };
        self.say(ClientMessage::Acquire(acquire)).await
    }

    /// Waits for the grant of the request that has waited longest, and gives it back.
    async fn finish(&mut self, waiting: &mut VecDeque<Extent>) -> Result<(), Status> {
        let Some(range) = waiting.pop_front() else { return Ok(()) };
        let grant = self.grant().await?;
        let last_grant_sequence = grant.sequence;
        let release = Release { holder: grant.holder, file: grant.file, range, last_grant_sequence };
        self.say(ClientMessage::Release(release, None)).await?;
        if self.sent.is_multiple_of(MESSAGES_PER_HEARTBEAT) {
            self.beat().await?;
        }
        Ok(())
    }

    async fn grant(&mut self) -> Result<Grant, Status> {
        loop {
            match self.next().await? {
                ServerFrame::Message { message: ServerMessage::Grant(grant), .. } => return Ok(grant.grant),
                ServerFrame::Message { message: ServerMessage::Refused(_, error), .. } => return Err(error.into()),
                _ => {}
            }
        }
    }

    async fn beat(&mut self) -> Result<u64, Status> {
        self.beats += 1;
        let beat = Heartbeat { number: self.beats, received: self.received, progress: 0 };
        self.put(ClientFrame::Heartbeat(beat, None)).await?;
        Ok(self.beats)
    }

    async fn say(&mut self, message: ClientMessage) -> Result<(), Status> {
        self.sent += 1;
        self.put(ClientFrame::Message { number: self.sent, message }).await
    }

    async fn put(&mut self, frame: ClientFrame) -> Result<(), Status> {
        self.up.send(frame.into()).await.map_err(|_| Status::unavailable("the token stream has ended"))
    }

    async fn next(&mut self) -> Result<ServerFrame, Status> {
        let message = self.down.message().await?;
        let message = message.ok_or_else(|| Status::unavailable("the token stream has ended"))?;
        self.received = self.received.max(message.number);
        Ok(ServerFrame::try_from(message)?)
    }

    fn file(&self) -> Result<FileId, Status> {
        self.file.ok_or_else(|| Status::failed_precondition("no file is open"))
    }
}
