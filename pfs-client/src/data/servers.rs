//! Connections to the file servers, and single requests on them.
//!
//! What became of a write that was not answered is in doubt. Before the next write of this client goes to that server,
//! under whatever stamp, the server is asked to make sure that the doubtful one can not be applied any more.

use crate::config::DataPath;
use crate::data::memory::destination::Destination;
use crate::data::memory::source::{Source, checksums};
use crate::data::plan::DataRequest;
use crate::data::small::SmallLink;
use crate::data::wire::rpc::{self, RawChannel};
use crate::data::wire::scatter::{Scatter, Unusable};
use crate::data::wire::stream_reply::StreamReply;
use crate::data::wire::write_body::{WriteBody, WriteName};
use crate::error::{Error, ErrorKind};
use crate::executor::InContext;
use parking_lot::{Mutex, RwLock};
use pfs_core::ids::{Instance, ObjectId, ServerId, Stamp};
use pfs_proto::data::{Allocate, ObjectExtent};
use pfs_proto::metadata::ServerAddress;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::transport::{AuthChannel, MESSAGE_BYTES_MAX, connect_with_switch};
use pfs_proto::v1;
use pfs_proto::v1::data_client::DataClient;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

/// First pause before a request is tried again; doubles up to [`PAUSE_MAX`].
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(20);
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How long the transport may keep bytes after a request was answered, before its connection is ended.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

const WRITE_PATH: &str = "/pfs.v1.Data/Write";
const READ_PATH: &str = "/pfs.v1.Data/ReadStream";

/// Two connections lead to a server: bulk data has one for itself, so that nothing else waits behind it, and so that it
/// can be ended without harm to the others when it keeps what it must let go.
#[derive(Debug)]
struct Server {
    address: String,
    client: DataClient<AuthChannel>,
    bulk: RawChannel,
    small: SmallLink,
    /// Bytes that may be on their way to or from it.
    room: Arc<Semaphore>,
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
    /// Of each server.
    room_bytes: usize,
    known: RwLock<BTreeMap<ServerId, Arc<Server>>>,
    /// The largest sequence of each stamp that may still be applied.
    doubts: Mutex<BTreeMap<ServerId, BTreeMap<Stamp, u64>>>,
}

impl Servers {
    /// Connections are made on the event loop of `patience`.
    pub(crate) fn new(auth: AuthInterceptor, patience: Patience, room_bytes: usize) -> Self {
        Servers { auth, patience, room_bytes, known: RwLock::default(), doubts: Mutex::default() }
    }

    /// Takes over addresses from the metadata server. A server that moved gets a new connection.
    pub(crate) fn learn(&self, addresses: Vec<ServerAddress>) -> Result<(), Error> {
        for ServerAddress { server: id, address, .. } in addresses {
            if self.known.read().get(&id).is_some_and(|server| server.address == address) {
                continue;
            }
            let _context = self.patience.handle.enter();
            let refused = |error| Error::malformed(&format!("the address of file {id}"), error);
            let (channel, switch) = connect_with_switch(&address).map_err(refused)?;
            let client = DataClient::new(InterceptedService::new(channel.clone(), self.auth.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let Patience { handle, operation_timeout, .. } = self.patience.clone();
            let small = SmallLink::new(RawChannel::new(channel, switch, &self.auth), handle, operation_timeout);
            let (channel, switch) = connect_with_switch(&address).map_err(refused)?;
            let bulk = RawChannel::new(channel, switch, &self.auth);
            let room = Arc::new(Semaphore::new(self.room_bytes));
            self.known.write().insert(id, Arc::new(Server { address, client, bulk, small, room }));
        }
        Ok(())
    }

    /// Waits for room for so many bytes on their way to or from a server.
    pub(crate) async fn room(&self, id: ServerId, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = u32::try_from(bytes).expect("requests are at most a few MiB");
        Ok(self.server(id)?.room.clone().acquire_many_owned(bytes).await.expect("the semaphore is never closed"))
    }

    /// The same, if there is room now.
    pub(crate) fn try_room(&self, id: ServerId, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.server(id).ok()?.room.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    /// Sends a write, once. Nobody has its bytes any more when this returns.
    pub(crate) async fn write(
        &self,
        id: ServerId,
        path: DataPath,
        name: WriteName,
        request: &Arc<DataRequest>,
        source: &Source,
    ) -> Result<Instance, Error> {
        let server = self.server(id)?;
        let written: Result<v1::WriteReply, Error> = match path {
            DataPath::Unary => {
                let message = source.with_slices(request, |slices| {
                    let mut message = name.head(request, checksums(request, slices));
                    message.payload = slices.concat().into();
                    message
                })?;
                self.call(id, |mut client| async move { client.write(Request::new(message)).await }).await
            }
            DataPath::Small => {
                // The stream has a timer of its own.
                let written = server.small.write(name, request, source).await;
                written.map_err(|error| named(id, &server.address, error))
            }
            DataPath::Bulk | DataPath::Auto => {
                let (cargo, release) = source.ship(&server.bulk.switch)?;
                let body = Body::new(WriteBody::new(name, request.clone(), cargo));
                let written = self.timed(id, &server.address, server.bulk.unary(WRITE_PATH, body)).await;
                // Only here the transport has them, and only here there is an event loop.
                let patience = match &written {
                    Err(error) if error.kind() == ErrorKind::TimedOut => Duration::ZERO,
                    _ => RELEASE_PATIENCE,
                };
                release.wait(patience).await;
                written
            }
        };
        instance(written?.instance)
    }

    /// Sends a read, once; the bytes go to their destination as they arrive. The outer error is lasting or passing as that
    /// of every call, the inner one tells which bytes were damaged.
    pub(crate) async fn read(
        &self,
        id: ServerId,
        path: DataPath,
        message: v1::ReadRequest,
        request: &DataRequest,
        destination: &Destination,
    ) -> Result<Result<(), ObjectExtent>, Error> {
        let scatter = Scatter::new(request, destination);
        let outcome = match path {
            DataPath::Unary => {
                let reply = self.call(id, |mut client| async move { client.read(Request::new(message)).await }).await?;
                put_whole(scatter, reply)
            }
            DataPath::Small => {
                let server = self.server(id)?;
                let reply = server.small.read(&message).await;
                put_whole(scatter, reply.map_err(|error| named(id, &server.address, error))?)
            }
            DataPath::Bulk | DataPath::Auto => {
                let server = self.server(id)?;
                let asked = async { Ok(read_stream(&server.bulk, message, scatter).await) };
                self.timed(id, &server.address, asked).await?
            }
        };
        match outcome {
            Ok(()) => Ok(Ok(())),
            Err(Unusable::Damaged(extent)) => Ok(Err(extent)),
            Err(Unusable::Malformed(why)) => Err(rpc::malformed(why)),
            Err(Unusable::Failed(error)) => Err(named(id, &self.server(id)?.address, error)),
        }
    }

    /// Sends an allocation, once.
    pub(crate) async fn allocate(&self, id: ServerId, allocate: Allocate) -> Result<Instance, Error> {
        let message = v1::AllocateRequest::from(allocate);
        let reply = self.call(id, |mut client| async move { client.allocate(Request::new(message)).await }).await?;
        instance(reply.instance)
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

    /// Whether something has to be settled before the next write to this server.
    pub(crate) fn has_doubts(&self, id: ServerId) -> bool {
        self.doubts.lock().contains_key(&id)
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
        let server = self.server(id)?;
        let asked =
            async { attempt(server.client.clone()).await.map(Response::into_inner).map_err(Error::from_status) };
        self.timed(id, &server.address, asked).await
    }

    async fn timed<T>(
        &self,
        id: ServerId,
        address: &str,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let answer = in_time(self.patience.operation_timeout, asked).await;
        answer.map_err(|error| named(id, address, error))
    }

    fn server(&self, id: ServerId) -> Result<Arc<Server>, Error> {
        self.known.read().get(&id).cloned().ok_or_else(|| {
            let message = format!("the address of file {id} is not known; see `pfs status`");
            Error::new(ErrorKind::Unavailable, message)
        })
    }
}

fn named(id: ServerId, address: &str, error: Error) -> Error {
    let hint = if error.kind().is_passing() { "; see `pfs status` for which servers are up" } else { "" };
    let kind = error.kind();
    Error::new(kind, format!("file {id} at {address}: {error}{hint}")).with_source(error)
}

fn put_whole(mut scatter: Scatter<'_>, reply: v1::ReadReply) -> Result<(), Unusable> {
    scatter.expect(reply.checksums);
    scatter.put(&reply.payload)?;
    scatter.end_of_payload()?;
    scatter.end()
}

async fn read_stream(channel: &RawChannel, message: v1::ReadRequest, scatter: Scatter<'_>) -> Result<(), Unusable> {
    let mut answer = channel.call(READ_PATH, rpc::one_message(&message)).await?;
    let mut reply = StreamReply::new(scatter);
    while let Some(data) = answer.next().await? {
        reply.push(data)?;
    }
    reply.end()
}

fn instance(number: u64) -> Result<Instance, Error> {
    Instance::new(number).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "a file server's answer has no instance; is it of another version?")
    })
}
