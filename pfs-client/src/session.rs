//! Opening a session, and the token driver: the task that reads and writes the token stream.
//!
//! Invariants:
//! * messages from the manager are handled in the order of the stream;
//! * the client stops itself first: when no heartbeat that was sent within the lease has been answered, or the stream is
//!   gone, the session has ended here, and nothing is sent to a file server any more.

use crate::config::ClientConfig;
use crate::data::servers::{Patience, Servers};
use crate::error::{Error, ErrorKind};
use crate::metadata::Metadata;
use crate::state::{ClientState, Links, NewSession};
use pfs_core::session::{Heartbeat, HeartbeatAnswer, Hello};
use pfs_proto::metadata::Session;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::token::{ClientFrame, ClientMessage, ServerFrame, ServerMessage, SizeReport};
use pfs_proto::transport::{MESSAGE_BYTES_MAX, connect};
use pfs_proto::v1;
use pfs_proto::v1::token_client::TokenClient;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};

/// Opens a session at the first metadata server that answers. Runs on the io thread; the stream runs on the token thread.
pub(crate) async fn open(
    config: ClientConfig,
    auth: AuthInterceptor,
    patience: Patience,
    io: Handle,
    token: Handle,
) -> Result<Arc<ClientState>, Error> {
    let mut failures = Vec::new();
    for address in &config.metadata {
        match Metadata::connect(address, &auth, patience.clone(), &config.name).await {
            Ok((metadata, session)) => {
                let address = address.clone();
                return start(config, auth, patience, io, token, address, metadata, session).await;
            }
            Err(error) if error.kind().is_passing() => failures.push(format!("{address}: {error}")),
            Err(error) => return Err(error.context(format_args!("metadata server {address}"))),
        }
    }
    let message = format!(
        "no metadata server answers ({}); check PFS_METADATA and whether the servers are running",
        failures.join("; ")
    );
    Err(Error::new(ErrorKind::Unavailable, message))
}

#[allow(clippy::too_many_arguments)] // each is made once, here they meet
async fn start(
    config: ClientConfig,
    auth: AuthInterceptor,
    patience: Patience,
    io: Handle,
    token: Handle,
    address: String,
    metadata: Metadata,
    session: Session,
) -> Result<Arc<ClientState>, Error> {
    let servers = Servers::new(auth.clone(), patience);
    servers.learn(session.servers)?;
    let (up, outgoing) = mpsc::unbounded_channel();
    let links = Links::new(session.client, session.boot, up);
    links.send_frame(ClientFrame::Hello(Hello { client: session.client, boot: session.boot, received: 0 }));
    let cluster_id = session.cluster_id;
    let state = Arc::new(ClientState::from(NewSession { config, cluster_id, links, metadata, servers, io }));
    let (ready, welcome) = oneshot::channel();
    let driver = Driver {
        state: Arc::downgrade(&state),
        address,
        lease: Duration::from_millis(session.lease_ms),
        heartbeat: Duration::from_millis(session.heartbeat_ms),
        unanswered: VecDeque::new(),
        alive_from: Instant::now(),
        beats: 0,
        ready: Some(ready),
    };
    token.spawn(driver.run(auth, outgoing));
    match welcome.await {
        Ok(()) => Ok(state),
        Err(_) => Err(state
            .check_alive()
            .err()
            .unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the token stream ended before the session began"))),
    }
}

/// The task behind the token stream.
struct Driver {
    state: Weak<ClientState>,
    address: String,
    lease: Duration,
    heartbeat: Duration,
    /// Heartbeats on their way: number and time of sending.
    unanswered: VecDeque<(u64, Instant)>,
    /// When the last heartbeat was sent that was answered.
    alive_from: Instant,
    beats: u64,
    ready: Option<oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self, auth: AuthInterceptor, outgoing: mpsc::UnboundedReceiver<v1::ClientMessage>) {
        let ended = match self.connect(auth, outgoing).await {
            Ok(stream) => self.drive(stream).await,
            Err(error) => error,
        };
        if let Some(state) = self.state.upgrade() {
            state.end(ended);
        }
    }

    async fn connect(
        &self,
        auth: AuthInterceptor,
        outgoing: mpsc::UnboundedReceiver<v1::ClientMessage>,
    ) -> Result<Streaming<v1::ServerMessage>, Error> {
        let channel = connect(&self.address, &auth)
            .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(error))?;
        let mut client = TokenClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let request = Request::new(UnboundedReceiverStream::new(outgoing));
        client.stream_token(request).await.map(tonic::Response::into_inner).map_err(|status| self.lost(Some(status)))
    }

    /// Until the session is over; returns why.
    async fn drive(&mut self, mut stream: Streaming<v1::ServerMessage>) -> Error {
        let mut ticks = tokio::time::interval(self.heartbeat);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let lease_left = self.lease.saturating_sub(self.alive_from.elapsed());
            tokio::select! {
                biased;
                message = stream.message() => match message {
                    Ok(Some(message)) => match ServerFrame::try_from(message) {
                        Ok(message) => self.handle(message),
                        Err(error) => return Error::malformed("a message of the token stream", error),
                    },
                    Ok(None) => return self.lost(None),
                    Err(status) => return self.lost(Some(status)),
                },
                _ = ticks.tick() => {
                    let Some(state) = self.state.upgrade() else {
                        return Error::new(ErrorKind::NoSession, "the client was shut down");
                    };
                    self.beats += 1;
                    self.unanswered.push_back((self.beats, Instant::now()));
                    let beat = Heartbeat { number: self.beats, received: 0, progress: 0 };
                    state.links.send_frame(ClientFrame::Heartbeat(beat, None));
                }
                () = tokio::time::sleep(lease_left) => {
                    let message = format!(
                        "the metadata server at {} has not answered for {:?}, longer than the lease; open the files again",
                        self.address, self.lease
                    );
                    return Error::new(ErrorKind::NoSession, message);
                }
            }
        }
    }

    fn handle(&mut self, frame: ServerFrame) {
        let Some(state) = self.state.upgrade() else { return };
        let message = match frame {
            ServerFrame::Welcome(_) => {
                if let Some(ready) = self.ready.take() {
                    // Whoever opens the session may have given up.
                    let _ = ready.send(());
                }
                return;
            }
            ServerFrame::Heartbeat(HeartbeatAnswer { number, .. }) => {
                while let Some((sent, at)) = self.unanswered.front().copied()
                    && sent <= number
                {
                    self.alive_from = self.alive_from.max(at);
                    self.unanswered.pop_front();
                }
                return;
            }
            ServerFrame::Message { message, .. } => message,
        };
        match message {
            ServerMessage::Grant(grant) => match state.file(grant.grant.holder, grant.grant.file) {
                Some(file) => file.handle_grant(grant),
                None => tracing::debug!(?grant, "a grant for a file that was closed"),
            },
            ServerMessage::Revoke(revoke) => match state.file(revoke.holder, revoke.file) {
                Some(file) => file.handle_revoke(revoke),
                // Not attached yet, or closed: nothing is used, so there is nothing to wait for.
                None => state.links.send(ClientMessage::Ack(pfs_core::token::message::Ack {
                    revoke: revoke.revoke,
                    holder: revoke.holder,
                    file: revoke.file,
                    released: vec![revoke.range],
                    size: None,
                    undrained: Vec::new(),
                })),
            },
            ServerMessage::Refused(request, error) => {
                if !state.files().iter().any(|file| file.handle_refused(request, &error)) {
                    tracing::debug!(%request, %error, "a refusal of a request that nobody waits for");
                }
            }
            ServerMessage::SizeQuery(query) => {
                let size = state.written_size(query.file);
                let report = SizeReport { query: query.query, file: query.file, size };
                state.links.send(ClientMessage::SizeReport(report));
            }
            other => tracing::debug!(?other, "a message that this client did not ask for"),
        }
    }

    fn lost(&self, status: Option<Status>) -> Error {
        let why = match &status {
            Some(status) => Error::from_status(status.clone()).to_string(),
            None => "the stream was closed".to_owned(),
        };
        let message = format!(
            "the connection to the metadata server at {} is lost ({why}); open the files again when it is back",
            self.address
        );
        Error::new(ErrorKind::NoSession, message)
    }
}
