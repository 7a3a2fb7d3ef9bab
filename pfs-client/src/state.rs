//! What one client has: its session, its files, its connections.
//!
//! Two background threads serve it. `pfs-token` drives the token stream, on which calls of the metadata server are too, and the
//! heartbeats, and nothing else, so that no transfer can hold them up. `pfs-io` drives the connections to the file servers.

use crate::cache::{Cache, write_back};
use crate::config::ClientConfig;
use crate::data::servers::{Patience, Servers};
use crate::descriptor::send_close;
use crate::error::{Error, ErrorKind};
use crate::executor::Executor;
use crate::links::Links;
use crate::metadata::Metadata;
use crate::session::{self, Opening};
use crate::shared_file::SharedFile;
use crate::types::Access;
use parking_lot::Mutex;
use pfs_core::ids::{ClientId, FileId, Holder, OpenId};
use pfs_core::pointer::SharedPointer;
use pfs_core::token::message::{FileSize, Reassertion};
use pfs_proto::metadata::{FileMetadata, MovedPointer, Opened};
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::token::{GrantMessage, KnownOpen, ReassertMessage};
use pfs_proto::v1;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How long an orderly end may take before the client just leaves.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// One open that the metadata server knows of and that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenRecord {
    pub(crate) holder: Holder,
    pub(crate) file: FileId,
    /// All members of a group, in rank order; empty for a client.
    pub(crate) members: Vec<ClientId>,
    pub(crate) access: Access,
    /// The newest state of its shared file pointer that this client was told of.
    pub(crate) pointer: SharedPointer,
}

impl OpenRecord {
    /// An open that was just made.
    pub(crate) fn new(holder: Holder, file: FileId, members: Vec<ClientId>, access: Access) -> Self {
        OpenRecord { holder, file, members, access, pointer: SharedPointer::default() }
    }
}

/// An open that came with tokens.
#[derive(Debug)]
struct Granted {
    /// The answer, until who has asked takes it.
    opened: Option<Opened>,
    shared: Arc<SharedFile>,
}

/// The state of one client, shared by all its files and background tasks.
#[derive(Debug)]
pub struct ClientState {
    pub(crate) config: ClientConfig,
    pub(crate) cluster_id: String,
    pub(crate) links: Arc<Links>,
    pub(crate) metadata: Metadata,
    pub(crate) servers: Servers,
    /// Bytes that may be on their way to or from file servers.
    pub(crate) budget: Arc<Semaphore>,
    /// Blocks of files.
    pub(crate) cache: Arc<Cache>,
    /// The event loop of transfers.
    pub(crate) io: Handle,
    last_sequence: AtomicU64,
    files: Mutex<BTreeMap<(Holder, FileId), Weak<SharedFile>>>,
    opens: Mutex<BTreeMap<OpenId, OpenRecord>>,
    /// Opens that came with tokens, until somebody attaches them: from the answer on there must be somebody who gives way.
    granted: Mutex<BTreeMap<OpenId, Granted>>,
    /// Writes of unknown outcome that their servers have not yet confirmed to be over.
    undrained: AtomicU64,
}

impl ClientState {
    /// The session's client id, which is also its incarnation.
    pub fn id(&self) -> ClientId {
        self.links.client
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.last_sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The shared state of an open file: the one that is there, or `new`.
    pub(crate) fn share(&self, holder: Holder, file: FileId, new: impl FnOnce() -> SharedFile) -> Arc<SharedFile> {
        let mut files = self.files.lock();
        if let Some(shared) = files.get(&(holder, file)).and_then(Weak::upgrade).filter(|shared| shared.join()) {
            return shared;
        }
        let shared = Arc::new(new());
        files.retain(|_, file| file.strong_count() > 0);
        files.insert((holder, file), Arc::downgrade(&shared));
        shared
    }

    pub(crate) fn file(&self, holder: Holder, file: FileId) -> Option<Arc<SharedFile>> {
        self.files.lock().get(&(holder, file)).and_then(Weak::upgrade)
    }

    pub(crate) fn files(&self) -> Vec<Arc<SharedFile>> {
        self.files.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// The largest size of a file that this client has written, under whatever holder.
    pub(crate) fn written_size(&self, file: FileId) -> Option<FileSize> {
        self.files().iter().filter(|shared| shared.id == file).filter_map(|shared| shared.written_size()).max()
    }

    /// The session is over; the first reason stays.
    pub(crate) fn end(&self, error: Error) {
        if self.links.access.end(error.clone()) {
            for file in self.files() {
                file.handle_end(&error);
            }
        }
    }

    /// Fails when the session is over.
    pub(crate) fn check_alive(&self) -> Result<(), Error> {
        self.links.access.check_alive()
    }

    /// What the cache has done, for the heartbeats.
    pub(crate) fn cache_counters(&self) -> Option<v1::CacheCounters> {
        Some(self.cache.wire_counters())
    }

    /// Takes note of an open, so that a restarted metadata server is told of it.
    pub(crate) fn remember_open(&self, open: OpenId, record: OpenRecord) {
        // Of one that is known its pointer may be known, too.
        self.opens.lock().entry(open).or_insert(record);
    }

    /// The same for one that was just answered. What can not be understood is told to the caller by its own check.
    pub(crate) fn record_open(&self, request: &v1::OpenFor, reply: &v1::OpenFileReply) {
        let holder = reply.holder.and_then(|holder| Holder::try_from(holder).ok());
        let file = reply.file.as_ref().and_then(|file| FileId::new(file.file_id));
        let reasserted = v1::ReassertedOpen { open_id: reply.open_id, access: request.access, pointer: None };
        let (Some(holder), Some(file), Ok((id, known))) = (holder, file, <(OpenId, KnownOpen)>::try_from(reasserted))
        else {
            return;
        };
        let members = request.group_members.iter().copied().filter_map(ClientId::new).collect();
        self.remember_open(id, OpenRecord::new(holder, file, members, known.access));
    }

    /// The answer to an open has brought tokens. What can not be understood is not used.
    pub(crate) fn take_over_grant(self: &Arc<Self>, path: &str, reply: &v1::OpenFileReply, grant: v1::GrantToken) {
        let (Ok(opened), Ok(message)) = (Opened::try_from(reply.clone()), GrantMessage::try_from(grant)) else {
            return;
        };
        let Some(open) = opened.open else { return };
        if (message.grant.holder, message.grant.file) != (open.holder, opened.file.id) {
            return;
        }
        // The holder of an open that comes with tokens is one client.
        let Some(shared) = self.share_opened(open.holder, &opened.file, path, true) else { return };
        shared.handle_grant(message);
        self.granted.lock().insert(open.id, Granted { opened: Some(opened), shared });
    }

    /// An answer in strict types.
    pub(crate) fn opened(&self, reply: v1::OpenFileReply) -> Result<Opened, Error> {
        let granted = OpenId::new(reply.open_id).and_then(|open| self.granted.lock().get_mut(&open)?.opened.take());
        match granted {
            Some(opened) => Ok(opened),
            None => Opened::try_from(reply).map_err(|error| Error::malformed("the answer to an open", error)),
        }
    }

    /// The shared state of a file that was opened for one client or several; nothing for a directory.
    pub(crate) fn share_opened(
        self: &Arc<Self>,
        holder: Holder,
        file: &FileMetadata,
        name: &str,
        is_alone: bool,
    ) -> Option<Arc<SharedFile>> {
        let recipe = file.recipe.clone()?;
        let (links, home) = (self.links.clone(), (self.cache.clone(), Arc::downgrade(self)));
        let new = || SharedFile::new(file.clone(), recipe, (holder, is_alone), name.to_owned(), links, home);
        Some(self.share(holder, file.id, new))
    }

    /// The file of an open that came with tokens.
    pub(crate) fn take_granted(&self, open: OpenId) -> Option<Arc<SharedFile>> {
        self.granted.lock().remove(&open).map(|granted| granted.shared)
    }

    /// A state of an open's shared file pointer.
    pub(crate) fn learn_pointer(&self, open: u64, reply: &v1::MovePointerReply) {
        let (Some(open), Ok(moved)) = (OpenId::new(open), MovedPointer::try_from(*reply)) else { return };
        if let Some(record) = self.opens.lock().get_mut(&open) {
            record.pointer = record.pointer.max(moved.after);
        }
    }

    /// An open was closed, or is another member's to say.
    pub(crate) fn forget_open(&self, open: u64) {
        if let Some(open) = OpenId::new(open) {
            self.opens.lock().remove(&open);
            drop(self.take_granted(open));
        }
    }

    /// A holder is gone with everything that it has open.
    pub(crate) fn forget_opens_of(&self, holder: Holder) {
        self.opens.lock().retain(|_, record| record.holder != holder);
    }

    /// What a restarted metadata server must know, one message for each holder and file.
    pub(crate) fn reassert(&self) -> Vec<ReassertMessage> {
        let mut held: BTreeMap<_, _> =
            self.files().iter().map(|file| ((file.holder, file.id), file.reassert())).collect();
        let mut messages: BTreeMap<(Holder, FileId), ReassertMessage> = BTreeMap::new();
        for (open, record) in &*self.opens.lock() {
            let key = (record.holder, record.file);
            let message = messages.entry(key).or_insert_with(|| {
                let (ranges, size) = held.remove(&key).unwrap_or_default();
                let (holder, file) = key;
                let members = record.members.clone();
                let reassertion = Reassertion { holder, members, file, opens: Vec::new(), ranges, size };
                ReassertMessage { reassertion, known: Vec::new() }
            });
            message.reassertion.opens.push(*open);
            message.known.push(KnownOpen { access: record.access, pointer: record.pointer });
        }
        messages.into_values().collect()
    }

    /// Writes back what is in the cache and closes the files that this client has open for itself, so that all that was
    /// written stays, the sizes included. A server that can not be reached is not waited for longer than one request is.
    async fn leave_files(self: &Arc<Self>) {
        let leave = async {
            write_back::flush_all(self).await;
            let own = |(open, record): (&OpenId, &OpenRecord)| Some((*open, self.file(record.holder, record.file)?));
            let opens: Vec<(OpenId, Arc<SharedFile>)> = self.opens.lock().iter().filter_map(own).collect();
            for (open, file) in opens {
                if !matches!(file.holder, Holder::Client(_)) || file.written_size().is_none() {
                    continue;
                }
                file.until_unused().await;
                if let Err(error) = send_close(self.clone(), open, file).await {
                    tracing::warn!(%error, "a file was not closed before the end of the session");
                }
            }
        };
        let in_time =
            self.links.access.is_open() && tokio::time::timeout(self.config.operation_timeout, leave).await.is_ok();
        if !in_time {
            tracing::warn!("bytes that were not synced may be lost with the end of the session");
        }
    }

    /// Counts a write whose outcome nobody knows.
    pub(crate) fn begin_drain(&self) {
        self.undrained.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_drain(&self) {
        self.undrained.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session with its threads. The last one to let go ends it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) state: Arc<ClientState>,
    /// Ends before the token thread, since transfers report to it.
    io: Executor,
    _token: Executor,
    finished: Mutex<bool>,
}

impl Connection {
    /// Opens a session. Called outside of event loops, or on one that may wait.
    pub(crate) fn open(config: ClientConfig) -> Result<Arc<Connection>, Error> {
        config.check()?;
        let secret = Secret::load(&config.secret_file)
            .map_err(|error| Error::new(ErrorKind::Unauthenticated, error.to_string()).with_source(error))?;
        let auth = AuthInterceptor::new(&secret);
        let thread_error = |error: std::io::Error| {
            Error::new(ErrorKind::Internal, "can not start a background thread").with_source(error)
        };
        let io = Executor::start("pfs-io").map_err(thread_error)?;
        let token = Executor::start("pfs-token").map_err(thread_error)?;
        let patience = Patience {
            handle: io.handle().clone(),
            operation_timeout: config.operation_timeout,
            retry_for: config.retry_for,
        };
        let handle = io.handle().clone();
        let token_handle = token.handle().clone();
        let opening = Opening { config, auth, patience, io: handle, token: token_handle };
        let state = io.wait(session::open(opening))?;
        Ok(Arc::new(Connection { state, io, _token: token, finished: Mutex::new(false) }))
    }

    /// Runs a call on the io thread and waits for it.
    pub(crate) fn wait<F>(&self, future: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.io.wait(future)
    }

    /// Ends the session in order: tokens are released at once instead of when the lease has run out.
    pub(crate) fn shutdown(&self) -> Result<(), Error> {
        let mut finished = self.finished.lock();
        if std::mem::replace(&mut *finished, true) || self.state.check_alive().is_err() {
            return Ok(());
        }
        let state = self.state.clone();
        let told = self.io.wait(async move {
            state.leave_files().await;
            // With a write that may still be applied, only the fence at the end of the lease makes the tokens free.
            if state.undrained.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            let farewell = state.metadata.client_shutdown();
            tokio::time::timeout(SHUTDOWN_PATIENCE, farewell).await.unwrap_or_else(|_| {
                let message = format!("no answer to the end of the session within {SHUTDOWN_PATIENCE:?}");
                Err(Error::new(ErrorKind::TimedOut, message))
            })
        });
        self.state.end(Error::new(ErrorKind::NoSession, "the client was shut down"));
        told
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            tracing::warn!(%error, "the session was not ended in order; its lease will run out");
        }
    }
}

/// What [`session::open`] has found out.
pub(crate) struct NewSession {
    pub(crate) config: ClientConfig,
    pub(crate) cluster_id: String,
    pub(crate) links: Arc<Links>,
    pub(crate) metadata: Metadata,
    pub(crate) servers: Servers,
    pub(crate) io: Handle,
}

impl From<NewSession> for ClientState {
    fn from(new: NewSession) -> Self {
        let budget = Arc::new(Semaphore::new(new.config.in_flight_bytes_max));
        let cache = Arc::new(Cache::new(&new.config));
        ClientState {
            config: new.config,
            cluster_id: new.cluster_id,
            links: new.links,
            metadata: new.metadata,
            servers: new.servers,
            budget,
            cache,
            io: new.io,
            last_sequence: AtomicU64::new(0),
            files: Mutex::new(BTreeMap::new()),
            opens: Mutex::new(BTreeMap::new()),
            granted: Mutex::new(BTreeMap::new()),
            undrained: AtomicU64::new(0),
        }
    }
}
