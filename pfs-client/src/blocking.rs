//! The same client for programs without an event loop. Every call waits; buffers are borrowed.

use crate::client;
use crate::config::ClientConfig;
use crate::descriptor::FileDescriptor;
use crate::error::Error;
use crate::group::{CommitSummary, GroupGrant, GroupWatch, OpenedFile, SetGrant};
use crate::token::Token;
use crate::types::{Access, DirectoryEntry, EntryKind, FileStatus, OpenOptions};
use futures::executor::block_on;
use pfs_core::cache::CacheCounters;
use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, Holder};
use pfs_core::layout::Recipe;
use pfs_core::path::PfsPath;
use pfs_core::pattern::RangePattern;
use pfs_core::pointer::{PointerChange, SharedPointer};
use pfs_core::token::message::{FileSize, Mode};
use pfs_proto::v1;
use std::sync::Arc;

/// A session with a cluster; see [`crate::Client`].
#[derive(Clone, Debug)]
pub struct Client {
    inner: client::Client,
}

impl Client {
    /// Opens a session.
    pub fn connect(config: ClientConfig) -> Result<Self, Error> {
        Ok(Client { inner: client::Client::connect(config)? })
    }

    /// The session's id.
    pub fn id(&self) -> ClientId {
        self.inner.id()
    }

    /// Whether data may be touched at this moment; see [`client::Client::may_access`](crate::Client::may_access).
    pub fn may_access(&self) -> bool {
        self.inner.may_access()
    }

    /// Whether the session is over, so that nothing can be done with it any more.
    pub fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    /// The same session for `async` code.
    pub fn as_async(&self) -> &client::Client {
        &self.inner
    }

    fn wait<T, F>(&self, call: impl FnOnce(client::Client) -> F) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.inner.connection.wait(call(self.inner.clone()))
    }

    /// Opens a file for this client alone.
    pub fn open(&self, path: &PfsPath, options: &OpenOptions) -> Result<File, Error> {
        let (path, options) = (path.clone(), *options);
        let descriptor = self.wait(|client| async move { client.open(&path, &options).await })?;
        Ok(File { descriptor })
    }

    /// Opens a file for a group; every member then [attaches](Self::attach) what this returns.
    pub fn open_for_group(
        &self,
        path: &PfsPath,
        options: &OpenOptions,
        members: &[ClientId],
    ) -> Result<OpenedFile, Error> {
        let (path, options, members) = (path.clone(), *options, members.to_vec());
        self.wait(|client| async move { client.open_for_group(&path, &options, &members).await })
    }

    /// Takes over an open that a member of the group has made.
    pub fn attach(&self, opened: OpenedFile, access: Access) -> Result<File, Error> {
        Ok(File { descriptor: self.inner.attach(opened, access)? })
    }

    /// What is known of a file or directory; a file's size is exact.
    pub fn stat(&self, path: &PfsPath) -> Result<FileStatus, Error> {
        let path = path.clone();
        self.wait(|client| async move { client.stat(&path).await })
    }

    /// The entries of a directory, in the order of their names.
    pub fn list(&self, path: &PfsPath) -> Result<Vec<DirectoryEntry>, Error> {
        let path = path.clone();
        self.wait(|client| async move { client.list(&path).await })
    }

    /// Makes a directory; with `parents` its missing parents too, and an existing one is no error.
    pub fn make_directory(&self, path: &PfsPath, parents: bool) -> Result<(), Error> {
        let path = path.clone();
        self.wait(|client| async move { client.make_directory(&path, parents).await })
    }

    /// Gives a file or directory another name; a file of the new name is replaced.
    pub fn rename(&self, from: &PfsPath, to: &PfsPath) -> Result<(), Error> {
        let (from, to) = (from.clone(), to.clone());
        self.wait(|client| async move { client.rename(&from, &to).await })
    }

    /// Removes a file or an empty directory; `kind` says which is meant, nothing takes both.
    pub fn remove(&self, path: &PfsPath, kind: Option<EntryKind>) -> Result<(), Error> {
        let path = path.clone();
        self.wait(|client| async move { client.remove(&path, kind).await })
    }

    /// Cuts or extends a file to exactly this many bytes.
    pub fn truncate(&self, path: &PfsPath, size_bytes: u64) -> Result<(), Error> {
        let path = path.clone();
        self.wait(|client| async move { client.truncate(&path, size_bytes).await })
    }

    /// What happens in the cluster now, and what happened in the last minutes.
    pub fn activity(&self, request: v1::ActivityRequest) -> Result<v1::ActivityReply, Error> {
        self.wait(|client| async move { client.activity(request).await })
    }

    /// Servers, space, counters, and the sessions if asked for.
    pub fn cluster_status(&self, sessions: bool) -> Result<v1::ClusterStatusReply, Error> {
        self.wait(|client| async move { client.cluster_status(sessions).await })
    }

    /// Who holds which bytes of a file, now.
    pub fn tokens(&self, path: &PfsPath) -> Result<v1::ListTokensReply, Error> {
        let path = path.clone();
        self.wait(|client| async move { client.tokens(&path).await })
    }

    /// The state of one slot's object at its server.
    pub fn object_stat(&self, file: &FileStatus, slot: u32) -> Result<v1::StatReply, Error> {
        let file = file.clone();
        self.wait(|client| async move { client.object_stat(&file, slot).await })
    }

    /// What the cache has done since the session began, and what is in it now.
    pub fn cache_counters(&self) -> CacheCounters {
        self.inner.cache_counters()
    }

    /// Ends the session in order: what is in the cache is written back. Open files fail from then on.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.inner.shutdown()
    }
}

/// An open file; see [`FileDescriptor`].
#[derive(Debug)]
pub struct File {
    descriptor: FileDescriptor,
}

impl File {
    /// Reads into `buffer` from `offset`; returns how many bytes, fewer than asked for only at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        // SAFETY: `block_on` has the future on its stack and drops it before it returns.
        block_on(unsafe { self.descriptor.read_into(buffer, offset) })
    }

    /// Writes all of `buffer` at `offset`. When it returns, every reader sees it; after [`sync`](Self::sync) it lasts.
    pub fn write_at(&self, buffer: &[u8], offset: u64) -> Result<(), Error> {
        // SAFETY: `block_on` has the future on its stack and drops it before it returns.
        block_on(unsafe { self.descriptor.write_from(buffer, offset) })
    }

    /// The file's size now, in bytes.
    pub fn size(&self) -> Result<u64, Error> {
        block_on(self.descriptor.size())
    }

    /// Cuts or extends the file to exactly this many bytes; new bytes are zeros.
    pub fn set_size(&self, bytes: u64) -> Result<(), Error> {
        block_on(self.descriptor.set_size(bytes))
    }

    /// Moves the shared file pointer; see [`FileDescriptor::move_pointer`].
    pub fn move_pointer(&self, change: PointerChange) -> Result<SharedPointer, Error> {
        block_on(self.descriptor.move_pointer(change))
    }

    /// Reserves space; see [`FileDescriptor::allocate`].
    pub fn allocate(&self, offset: u64, length: u64) -> Result<(), Error> {
        block_on(self.descriptor.allocate(offset, length))
    }

    /// Makes a hole; see [`FileDescriptor::punch`].
    pub fn punch(&self, offset: u64, length: u64) -> Result<(), Error> {
        block_on(self.descriptor.punch(offset, length))
    }

    /// Writes several ranges (disjoint, in order) under a token that covers them, each from its buffer, in as few requests as
    /// can be.
    pub fn write_list_under(&self, token: &Arc<Token>, extents: &[Extent], buffers: &[&[u8]]) -> Result<(), Error> {
        // SAFETY: `block_on` has the future on its stack and drops it before it returns.
        block_on(unsafe { self.descriptor.write_list_under(token, extents, buffers) })
    }

    /// Reads several ranges (disjoint, in order, before the end of the file) under a token that covers them, each into its
    /// buffer. Bytes past the end are zeros.
    pub fn read_list_under(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        buffers: &mut [&mut [u8]],
    ) -> Result<(), Error> {
        // SAFETY: `block_on` has the future on its stack and drops it before it returns.
        block_on(unsafe { self.descriptor.read_list_under(token, extents, buffers) })
    }

    /// Makes everything that this client has written to the file last.
    pub fn sync(&self) -> Result<(), Error> {
        block_on(self.descriptor.sync())
    }

    /// Writes back what this client has collected of the file; see [`FileDescriptor::flush_cache`].
    pub fn flush_cache(&self) -> Result<(), Error> {
        block_on(self.descriptor.flush_cache())
    }

    /// Forgets what this client has read of the file; see [`FileDescriptor::drop_clean`].
    pub fn drop_clean(&self) {
        self.descriptor.drop_clean();
    }

    /// Syncs and closes.
    pub fn close(self) -> Result<(), Error> {
        block_on(self.descriptor.close())
    }

    /// The same file for `async` code.
    pub fn as_async(&self) -> &FileDescriptor {
        &self.descriptor
    }

    /// The same, without the blocking calls.
    pub fn into_async(self) -> FileDescriptor {
        self.descriptor
    }

    /// What was known of the file when it was opened.
    pub fn status(&self) -> &FileStatus {
        self.descriptor.status()
    }

    /// How the file is striped.
    pub fn recipe(&self) -> &Recipe {
        self.descriptor.recipe()
    }

    /// Under whose token accesses are made.
    pub fn holder(&self) -> Holder {
        self.descriptor.holder()
    }

    /// Pins `extents` (disjoint, in order) if what is held now covers them; never asks anybody.
    pub fn try_pin(&self, mode: Mode, extents: &[Extent]) -> Option<Token> {
        self.descriptor.try_pin(mode, extents)
    }

    /// Waits until `extents` (disjoint, in order) are pinned: nobody else gets a conflicting token before it is dropped.
    pub fn acquire(&self, mode: Mode, extents: &[Extent]) -> Result<Token, Error> {
        block_on(self.descriptor.acquire(mode, extents))
    }

    /// Asks for tokens for the whole group. Every member must [install](Self::install) the grant.
    pub fn acquire_for_group(
        &self,
        mode: Mode,
        required: &[RangePattern],
        desired: Option<Extent>,
    ) -> Result<GroupGrant, Error> {
        block_on(self.descriptor.acquire_for_group(mode, required, desired))
    }

    /// Takes over a grant of the group and pins `extents` (disjoint, in order), this member's part of it.
    pub fn install(&self, grant: GroupGrant, mode: Mode, extents: &[Extent]) -> Result<Token, Error> {
        block_on(self.descriptor.install(grant, mode, extents))
    }

    /// Asks for tokens for several clients that have this file open for themselves and in a group together, all in one
    /// decision: each gets what is named for it. This client must have a part. No two parts may have a byte in common
    /// unless the mode is shared. Every one of them must [claim](Self::claim_set) or [abandon](Self::abandon_set) its part.
    pub fn acquire_set(&self, mode: Mode, parts: Vec<(ClientId, Vec<RangePattern>)>) -> Result<SetGrant, Error> {
        block_on(self.descriptor.acquire_set(mode, parts))
    }

    /// Waits for this client's part of a set and pins it. [`ErrorKind::Stale`](crate::ErrorKind::Stale): the metadata
    /// server was restarted meanwhile, and the set is void for all.
    pub fn claim_set(&self, grant: &SetGrant) -> Result<Token, Error> {
        block_on(self.descriptor.claim_set(grant))
    }

    /// Gives this client's part of a set back, whether it has arrived or not.
    pub fn abandon_set(&self, grant: &SetGrant) {
        self.descriptor.abandon_set(grant);
    }

    /// Gives back what was granted on the request of a client and not claimed: nobody will say what it is for.
    pub fn abandon_sets_of(&self, client: ClientId) {
        self.descriptor.abandon_sets_of(client);
    }

    /// Writes `buffer` at `offset` under a token that covers it.
    pub fn write_under(&self, token: &Arc<Token>, buffer: &[u8], offset: u64) -> Result<(), Error> {
        // SAFETY: `block_on` has the future on its stack and drops it before it returns.
        block_on(unsafe { self.descriptor.write_under(token, buffer, offset) })
    }

    /// Reads into `buffer` from `offset` under a token that covers it; fewer bytes only at the end of the file.
    pub fn read_under(&self, token: &Arc<Token>, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        // SAFETY: `block_on` has the future on its stack and drops it before it returns.
        block_on(unsafe { self.descriptor.read_under(token, buffer, offset) })
    }

    /// A lower bound of the file's size, with its generation.
    pub fn known_size(&self) -> FileSize {
        self.descriptor.known_size()
    }

    /// Takes over what another member knows about the size.
    pub fn learn_size(&self, size: FileSize) {
        self.descriptor.learn_size(size);
    }

    /// Makes this member's objects durable; the first half of a group's sync.
    pub fn commit(&self) -> Result<CommitSummary, Error> {
        block_on(self.descriptor.commit())
    }

    /// Reports what all members have made durable; the second half of a group's sync.
    pub fn report_sync(&self, summary: CommitSummary) -> Result<(), Error> {
        block_on(self.descriptor.report_sync(summary))
    }

    /// Why the members of this file's group can not act together any more, if that is so.
    pub fn group_error(&self) -> Option<Error> {
        self.descriptor.group_error()
    }

    /// The same for somebody who asks often.
    pub fn group_watch(&self) -> GroupWatch {
        self.descriptor.group_watch()
    }

    /// Lets go of an open that another member of the group closes, unless this fails on any of them.
    pub fn detach(self) -> Result<(), Error> {
        block_on(self.descriptor.detach())
    }
}
