//! The client: names, status, opening files. Methods are `async` and run on any executor.

use crate::config::ClientConfig;
use crate::data::attempts;
use crate::descriptor::FileDescriptor;
use crate::error::{Error, ErrorKind};
use crate::group::OpenedFile;
use crate::links::{Answer, Method};
use crate::metadata::unexpected;
use crate::state::{ClientState, Connection, OpenRecord};
use crate::types::{Access, DirectoryEntry, EntryKind, FileStatus, OpenOptions};
use pfs_core::cache::CacheCounters;
use pfs_core::ids::{ClientId, Holder, ObjectId, Stamp};
use pfs_core::path::PfsPath;
use pfs_proto::metadata::{DirectoryPage, FileMetadata};
use pfs_proto::v1;
use std::sync::Arc;
use tonic::Request;

/// Entries of one page of a listing.
const PAGE_ENTRIES: u32 = 1000;

/// A session with a cluster. Cheap to clone; the session ends when the last clone and the last open file are gone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) connection: Arc<Connection>,
}

impl Client {
    /// Opens a session. Waits on the calling thread: not for use inside an event loop.
    pub fn connect(config: ClientConfig) -> Result<Self, Error> {
        Ok(Client { connection: Connection::open(config)? })
    }

    /// The session's id.
    pub fn id(&self) -> ClientId {
        self.state().id()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.state().cluster_id
    }

    /// Whether data may be touched at this moment. Operations that find it false wait until the metadata server answers
    /// again, or until the session is over.
    pub fn may_access(&self) -> bool {
        self.state().links.access.is_open()
    }

    /// Whether the session is over, so that nothing can be done with it any more.
    pub fn is_over(&self) -> bool {
        self.state().check_alive().is_err()
    }

    /// Runs a future on this client's own thread, which goes on whatever the program does. It must not block, and it must not
    /// be the last one to have the client or a file of it.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.state().io.spawn(future));
    }

    pub(crate) fn state(&self) -> &Arc<ClientState> {
        &self.connection.state
    }

    /// Opens a file for this client alone.
    pub async fn open(&self, path: &PfsPath, options: &OpenOptions) -> Result<FileDescriptor, Error> {
        let opened = self.open_for_group(path, options, &[]).await?;
        self.attach(opened, options.access)
    }

    /// Opens a file for a group of clients; `members` are in rank order, this client among them. Every member then
    /// [attaches](Self::attach) what this returns.
    pub async fn open_for_group(
        &self,
        path: &PfsPath,
        options: &OpenOptions,
        members: &[ClientId],
    ) -> Result<OpenedFile, Error> {
        if options.truncate && !options.access.writes() {
            let message = format!("open of {path}: a file that is only read can not be truncated");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let open = Some(v1::OpenFor {
            group_members: members.iter().map(|member| member.get()).collect(),
            access: v1::Access::from(options.access).into(),
        });
        let doing = if options.create { "create" } else { "open" };
        let reply = self.open_or_create(path, options, open).await;
        let reply = reply.map_err(|error| error.context(format_args!("{doing} {path}")))?;
        let opened = self.state().opened(reply)?;
        let mut file = OpenedFile { opened, name: path.to_string(), members: members.to_vec() };
        if options.truncate && !file.opened.created {
            let status = self.set_size_of(v1::update_metadata_request::Target::FileId(file.opened.file.id.get()), 0);
            file.opened.file.size = status.await.map_err(|e| e.context(format_args!("truncate {path}")))?.size;
        }
        Ok(file)
    }

    async fn open_or_create(
        &self,
        path: &PfsPath,
        options: &OpenOptions,
        open: Option<v1::OpenFor>,
    ) -> Result<v1::OpenFileReply, Error> {
        let layout = v1::LayoutRequest::from(options.layout);
        let method = |operation| {
            let (operation, path, open) = (Some(operation), path.to_string(), open.clone());
            match options.create {
                false => Method::OpenFile(v1::OpenFileRequest { operation, path, open }),
                true => {
                    let (exclusive, layout) = (options.exclusive, Some(layout));
                    Method::CreateFile(v1::CreateFileRequest { operation, path, exclusive, layout, open })
                }
            }
        };
        match self.state().metadata.change(method).await? {
            Answer::Opened(reply) => Ok(reply),
            _ => Err(unexpected("an open")),
        }
    }

    /// Takes over an open that this client or another member of its group has made.
    pub fn attach(&self, file: OpenedFile, access: Access) -> Result<FileDescriptor, Error> {
        let OpenedFile { opened, name, members } = file;
        let state = self.state();
        let no_file = || {
            let message = format!("{name} was not opened, or is a directory");
            Error::new(ErrorKind::InvalidArgument, message)
        };
        let open = opened.open.filter(|_| opened.file.recipe.is_some()).ok_or_else(no_file)?;
        if let Some(owner) = &opened.owner
            && !state.config.metadata.contains(owner)
        {
            let message = format!("{name} is owned by the metadata server {owner}, which this client does not know");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        state.servers.learn(opened.servers)?;
        let is_alone = members.len() <= 1;
        state.remember_open(open.id, OpenRecord::new(open.holder, opened.file.id, members, access));
        let new = || state.share_opened(open.holder, &opened.file, &name, is_alone);
        let shared = state.take_granted(open.id).or_else(new).ok_or_else(no_file)?;
        let status = FileStatus::from(opened.file);
        shared.learn_size(status.size);
        let descriptor = FileDescriptor::new(self.clone(), shared, open.id, access, status);
        state.check_alive()?;
        Ok(descriptor)
    }

    /// What is known of a file or directory; a file's size is exact.
    pub async fn stat(&self, path: &PfsPath) -> Result<FileStatus, Error> {
        let target = v1::fetch_metadata_request::Target::Path(path.to_string());
        self.fetch(target).await.map_err(|error| error.context(format_args!("stat {path}")))
    }

    pub(crate) async fn fetch(&self, target: v1::fetch_metadata_request::Target) -> Result<FileStatus, Error> {
        let request = v1::FetchMetadataRequest { client_id: self.id().get(), target: Some(target), exact_size: true };
        match self.state().metadata.read(Method::FetchMetadata(request)).await? {
            Answer::Fetched(reply) => status(reply.file),
            _ => Err(unexpected("a look at a file")),
        }
    }

    /// The entries of a directory, in the order of their names.
    pub async fn list(&self, path: &PfsPath) -> Result<Vec<DirectoryEntry>, Error> {
        let mut entries: Vec<DirectoryEntry> = Vec::new();
        loop {
            let request = v1::ListDirectoryRequest {
                client_id: self.id().get(),
                path: path.to_string(),
                after: entries.last().map(|entry| entry.name.clone()).unwrap_or_default(),
                limit: PAGE_ENTRIES,
            };
            let listed = self.state().metadata.read(Method::ListDirectory(request)).await;
            let reply = match listed.map_err(|error| error.context(format_args!("list {path}")))? {
                Answer::Listed(reply) => reply,
                _ => return Err(unexpected("a listing")),
            };
            let page =
                DirectoryPage::try_from(reply).map_err(|error| Error::malformed("a page of a directory", error))?;
            let empty = page.entries.is_empty();
            entries.extend(
                page.entries
                    .into_iter()
                    .map(|entry| DirectoryEntry { name: entry.name, status: FileStatus::from(entry.file) }),
            );
            if !page.more || empty {
                return Ok(entries);
            }
        }
    }

    /// Makes a directory; with `parents` its missing parents too, and an existing one is no error.
    pub async fn make_directory(&self, path: &PfsPath, parents: bool) -> Result<(), Error> {
        let method = |operation| {
            let (operation, path) = (Some(operation), path.to_string());
            Method::MakeDirectory(v1::MakeDirectoryRequest { operation, path, parents })
        };
        let made = self.state().metadata.change(method).await;
        made.map(drop).map_err(|error| error.context(format_args!("make directory {path}")))
    }

    /// Gives a file or directory another name; a file of the new name is replaced.
    pub async fn rename(&self, from: &PfsPath, to: &PfsPath) -> Result<(), Error> {
        let method = |operation| {
            let (operation, from, to) = (Some(operation), from.to_string(), to.to_string());
            Method::Rename(v1::RenameRequest { operation, from, to })
        };
        let renamed = self.state().metadata.change(method).await;
        renamed.map(drop).map_err(|error| error.context(format_args!("rename {from} to {to}")))
    }

    /// Removes a file or an empty directory; `kind` says which is meant, nothing takes both.
    pub async fn remove(&self, path: &PfsPath, kind: Option<EntryKind>) -> Result<(), Error> {
        let kind = kind.map_or(v1::EntryKind::Unspecified, Into::into);
        let method = |operation| {
            let (operation, path) = (Some(operation), path.to_string());
            Method::DeleteFile(v1::DeleteFileRequest { operation, path, kind: kind.into() })
        };
        let removed = self.state().metadata.change(method).await;
        removed.map(drop).map_err(|error| error.context(format_args!("remove {path}")))
    }

    /// Cuts or extends a file to exactly this many bytes.
    pub async fn truncate(&self, path: &PfsPath, size_bytes: u64) -> Result<(), Error> {
        let set = self.set_size_of(v1::update_metadata_request::Target::Path(path.to_string()), size_bytes);
        set.await.map(drop).map_err(|error| error.context(format_args!("set the size of {path} to {size_bytes}")))
    }

    pub(crate) async fn set_size_of(
        &self,
        target: v1::update_metadata_request::Target,
        size_bytes: u64,
    ) -> Result<FileStatus, Error> {
        self.update(target, v1::update_metadata_request::Change::SetSizeBytes(size_bytes)).await
    }

    pub(crate) async fn update(
        &self,
        target: v1::update_metadata_request::Target,
        change: v1::update_metadata_request::Change,
    ) -> Result<FileStatus, Error> {
        let method = |operation| {
            let (operation, target, change) = (Some(operation), Some(target.clone()), Some(change.clone()));
            Method::UpdateMetadata(v1::UpdateMetadataRequest { operation, target, change })
        };
        match self.state().metadata.change(method).await? {
            Answer::Fetched(reply) => status(reply.file),
            _ => Err(unexpected("a change of a file")),
        }
    }

    /// Servers, space, counters, and the sessions if asked for.
    pub async fn cluster_status(&self, sessions: bool) -> Result<v1::ClusterStatusReply, Error> {
        let request = v1::ClusterStatusRequest { sessions };
        self.state()
            .metadata
            .unary(|mut client| async move { client.cluster_status(Request::new(request)).await })
            .await
            .map_err(|error| error.context("cluster status"))
    }

    /// What happens in the cluster now, and what happened in the last minutes.
    pub async fn activity(&self, request: v1::ActivityRequest) -> Result<v1::ActivityReply, Error> {
        self.state()
            .metadata
            .unary(|mut client| async move { client.fetch_activity(Request::new(request)).await })
            .await
            .map_err(|error| error.context("activity of the cluster"))
    }

    /// Who holds which bytes of a file, now.
    pub async fn tokens(&self, path: &PfsPath) -> Result<v1::ListTokensReply, Error> {
        let request = v1::ListTokensRequest { target: Some(v1::list_tokens_request::Target::Path(path.to_string())) };
        self.state()
            .metadata
            .unary(|mut client| {
                let request = request.clone();
                async move { client.list_tokens(Request::new(request)).await }
            })
            .await
            .map_err(|error| error.context(format_args!("tokens of {path}")))
    }

    /// The state of one slot's object at its server.
    pub async fn object_stat(&self, file: &FileStatus, slot: u32) -> Result<v1::StatReply, Error> {
        let Some(recipe) = file.recipe.as_ref().filter(|recipe| slot < recipe.stripe_count()) else {
            let message = format!("{} has no slot {slot}", file.id);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        let state = self.state().clone();
        let (server, client) = (recipe.primary(slot), self.id());
        let object = ObjectId { file: file.id, slot };
        let asked = state.io.clone().spawn(async move {
            attempts::persist(&state, || async {
                let stamp = Stamp { boot: state.links.boot(), holder: Holder::Client(client), incarnation: client };
                state.servers.stat(server, stamp, object).await
            })
            .await
        });
        asked.await.map_err(|_| Error::new(ErrorKind::NoSession, "the client was shut down"))?
    }

    /// What the cache has done since the session began, and what is in it now.
    pub fn cache_counters(&self) -> CacheCounters {
        self.state().cache.counters()
    }

    /// Ends the session in order: what is in the cache is written back. Open files fail from then on.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.connection.shutdown()
    }
}

fn status(file: Option<v1::FileMetadata>) -> Result<FileStatus, Error> {
    let file = FileMetadata::try_from(file.unwrap_or_default())
        .map_err(|error| Error::malformed("the metadata server's answer about a file", error))?;
    Ok(FileStatus::from(file))
}
