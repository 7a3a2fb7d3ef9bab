//! The token stream of one client: hello first, then messages both ways until one side ends it.
//!
//! A message that can not be understood is answered with `refused`; the stream goes on. It ends without a hello, when
//! the client is given up, and when the server ends.

use crate::server::Shared;
use crate::sessions::{ClientStream, ConnectRefused};
use pfs_core::ids::ClientId;
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::token::{ClientFrame, Subject, subject_of};
use pfs_proto::v1;
use pfs_proto::v1::token_server::Token;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

pub(super) struct TokenService {
    shared: Arc<Shared>,
}

impl TokenService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        TokenService { shared }
    }
}

type Outgoing = std::pin::Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Token for TokenService {
    type StreamTokenStream = Outgoing;

    async fn stream_token(
        &self,
        request: Request<Streaming<v1::ClientMessage>>,
    ) -> Result<Response<Self::StreamTokenStream>, Status> {
        let mut incoming = request.into_inner();
        let client = hello(&self.shared, &mut incoming).await?;
        let (stream, receiver, ended) = ClientStream::new();
        connect(&self.shared, client, stream).await?;
        let shared = self.shared.clone();
        self.shared.background.spawn(async move {
            ended.run_until_cancelled(receive(&shared, client, incoming)).await;
            // A task that has ended needs no telling.
            let _ = shared.tokens.send(move |state| state.disconnect(client)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(Ok))))
    }
}

/// The first message, which must be a hello and come within a lease.
async fn hello(shared: &Shared, incoming: &mut Streaming<v1::ClientMessage>) -> Result<ClientId, Status> {
    let refused = |text: &str| status(ErrorCode::InvalidArgument, text);
    let patience = Duration::from_millis(shared.config.lease_ms);
    let first = tokio::time::timeout(patience, incoming.message()).await;
    let first = first.map_err(|_| refused("a token stream was opened and no hello came"))??;
    let first = first.ok_or_else(|| refused("a token stream ended before its hello"))?;
    match ClientFrame::try_from(first)? {
        ClientFrame::Hello(hello) => Ok(hello.client),
        _ => Err(refused("the first message of a token stream must be a hello")),
    }
}

async fn connect(shared: &Shared, client: ClientId, stream: ClientStream) -> Result<(), Status> {
    let connected = shared.tokens.with(move |state| state.connect(client, stream)).await?;
    connected.map_err(|refused| {
        let text = refused.to_string();
        match refused {
            ConnectRefused::NoSession(_) | ConnectRefused::SecondStream(_) => status(ErrorCode::NoSession, text),
        }
    })
}

/// Hands every message to the state, in order, until the stream ends.
async fn receive(shared: &Shared, client: ClientId, mut incoming: Streaming<v1::ClientMessage>) {
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%client, %error, "a token stream broke");
                return;
            }
        };
        let request = match subject_of(&message) {
            Some(Subject::Request(request)) => Some(request),
            _ => None,
        };
        let applied = match ClientFrame::try_from(message) {
            Ok(message) => shared.tokens.send(move |state| state.receive(client, message)).await,
            Err(error) => shared.tokens.send(move |state| state.refuse(client, request, error.into())).await,
        };
        if applied.is_err() {
            return;
        }
    }
}
