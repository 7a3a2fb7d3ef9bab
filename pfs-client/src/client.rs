//! The client: names, status, opening files. Methods are `async` and run on any executor.

use crate::config::ClientConfig;
use crate::descriptor::FileDescriptor;
use crate::error::{Error, ErrorKind};
use crate::group::OpenedFile;
use crate::shared_file::SharedFile;
use crate::state::{ClientState, Connection};
use crate::types::{Access, DirectoryEntry, EntryKind, FileStatus, OpenOptions};
use pfs_core::ids::{ClientId, Holder, ObjectId, Stamp};
use pfs_core::path::PfsPath;
use pfs_proto::metadata::{DirectoryPage, FileMetadata, Opened};
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
        let opened = Opened::try_from(reply.map_err(|error| error.context(format_args!("{doing} {path}")))?)
            .map_err(|error| Error::malformed("the answer to an open", error))?;
        let mut file = OpenedFile { opened, name: path.to_string() };
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
        let path = path.as_str();
        let (metadata, layout) = (&self.state().metadata, v1::LayoutRequest::from(options.layout));
        if !options.create {
            let attempt = |mut client: MetadataStub, operation| {
                let request =
                    v1::OpenFileRequest { operation: Some(operation), path: path.to_owned(), open: open.clone() };
                async move { client.open_file(Request::new(request)).await }
            };
            return metadata.change(attempt).await;
        }
        let attempt = |mut client: MetadataStub, operation| {
            let request = v1::CreateFileRequest {
                operation: Some(operation),
                path: path.to_owned(),
                exclusive: options.exclusive,
                layout: Some(layout),
                open: open.clone(),
            };
            async move { client.create_file(Request::new(request)).await }
        };
        metadata.change(attempt).await
    }

    /// Takes over an open that this client or another member of its group has made.
    pub fn attach(&self, file: OpenedFile, access: Access) -> Result<FileDescriptor, Error> {
        let OpenedFile { opened, name } = file;
        let state = self.state();
        let (Some(open), Some(recipe)) = (opened.open, opened.file.recipe.clone()) else {
            let message = format!("{name} was not opened, or is a directory");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        if let Some(owner) = &opened.owner
            && !state.config.metadata.contains(owner)
        {
            let message = format!("{name} is owned by the metadata server {owner}, which this client does not know");
            return Err(Error::new(ErrorKind::Internal, message));
        }
        state.servers.learn(opened.servers)?;
        let status = FileStatus::from(opened.file.clone());
        let links = state.links.clone();
        let shared =
            state.share(open.holder, opened.file.id, || SharedFile::new(opened.file, recipe, open.holder, name, links));
        shared.learn_size(status.size);
        state.check_alive()?;
        Ok(FileDescriptor::new(self.clone(), shared, open.id, access, status))
    }

    /// What is known of a file or directory; a file's size is exact.
    pub async fn stat(&self, path: &PfsPath) -> Result<FileStatus, Error> {
        let target = v1::fetch_metadata_request::Target::Path(path.to_string());
        self.fetch(target).await.map_err(|error| error.context(format_args!("stat {path}")))
    }

    pub(crate) async fn fetch(&self, target: v1::fetch_metadata_request::Target) -> Result<FileStatus, Error> {
        let request = v1::FetchMetadataRequest { client_id: self.id().get(), target: Some(target), exact_size: true };
        let reply = self
            .state()
            .metadata
            .read(|mut client| {
                let request = request.clone();
                async move { client.fetch_metadata(Request::new(request)).await }
            })
            .await?;
        status(reply.file)
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
            let reply = self
                .state()
                .metadata
                .read(|mut client| {
                    let request = request.clone();
                    async move { client.list_directory(Request::new(request)).await }
                })
                .await
                .map_err(|error| error.context(format_args!("list {path}")))?;
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
        let attempt = |mut client: MetadataStub, operation| {
            let request = v1::MakeDirectoryRequest { operation: Some(operation), path: path.to_string(), parents };
            async move { client.make_directory(Request::new(request)).await }
        };
        let made = self.state().metadata.change(attempt).await;
        made.map(drop).map_err(|error| error.context(format_args!("make directory {path}")))
    }

    /// Gives a file or directory another name; a file of the new name is replaced.
    pub async fn rename(&self, from: &PfsPath, to: &PfsPath) -> Result<(), Error> {
        let attempt = |mut client: MetadataStub, operation| {
            let request = v1::RenameRequest { operation: Some(operation), from: from.to_string(), to: to.to_string() };
            async move { client.rename(Request::new(request)).await }
        };
        let renamed = self.state().metadata.change(attempt).await;
        renamed.map(drop).map_err(|error| error.context(format_args!("rename {from} to {to}")))
    }

    /// Removes a file or an empty directory; `kind` says which is meant, nothing takes both.
    pub async fn remove(&self, path: &PfsPath, kind: Option<EntryKind>) -> Result<(), Error> {
        let kind = kind.map_or(v1::EntryKind::Unspecified, Into::into);
        let attempt = |mut client: MetadataStub, operation| {
            let request =
                v1::DeleteFileRequest { operation: Some(operation), path: path.to_string(), kind: kind.into() };
            async move { client.delete_file(Request::new(request)).await }
        };
        let removed = self.state().metadata.change(attempt).await;
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
        let attempt = |mut client: MetadataStub, operation| {
            let request = v1::UpdateMetadataRequest {
                operation: Some(operation),
                target: Some(target.clone()),
                change: Some(change.clone()),
            };
            async move { client.update_metadata(Request::new(request)).await }
        };
        status(self.state().metadata.change(attempt).await?.file)
    }

    /// Servers, space, counters, and the sessions if asked for.
    pub async fn cluster_status(&self, sessions: bool) -> Result<v1::ClusterStatusReply, Error> {
        let request = v1::ClusterStatusRequest { sessions };
        self.state()
            .metadata
            .read(|mut client| async move { client.cluster_status(Request::new(request)).await })
            .await
            .map_err(|error| error.context("cluster status"))
    }

    /// Who holds which bytes of a file, now.
    pub async fn tokens(&self, path: &PfsPath) -> Result<v1::ListTokensReply, Error> {
        let request = v1::ListTokensRequest { target: Some(v1::list_tokens_request::Target::Path(path.to_string())) };
        self.state()
            .metadata
            .read(|mut client| {
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
        let stamp = Stamp { boot: state.links.boot, holder: Holder::Client(client), incarnation: client };
        let object = ObjectId { file: file.id, slot };
        let io = state.io.clone();
        let asked = io.spawn(async move { state.servers.stat(server, stamp, object).await }).await;
        asked.map_err(|_| Error::new(ErrorKind::NoSession, "the client was shut down"))?
    }

    /// Ends the session in order. Open files fail from then on.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.connection.shutdown()
    }
}

pub(crate) type MetadataStub = v1::metadata_client::MetadataClient<pfs_proto::transport::AuthChannel>;

fn status(file: Option<v1::FileMetadata>) -> Result<FileStatus, Error> {
    let file = FileMetadata::try_from(file.unwrap_or_default())
        .map_err(|error| Error::malformed("the metadata server's answer about a file", error))?;
    Ok(FileStatus::from(file))
}
