//! Connections to the file servers, and single requests on them.
//!
//! A request that a server does not answer is tried again for a while: writes name their bytes and are the same however
//! often they are applied. What became of a write that was never answered is in doubt. Before the next write of the same
//! stamp goes to that server, the server is asked to make sure that the doubtful one can not be applied any more.

use crate::error::{Error, ErrorKind};
use crate::executor::InContext;
use parking_lot::{Mutex, RwLock};
use pfs_core::ids::{Instance, ObjectId, ServerId, Stamp};
use pfs_proto::metadata::ServerAddress;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::transport::{AuthChannel, MESSAGE_BYTES_MAX, connect};
use pfs_proto::v1;
use pfs_proto::v1::data_client::DataClient;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tonic::{Request, Response, Status};

/// First pause before a request is tried again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
struct Server {
    address: String,
    client: DataClient<AuthChannel>,
}

/// How long requests may take.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// The event loop whose timers are used.
    pub(crate) handle: Handle,
    /// One try.
    pub(crate) operation_timeout: Duration,
    /// All tries that find nobody.
    pub(crate) retry_for: Duration,
}

impl Patience {
    /// Calls until there is an answer, a lasting error, or the time is over.
    pub(crate) async fn call<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        InContext::new(self.handle.clone(), self.persist(attempt)).await
    }

    async fn persist<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let error = match tokio::time::timeout(self.operation_timeout, attempt()).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Error::from_status(status),
                Err(_) => {
                    let message = format!("no answer within {:?}", self.operation_timeout);
                    Error::new(ErrorKind::TimedOut, message)
                }
            };
            if !error.kind().is_passing() || start.elapsed() + pause > self.retry_for {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// All file servers that this client knows.
#[derive(Debug)]
pub(crate) struct Servers {
    auth: AuthInterceptor,
    patience: Patience,
    known: RwLock<BTreeMap<ServerId, Server>>,
    /// The largest sequence that may still be applied.
    doubts: Mutex<BTreeMap<(ServerId, Stamp), u64>>,
}

impl Servers {
    /// Connections are made on the event loop of `patience`.
    pub(crate) fn new(auth: AuthInterceptor, patience: Patience) -> Self {
        Servers { auth, patience, known: RwLock::new(BTreeMap::new()), doubts: Mutex::new(BTreeMap::new()) }
    }

    /// Takes over addresses from the metadata server. A server that moved gets a new connection.
    pub(crate) fn learn(&self, addresses: Vec<ServerAddress>) -> Result<(), Error> {
        for ServerAddress { server: id, address, .. } in addresses {
            if self.known.read().get(&id).is_some_and(|server| server.address == address) {
                continue;
            }
            let _context = self.patience.handle.enter();
            let channel = connect(&address, &self.auth)
                .map_err(|error| Error::malformed(&format!("the address of file {id}"), error))?;
            let client = DataClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            self.known.write().insert(id, Server { address, client });
        }
        Ok(())
    }

    pub(crate) async fn write(&self, id: ServerId, request: v1::WriteRequest) -> Result<Instance, Error> {
        let reply = self.call(id, |mut client| {
            let request = request.clone();
            async move { client.write(Request::new(request)).await }
        });
        instance(reply.await?.instance)
    }

    pub(crate) async fn read(&self, id: ServerId, request: v1::ReadRequest) -> Result<v1::ReadReply, Error> {
        self.call(id, |mut client| {
            let request = request.clone();
            async move { client.read(Request::new(request)).await }
        })
        .await
    }

    /// The server's instance and the object's length, in bytes.
    pub(crate) async fn commit(&self, id: ServerId, stamp: Stamp, object: ObjectId) -> Result<(Instance, u64), Error> {
        let request = v1::CommitRequest { stamp: Some(stamp.into()), objects: vec![object.into()] };
        let reply = self
            .call(id, |mut client| {
                let request = request.clone();
                async move { client.commit(Request::new(request)).await }
            })
            .await?;
        Ok((instance(reply.instance)?, reply.object_lengths.first().copied().unwrap_or(0)))
    }

    pub(crate) async fn stat(&self, id: ServerId, stamp: Stamp, object: ObjectId) -> Result<v1::StatReply, Error> {
        let request = v1::StatRequest { stamp: Some(stamp.into()), object: Some(object.into()) };
        self.call(id, |mut client| async move { client.stat(Request::new(request)).await }).await
    }

    /// What became of a write is not known.
    pub(crate) fn doubt(&self, id: ServerId, stamp: Stamp, sequence: u64) {
        let mut doubts = self.doubts.lock();
        let largest = doubts.entry((id, stamp)).or_insert(sequence);
        *largest = sequence.max(*largest);
    }

    /// Has the server make sure that no doubtful write of the stamp can be applied any more.
    pub(crate) async fn settle_doubt(&self, id: ServerId, stamp: Stamp) -> Result<(), Error> {
        let Some(sequence) = self.doubts.lock().get(&(id, stamp)).copied() else { return Ok(()) };
        self.drain(id, stamp, sequence).await?;
        let mut doubts = self.doubts.lock();
        if doubts.get(&(id, stamp)) == Some(&sequence) {
            doubts.remove(&(id, stamp));
        }
        Ok(())
    }

    /// After this, no operation of the stamp with this sequence or a smaller one can be applied at the server.
    async fn drain(&self, id: ServerId, stamp: Stamp, sequence: u64) -> Result<(), Error> {
        let request = v1::DrainRequest { stamp: Some(stamp.into()), sequence };
        self.call(id, |mut client| async move { client.drain(Request::new(request)).await }).await.map(drop)
    }

    async fn call<T, F>(&self, id: ServerId, attempt: impl Fn(DataClient<AuthChannel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Some(server) = self.known.read().get(&id).cloned() else {
            let message = format!("the address of file {id} is not known; see `pfs status`");
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let answer = self.patience.call(|| attempt(server.client.clone())).await;
        answer.map_err(|error| {
            let hint = if error.kind().is_passing() { "; see `pfs status` for which servers are up" } else { "" };
            let doing = format!("file {id} at {}", server.address);
            let kind = error.kind();
            Error::new(kind, format!("{doing}: {error}{hint}")).with_source(error)
        })
    }
}

fn instance(number: u64) -> Result<Instance, Error> {
    Instance::new(number).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a file server's answer has no instance; is it of another version?")
    })
}
