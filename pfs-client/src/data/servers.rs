//! Connections to the file servers, and single requests on them.
//!
//! What became of a write that was not answered is in doubt. Before the next write of this client goes to that server,
//! under whatever stamp, the server is asked to make sure that the doubtful one can not be applied any more.

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
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(20);
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(500);

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
    pub(crate) async fn call<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let attempt = || async {
            let answer = attempt().await;
            answer.map(Response::into_inner).map_err(Error::from_status)
        };
        self.persist(self.operation_timeout, attempt).await
    }

    /// The same for calls of any kind; one try may take `timeout`.
    pub(crate) async fn persist<T, F>(&self, timeout: Duration, attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        InContext::new(self.handle.clone(), self.tries(timeout, attempt)).await
    }

    async fn tries<T, F>(&self, timeout: Duration, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let error = match in_time(timeout, attempt()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.kind().is_passing() || start.elapsed() + pause > self.retry_for {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

async fn in_time<T>(timeout: Duration, attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| {
        let message = format!("no answer within {timeout:?}");
        Err(Error::new(ErrorKind::TimedOut, message))
    })
}

/// All file servers that this client knows.
#[derive(Debug)]
pub(crate) struct Servers {
    auth: AuthInterceptor,
    patience: Patience,
    known: RwLock<BTreeMap<ServerId, Server>>,
    /// The largest sequence of each stamp that may still be applied.
    doubts: Mutex<BTreeMap<ServerId, BTreeMap<Stamp, u64>>>,
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

    /// Sends a write, once.
    pub(crate) async fn write(&self, id: ServerId, request: v1::WriteRequest) -> Result<Instance, Error> {
        let reply = self.call(id, |mut client| async move { client.write(Request::new(request)).await });
        instance(reply.await?.instance)
    }

    /// Sends a read, once.
    pub(crate) async fn read(&self, id: ServerId, request: v1::ReadRequest) -> Result<v1::ReadReply, Error> {
        self.call(id, |mut client| async move { client.read(Request::new(request)).await }).await
    }

    /// Sends a commit, once. Returns the server's instance and the object's length, in bytes.
    pub(crate) async fn commit(&self, id: ServerId, stamp: Stamp, object: ObjectId) -> Result<(Instance, u64), Error> {
        let request = v1::CommitRequest { stamp: Some(stamp.into()), objects: vec![object.into()] };
        let reply = self.call(id, |mut client| async move { client.commit(Request::new(request)).await }).await?;
        Ok((instance(reply.instance)?, reply.object_lengths.first().copied().unwrap_or(0)))
    }

    /// Asks for an object's state, once.
    pub(crate) async fn stat(&self, id: ServerId, stamp: Stamp, object: ObjectId) -> Result<v1::StatReply, Error> {
        let request = v1::StatRequest { stamp: Some(stamp.into()), object: Some(object.into()) };
        self.call(id, |mut client| async move { client.stat(Request::new(request)).await }).await
    }

    /// What became of a write is not known.
    pub(crate) fn doubt(&self, id: ServerId, stamp: Stamp, sequence: u64) {
        let mut doubts = self.doubts.lock();
        let largest = doubts.entry(id).or_default().entry(stamp).or_insert(sequence);
        *largest = sequence.max(*largest);
    }

    /// Has the server make sure that no doubtful write of this client can be applied any more. A doubt of an earlier boot
    /// is settled in the same way: that the server refuses that boot now says nothing of what it was in the middle of.
    pub(crate) async fn settle_doubts(&self, id: ServerId) -> Result<(), Error> {
        let doubts = self.doubts.lock().get(&id).cloned().unwrap_or_default();
        for (stamp, sequence) in doubts {
            self.drain(id, stamp, sequence).await?;
            self.forget_doubt(id, stamp, sequence);
        }
        Ok(())
    }

    fn forget_doubt(&self, id: ServerId, stamp: Stamp, sequence: u64) {
        let mut doubts = self.doubts.lock();
        let Some(of_server) = doubts.get_mut(&id) else { return };
        if of_server.get(&stamp) == Some(&sequence) {
            of_server.remove(&stamp);
        }
        if of_server.is_empty() {
            doubts.remove(&id);
        }
    }

    /// After this, no operation of the stamp with this sequence or a smaller one can be applied at the server.
    async fn drain(&self, id: ServerId, stamp: Stamp, sequence: u64) -> Result<(), Error> {
        let request = v1::DrainRequest { stamp: Some(stamp.into()), sequence };
        self.call(id, |mut client| async move { client.drain(Request::new(request)).await }).await.map(drop)
    }

    async fn call<T, F>(&self, id: ServerId, attempt: impl FnOnce(DataClient<AuthChannel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Some(server) = self.known.read().get(&id).cloned() else {
            let message = format!("the address of file {id} is not known; see `pfs status`");
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let asked = async { attempt(server.client).await.map(Response::into_inner).map_err(Error::from_status) };
        in_time(self.patience.operation_timeout, asked).await.map_err(|error| {
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
