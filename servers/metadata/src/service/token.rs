//! The token stream of one client: hello first, then frames both ways until one side ends the connection. The session
//! outlives it: what was lost with it is repeated on the next one.
//!
//! A message that can not be understood is answered if it says what it is about, and the stream goes on. It ends without
//! a hello, with a message that nobody could be answered about, when the client has connected anew or is given up, and
//! when the server ends.

use super::{calls, known};
use crate::namespace::NamespaceError;
use crate::server::Shared;
use crate::sessions::Connection;
use crate::tokens::{ConnectionId, Stopped};
use pfs_core::session::Hello;
use pfs_core::session::coordinator::HelloRefused;
use pfs_proto::metadata::EntryKind;
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail, status};
use pfs_proto::token::{ClientFrame, ClientMessage, ReassertMessage, subject_of};
use pfs_proto::v1;
use pfs_proto::v1::token_server::Token;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
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
        let hello = hello(&self.shared, &mut incoming).await?;
        let (connection, outgoing, ended) = Connection::new();
        let connected = self.shared.tokens.with(move |state| state.hello(hello, connection))?;
        let connection = connected.map_err(refused)?;
        let shared = self.shared.clone();
        self.shared.background.spawn(async move {
            let error = match ended.run_until_cancelled(receive(&shared, connection, incoming)).await {
                Some(Ok(error)) => error,
                // The connection was ended here, or the whole server ends.
                None | Some(Err(Stopped)) => None,
            };
            // A task that has ended needs no telling.
            let _ = shared.tokens.with(move |state| state.hang_up(connection, error));
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

/// The first message, which must be a hello and come within a lease.
async fn hello(shared: &Shared, incoming: &mut Streaming<v1::ClientMessage>) -> Result<Hello, Status> {
    let refused = |text: &str| status(ErrorCode::InvalidArgument, text);
    let patience = Duration::from_millis(shared.config.lease_ms);
    let first = tokio::time::timeout(patience, incoming.message()).await;
    let first = first.map_err(|_| refused("a token stream was opened and no hello came"))??;
    let first = first.ok_or_else(|| refused("a token stream ended before its hello"))?;
    match ClientFrame::try_from(first)? {
        ClientFrame::Hello(hello) => Ok(hello),
        _ => Err(refused("the first message of a token stream must be a hello")),
    }
}

fn refused(refused: HelloRefused) -> Status {
    let code = match refused {
        HelloRefused::NoSession(_) => ErrorCode::NoSession,
        HelloRefused::TooEarly(_) => ErrorCode::Unavailable,
    };
    status(code, refused.to_string())
}

/// Hands every frame to the state, in order, until the stream ends. Returns the error that ends it from here.
async fn receive(
    shared: &Arc<Shared>,
    connection: ConnectionId,
    mut incoming: Streaming<v1::ClientMessage>,
) -> Result<Option<Status>, Stopped> {
    loop {
        let message = match incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::debug!(client = %connection.client, %error, "a token stream broke");
                return Ok(None);
            }
        };
        let (number, subject) = (message.number, subject_of(&message));
        match (ClientFrame::try_from(message), subject) {
            (Ok(ClientFrame::Message { number, message: ClientMessage::Reassert(message) }), _) => {
                if let Err(error) = reassert(shared, connection, number, message).await? {
                    return Ok(Some(error.into()));
                }
            }
            (Ok(frame), _) => {
                if let Some(call) = shared.tokens.with(|state| state.receive(connection, frame))? {
                    calls::begin(shared, connection.client, call).await;
                }
            }
            (Err(error), Some(subject)) if number > 0 => {
                shared.tokens.with(move |state| state.refuse(connection, number, subject, error.into()))?;
            }
            (Err(error), _) => {
                tracing::warn!(client = %connection.client, %error, "a message can not be understood; the stream ends");
                return Ok(Some(error.into()));
            }
        }
    }
}

/// Hands over what a client says it holds of a file, with what the store knows of that file. A store that can not be
/// read ends the connection, so that the message comes again.
async fn reassert(
    shared: &Shared,
    connection: ConnectionId,
    number: u64,
    message: ReassertMessage,
) -> Result<Result<(), ErrorDetail>, Stopped> {
    let id = message.reassertion.file;
    match known::stored(shared, id).await {
        Ok(file) if file.kind == EntryKind::File => {
            shared.tokens.with(move |state| state.reassert(connection, number, &message, &file))?;
        }
        Ok(_) | Err(NamespaceError::NoFile(_)) => {
            shared.tokens.with(|state| state.reassert_gone(connection, number, &message))?;
            return Ok(Ok(()));
        }
        Err(error) => return Ok(Err(error.into())),
    }
    // What changed while it was on its way is in the store, or will be told to the file that is open now.
    match known::read(shared, id).await {
        Ok(file) => {
            shared.tokens.with(move |state| state.refresh(id, file.size, &file.committed_slots))?;
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error_detail(&error))),
    }
}
