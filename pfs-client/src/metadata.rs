//! Calls to the metadata server.
//!
//! A change names itself by (client, slot, sequence): if the answer is lost, the call is repeated under the same name and
//! gets the first answer, so nothing is done twice. Calls ride the token stream, and so outlive connections and restarts;
//! only what needs no session goes by calls of its own.

use crate::data::servers::Patience;
use crate::error::{Error, ErrorKind};
use crate::links::{Answer, Links, Method};
use parking_lot::Mutex;
use pfs_core::ids::ClientId;
use pfs_proto::metadata::{Initialize, OperationId, SESSION_SLOTS, Session};
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::transport::{AuthChannel, MESSAGE_BYTES_MAX, connect};
use pfs_proto::v1;
use pfs_proto::v1::metadata_client::MetadataClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

pub(crate) type MetadataStub = MetadataClient<AuthChannel>;

/// The session's operation slots. A slot is one operation's at a time.
#[derive(Debug)]
struct Slots {
    free: Semaphore,
    /// (slot, sequence of its last operation)
    idle: Mutex<Vec<(u32, u64)>>,
}

impl Slots {
    fn new() -> Self {
        let count = SESSION_SLOTS;
        Slots {
            free: Semaphore::new(usize::try_from(count).expect("a small number")),
            idle: Mutex::new((0..count).map(|slot| (slot, 0)).collect()),
        }
    }
}

/// Client of the metadata server.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    stub: MetadataStub,
    links: Arc<Links>,
    patience: Patience,
    /// How long one answer is waited for.
    session_patience: Duration,
    slots: Arc<Slots>,
}

impl Metadata {
    /// Asks for a session. Must run on the event loop that will serve the connection.
    pub(crate) async fn connect(
        address: &str,
        auth: &AuthInterceptor,
        patience: Patience,
        name: &str,
    ) -> Result<(MetadataStub, Session), Error> {
        let channel = connect(address, auth)
            .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()).with_source(error))?;
        let client = MetadataClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let request = v1::InitializeRequest::from(Initialize { cluster_id: None, client_name: name.to_owned() });
        let reply = patience
            .call(|| {
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.initialize(Request::new(request)).await }
            })
            .await?;
        let session = Session::try_from(reply).map_err(|error| Error::malformed("the answer to Initialize", error))?;
        Ok((client, session))
    }

    pub(crate) fn new(stub: MetadataStub, links: Arc<Links>, patience: Patience, session_patience: Duration) -> Self {
        Metadata { stub, links, patience, session_patience, slots: Arc::new(Slots::new()) }
    }

    fn id(&self) -> ClientId {
        self.links.client
    }

    /// A call outside of the session.
    pub(crate) async fn unary<T, F>(&self, attempt: impl Fn(MetadataStub) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.patience.call(|| attempt(self.stub.clone())).await
    }

    /// A call of the session that changes nothing.
    pub(crate) async fn read(&self, method: Method) -> Result<Answer, Error> {
        self.patience.persist(self.session_patience, || self.links.call(method.clone())).await
    }

    /// A call of the session that changes something, under one name however often it is tried.
    pub(crate) async fn change(&self, method: impl Fn(v1::OperationId) -> Method) -> Result<Answer, Error> {
        let _free = self.slots.free.acquire().await.expect("the semaphore is never closed");
        let (slot, last) = self.slots.idle.lock().pop().expect("as many slots as permits");
        let sequence = last + 1;
        // A dropped call's slot goes back with its number used: the next operation has a larger one.
        let _back = Back { slots: &self.slots, slot, sequence };
        let operation = v1::OperationId::from(OperationId { client: self.id(), slot, sequence });
        self.read(method(operation)).await
    }

    pub(crate) async fn client_shutdown(&self) -> Result<(), Error> {
        let request = v1::ClientShutdownRequest { client_id: self.id().get() };
        self.unary(|mut stub| async move { stub.client_shutdown(Request::new(request)).await }).await.map(drop)
    }
}

/// The error for an answer of another call's kind.
pub(crate) fn unexpected(call: &str) -> Error {
    let message = format!("the metadata server answered {call} with another call's answer; is it of another version?");
    Error::new(ErrorKind::Internal, message)
}

struct Back<'a> {
    slots: &'a Slots,
    slot: u32,
    sequence: u64,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.slots.idle.lock().push((self.slot, self.sequence));
    }
}
