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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

pub(crate) type MetadataStub = MetadataClient<AuthChannel>;

/// The session's operation slots. A slot is one operation's at a time.
#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    /// (slot, sequence of its last operation)
    idle: Mutex<Vec<(u32, u64)>>,
}

impl Slots {
    fn new() -> Self {
        let count = SESSION_SLOTS;
        Slots {
            free: Arc::new(Semaphore::new(usize::try_from(count).expect("a small number"))),
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
        let free = self.slots.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (operation, _name) = self.name(free);
        self.read(method(operation)).await
    }

    /// A change that nobody waits for: it goes out with the next message of this client, or a little later, and `done` is
    /// told its end, unless the session ends before. False if no name for it is free now: then nothing is done.
    pub(crate) fn change_later(
        &self,
        method: impl FnOnce(v1::OperationId) -> Method,
        done: impl FnOnce(Result<Answer, Error>) + Send + 'static,
    ) -> bool {
        let Ok(free) = self.slots.free.clone().try_acquire_owned() else { return false };
        let (operation, name) = self.name(free);
        let method = method(operation);
        let (metadata, again) = (self.clone(), method.clone());
        self.links.call_later(method, move |answer| match answer {
            Err(error) if error.kind().is_passing() => {
                let io = metadata.patience.handle.clone();
                io.spawn(async move {
                    let answer = metadata.read(again).await;
                    drop(name);
                    done(answer);
                });
            }
            answer => {
                drop(name);
                done(answer);
            }
        });
        true
    }

    /// A name for a change, for as long as it is under way.
    fn name(&self, free: OwnedSemaphorePermit) -> (v1::OperationId, Name) {
        let (slot, last) = self.slots.idle.lock().pop().expect("as many slots as permits");
        let sequence = last + 1;
        let operation = v1::OperationId::from(OperationId { client: self.id(), slot, sequence });
        (operation, Name { slots: self.slots.clone(), slot, sequence, _free: free })
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

/// A slot that is in use. A dropped call's goes back with its number used: the next operation has a larger one.
struct Name {
    slots: Arc<Slots>,
    slot: u32,
    sequence: u64,
    /// Is free when the slot has gone back.
    _free: OwnedSemaphorePermit,
}

impl Drop for Name {
    fn drop(&mut self) {
        self.slots.idle.lock().push((self.slot, self.sequence));
    }
}
