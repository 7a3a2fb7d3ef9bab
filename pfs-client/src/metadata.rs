//! Calls to the metadata server.
//!
//! A change names itself by (client, slot, sequence): if the answer is lost, the call is repeated under the same name and
//! gets the first answer, so nothing is done twice.

use crate::data::servers::Patience;
use crate::error::{Error, ErrorKind};
use parking_lot::Mutex;
use pfs_core::ids::ClientId;
use pfs_proto::metadata::{Initialize, OperationId, SESSION_SLOTS, Session};
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::transport::{AuthChannel, MESSAGE_BYTES_MAX, connect};
use pfs_proto::v1;
use pfs_proto::v1::metadata_client::MetadataClient;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

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
    client: MetadataClient<AuthChannel>,
    id: ClientId,
    patience: Patience,
    slots: Arc<Slots>,
}

impl Metadata {
    /// Opens a session. Must run on the event loop that will serve the connection.
    pub(crate) async fn connect(
        address: &str,
        auth: &AuthInterceptor,
        patience: Patience,
        name: &str,
    ) -> Result<(Self, Session), Error> {
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
        Ok((Metadata { client, id: session.client, patience, slots: Arc::new(Slots::new()) }, session))
    }

    /// A call that changes nothing.
    pub(crate) async fn read<T, F>(&self, attempt: impl Fn(MetadataClient<AuthChannel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.patience.call(|| attempt(self.client.clone())).await
    }

    /// A call that changes something, under one name however often it is tried.
    pub(crate) async fn change<T, F>(
        &self,
        attempt: impl Fn(MetadataClient<AuthChannel>, v1::OperationId) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let _free = self.slots.free.acquire().await.expect("the semaphore is never closed");
        let (slot, last) = self.slots.idle.lock().pop().expect("as many slots as permits");
        let sequence = last + 1;
        // A dropped call's slot goes back with its number used: the next operation has a larger one.
        let _back = Back { slots: &self.slots, slot, sequence };
        let operation = v1::OperationId::from(OperationId { client: self.id, slot, sequence });
        self.patience.call(|| attempt(self.client.clone(), operation)).await
    }

    pub(crate) async fn client_shutdown(&self) -> Result<(), Error> {
        let request = v1::ClientShutdownRequest { client_id: self.id.get() };
        self.read(|mut client| async move { client.client_shutdown(Request::new(request)).await }).await.map(drop)
    }
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
