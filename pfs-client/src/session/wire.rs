//! One connection of the token stream after the other.

use pfs_proto::convert::ConvertError;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::token::{ClientFrame, ServerFrame};
use pfs_proto::transport::{AddressError, MESSAGE_BYTES_MAX, endpoint};
use pfs_proto::v1;
use pfs_proto::v1::token_client::TokenClient;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What has happened on the connection.
#[derive(Debug)]
pub(super) enum WireEvent {
    /// It is there: frames may be sent.
    Connected,
    Frame(ServerFrame),
    /// The other side speaks another language.
    Malformed(ConvertError),
    /// It could not be made, or is gone.
    Broken(Status),
}

enum Stage {
    Down,
    Connecting(Boxed<Result<Channel, Status>>),
    /// The server answers the call when it has seen the hello.
    Opening(Boxed<Result<Streaming<v1::ServerMessage>, Status>>),
    Open(Box<Streaming<v1::ServerMessage>>),
}

/// The way to the metadata server: at most one connection at a time.
pub(super) struct Wire {
    endpoint: Endpoint,
    auth: AuthInterceptor,
    /// How long making a connection may take.
    patience: Duration,
    stage: Stage,
    up: Option<mpsc::UnboundedSender<v1::ClientMessage>>,
}

impl Wire {
    pub(super) fn new(address: &str, auth: AuthInterceptor, patience: Duration) -> Result<Self, AddressError> {
        Ok(Wire { endpoint: endpoint(address)?, auth, patience, stage: Stage::Down, up: None })
    }

    /// Drops the connection and begins to make a new one.
    pub(super) fn connect(&mut self) {
        let (endpoint, patience) = (self.endpoint.clone(), self.patience);
        self.up = None;
        self.stage = Stage::Connecting(Box::pin(async move {
            match tokio::time::timeout(patience, endpoint.connect()).await {
                Ok(connected) => connected.map_err(|error| Status::from_error(Box::new(error))),
                Err(_) => Err(Status::unavailable(format!("no connection within {patience:?}"))),
            }
        }));
    }

    /// Sends a frame. One that is sent on a broken connection is lost with it.
    pub(super) fn send(&self, frame: ClientFrame) {
        if let Some(up) = &self.up {
            let _ = up.send(frame.into());
        }
    }

    /// The next event; never, while there is no connection and none is being made. May be dropped and called again.
    pub(super) async fn next(&mut self) -> WireEvent {
        loop {
            match &mut self.stage {
                Stage::Down => return std::future::pending().await,
                Stage::Connecting(connecting) => match connecting.await {
                    Ok(channel) => {
                        self.open(channel);
                        return WireEvent::Connected;
                    }
                    Err(status) => return self.broken(status),
                },
                Stage::Opening(opening) => match opening.await {
                    Ok(stream) => self.stage = Stage::Open(Box::new(stream)),
                    Err(status) => return self.broken(status),
                },
                Stage::Open(stream) => match stream.message().await {
                    Ok(Some(message)) => {
                        return ServerFrame::try_from(message).map_or_else(WireEvent::Malformed, WireEvent::Frame);
                    }
                    Ok(None) => return self.broken(Status::unavailable("the token stream was closed")),
                    Err(status) => return self.broken(status),
                },
            }
        }
    }

    fn open(&mut self, channel: Channel) {
        let channel = InterceptedService::new(channel, self.auth.clone());
        let mut client = TokenClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (up, outgoing) = mpsc::unbounded_channel();
        self.up = Some(up);
        self.stage = Stage::Opening(Box::pin(async move {
            let request = Request::new(UnboundedReceiverStream::new(outgoing));
            client.stream_token(request).await.map(tonic::Response::into_inner)
        }));
    }

    fn broken(&mut self, status: Status) -> WireEvent {
        self.stage = Stage::Down;
        self.up = None;
        WireEvent::Broken(status)
    }
}
